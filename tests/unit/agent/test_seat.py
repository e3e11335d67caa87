"""The place of a process: what it writes to, and where it goes when that is gone."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from z4j_otel.agent import seat as module
from z4j_otel.agent.seat import Seat, redactor_of
from z4j_otel.buffer.files import AgentFiles, find_abandoned, is_owner_alive
from z4j_otel.config import AgentConfig, load_config
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.journal.reader import JournalReader

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
RECORD = LifecycleRecord(EventKind.TASK_STARTED, TaskFacts("celery", "t1", "n"), 1)


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    """Return settings with a home of their own."""
    return load_config(
        {
            "brain_url": "http://127.0.0.1:1",
            "token": "t",
            "hmac_secret": SECRET,
            "home": str(tmp_path),
        },
        {},
    )


def records_in(journal_dir: Path) -> int:
    """Count what was appended to a journal."""
    reader = JournalReader(journal_dir)
    count = len(reader.read(1000, 1 << 30).records)
    reader.close()
    return count


def orphan(config: AgentConfig) -> Seat:
    """Return a guest's seat whose owner has died and been adopted by somebody."""
    owner = Seat.owner(config)
    guest = Seat.guest_of(owner.journal_dir, config)
    assert guest is not None
    assert owner.files is not None
    assert owner.files.remove()
    return guest


def test_a_forked_child_does_not_call_its_parents_agent(config: AgentConfig) -> None:
    """The call would go through a socket that the child inherited."""
    calls: list[int] = []
    owner = Seat.owner(config)
    owner.sink.call_at_next(lambda: calls.append(1))
    owner.as_guest().sink.emit(RECORD)
    assert calls == []
    owner.journal.close()
    assert owner.files is not None
    owner.files.close()


def test_an_orphan_writes_to_a_living_agent_of_its_deployment(config: AgentConfig) -> None:
    """Its agent knows the tasks and delivers at once."""
    guest, next_owner = orphan(config), Seat.owner(config)
    guest.sink.emit(RECORD)
    assert records_in(next_owner.journal_dir) == 1
    guest.journal.close()
    assert next_owner.files is not None
    next_owner.files.close()


def test_an_orphan_alone_writes_where_the_next_agent_looks(
    config: AgentConfig, tmp_path: Path
) -> None:
    """It makes files and gives them up at once; nothing is held."""
    guest = orphan(config)
    guest.sink.emit(RECORD)
    (found,) = find_abandoned(tmp_path, config.deployment)
    assert records_in(found.journal_dir) == 1
    guest.journal.close()
    found.close()


def test_a_stray_process_has_no_files_and_is_found(config: AgentConfig, tmp_path: Path) -> None:
    """A pool child without an owner must not become one."""
    stray = Seat.stray(config)
    stray.sink.emit(RECORD)
    assert not stray.is_owner
    assert not is_owner_alive(stray.journal_dir)
    (found,) = find_abandoned(tmp_path, config.deployment)
    assert records_in(found.journal_dir) == 1
    stray.journal.close()
    found.close()


def test_a_journal_that_somebody_removed_is_made_again(config: AgentConfig) -> None:
    """The agent lives and reads the name, so that is where to write."""
    owner = Seat.owner(config)
    shutil.rmtree(owner.journal_dir)
    owner.sink.emit(RECORD)
    assert records_in(owner.journal_dir) == 1
    owner.journal.close()
    assert owner.files is not None
    owner.files.close()


def test_a_home_that_somebody_removed_is_made_again(config: AgentConfig, tmp_path: Path) -> None:
    """The records then lie in files of their own, for any agent to adopt."""
    owner = Seat.owner(config)
    shutil.rmtree(tmp_path)
    owner.sink.emit(RECORD)
    (found,) = find_abandoned(tmp_path, config.deployment)
    assert records_in(found.journal_dir) == 1
    owner.journal.close()
    found.close()


def test_a_journal_that_is_being_retired_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock goes right after it; whoever made it in between goes elsewhere."""
    answers = [True, False]
    monkeypatch.setattr(module, "is_owner_alive", lambda journal_dir: answers.pop(0))
    assert not module._made_again(tmp_path / "j")
    assert not (tmp_path / "j").exists()


def test_a_journal_made_again_while_it_is_retired_is_adopted(tmp_path: Path) -> None:
    """Whoever removed the lock finds the journal and leaves a lock again."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    unlink = Path.unlink

    def unlink_and_return(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path == files.lock_path:
            (tmp_path / "buffer-1.journal").mkdir()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "unlink", unlink_and_return)
        assert files.remove()
    (found,) = find_abandoned(tmp_path, "shop")
    assert found.key == files.key
    found.close()


