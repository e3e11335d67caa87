"""Task files are watched where the owner asked for it, and nowhere else."""

from types import SimpleNamespace

import pytest

from z4j_otel.agent.engines import adapters_in_use
from z4j_otel.config import AgentConfig


def watching(dev_mode, way="polling"):
    """Put an adapter into use; return how it was asked to watch."""
    asked = []

    def watch_sources(*, uses_events):
        asked.append(uses_events)
        if way is None:
            raise OSError
        return way

    adapters_in_use(
        AgentConfig(dev_mode=dev_mode),
        [SimpleNamespace(name="x", watch_sources=watch_sources), SimpleNamespace(name="y")],
        {},
    )
    return asked


@pytest.mark.parametrize(("dev_mode", "asked"), [(False, []), (True, [True])])
def test_files_are_watched_in_development_only(dev_mode, asked):
    """Without the setting an adapter is not even asked."""
    assert watching(dev_mode) == asked


def test_green_workers_are_not_woken_by_the_system(monkeypatch):
    """Waiting for the system would stop a worker of greenlets."""
    monkeypatch.setattr("z4j_otel.agent.engines.green_library", lambda: "gevent")
    assert watching(True) == [False]


@pytest.mark.parametrize(("way", "lines"), [("watchdog", 1), ("", 0), (None, 0)])
def test_log_says_how(caplog, way, lines):
    """A developer sees that files are watched; a watcher that fails is no harm."""
    caplog.set_level("INFO", "z4j_otel.agent.engines")
    watching(True, way)
    told = [r for r in caplog.records if getattr(r, "action", "") == "watching_task_files"]
    assert len(told) == lines
