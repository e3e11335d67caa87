"""A brain that is away for hours, and an agent that goes on: all real but network and time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.conservation import Conservation
from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.importer import JournalImporter, ledger_of
from z4j_otel.agent.loop import AgentLoop
from z4j_otel.agent.parts import Parts
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.clock import iso_utc
from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.segments import unread_bytes
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import Redactor
from z4j_otel.testing import MemoryTransport
from z4j_otel.wire.signing import decode_secret

from ..virtual_time import EPOCH_NS, LoopClock, VirtualTimeLoop  # noqa: TID252 -- the tests' own clock
from .measuring import Peaks

__all__ = ["Plan", "World"]

_KINDS = (EventKind.TASK_RECEIVED, EventKind.TASK_STARTED, EventKind.TASK_SUCCEEDED)
_EVENT_ID, _TASK_ID = "this-event", "this-task"
_RESULT = (
    b'{"command_id":"r%06d","payload":{"delivery_claim_token":null,"error":null,'
    b'"result":{"ok":true},"status":"success"}}'
)
_OVERSIZE_BYTES = 1024 * 1024 + 1
_BEFORE_S = 60
_PATIENCE_S = 7200


@dataclass(frozen=True)
class Plan:
    """What is played."""

    events: int = 2_000_000
    """Events of tasks that are captured during the outage, evenly."""
    hours: float = 24.0
    """How long the brain is away."""
    max_events: int = 100_000
    max_bytes: int = 256 * 1024 * 1024
    journal_bytes: int = 64 * 1024 * 1024
    """The journal's cap."""
    segment_bytes: int = 4 * 1024 * 1024
    """From which size a segment of it is sealed."""
    large_share: float = 0.1
    """Of the events, the last ones, which are large."""
    large_bytes: int = 6_000
    """How much larger they are."""
    hung_share: float = 0.125
    """Of the outage, how long the agent does not even read its journal, in the middle."""
    results: int = 100
    """Command results that wait all the time."""
    oversize: int = 3
    """Events that are larger than the journal takes."""
    unencodable: int = 2
    """Events that could not be encoded."""
    tick_s: float = 10.0
    """Simulated time between two captures, and two looks at the disk."""


