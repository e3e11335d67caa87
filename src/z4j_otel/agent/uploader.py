"""Moves leased entries into frames and acks them back; no socket here.

Theory of operation
    *Batches.* Up to 200 events are leased, joined and signed as one ``event_batch``; at
    most four batches are out at a time. While anything is out, a batch that is not full
    waits up to a second for more events, because a brain takes a batch of 200 for little
    more than the price of five (seen in z4j 1.13).

    *Acks.* A batch leaves the buffer when a frame with its id in ``acked_id`` arrives,
    whatever the counts in it say. Without an ack for 90 s it is sent again under the same
    frame id. When the connection ends, everything unacked is released, in its old place.

    *Size.* :mod:`z4j_otel.agent.pacing` sets the size of batches. An event that does not fit
    a frame alone is dropped as ``too_large``; one that the brain keeps ending connections
    over (1009, 1011, 4400), as ``rejected``.

    *Command results.* No ack exists for them. A result is sent as its own frame, ahead of
    the batch it was leased with, and leaves the buffer with that batch: the brain reads
    frames in order, so the batch's ack proves that the result was read. Where no event is
    at hand the batch is empty; a brain acks that too (PROTOCOL §4.2). A fresh result does
    not wait for its turn behind a backlog: :meth:`Uploader.hurry` sends it at once, and its
    entry follows in order and is then only acked.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.pacing import Pacing
from z4j_otel.agent.results import StoredResult, decode_result
from z4j_otel.buffer.base import DropReason, Entry, EntryKind, EventBuffer
from z4j_otel.clock import Clock
from z4j_otel.errors import BufferError_, FrameMalformed
from z4j_otel.ids import new_frame_id
from z4j_otel.wire.received import BatchAcked
from z4j_otel.wire.session import FrameTooLarge, Session

__all__ = ["Uploader"]

_logger = logging.getLogger(__name__)

_RESEND_S: Final = 90.0
_LINGER_S: Final = 1.0
_HOLD_S: Final = 86_400.0
"""Leases live in memory and this is the only reader, so they need not run out."""
_MAX_HURRIED: Final = 1000
_BLAMING_CODES: Final = frozenset({1009, 1011, 4400})


@dataclass(slots=True)
class _Batch:
    frame_id: str
    events: list[bytes] = field(default_factory=list)
    results: list[StoredResult] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    sent_s: float = 0.0


class Uploader:
    """The outward half of a connection, for one connection after the other.

    Used from the agent's event loop only.

    Args:
        buffer: Where entries wait.
        ledger: Told of everything sent and acked.
        clock: Times acks.
        new_id: Makes frame ids.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        ledger: Ledger,
        clock: Clock,
        *,
        new_id: Callable[[str], str] = new_frame_id,
    ) -> None:
        self.lingers = True
        """Whether a batch that is not full waits for more; False while flushing."""
        self._buffer = buffer
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._in_flight: OrderedDict[str, _Batch] = OrderedDict()
        self._gathered: list[Entry] = []
        self._gathered_bytes = 0
        self._gathered_since_s = 0.0
        self._pacing = Pacing()
        self._is_proven = False
        self._hurried: OrderedDict[str, StoredResult] = OrderedDict()
        self._told: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is out or gathered; the buffer may still hold entries."""
        return not self._in_flight and not self._gathered

    @property
    def batch_limit(self) -> int:
        """Most events in a batch at present."""
        return self._pacing.batch_entries

    def hurry(self, body: bytes) -> None:
        """Send a result that was just appended to the buffer ahead of everything else."""
        result = decode_result(body)
        self._hurried[result.command_id] = result
        while len(self._hurried) > _MAX_HURRIED:
            self._hurried.popitem(last=False)

    def probe(self, session: Session) -> bytes:
        """Return an empty batch, whose ack proves that the brain takes our signature."""
        batch = _Batch(self._new_id("ev"))
        self._in_flight[batch.frame_id] = batch
        return self._sign(batch, session)

    def next_frames(self, session: Session) -> list[bytes]:
        """Return the frames to send now, in order; empty when there is nothing to do.

        The caller sends them before it calls again; they are signed already.

        Raises:
            BufferError_: The storage failed.
            LocalWireError: The session does not allow sending.
        """
        frames = self._hurried_frames(session)
        if frames:
            return frames
        overdue = self._overdue()
        if overdue is not None:
            self._ledger.resent += len(overdue.events)
            return self._frames_of(overdue, session)
        if len(self._in_flight) >= self._pacing.window or not self._gather(session):
            return []
        return self._send_gathered(session)

    def wait_s(self) -> float | None:
        """Return in how many seconds :meth:`next_frames` has something to do by itself.

        None means: only when entries or acks come.
        """
        now_s = self._clock.monotonic_s()
        moments = [batch.sent_s + _RESEND_S for batch in self._in_flight.values()]
        if self._gathered and len(self._in_flight) < self._pacing.window:
            moments.append(self._gathered_since_s + _LINGER_S)
        return max(0.0, min(moments) - now_s) if moments else None

    def acked(self, ack: BatchAcked) -> int:
        """Take an ack and forget the batch; return how many entries it settled.

        An ack for a batch that is not out (a second one, an old session's) changes nothing.
        """
        batch = self._in_flight.pop(ack.acked_id, None)
        if batch is None:
            return 0
        self._is_proven = True
        self._buffer.ack(batch.sequences)
        for result in batch.results:
            self._hurried.pop(result.command_id, None)
        self._ledger.acked += len(batch.events)
        self._ledger.rejected += ack.rejected
        if batch.events:
            self._pacing.acked(self._clock.monotonic_s() - batch.sent_s)
        return len(batch.sequences)

    def disconnected(self, code: int) -> None:
        """Release everything that is out, in order, and take the close code into account."""
        try:
            if code in _BLAMING_CODES:
                self._take_blame()
            self._release()
        except BufferError_ as error:
            # The next connection will find out; ending the agent would help nobody.
            _logger.warning("the buffer did not take back what was out: %s", type(error).__name__)
        self._told.clear()
        self._is_proven = False

    def _release(self) -> None:
        sequences = [n for batch in self._in_flight.values() for n in batch.sequences]
        sequences += [entry.sequence for entry in self._gathered]
        self._in_flight.clear()
        self._forget_gathered()
        self._buffer.release(sequences)

    def _hurried_frames(self, session: Session) -> list[bytes]:
        frames: list[bytes] = []
        for command_id, result in list(self._hurried.items()):
            if command_id not in self._told:
                frames += self._result_frame(result, session)
        return frames

    def _overdue(self) -> _Batch | None:
        # The same sum as in wait_s: were it rounded otherwise, a timer could fire for nothing.
        now_s = self._clock.monotonic_s()
        for batch in self._in_flight.values():
            if batch.sent_s + _RESEND_S <= now_s:
                return batch
        return None

    def _gather(self, session: Session) -> bool:
        """Lease towards a full batch; tell whether it should be sent now."""
        # Commas between events come on top of their bytes.
        room = session.max_frame_bytes - session.batch_overhead_bytes - self._pacing.batch_entries
        missing = self._pacing.batch_entries - len(self._gathered)
        left = room - self._gathered_bytes
        now_s = self._clock.monotonic_s()
        if missing > 0 and (left > 0 or not self._gathered):
            entries = self._buffer.lease(
                missing, max_bytes=max(1, left), now_ns=self._clock.now_ns(), hold_s=_HOLD_S
            )
            if entries and not self._gathered:
                self._gathered_since_s = now_s
            self._gathered += entries
            self._gathered_bytes += sum([len(entry.body) for entry in entries])
        if not self._gathered:
            return False
        return (
            not (self._in_flight and self.lingers)
            or len(self._gathered) >= self._pacing.batch_entries
            or self._gathered_bytes * 2 > room
            or self._gathered_since_s + _LINGER_S <= now_s
        )

    def _send_gathered(self, session: Session) -> list[bytes]:
        batch = _Batch(self._new_id("ev"))
        for entry in self._gathered:
            if entry.kind is EntryKind.EVENT:
                batch.events.append(entry.body)
            elif (result := _read_result(entry)) is not None:
                batch.results.append(result)
        batch.sequences = [entry.sequence for entry in self._gathered]
        self._in_flight[batch.frame_id] = batch
        try:
            frames = self._frames_of(batch, session)
        except FrameTooLarge:
            del self._in_flight[batch.frame_id]
            return self._shrink(batch)
        self._forget_gathered()
        self._ledger.sent += len(batch.events)
        return frames

    def _shrink(self, batch: _Batch) -> list[bytes]:
        """Make room in the next batch after this one did not fit; nothing is sent."""
        self._forget_gathered()
        self._told.difference_update(result.command_id for result in batch.results)
        if len(batch.sequences) > 1:
            self._pacing.did_not_fit(len(batch.sequences))
            self._buffer.release(batch.sequences)
        else:
            self._buffer.drop(batch.sequences, DropReason.TOO_LARGE)
            _logger.error(
                "an event is larger than the brain's largest frame and was dropped",
                extra={"action": "event_too_large"},
            )
        return []

    def _frames_of(self, batch: _Batch, session: Session) -> list[bytes]:
        frames: list[bytes] = []
        for result in batch.results:
            if result.command_id not in self._told:
                frames += self._result_frame(result, session)
        frames.append(self._sign(batch, session))
        return frames

    def _sign(self, batch: _Batch, session: Session) -> bytes:
        batch.sent_s = self._clock.monotonic_s()
        return session.send_event_batch(
            batch.events, frame_id=batch.frame_id, now_ns=self._clock.now_ns()
        )

    def _result_frame(self, result: StoredResult, session: Session) -> Iterable[bytes]:
        self._told.add(result.command_id)
        try:
            frame = session.send_command_result(
                result.command_id, result.payload, now_ns=self._clock.now_ns()
            )
        except FrameTooLarge:
            _logger.warning(
                "the result of command %s is larger than the brain's largest frame",
                result.command_id,
                extra={"action": "result_too_large"},
            )
            return ()
        self._ledger.results_sent += 1
        return (frame,)

    def _forget_gathered(self) -> None:
        self._gathered = []
        self._gathered_bytes = 0

    def _take_blame(self) -> None:
        """Close in on the entry that the brain may have choked on, or give it up."""
        oldest = next((batch for batch in self._in_flight.values() if batch.sequences), None)
        if oldest is None:
            return
        if self._pacing.blamed(oldest.sequences, is_proven=self._is_proven):
            del self._in_flight[oldest.frame_id]
            self._buffer.drop(oldest.sequences, DropReason.REJECTED)
            _logger.error(
                "an entry that the brain keeps closing the connection over was dropped",
                extra={"action": "entry_rejected"},
            )


def _read_result(entry: Entry) -> StoredResult | None:
    try:
        return decode_result(entry.body)
    except (FrameMalformed, KeyError, TypeError):
        _logger.error("a stored command result is unreadable and was dropped")  # noqa: TRY400 -- its text may hold data
        return None
