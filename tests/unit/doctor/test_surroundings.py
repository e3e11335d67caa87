"""What else matters around the process."""

from __future__ import annotations

import sys

import pytest

from z4j_otel.config import AgentConfig
from z4j_otel.doctor import surroundings
from z4j_otel.doctor.surroundings import (
    examine_forks,
    examine_orchestrator,
    examine_other_agents,
    examine_redaction,
)
from z4j_otel.findings import Verdict
from z4j_otel.instrumentors.supervisors import ProcessFacts

CONTAINER = ProcessFacts(pid=1, parent_pid=0, marks=frozenset({"/.dockerenv"}))
ALONE = ProcessFacts(pid=9, parent_pid=8)


def test_no_other_agent_is_all_well():
    """The usual case."""
    found = examine_other_agents(is_installed=lambda _: False, loaded=())
    assert found.verdict is Verdict.OK


def test_another_agent_that_is_installed_is_a_warning():
    """It need not be imported by anybody."""
    found = examine_other_agents(is_installed=lambda name: name == "z4j_celery", loaded=())
    assert found.verdict is Verdict.WARN
    assert found.cure == "pip uninstall z4j-celery"


def test_another_agent_that_is_active_keeps_ours_off():
    """That is said, because nothing else would explain it."""
    found = examine_other_agents(
        is_installed=lambda name: name in {"z4j_celery", "z4j_bare"}, loaded=("z4j_bare",)
    )
    assert "stays off" in found.message
    assert found.cure == "pip uninstall z4j-celery z4j-bare"


def test_the_import_system_is_asked():
    """Here is none; a broken name is none either."""
    assert examine_other_agents().verdict is Verdict.OK
    assert surroundings._can_import("") is False


def test_forking_processes_share_a_journal():
    """And the agent is where the setting says."""
    assert "a thread of the worker" in examine_forks(AgentConfig()).message
    assert "a process of its own" in examine_forks(AgentConfig(agent_host="process")).message


def test_greenlets_have_an_agent_process(monkeypatch):
    """Whatever the setting says."""
    monkeypatch.setattr(surroundings, "green_library", lambda: "gevent")
    assert examine_forks(AgentConfig()).details["library"] == "gevent"


def test_without_fork_the_pools_that_work_are_named(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(surroundings.os, "fork")
    assert "solo or threads pool" in examine_forks(AgentConfig()).message


@pytest.mark.parametrize(
    ("facts", "setting", "name", "words"),
    [
        (CONTAINER, "auto", "container", "exits, to be started again,"),
        (CONTAINER, "never", "container", "does not exit"),
        (ALONE, "auto", None, "does not exit"),
        (ALONE, "always", None, "exits, to be started again,"),
    ],
)
def test_the_supervisor_is_told_with_its_evidence_and_what_follows(facts, setting, name, words):
    """The decision is the worker's own."""
    found = examine_orchestrator(AgentConfig(restart_by_exit=setting), read=lambda: facts)
    assert found.details["supervisor"] == name
    assert found.details["evidence"] in found.message
    assert words in found.message


def test_redaction_tells_numbers_and_no_patterns():
    """A pattern may say what a company's secrets look like."""
    found = examine_redaction(AgentConfig(redaction_extra_key_patterns=("pin", "iban")))
    assert "extra key patterns 2, extra value patterns 0" in found.message
    assert "iban" not in repr(found)


@pytest.mark.parametrize("name", ["redaction_defaults_enabled", "redaction_disabled_rules"])
def test_rules_that_are_switched_off_are_a_warning(monkeypatch, name):
    """Whoever reads this has to know that less is removed."""

    class Row:
        pass

    Row.name = name

    class Config:
        max_payload_bytes = 1
        redaction_defaults_enabled = False
        redaction_disabled_rules = ("email",)
        redactors = ()

    monkeypatch.setattr(surroundings, "SETTINGS", [Row])
    found = examine_redaction(Config())
    assert found.verdict is Verdict.WARN
    assert "email" not in repr(found)


def test_a_setting_of_another_kind_is_shown_as_it_is(monkeypatch):
    """There may be one some day."""
    assert surroundings._size_of("few") == "few"


def test_a_redactor_that_cannot_be_imported_is_told():
    """Until it can, the dashboard shows no value at all."""
    found = examine_redaction(AgentConfig(redactors=("no_such_module_x.mask",)))
    assert found.verdict is Verdict.FAIL
    assert "no_such_module_x.mask, which cannot be imported (ModuleNotFoundError" in found.message
    assert found.cure.startswith("python -c 'import no_such_module_x'")


def test_the_text_of_an_error_in_a_redactors_module_is_not_told(tmp_path, monkeypatch):
    """It may be a secret of the application."""
    (tmp_path / "broken_redactors.py").write_text("raise ValueError('hunter2')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = examine_redaction(AgentConfig(redactors=("broken_redactors.mask",)))
    assert "(ValueError)" in found.message
    assert "hunter2" not in repr(found)


def test_a_redactor_is_looked_for_in_the_working_directory(tmp_path, monkeypatch):
    """As celery -A looks for the app."""
    (tmp_path / "redactors_of_shop.py").write_text("def mask(path, value): return value")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = examine_redaction(AgentConfig(redactors=("redactors_of_shop.mask",)))
    assert found.verdict is Verdict.OK
