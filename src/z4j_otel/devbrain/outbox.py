"""What one connection still has to send, signed only when it goes (PROTOCOL §3.3)."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from z4j_otel.devbrain.faults import Fault, Faults

__all__ = ["Outbox"]

_SIGNATURE: Final = b'"hmac":"'

_Maker = Callable[[int], bytes]


class Outbox:
    """Frames in order of their time; the faults of acks happen here."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._heap: list[tuple[int, int, _Maker]] = []
        self._order = count()
        self._held: list[_Maker] = []

    def put(self, make: _Maker, at_ns: int) -> None:
        """Add a frame to be made and sent at ``at_ns`` or later."""
        heapq.heappush(self._heap, (at_ns, next(self._order), make))

    def put_ack(self, make: _Maker, make_unknown: _Maker, now_ns: int) -> None:
        """Add the ack of a batch, as the armed faults have it."""
        ledger = self._faults.ledger
        if ledger.take(Fault.DROP_ACK):
            return
        if ledger.take(Fault.REORDER_ACK):
            self._held.append(make)
            if ledger.due[Fault.REORDER_ACK]:
                return
        makers = self._held[::-1] or [make]
        self._held = []
        for maker in makers:
            at_ns = ledger.ack_time_ns(now_ns)
            if ledger.take(Fault.UNKNOWN_ACK):
                self.put(make_unknown, at_ns)
            self.put(maker, at_ns)
            if ledger.take(Fault.REPEAT_ACK):
                self.put(maker, at_ns)

    def take_due(self, now_ns: int) -> list[bytes]:
        """Make and return the frames whose time has come."""
        frames = []
        while self._heap and self._heap[0][0] <= now_ns:
            frames.append(self._finish(heapq.heappop(self._heap)[2](now_ns)))
        return frames

    def next_ns(self) -> int | None:
        """Return when the next frame is due, or None."""
        return self._heap[0][0] if self._heap else None

    def _finish(self, frame: bytes) -> bytes:
        if _SIGNATURE not in frame or not self._faults.ledger.take(Fault.CORRUPT_SIGNATURE):
            return frame
        at = frame.index(_SIGNATURE) + len(_SIGNATURE)
        wrong = b"1" if frame[at : at + 1] == b"0" else b"0"
        return frame[:at] + wrong + frame[at + 1 :]
