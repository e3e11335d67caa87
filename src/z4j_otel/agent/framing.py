"""From entries of the buffer to signed frames; decides nothing about when.

Theory of operation
    *Events* are joined and signed as one ``event_batch``. One that fits no frame alone is
    reduced (:mod:`z4j_otel.agent.reduction`), and a result likewise.

    *Command results.* No ack exists for them. A result is sent as its own frame, ahead of
    the batch it was leased with, and leaves the buffer with that batch: the brain reads
    frames in order, so the batch's ack proves that the result was read. Where no event is
    at hand the batch is empty; a brain acks that too (PROTOCOL §4.2). A fresh result does
    not wait for its turn behind a backlog: :meth:`Framer.hurry` has it sent at once, and its
    entry follows in order and is then only acked.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.reduction import reduce_event, reduce_result
from z4j_otel.agent.results import StoredResult, decode_result
from z4j_otel.buffer.base import Entry, EntryKind
from z4j_otel.clock import Clock
from z4j_otel.errors import FrameMalformed
from z4j_otel.wire.session import FrameTooLarge, Session

__all__ = ["Batch", "Framer"]

_logger = logging.getLogger(__name__)

_MAX_HURRIED: Final = 1000


@dataclass(slots=True)
class Batch:
    """What goes out under one frame id, and is settled by one ack."""

    frame_id: str
    events: list[bytes] = field(default_factory=list)
    results: list[StoredResult] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    """The entries it holds; none in a probe."""
    unreadable: list[int] = field(default_factory=list)
    """Entries it cannot hold: nobody can tell what they say."""
    tasks: frozenset[bytes] = frozenset()
    """Whose events it holds."""
    sent_s: float = 0.0
    """When it was last sent, on the monotonic clock."""

    @classmethod
    def of(cls, frame_id: str, entries: Sequence[Entry]) -> Batch:
        """Make a batch of entries; a result that cannot be read is left out."""
        batch = cls(frame_id)
        for entry in entries:
            try:
                if entry.kind is EntryKind.COMMAND_RESULT:
                    batch.results.append(decode_result(entry.body))
                else:
                    batch.events.append(entry.body)
            except (FrameMalformed, KeyError, TypeError):
                batch.unreadable.append(entry.sequence)
            else:
                batch.sequences.append(entry.sequence)
        return batch


class Framer:
    """Makes the frames of batches and results.

    Args:
        ledger: Told of results sent.
        clock: The brain's clock for signatures; the monotonic one for :attr:`Batch.sent_s`.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._hurried: OrderedDict[str, StoredResult] = OrderedDict()
        self._told: set[str] = set()
        self._told_now: list[str] = []
        self.signed_id = ""
        """Frame id of the batch signed since :meth:`begin`, if any."""

    def begin(self) -> None:
        """Start a round, which :meth:`undo` can undo."""
        self._told_now, self.signed_id = [], ""

    def undo(self) -> None:
        """Forget what was told since :meth:`begin`: it was not sent."""
        self._told.difference_update(self._told_now)

    def hurry(self, body: bytes) -> None:
        """Have a result that was just appended to the buffer sent ahead of everything else."""
        result = decode_result(body)
        self._hurried[result.command_id] = result
        while len(self._hurried) > _MAX_HURRIED:
            self._hurried.popitem(last=False)

    def hurried_frames(self, session: Session) -> list[bytes]:
        """Return the frames of results that hurry and were not sent on this connection."""
        frames: list[bytes] = []
        for command_id, result in list(self._hurried.items()):
            if command_id not in self._told:
                frames += self._result_frame(result, session)
        return frames

    def frames_of(self, batch: Batch, session: Session) -> list[bytes]:
        """Return a batch's frames, its results first.

        Raises:
            FrameTooLarge: Its events do not fit one frame.
        """
        frames: list[bytes] = []
        for result in batch.results:
            if result.command_id not in self._told:
                frames += self._result_frame(result, session)
        batch.sent_s = self._clock.monotonic_s()
        self.signed_id = batch.frame_id
        events = session.send_event_batch(
            batch.events, frame_id=batch.frame_id, now_ns=self._clock.now_ns()
        )
        return [*frames, events]

    def reduce(self, batch: Batch, session: Session) -> bool:
        """Cut down the one event of a batch that fits no frame; False when that is not enough."""
        self.undo()
        room = session.max_frame_bytes - session.batch_overhead_bytes
        shorter = reduce_event(batch.events[0], room) if batch.events else None
        if shorter is None:
            return False
        _logger.debug("an event of %d bytes was reduced to %d", len(batch.events[0]), len(shorter))
        batch.events = [shorter]
        return True

    def settled(self, batch: Batch) -> None:
        """Take note that the brain has a batch and its results."""
        for result in batch.results:
            self._hurried.pop(result.command_id, None)

    def disconnected(self, *, is_suspect: bool) -> None:
        """Count what was told as untold, for the next connection.

        Args:
            is_suspect: Whether what was sent may have ended the connection. Results then
                wait for their turn, where the guilty one can be told from the others.
        """
        self._told.clear()
        if is_suspect:
            self._hurried.clear()

    def _result_frame(self, result: StoredResult, session: Session) -> Iterable[bytes]:
        self._told.add(result.command_id)
        self._told_now.append(result.command_id)
        try:
            frame = self._sign_result(result, result.payload, session)
        except FrameTooLarge:
            _logger.warning(
                "the result of command %s is larger than the brain's largest frame: only its"
                " status is sent",
                result.command_id,
                extra={"action": "result_too_large"},
            )
            frame = self._sign_result(result, reduce_result(result.payload), session)
        self._ledger.results_sent += 1
        return (frame,)

    def _sign_result(self, result: StoredResult, payload: bytes, session: Session) -> bytes:
        return session.send_command_result(result.command_id, payload, now_ns=self._clock.now_ns())
