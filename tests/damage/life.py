"""One life of an agent on a directory: from its files to the acks of a brain."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from pathlib import Path

from z4j_otel.agent.books import LATE_NS
from z4j_otel.agent.conservation import Conservation
from z4j_otel.agent.importer import JournalImporter, ledger_of
from z4j_otel.agent.uploader import Uploader
from z4j_otel.buffer.base import Entry
from z4j_otel.buffer.database import Connect
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.clock import Clock
from z4j_otel.disk import DISK, Disk
from z4j_otel.journal.reader import JournalReader
from z4j_otel.testing import ManualClock
from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.received import BatchAcked, BatchReceived, CommandFinished
from z4j_otel.wire.session import Role, Session

__all__ = ["ACTIVE", "BUFFER", "JOURNAL", "Life"]

BUFFER = "b.sqlite"
JOURNAL = "journal"
ACTIVE = f"{JOURNAL}/active.log"
SEGMENT_BYTES = 700
_KEY = bytes(32)
_IDS = ("1" * 8, "2" * 8, "3" * 8)


class PassAll:
    """An arbiter that lets everything through."""

    def judge(self, record: bytes, *, source: str) -> bytes:
        """Return the record."""
        return record

    def notes(self) -> list[bytes]:
        """Return nothing."""
        return []

    def changes(self) -> dict[str, bytes]:
        """Return nothing."""
        return {}


class Life:
    """The real buffer, journal, importer and uploader, and a brain that acks what it reads."""

    def __init__(
        self, directory: Path, *, disk: Disk = DISK, connect: Connect = sqlite3.connect
    ) -> None:
        self.clock = ManualClock()
        self.directory = directory
        self.buffer = SqliteBuffer(
            directory / BUFFER, disk=disk, connect=connect, monotonic_s=self.clock.monotonic_s
        )
        position = self.buffer.positions().get(JOURNAL)
        reader = JournalReader(
            directory / JOURNAL, position, segment_bytes=SEGMENT_BYTES, disk=disk
        )
        self.ledger = ledger_of(self.buffer)
        self.importer = JournalImporter(
            reader, self.buffer, PassAll(), source=JOURNAL, ledger=self.ledger
        )
        self.delivered: Counter[str] = Counter()
        """How often the brain was told each event and result, by id."""

    def take_in(self) -> None:
        """Import what is there, and wait for what is late until it counts as missing."""
        self.importer.import_pending(self.clock.now_ns())

    def deliver(self, limit: int = 1 << 30) -> None:
        """Have the brain ack so many events, results first; all of them by default."""
        uploader, (agent, brain) = _uploader(self.buffer, self.ledger, self.clock), _sessions()
        left = limit
        while left > 0 and (frames := uploader.next_frames(agent)):
            for frame in frames:
                received = brain.receive(frame, now_ns=self.clock.now_ns())
                if isinstance(received, CommandFinished):
                    self.delivered[received.command_id] += 1
                if isinstance(received, BatchReceived):
                    self.delivered.update(event["id"] for event in received.events)
                    count = len(received.events)
                    left -= count
                    uploader.acked(BatchAcked(received.frame_id, count, count, 0))
        uploader.disconnected(None)

    def lease(self, limit: int) -> list[Entry]:
        """Take entries out of the buffer."""
        return self.buffer.lease(limit, max_bytes=1 << 30, now_ns=self.clock.now_ns())

    def end(self) -> Conservation:
        """Bring the journal to its end, deliver all, and return the account."""
        for _ in range(3):
            self.take_in()
            self.clock.advance(LATE_NS / 1e9)
            self.importer.retire()
        self.importer.settle(self.clock.now_ns(), is_final=True)
        self.deliver()
        return self.ledger.conservation(self.buffer)

    def close(self) -> None:
        """Close the files."""
        self.importer.close()
        self.buffer.close()


def _uploader(buffer: SqliteBuffer, ledger: object, clock: Clock) -> Uploader:
    count = itertools.count()
    return Uploader(buffer, ledger, clock, new_id=lambda prefix: f"{prefix}_{next(count)}")


def _sessions() -> tuple[Session, Session]:
    """Return both ends of a connection that has been greeted."""
    agent, brain = Session(Role.AGENT, _KEY), Session(Role.BRAIN, _KEY)
    now_ns = ManualClock().now_ns()
    hello = agent.send_hello(Hello(agent_version="1", framework="bare"), frame_id="h")
    brain.receive(hello, now_ns=now_ns)
    ack = HelloAck(agent_id=_IDS[0], project_id=_IDS[1], session_id=_IDS[2])
    agent.receive(brain.send_hello_ack(ack, frame_id="a", now_ns=now_ns), now_ns=now_ns)
    return agent, brain
