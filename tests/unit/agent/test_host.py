"""The agent's seat in a process: off, owner or guest."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from z4j_otel.agent.host import JOURNAL_VARIABLE, Host
from z4j_otel.errors import ConfigError
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
RECORD = LifecycleRecord(EventKind.TASK_STARTED, TaskFacts("celery", "t1", "n"), 1)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Give a host in a configured process whose brain is not there."""
    for name, value in {
        "Z4J_BRAIN_URL": "http://127.0.0.1:1",
        "Z4J_TOKEN": "t",
        "Z4J_HMAC_SECRET": SECRET,
        "Z4J_HOME": str(tmp_path / "home"),
        "Z4J_FLUSH_TIMEOUT_SECONDS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(JOURNAL_VARIABLE, raising=False)
    threads = {*threading.enumerate()}
    host = Host()
    yield host
    host.stop()
    os.environ.pop(JOURNAL_VARIABLE, None)
    assert {*threading.enumerate()} <= threads, "an agent outlived its host"


def journalled(home: Path) -> bytes:
    """Return all that was appended to any journal or buffer in a home."""
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_process_without_settings_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Having the package installed changes nothing."""
    monkeypatch.delenv("Z4J_BRAIN_URL", raising=False)
    host = Host()
    assert host.sink() is None
    assert host.agent is None


def test_the_first_record_makes_an_ordinary_process_an_owner(host: Host) -> None:
    """Its agent starts by itself and other processes learn of its journal."""
    assert host.sink() is host.sink() is not None
    assert host.agent is not None
    assert Path(os.environ[JOURNAL_VARIABLE]).name.endswith(".journal")


def test_a_workers_agent_starts_when_the_worker_is_ready(host: Host) -> None:
    """No thread of ours lives while the pool is forked."""
    host.worker_starting("celery")
    sink = host.sink()
    assert sink is not None
    assert host.agent is None
    host.worker_ready("celery", None)
    assert host.agent is not None


def test_a_worker_that_never_became_ready_leaves_no_files(host: Host, tmp_path: Path) -> None:
    """It had claimed them before its pool; its broker may have been away."""
    host.worker_starting("celery")
    host.worker_stopping()
    assert list((tmp_path / "home").iterdir()) == []


def test_an_agent_started_too_early_is_put_off_until_the_pool_is_there(host: Host) -> None:
    """Application code may install the agent while a worker imports it."""
    host.configure({})
    early = host.start_agent()
    host.worker_starting("celery")
    assert host.agent is None
    host.worker_ready("celery", None)
    assert host.agent is not None
    assert host.agent is not early


def test_a_pool_child_appends_and_starts_nothing(host: Host, tmp_path: Path) -> None:
    """A forked child of a worker uses the journal it inherited."""
    host.worker_starting("celery")
    pid = os.fork()
    if pid == 0:
        host.child_started()
        sink = host.sink()
        assert sink is not None
        sink.emit(RECORD)
        os._exit(0 if host.agent is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert b"task.started" in journalled(tmp_path / "home")


def test_a_leaving_pool_child_tells_what_it_lost(host: Host, tmp_path: Path) -> None:
    """Its last record may have been the one that was dropped."""
    host.child_leaving()
    host.worker_starting("celery")
    pid = os.fork()
    if pid == 0:
        host.child_started()
        host._seat.journal.count_lost("unencodable", 3)
        host.child_leaving()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert b'{"unencodable":3}' in journalled(tmp_path / "home")


def test_a_started_program_is_a_guest_of_its_parent(host: Host, tmp_path: Path) -> None:
    """An executed child learns of the journal through the environment."""
    host.worker_starting("celery")
    code = (
        "from z4j_otel.agent.host import process_host as p\n"
        "from z4j_otel.events import *\n"
        "p().sink().emit(LifecycleRecord(EventKind.TASK_SENT, TaskFacts('celery','t9','n'), 1))\n"
        "assert p().agent is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert b"task.sent" in journalled(tmp_path / "home")


def run_beside(code: str) -> None:
    """Run code in an interpreter that inherits nothing but the environment."""
    begin = "import os\nfrom z4j_otel.agent.host import JOURNAL_VARIABLE, process_host\n"
    subprocess.run([sys.executable, "-c", begin + code], check=True)


def test_a_spawned_pool_child_is_a_guest(host: Host, tmp_path: Path) -> None:
    """It inherits nothing but the environment, and claims no files of its own."""
    host.worker_starting("celery")
    run_beside("process_host().child_started()")
    assert [path.name for path in (tmp_path / "home").glob("*.lock")] == [
        f"buffer-{os.getpid()}.lock"
    ]


def test_a_pool_child_without_an_agent_makes_no_owner(host: Host, tmp_path: Path) -> None:
    """It is killed without warning, and no agent may run in it."""
    run_beside(
        "import sys\n"
        "os.environ.pop(JOURNAL_VARIABLE, None)\n"
        "process_host().child_started()\n"
        "from z4j_otel.buffer.files import is_owner_alive\n"
        "from pathlib import Path\n"
        "assert not is_owner_alive(Path(os.environ[JOURNAL_VARIABLE]))\n"
        "assert process_host().agent is None\n"
    )
    (left,) = (tmp_path / "home").glob("*.lock")
    assert left.with_suffix(".journal").is_dir()


def test_a_forked_pool_child_stays_a_guest_when_its_agent_is_dead(host: Host) -> None:
    """The journal it inherited lies where the next agent looks."""
    host.worker_starting("celery")
    assert host._seat is not None
    assert host._seat.files is not None
    host._seat.files.close()
    pid = os.fork()
    if pid == 0:
        inherited = host._seat.journal_dir
        host.child_started()
        is_there = not host._seat.is_owner and host._seat.journal_dir == inherited
        os._exit(0 if is_there else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_worker_is_an_owner_beside_its_parent(host: Host) -> None:
    """A program with an agent may fork and run a worker: that one has tasks of its own."""
    host.sink()
    pid = os.fork()
    if pid == 0:
        host.worker_starting("celery")
        os._exit(0 if f"buffer-{os.getpid()}" in os.environ[JOURNAL_VARIABLE] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_started_worker_is_an_owner_also_when_it_captured_early(host: Host) -> None:
    """What its application captured while it was imported does not make it a guest for good."""
    host.sink()
    run_beside(
        "process_host().sink()\n"
        "assert str(os.getpid()) not in os.environ[JOURNAL_VARIABLE]\n"
        "process_host().worker_starting('celery')\n"
        "assert str(os.getpid()) in os.environ[JOURNAL_VARIABLE]\n"
    )


def test_a_process_whose_parent_is_gone_becomes_an_owner(host: Host, tmp_path: Path) -> None:
    """A journal that nobody serves is no place to append to."""
    os.environ[JOURNAL_VARIABLE] = str(tmp_path / "home" / "buffer-1.journal")
    host.worker_starting("celery")
    assert f"buffer-{os.getpid()}" in os.environ[JOURNAL_VARIABLE]


def test_wrong_settings_switch_z4j_off_with_one_line(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application runs on; the line names setting and source, and what to type."""
    monkeypatch.setenv("Z4J_HMAC_SECRET", "not base64 !")
    with caplog.at_level(logging.ERROR):
        assert host.sink() is None
        assert host.sink() is None
    assert caplog.text.count("z4j-otel is off in this process: hmac_secret") == 1
    assert "not base64" not in caplog.text


def test_strict_mode_ends_the_process_on_wrong_settings(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for strictness does not want to run without an agent."""
    monkeypatch.setenv("Z4J_STRICT_MODE", "1")
    monkeypatch.setenv("Z4J_HEARTBEAT_SECONDS", "soon")
    with pytest.raises(SystemExit, match="heartbeat_seconds"):
        host.before_instrumentors()


def test_strict_mode_counts_where_a_file_says_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of a setting makes no difference."""
    (tmp_path / "z4j.toml").write_text('strict_mode = true\nheartbeat_seconds = "soon"\n')
    monkeypatch.setenv("Z4J_CONFIG", str(tmp_path / "z4j.toml"))
    with pytest.raises(SystemExit, match="heartbeat_seconds"):
        host.sink()


def test_an_engine_that_is_not_named_is_not_hooked(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """opentelemetry-instrument activates every instrumentor; the settings say which count."""
    monkeypatch.setenv("Z4J_ENGINES", "rq")
    host.before_instrumentors()
    assert host.is_enabled()
    assert not host.is_enabled("celery")
    assert host.is_enabled("rq")


def test_what_the_code_hooks_itself_is_hooked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls an instrumentor means it."""
    monkeypatch.setenv("Z4J_ENGINES", "rq")
    assert host.is_enabled("celery")


def test_records_do_not_stand_on_the_sdk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED ends spans; tasks are reported all the same."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sink = host.sink()
    assert sink is not None
    sink.emit(RECORD)
    assert b"task.started" in journalled(Path(os.environ["Z4J_HOME"]))


def test_a_half_set_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sets a brain and forgets the token would wonder why nothing happens."""
    monkeypatch.setenv("Z4J_BRAIN_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("Z4J_TOKEN", raising=False)
    with caplog.at_level(logging.WARNING):
        Host().before_instrumentors()
    assert "Z4J_TOKEN is not set" in caplog.text


def test_explicit_settings_that_are_wrong_are_raised(host: Host) -> None:
    """In code, the caller is told."""
    with pytest.raises(ConfigError, match="heartbeat_seconds"):
        host.configure({"heartbeat_seconds": "soon"})
    with pytest.raises(ConfigError, match="unknown setting"):
        host.check_settings({"tokn": "x"})


def test_another_z4j_agent_in_the_process_keeps_ours_off(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both would report every task; the user decides which one stays."""
    monkeypatch.setitem(sys.modules, "z4j_celery", sys)
    assert host.sink() is None
    assert "would report every task twice" in caplog.text


def test_instrumentors_are_kept_off_where_nothing_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under opentelemetry-instrument an unconfigured process is left alone; in code not."""
    monkeypatch.delenv("Z4J_BRAIN_URL", raising=False)
    host = Host()
    assert host.is_enabled()
    host.before_instrumentors()
    assert not host.is_enabled()
    assert host.defers_upstream()
    host.after_instrumentors()
    assert not host.defers_upstream()


def test_the_final_counts_are_reported_where_asked(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of JSON per agent, which balances."""
    monkeypatch.setenv("Z4J_OTEL_REPORT", str(tmp_path / "report"))
    sink = host.sink()
    assert sink is not None
    sink.emit(RECORD)
    host.stop()
    counts: dict[str, Any] = json.loads((tmp_path / "report").read_text())
    assert counts["waiting"] == 1
    assert counts["acked"] == 0


def test_what_could_not_be_delivered_stays_on_disk(host: Host, tmp_path: Path) -> None:
    """The next agent of the deployment will deliver it."""
    sink = host.sink()
    assert sink is not None
    sink.emit(RECORD)
    host.stop()
    assert b"task.started" in journalled(tmp_path / "home")
    assert host.sink() is None


def test_settings_of_an_exporter_count_for_all_ways_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an exporter was built with also serves an instrumentor that captures first."""
    monkeypatch.delenv("Z4J_BRAIN_URL", raising=False)
    monkeypatch.delenv(JOURNAL_VARIABLE, raising=False)
    host = Host()
    given = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": SECRET}
    host.check_settings({**given, "home": str(tmp_path), "flush_timeout_seconds": "0"})
    host.before_instrumentors()
    assert host.is_enabled()
    assert host.sink() is not None
    host.stop()


def test_a_refusal_is_told_once_in_a_family(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A forked child does not repeat what its parent has logged."""
    monkeypatch.setenv("Z4J_HMAC_SECRET", "short")
    assert host.sink() is None
    host._pid = -1  # as in a forked child
    assert host.sink() is None
    assert len([record for record in caplog.records if "is off" in record.message]) == 1


def test_a_record_at_the_end_of_the_interpreter_is_kept(tmp_path: Path) -> None:
    """When no thread can be started any more, a first record goes to disk all the same."""
    code = (
        "import atexit\n"
        "from z4j_otel.agent.host import process_host as p\n"
        "from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts\n"
        "facts = TaskFacts('celery', 't1', 'n')\n"
        "record = LifecycleRecord(EventKind.TASK_STARTED, facts, 1)\n"
        "atexit.register(lambda: p().sink().emit(record))\n"
    )
    environment = {"Z4J_BRAIN_URL": "http://127.0.0.1:1", "Z4J_TOKEN": "t"}
    environment |= {"Z4J_HMAC_SECRET": SECRET, "Z4J_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)
    assert b"task.started" in journalled(tmp_path)


def test_what_is_captured_after_the_worker_gets_files_and_an_agent(
    host: Host, tmp_path: Path
) -> None:
    """A program may run a worker, and publish when that has ended."""
    host.worker_starting("celery")
    host.worker_stopping()
    sink = host.sink()
    assert sink is not None
    sink.emit(RECORD)
    assert b"task.started" in journalled(tmp_path / "home")
    assert host.agent is not None


def test_what_is_captured_after_the_end_waits_for_the_next_agent(
    host: Host, tmp_path: Path
) -> None:
    """An exit handler may run after ours; it starts no thread."""
    host.sink()
    host.end()
    assert list((tmp_path / "home").iterdir()) == []
    sink = host.sink()
    assert sink is host.sink() is not None
    sink.emit(RECORD)
    assert host.agent is None
    assert b"task.started" in journalled(tmp_path / "home")


def test_a_host_that_was_stopped_stays_silent(host: Host) -> None:
    """Whoever ends an agent by hand is obeyed."""
    host.sink()
    host.stop()
    assert host.sink() is None


def test_a_second_worker_of_a_program_has_a_seat_of_its_own(host: Host, tmp_path: Path) -> None:
    """What the first one left is its own."""
    host.worker_starting("celery")
    host.worker_stopping()
    host.worker_starting("celery")
    assert host.sink() is host.sink() is not None
    assert len(list((tmp_path / "home").glob("*.lock"))) == 1


@pytest.mark.parametrize("first", ["p().sink()", "pass"])
def test_the_agent_outlives_the_main_thread(tmp_path: Path, first: str) -> None:
    """Other threads may go on for hours; what they do is captured and delivered."""
    code = (
        "import threading, time\n"
        "from z4j_otel.agent.host import process_host as p\n"
        f"{first}\n"
        "def outlive():\n"
        "    threading.main_thread().join()\n"
        "    time.sleep(0.2)\n"
        "    print(p().sink() is not None, p().agent.status()['state'])\n"
        "threading.Thread(target=outlive).start()\n"
    )
    environment = {"Z4J_BRAIN_URL": "http://127.0.0.1:1", "Z4J_TOKEN": "t"}
    environment |= {"Z4J_HMAC_SECRET": SECRET, "Z4J_HOME": str(tmp_path)}
    environment["Z4J_FLUSH_TIMEOUT_SECONDS"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("True ")
    assert "stopped" not in done.stdout


def test_no_record_falls_between_the_end_of_one_seat_and_the_next(
    host: Host, tmp_path: Path
) -> None:
    """A thread that captures all the time finds a sink at every moment of the end."""
    host.worker_starting("celery")
    missed: list[int] = []
    is_over = threading.Event()

    def capture() -> None:
        while not is_over.is_set():
            if host.sink() is None:
                missed.append(1)

    thread = threading.Thread(target=capture)
    thread.start()
    for _ in range(5):
        host.worker_stopping()
        host.worker_starting("celery")
    is_over.set()
    thread.join()
    assert missed == []