@dataclass
class World:
    """An agent on its own directory, a brain in the same process, and simulated time."""

    directory: Path
    plan: Plan
    tell: Callable[[str], object] = lambda _line: None
    """Told how far it is."""
    peaks: Peaks = field(default_factory=Peaks)
    given: int = 0
    """Events captured."""
    told: Counter[str] = field(default_factory=Counter)
    """How often the brain was told of each event, by id."""
    results_told: int = 0
    delivery_s: float = 0.0
    """Processor time from the brain's return to the last ack."""
    delivery_simulated_s: float = 0.0
    delivered_after: int = 0
    """Events that were delivered in that time."""
    batches_after: int = 0
    account: Conservation = field(default_factory=Conservation)
    _batches: int = 0

    def play(self) -> World:
        """Live through it."""
        loop = VirtualTimeLoop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._live(LoopClock(loop)))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        return self

    async def _live(self, clock: LoopClock) -> None:
        plan = self.plan
        self._open(clock)
        work = AgentLoop(self._parts, on_state=lambda _: None)
        living = asyncio.ensure_future(work.run())
        self._capture(100)
        await asyncio.sleep(_BEFORE_S)
        self._brain.operator.disconnect(1012)
        self._network.is_refusing = True
        self._make_odd_ones()
        ticks = int(plan.hours * 3600 / plan.tick_s)
        hung = range(int(ticks * (1 - plan.hung_share) / 2), int(ticks * (1 + plan.hung_share) / 2))
        for tick in range(ticks):
            self._importer.is_hung = tick in hung
            self._capture(plan.events * (tick + 1) // ticks - plan.events * tick // ticks)
            await asyncio.sleep(plan.tick_s)
            self._look()
            if tick % max(1, ticks // 24) == 0:
                self._tell_progress(tick * plan.tick_s / 3600)
        await self._deliver(clock)
        self.account = self._parts.ledger.conservation(self._buffer)
        work._stopping.set()
        await living

    async def _deliver(self, clock: LoopClock) -> None:
        """Let the brain come back, and wait for the last ack."""
        before, batches = len(self.told), self._batches
        begun_s, simulated_s = time.process_time(), clock.monotonic_s()
        self._network.is_refusing = False
        while self._buffer.stats().entries and clock.monotonic_s() < simulated_s + _PATIENCE_S:
            await asyncio.sleep(0.5)
            self._look()
        self.delivery_s = time.process_time() - begun_s
        self.delivery_simulated_s = clock.monotonic_s() - simulated_s
        self.delivered_after = len(self.told) - before
        self.batches_after = self._batches - batches

    def _open(self, clock: LoopClock) -> None:
        plan = self.plan
        self._clock = clock
        self._journal = self.directory / "journal"
        self._writer = JournalWriter(self._journal, max_bytes=plan.journal_bytes)
        sink = EventSink(self._writer, Redactor(), clock=clock, event_id=_EVENT_ID.encode)
        self._forms = [_form(sink, kind, 200) for kind in _KINDS]
        self._large_forms = [_form(sink, kind, plan.large_bytes) for kind in _KINDS]
        self._buffer = SqliteBuffer(
            self.directory / "b.sqlite",
            max_events=plan.max_events,
            max_bytes=plan.max_bytes,
            monotonic_s=clock.monotonic_s,
        )
        self._brain = DevBrain(clock, BrainSettings())
        self._brain._state.take_events = self._take_events
        credentials = self._brain.mint_agent()
        self._network = MemoryTransport(self._brain, credentials.token)
        ledger = ledger_of(self._buffer)
        reader = JournalReader(self._journal, segment_bytes=plan.segment_bytes)
        self._importer = _Importer(reader, self._buffer, ledger)
        self._parts = Parts(
            key=decode_secret(credentials.hmac_secret),
            heartbeat_s=30,
            transport=self._network,
            buffer=self._buffer,
            importer=self._importer,
            engines={},
            hello=HelloBuilder(started_at_ns=clock.now_ns()),
            ledger=ledger,
            redactor=Redactor(),
            clock=clock,
            random=lambda: 0.0,
            run_command=lambda _: None,
            announce=lambda: None,
        )

    def _take_events(self, _agent: object, events: list[Any], _now_ns: int) -> int:
        """Be a brain that is never the bottleneck."""
        self.told.update(event["id"] for event in events)
        self._batches += bool(events)
        return len(events)

    def _capture(self, count: int) -> None:
        """Append events, each task's one after the other, as the gate would."""
        is_large = self.given >= self.plan.events * (1 - self.plan.large_share)
        forms = self._large_forms if is_large else self._forms
        now_ns = self._clock.now_ns()
        at = iso_utc(now_ns).encode()
        for number in range(self.given, self.given + count):
            event_id = b"%032x" % number
            task_id = b"%032x" % (number // 3)
            self._writer.append(forms[number % 3] % (event_id, at, task_id), now_ns=now_ns)
        self.given += count

    def _make_odd_ones(self) -> None:
        """Capture what can never be delivered, and finish some commands."""
        plan, now_ns = self.plan, self._clock.now_ns()
        for _ in range(plan.oversize):
            self._writer.append(b" " * _OVERSIZE_BYTES, now_ns=now_ns)
        self._writer.count_lost("unencodable", plan.unencodable)
        self.given += plan.oversize + plan.unencodable
        results = [(EntryKind.COMMAND_RESULT, _RESULT % n) for n in range(plan.results)]
        self._buffer.append(results, now_ns=now_ns)

    def _look(self) -> None:
        self.peaks.look(self.directory, unread_bytes(self._journal), self._buffer.stats())

    def _tell_progress(self, hours: float) -> None:
        stats = self._buffer.stats()
        lost = sum(stats.dropped.values())
        self.tell(f"{hours:5.1f} h: {self.given} captured, {stats.entries} wait, {lost} evicted")


class _Importer(JournalImporter):
    """The agent's own, which can hang for a while."""

    is_hung = False

    def __init__(self, reader: JournalReader, buffer: SqliteBuffer, ledger: object) -> None:
        arbiter = Arbiter(recall=buffer.recall_story)
        super().__init__(reader, buffer, arbiter, source="journal", ledger=ledger)

    def import_pending(self, now_ns: int) -> int:
        """Import, or not."""
        return 0 if self.is_hung else super().import_pending(now_ns)


def _form(sink: EventSink, kind: EventKind, size_bytes: int) -> bytes:
    """Return what the gate makes of a record, with places for ids and time."""
    facts = TaskFacts("celery", _TASK_ID, "shop.orders.confirm", "orders", "celery@web-01")
    details = {"result": "x" * size_bytes} if kind is EventKind.TASK_SUCCEEDED else {}
    if kind is EventKind.TASK_RECEIVED:
        details = {"args": [1, "y" * size_bytes], "kwargs": {"by": "mail"}}
    body = sink.encode(LifecycleRecord(kind, facts, EPOCH_NS, details, None))
    for placed in (_EVENT_ID, iso_utc(EPOCH_NS), _TASK_ID):
        assert body.count(placed.encode()) == 1
        body = body.replace(placed.encode(), b"\0")
    return body.replace(b"%", b"%%").replace(b"\0", b"%b")
