"""The package's own log records."""

from __future__ import annotations

import io
import json
import logging

import pytest

from z4j_otel.agent.logs import OwnHandler, set_up_logs
from z4j_otel.config import AgentConfig

LOGGER = logging.getLogger("z4j_otel")


@pytest.fixture(autouse=True)
def _own_log():
    """Give the package's logger back as it was."""
    before = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)
    yield
    LOGGER.level, LOGGER.propagate, LOGGER.handlers[:] = before
    LOGGER.manager._clear_cache()


def test_without_settings_nothing_is_changed():
    """The application's logging settings hold."""
    before = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)
    set_up_logs(AgentConfig())

    assert (LOGGER.level, LOGGER.propagate, LOGGER.handlers) == before


def test_the_level_decides_what_comes_into_being_and_nothing_else():
    """The root logger and its handlers are left alone."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    set_up_logs(AgentConfig(log_level="DEBUG"))

    assert logging.getLogger("z4j_otel.agent.loop").isEnabledFor(logging.DEBUG)
    assert (root.level, root.handlers) == before


def test_a_format_writes_each_record_once_to_standard_error(capfd, caplog):
    """The application's handlers are not given it as well; setting it up twice changes nothing."""
    for _ in range(2):
        set_up_logs(AgentConfig(log_format="json"), level="INFO")
    error = ValueError("x")
    LOGGER.error("it %s", "failed", exc_info=error, extra={"action": "tested"})

    (line,) = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert [told[name] for name in ("level", "logger", "message", "action")] == [
        *("ERROR", "z4j_otel", "it failed", "tested")
    ]
    assert told["exception"].endswith("ValueError: x")
    assert not caplog.records


def test_text_is_one_readable_line(capfd):
    """Time, level, logger, text."""
    set_up_logs(AgentConfig(log_format="text"), level="INFO")
    LOGGER.info("[z4j] agent starting")

    assert capfd.readouterr().err.endswith(" INFO z4j_otel: [z4j] agent starting\n")


def test_what_stands_in_for_standard_error_is_passed_by(capfd, monkeypatch):
    """Celery's worker logs what is written to sys.stderr, each line with a head of its own."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    set_up_logs(AgentConfig(log_format="json"))
    LOGGER.warning("said")

    assert json.loads(capfd.readouterr().err)["message"] == "said"


def test_a_stream_that_is_gone_ends_nothing(monkeypatch):
    """A daemon may have closed it."""
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("sys.__stderr__", None)
    set_up_logs(AgentConfig(log_format="text"))
    LOGGER.warning("nobody hears it")

    assert any(isinstance(each, OwnHandler) for each in LOGGER.handlers)
