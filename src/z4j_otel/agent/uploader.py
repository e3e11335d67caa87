"""Moves leased entries into frames and acks them back; no socket here.

Theory of operation
    *Batches.* Up to 200 events are leased, joined and signed as one ``event_batch``; at
    most four batches are out at a time. While anything is out, a batch that is not full
    waits up to a second for more events, because a brain takes a batch of 200 for little
    more than the price of five (seen in z4j 1.13). Events of a task that has others out
    wait for their ack (:mod:`z4j_otel.agent.gathering`).

    *Acks.* A batch leaves the buffer when a frame with its id in ``acked_id`` arrives,
    whatever the counts in it say. Without an ack for 90 s it is sent again under the same
    frame id; a connection on which nothing is acked for three minutes is given up. When the
    connection ends, everything unacked is released, in its old place.

    *Size.* :mod:`z4j_otel.agent.pacing` sets the size of batches and
    :mod:`z4j_otel.agent.framing` cuts down what fits no frame; what even then does not fit
    is dropped as ``too_large``. A batch that the transport finds too large is taken back
    (:meth:`Uploader.take_back`) and made again, smaller. An entry that the brain keeps
    ending connections over is put aside and rejected (:mod:`z4j_otel.agent.quarantine`).

    *Storage.* What the brain has acked and the buffer cannot forget, because its disk
    fails, is remembered and forgotten later.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from z4j_otel.agent.framing import Batch, Framer
from z4j_otel.agent.gathering import Gathering, tasks_of
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.pacing import Pacing
from z4j_otel.agent.quarantine import ACCUSING_CODES, Quarantine
from z4j_otel.buffer.base import DropReason, Entry, EventBuffer
from z4j_otel.clock import Clock
from z4j_otel.errors import BufferError_
from z4j_otel.ids import new_frame_id
from z4j_otel.wire.received import BatchAcked
from z4j_otel.wire.session import FrameTooLarge, Session

__all__ = ["Uploader"]

_logger = logging.getLogger(__name__)

_RESEND_S: Final = 90.0
_IGNORED_S: Final = 180.0
_DOUBTFUL_S: Final = 15.0
_LINGER_S: Final = 1.0
_HOLD_S: Final = 86_400.0
"""Leases live in memory and this is the only reader, so they need not run out."""
_SIGNATURE_REFUSED: Final = 4403
_PING_TIMEOUT: Final = "ping timeout"


class Uploader:
    """The outward half of a connection, for one connection after the other.

    Used from the agent's event loop only.

    Args:
        buffer: Where entries wait.
        ledger: Told of everything sent and acked.
        clock: Times acks and leases.
        brain_clock: What signatures go by; ``clock`` when None.
        new_id: Makes frame ids.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        ledger: Ledger,
        clock: Clock,
        *,
        brain_clock: Clock | None = None,
        new_id: Callable[[str], str] = new_frame_id,
    ) -> None:
        self.lingers = True
        """Whether a batch that is not full waits for more; False while flushing."""
        self.is_proven = False
        """Whether the brain has acked a batch of this very connection."""
        self._buffer = buffer
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._framer = Framer(ledger, brain_clock or clock)
        self._in_flight: OrderedDict[str, Batch] = OrderedDict()
        self._quiet_since_s = 0.0
        self._gathering = Gathering()
        self._pacing = Pacing()
        self._quarantine = Quarantine()
        self._settled: list[int] = []
        self._is_forgetting_late = False
        self._has_more = False
        """Whether the last look found entries that it could not send as they were."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is out or gathered; the buffer may still hold entries."""
        return not self._in_flight and not self._gathering.entries

    @property
    def batch_limit(self) -> int:
        """Most events in a batch at present."""
        return self._pacing.batch_entries

    @property
    def distrusts_reports(self) -> bool:
        """Whether heartbeats may be what the brain ends connections over."""
        return self._quarantine.distrusts_reports

    @property
    def is_ignored(self) -> bool:
        """Whether the brain has acked nothing for so long that another connection may help."""
        return self._has_waited(_IGNORED_S)

    @property
    def is_in_doubt(self) -> bool:
        """Whether an ack is due for so long that the connection cannot count as good."""
        return self._has_waited(_DOUBTFUL_S)

    def hurry(self, body: bytes) -> None:
        """Send a result that was just appended to the buffer ahead of everything else."""
        self._framer.hurry(body)

    def probe(self, session: Session) -> bytes:
        """Return an empty batch, whose ack proves that the brain takes our signature."""
        batch = Batch(self._new_id("ev"))
        self._in_flight[batch.frame_id] = batch
        return self._framer.frames_of(batch, session)[0]

    def next_frames(self, session: Session) -> list[bytes]:
        """Return the frames to send now, in order; empty when there is nothing to do.

        The caller sends them before it calls again; they are signed already.

        Raises:
            BufferError_: The storage failed.
            LocalWireError: The session does not allow sending.
        """
        self._framer.begin()
        self._has_more = False
        must_prove = self._pacing.is_cautious and not self.is_proven
        frames = [] if must_prove else self._framer.hurried_frames(session)
        if frames:
            return frames
        # Also while only the probe may go: a brain that lost it acks the next one.
        overdue = self._overdue()
        if overdue is not None:
            self._ledger.resent += len(overdue.events)
            return self._framer.frames_of(overdue, session)
        if must_prove:
            return []
        if len(self._in_flight) >= self._pacing.window:
            return []
        entries = self._gather(session)
        return self._send_gathered(entries, session) if entries else []

    def take_back(self) -> None:
        """Undo the last :meth:`next_frames`: the transport does not take frames of their size.

        What is made next is smaller, because the session's cap has been lowered.
        """
        self._framer.undo()
        batch = self._in_flight.pop(self._framer.signed_id, None)
        if batch is not None:
            self._ledger.sent -= len(batch.events)
            self._put_back(batch)

    def wait_s(self) -> float | None:
        """Return in how many seconds :meth:`next_frames` has something to do by itself.

        None means: only when entries or acks come.
        """
        if self._has_more:
            return 0.0
        now_s = self._clock.monotonic_s()
        moments = [batch.sent_s + _RESEND_S for batch in self._in_flight.values()]
        if len(self._in_flight) < self._pacing.window and self._free():
            moments.append(self._gathering.since_s + _LINGER_S)
        return max(0.0, min(moments) - now_s) if moments else None

    def acked(self, ack: BatchAcked) -> int:
        """Take an ack and forget the batch; return how many entries it settled.

        An ack for a batch that is not out (a second one, an old session's) changes nothing.
        """
        batch = self._in_flight.pop(ack.acked_id, None)
        if batch is None:
            return 0
        self.is_proven = True
        self._quiet_since_s = self._clock.monotonic_s()
        self._framer.settled(batch)
        self._ledger.acked += len(batch.events)
        self._ledger.rejected += ack.rejected
        self._forget(batch.sequences)
        if batch.sequences:
            self._reject(self._quarantine.accepted())
        if batch.events:
            self._pacing.acked(self._clock.monotonic_s() - batch.sent_s)
        return len(batch.sequences)

    def disconnected(self, code: int, reason: str = "", *, is_stalled: bool = False) -> None:
        """Release everything that is out, in order, and take the end's cause into account.

        Args:
            code: The peer's close code; 1006 when there was none.
            reason: The text that came with it.
            is_stalled: Whether we gave up because the brain did not read.
        """
        # By the first the brain means the secret until it has accepted something, and by
        # the second that this process was paused.
        is_accused = (
            code in ACCUSING_CODES
            and (code != _SIGNATURE_REFUSED or self.is_proven)
            and _PING_TIMEOUT not in reason
        )
        try:
            if is_accused:
                self._take_blame()
            else:
                self._quarantine.ended_otherwise()
            self._release()
        except BufferError_ as error:
            # The next connection will find out; ending the agent would help nobody.
            _logger.warning("the buffer did not take back what was out: %s", type(error).__name__)
        if is_stalled:
            self._pacing.stalled()
        self._framer.disconnected(is_suspect=is_accused)
        self.is_proven = False

    def _release(self) -> None:
        sequences = [n for batch in self._in_flight.values() for n in batch.sequences]
        self._in_flight.clear()
        self._buffer.release([*sequences, *self._gathering.clear()])

    def _put_back(self, batch: Batch) -> None:
        """Release a batch that is not sent, and all that waits behind it, which comes later."""
        self._buffer.release([*batch.sequences, *self._gathering.clear()])

    def _free(self) -> list[Entry]:
        """Return what was gathered and may be sent now."""
        return self._gathering.free([batch.tasks for batch in self._in_flight.values()])

    def _has_waited(self, seconds: float) -> bool:
        quiet_until_s = self._quiet_since_s + seconds
        return self._has_entries_out() and quiet_until_s <= self._clock.monotonic_s()

    def _has_entries_out(self) -> bool:
        return any(batch.sequences for batch in self._in_flight.values())

    def _overdue(self) -> Batch | None:
        # The same sum as in wait_s: were it rounded otherwise, a timer could fire for nothing.
        now_s = self._clock.monotonic_s()
        for batch in self._in_flight.values():
            if batch.sent_s + _RESEND_S <= now_s:
                return batch
        return None

    def _gather(self, session: Session) -> list[Entry]:
        """Lease towards a full batch; return what should be sent now."""
        # Commas between events come on top of their bytes.
        most = self._pacing.batch_entries
        room = session.max_frame_bytes - session.batch_overhead_bytes - most
        gathering = self._gathering
        missing = most - len(gathering.entries)
        left = room - gathering.size_bytes
        now_s = self._clock.monotonic_s()
        if missing > 0 and (left > 0 or not gathering.entries):
            entries = self._buffer.lease(
                missing, max_bytes=max(1, left), now_ns=self._clock.now_ns(), hold_s=_HOLD_S
            )
            gathering.add(entries, now_s)
        free = self._free()
        is_due = (
            not (self._in_flight and self.lingers)
            or (len(gathering.entries) >= most and len(free) * 2 >= most)
            or sum([len(entry.body) for entry in free]) * 2 > room
            or gathering.since_s + _LINGER_S <= now_s
        )
        return free if is_due else []

    def _send_gathered(self, entries: list[Entry], session: Session) -> list[bytes]:
        batch = Batch.of(self._new_id("ev"), entries)
        if batch.unreadable:
            self._drop_unreadable(batch)
        try:
            frames = self._framer.frames_of(batch, session)
        except FrameTooLarge:
            self._framer.undo()
            self._has_more = True
            if len(batch.sequences) > 1:
                self._pacing.did_not_fit(len(batch.sequences))
                self._buffer.release(self._gathering.clear())
                return []
            if not self._framer.reduce(batch, session):
                self._drop_too_large(batch)
                self._gathering.take(entries, self._clock.monotonic_s())
                return []
            frames = self._framer.frames_of(batch, session)
            self._has_more = False
        # Not before: a session that the brain's last frame has closed signs nothing, and what
        # is neither gathered nor out is not released. What follows would overtake it.
        self._gathering.take(entries, self._clock.monotonic_s())
        batch.tasks = tasks_of(entries)
        if not self._has_entries_out():
            self._quiet_since_s = self._clock.monotonic_s()
        self._in_flight[batch.frame_id] = batch
        self._ledger.sent += len(batch.events)
        return frames

    def _drop_unreadable(self, batch: Batch) -> None:
        self._buffer.drop(batch.unreadable, DropReason.BUFFER_CORRUPT)
        _logger.error(
            "%d stored command results are unreadable and were dropped",
            len(batch.unreadable),
            extra={"action": "result_unreadable"},
        )

    def _drop_too_large(self, batch: Batch) -> None:
        self._buffer.drop(batch.sequences, DropReason.TOO_LARGE)
        _logger.error(
            "an event is larger than the brain's largest frame and was dropped",
            extra={"action": "event_too_large"},
        )

    def _forget(self, sequences: Sequence[int]) -> None:
        """Delete what the brain has; later, when the storage fails now."""
        self._settled += sequences
        try:
            self._buffer.ack(self._settled)
        except BufferError_ as error:
            level = logging.DEBUG if self._is_forgetting_late else logging.WARNING
            self._is_forgetting_late = True
            _logger.log(
                level,
                "the buffer could not forget what was delivered (%s); it may be sent again",
                type(error).__name__,
                extra={"action": "ack_not_stored"},
            )
            return
        self._settled, self._is_forgetting_late = [], False

    def _take_blame(self) -> None:
        """Close in on the entry that the brain may have choked on, or put it aside."""
        oldest = next((batch for batch in self._in_flight.values() if batch.sequences), None)
        sequences = oldest.sequences if oldest is not None else []
        if sequences:
            self._pacing.suspected(len(sequences))
        if not self._quarantine.blame(sequences, is_proven=self.is_proven):
            return
        assert oldest is not None  # only an entry can be put aside
        del self._in_flight[oldest.frame_id]
        self._buffer.release(self._quarantine.pardon())

    def _reject(self, guilty: Sequence[int]) -> None:
        """Drop entries over which the brain ended connections, now that it takes others."""
        if not guilty:
            return
        self._buffer.drop(guilty, DropReason.REJECTED)
        _logger.error(
            "%d entries that the brain kept closing the connection over were dropped",
            len(guilty),
            extra={"action": "entry_rejected"},
        )