def test_an_owner_whose_home_takes_no_files_sits_in_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line tells where, and what to do; where nothing is left to try, it is an error."""
    home = tmp_path / "full"
    settings = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": SECRET}
    config = load_config({**settings, "home": str(home)}, {})
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("z4j_otel.buffer.home._stand_ins", {})
    claim = AgentFiles.claim

    def no_space(where: Path, *args: object, **more: object) -> AgentFiles:
        if where == home:
            raise OSError(28, "No space left on device")
        return claim(where, *args, **more)

    monkeypatch.setattr(AgentFiles, "claim", no_space)
    for _ in range(2):
        seat = Seat.owner(config)
        assert seat.files is not None
        assert seat.journal_dir.parent.name == f"z4j-{os.geteuid()}"
        assert seat.files.remove()
    (line,) = caplog.messages
    assert f"home directory {home} cannot be used (No space left on device)" in line
    home = seat.journal_dir.parent
    with pytest.raises(OSError, match="No space"):
        Seat.owner(config)


def test_the_settings_of_redaction_reach_the_redactor(config: AgentConfig) -> None:
    """Patterns, rules that are off, tokens and the application's own functions take effect."""
    redactor = redactor_of(
        dataclasses.replace(
            config,
            redaction_extra_key_patterns=("badge",),
            redaction_extra_value_patterns=(r"EMP-\d+",),
            redaction_disabled_rules=("value:email",),
            redaction_tokens=True,
            redactors=(f"{__name__}.hide_pears",),
        )
    )
    shown = redactor.redact({"badge": "x", "a": "EMP-12", "b": "a@b.co", "c": "pear"})
    assert shown["badge"].startswith("[REDACTED:")
    assert shown["a"].startswith("[REDACTED:")
    assert shown["b"] == "a@b.co"
    assert shown["c"] == "[REDACTED]"


def hide_pears(path: str, value: Any) -> Any:
    """Hide one word under one name."""
    return object() if path == "c" and value == "pear" else value


def test_equal_secrets_have_equal_tokens_in_all_processes_of_a_deployment(
    config: AgentConfig,
) -> None:
    """The key comes from the settings alone: no process asks another or a file for it."""
    settings = dataclasses.replace(config, redaction_tokens=True)
    value = {"db_password": "plum"}
    assert redactor_of(settings).redact(value) == redactor_of(settings).redact(value)
    assert redactor_of(config).redact(value) == {"db_password": "[REDACTED]"}


def test_built_in_rules_that_are_off_are_told_once(
    config: AgentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for the process; only the extra patterns and the bounds apply."""
    module._tell_of_missing_rules.cache_clear()
    settings = dataclasses.replace(
        config, redaction_defaults_enabled=False, redaction_extra_key_patterns=("badge",)
    )
    with caplog.at_level(logging.WARNING):
        redactor_of(settings)
        redactor = redactor_of(settings)
    assert [each.action for each in caplog.records] == ["redaction_defaults_off"]  # type: ignore[attr-defined]
    shown = redactor.redact({"password": "plum", "badge": "x", "k" * 300: 1, "t": "y " * 9000})
    assert shown["password"] == "plum"
    assert shown["badge"] == shown["[REDACTED]"] == "[REDACTED]"
    assert len(shown["t"]) <= 8192


def test_a_relative_buffer_counts_from_the_home(tmp_path: Path, config: AgentConfig) -> None:
    """Not from wherever the worker was started; what is missing on the way is made, private."""
    seat = Seat.owner(dataclasses.replace(config, buffer_path=Path("deep/x.sqlite")))
    assert seat.files is not None
    assert seat.files.buffer_path == tmp_path / "deep" / "x.sqlite"
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700
    seat.files.close()


def test_a_buffer_that_leads_out_by_now_is_not_used(
    tmp_path: Path, config: AgentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings were checked when the process started, and links can change since."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (home / "deep").symlink_to(outside)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = home / "deep" / "x.sqlite"
    with pytest.raises(PermissionError, match="leads out"):
        Seat.owner(dataclasses.replace(config, home=home, buffer_path=path))
    assert list(outside.iterdir()) == []


def test_a_journal_from_the_environment_is_no_link(tmp_path: Path, config: AgentConfig) -> None:
    """A process that was told to write behind one writes nothing there."""
    owner = Seat.owner(config)
    link = tmp_path / "buffer-x.journal"
    link.symlink_to(owner.journal_dir)
    link.with_suffix(".lock").symlink_to(owner.files.lock_path)
    assert Seat.guest_of(link, config) is None
    assert Seat.guest_of(owner.journal_dir, config) is not None
    owner.files.close()
