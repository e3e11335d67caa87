"""Targets that whoever writes to the agent's directory, or a bad disk, reaches."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from z4j_otel.agent.schedules.memory import ToldMemory
from z4j_otel.agent.status_file import StatusFile, read_status
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.names import COMPANIONS
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.cli.agents import see_agents
from z4j_otel.cli.buffer import command as buffer_command
from z4j_otel.cli.failure import Failure
from z4j_otel.cli.status import build_processes, build_table
from z4j_otel.clock import SystemClock
from z4j_otel.config import SETTINGS, load_config
from z4j_otel.errors import BufferError_, ConfigError
from z4j_otel.journal.format import WriterId, frame
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

from ..scratch import quiet_directory  # noqa: TID252 -- shared by suites
from .drawing import Drawing
from .fuzzing import Target

__all__ = ["TARGETS"]

_FILES = ("", "-state", "-wal")
_READS = 100


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def _journal() -> Iterator[Callable[[bytes], None]]:
    """The bytes of one or two segments, beside a writer that goes on, and a position."""
    with quiet_directory("z4j-fuzz-") as directory:

        def take(data: bytes) -> None:
            _empty(directory)
            cut = data.find(b"|||")
            position, rest = (data[:cut], data[cut + 3 :]) if cut >= 0 else (b"", data)
            half = len(rest) // 2 if position else 0
            (directory / "sealed-1.log").write_bytes(rest[:half])
            (directory / "active.log").write_bytes(rest[half:])
            reader = JournalReader(directory, position.decode("utf-8", "replace") or None)
            writer = JournalWriter(directory)
            writer.append(b"whole", now_ns=1)
            seen = _read_all(reader)
            writer.append(b"after", now_ns=2)
            writer.close()
            seen += _read_all(reader)
            reader.close()
            assert seen[-1:] == [b"after"], "what is appended behind damage is read"

        yield take


def _read_all(reader: JournalReader) -> list[bytes]:
    seen: list[bytes] = []
    for _ in range(_READS):
        chunk = reader.read(max_records=1000, max_bytes=1 << 20)
        if chunk.is_empty:
            return seen
        seen += chunk.records
        reader.release(chunk.position)
    raise AssertionError("reading comes to no end")


def _journals() -> list[bytes]:
    one = b"".join(frame(b'{"n":%d}' % n, WriterId(7, 9), n) for n in range(1, 4))
    positions = (b'{"active":[1,2,3,4]}', b'{"active":[1,2,1e999,4]}', b"[" * 5000)
    return [one, b"\xf6" + one[1:], *(position + b"|||" + one + one for position in positions)]


@contextlib.contextmanager
def _buffer() -> Iterator[Callable[[bytes], None]]:
    """The bytes of a database, of its log or of the copy of its state, each in its turn."""
    with quiet_directory("z4j-fuzz-") as directory, tempfile.TemporaryDirectory() as kept:
        whole = _make_database(Path(kept) / "b.sqlite")

        def take(data: bytes) -> None:
            _empty(directory)
            path = directory / "b.sqlite"
            which = data[:1] or b"\0"
            for suffix, content in whole.items():
                (directory / f"b.sqlite{suffix}").write_bytes(content)
            changed = _FILES[which[0] % len(_FILES)]
            content = whole.get(changed, b"")
            (directory / f"b.sqlite{changed}").write_bytes(_patched(content, data[1:]))
            with contextlib.suppress(BufferError_):
                _use(path)

        yield take


def _patched(content: bytes, data: bytes) -> bytes:
    """Return a file with pieces of it written over: whole random files are soon refused."""
    draw = Drawing(data)
    if draw.number(7) == 0:
        return draw.rest()
    changed = bytearray(content)
    while not draw.is_over:
        at = draw.number(max(1, len(changed) - 1))
        if draw.number(15) == 0:
            del changed[at:]
        else:
            piece = draw.take(1 + draw.number(15))
            changed[at : at + len(piece)] = piece
    return bytes(changed)


def _use(path: Path) -> None:
    buffer = SqliteBuffer(path)
    try:
        buffer.append([(EntryKind.EVENT, b'{"new":1}')], now_ns=5, positions={"j": "p"})
        entries = buffer.lease(100, max_bytes=1 << 20, now_ns=6)
        buffer.stats()
        buffer.stories()
        buffer.commands()
        buffer.accounts()
        buffer.positions()
        buffer.recall_story("t1")
        buffer.ack(entry.sequence for entry in entries)
    finally:
        buffer.close()
    see_agents([path.parent], now_ns=7)


def _make_database(path: Path) -> dict[str, bytes]:
    buffer = SqliteBuffer(path)
    for number in range(20):
        buffer.append(
            [(EntryKind.EVENT, b'{"n":%d}' % number * 20)],
            now_ns=number + 1,
            positions={"j": f"p{number}"},
            stories={f"t{number}": b"story"},
        )
    buffer.begin_command("cmd:1", 1)
    buffer.remember_result("cmd:1", b"{}", now_ns=2)
    found = {}
    for suffix in ("", *COMPANIONS):
        file = path.with_name(path.name + suffix)
        if suffix != "-shm" and file.exists():
            found[suffix] = file.read_bytes()
    buffer.close()
    return found


def _patches() -> list[bytes]:
    return [bytes([which, 1, *range(60)]) for which in range(3)] + [b"\0\0SQLite format 3\0"]


@contextlib.contextmanager
def _status() -> Iterator[Callable[[bytes], None]]:
    """The file in which an agent shows its state, to everything that reads it."""
    with quiet_directory("z4j-fuzz-") as home:
        files = AgentFiles.claim(home, 7, "shop")

        def take(data: bytes) -> None:
            files.status_path.write_bytes(data)
            read_status(files.status_path)
            agents = see_agents([home], now_ns=SystemClock().now_ns())
            build_table(agents, SystemClock().now_ns())
            build_processes(agents)
            for agent in agents:
                agent.describe(SystemClock().now_ns())
            (home / "x.told").write_bytes(data)
            ToldMemory(home / "x.told").recall("beat")

        yield take
        files.close()


def _statuses() -> list[bytes]:
    shown = {
        "state": "connected",
        "problem": "",
        "brain": "wss://b",
        "role": "task",
        "buffer": {"entries": 1, "bytes": 20, "oldest_ns": 5},
        "ledger": {"captured": 3, "acked": 1, "dropped": 0, "closes": False, "unaccounted": 1},
        "last_error": {"ago_s": 1.0, "text": "x"},
        "processes": [
            {"process": "7@8", "captured": 1, "imported": 1, "missing": 0, "dropped": {"x": 1}}
        ],
        "capabilities": {"celery": ["retry_task"]},
    }
    with quiet_directory("z4j-fuzz-") as home:
        path = home / "x.status"
        facts = {"started_at": "2026-01-02T03:04:05Z", "pid": 7}
        StatusFile(path, facts, SystemClock()).show(shown)
        return [path.read_bytes(), b'{"format":1}', b'{"format":1,"buffer":[],"ledger":3}']


@contextlib.contextmanager
def _export() -> Iterator[Callable[[bytes], None]]:
    """Bodies that wait, shown and exported; and a lock file that says who they belong to."""
    # One for all inputs: click remembers every one that it has seen.
    screen = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with (
        quiet_directory("z4j-fuzz-") as home,
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
    ):

        def take(data: bytes) -> None:
            _empty(home)
            files = AgentFiles.claim(home, 7, "shop")
            buffer = SqliteBuffer(files.buffer_path)
            kind = EntryKind.EVENT if data[:1] < b"\x80" else EntryKind.COMMAND_RESULT
            buffer.append([(kind, data[1:])], now_ns=1)
            buffer.close()
            files.close()
            if data[:1] in (b"L", b"l"):
                files.lock_path.write_bytes(data[1:])
            for arguments in (["show"], ["export", "--output", str(home / "out")]):
                with contextlib.suppress(Failure):
                    buffer_command([*arguments, "--home", str(home)], standalone_mode=False)
                screen.seek(0)
                screen.truncate()
                (home / "out").unlink(missing_ok=True)

        yield take


def _bodies() -> list[bytes]:
    body = b'{"kind":"task.sent","task_id":"t1","data":{"task_name":"[red]x"}}'
    record = b'{"deployment":"shop","pid":7,"boot_id":"b","suffix":".sqlite"}'
    deep = b"e" + b"[" * 5000
    return [b"e" + body, b"\xff" + b'{"command_id":"c1"}', b"L" + record, b'L{"\xff":1}', deep]


@contextlib.contextmanager
def _settings() -> Iterator[Callable[[bytes], None]]:
    """A TOML file, and after a NUL the environment: NAME=value by line."""
    with quiet_directory("z4j-fuzz-") as home:
        path = home / "z4j.toml"

        def take(data: bytes) -> None:
            toml, _, lines = data.partition(b"\0")
            path.write_bytes(toml)
            pairs = (line.partition("=") for line in lines.decode("utf-8", "replace").splitlines())
            environ = {f"Z4J_{name.strip()}": value for name, _, value in pairs}
            environ = {"HOME": str(home), **environ}
            for is_partial in (True, False):
                try:
                    repr(load_config({}, environ, path, is_partial=is_partial))
                except ConfigError as error:
                    str(error)

        yield take


def _tomls() -> list[bytes]:
    secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    good = f'brain_url = "wss://b.example.com"\ntoken = "t"\nhmac_secret = "{secret}"\n'
    variables = "".join(f"{row.name.upper()}=1\n" for row in SETTINGS)
    lists = "".join(f'{row.name} = ["a", 1, {{b = 2}}]\n' for row in SETTINGS)
    more = 'tags = "a=b,c=d"\ncommands = "retry_task,-purge_queue"\nbuffer_path = "../x"\n'
    texts = [good, good + more, "\0" + variables, lists, "a=" + "[" * 5000]
    return [text.encode() for text in texts]


TARGETS = [
    Target("journal", _journal, _journals),
    Target("buffer", _buffer, _patches),
    Target("status", _status, _statuses),
    Target("export", _export, _bodies),
    Target("settings", _settings, _tomls),
]
