"""The ways in which the embedded brain misbehaves on request.

Each request is armed once and used up by the next frames it concerns, on whichever
connection they come. Nothing here is random.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["CloseWith", "Fault", "FaultLedger", "Faults"]

_NS: Final = 1_000_000_000


class CloseWith(Exception):
    """The brain closes the connection with this code (PROTOCOL §1.6)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"close {self.code}" + (f" ({self.reason})" if self.reason else "")


class Fault(Enum):
    """The faults that are counted."""

    DROP_ACK = "drop ack"
    LOSE_BATCH = "lose batch"
    REPEAT_ACK = "repeat ack"
    REORDER_ACK = "reorder ack"
    UNKNOWN_ACK = "unknown ack"
    CORRUPT_SIGNATURE = "corrupt signature"


class FaultLedger:
    """What is still due, as the connections use it up."""

    def __init__(self) -> None:
        self.due: Counter[Fault] = Counter()
        self.hello_closes: deque[CloseWith] = deque()
        self.batch_closes: deque[CloseWith] = deque()
        self.answers: deque[tuple[int, Mapping[str, str]]] = deque()
        self.choking: dict[str, CloseWith] = {}
        self.ack_delay_ns = 0
        self.ack_interval_ns = 0
        self._next_ack_ns = 0

    def take(self, fault: Fault) -> bool:
        """Use up one occasion of a fault; False when none is due."""
        if not self.due[fault]:
            return False
        self.due[fault] -= 1
        return True

    def ack_time_ns(self, now_ns: int) -> int:
        """Return when an ack made now may be sent."""
        at_ns = now_ns + self.ack_delay_ns
        if self.ack_interval_ns:
            at_ns = max(at_ns, self._next_ack_ns)
            self._next_ack_ns = at_ns + self.ack_interval_ns
        return at_ns


class Faults:
    """What is to go wrong next. Closing at once is ``DevBrain.disconnect``."""

    def __init__(self) -> None:
        self.ledger = FaultLedger()
        """For the connections; not part of the interface."""
        self.is_stalled = False
        """Whether no connection reads what the agents send; set through ``DevBrain.stall``."""

    def clear(self) -> None:
        """Behave again; acks already held back stay so."""
        self.ledger = FaultLedger()

    def drop_acks(self, count: int = 1) -> None:
        """Store the next batches and never acknowledge them."""
        self.ledger.due[Fault.DROP_ACK] += count

    def lose_batches(self, count: int = 1) -> None:
        """Neither store nor acknowledge the next batches: a database fault (PROTOCOL §4.2)."""
        self.ledger.due[Fault.LOSE_BATCH] += count

    def repeat_acks(self, count: int = 1) -> None:
        """Send each of the next acks twice."""
        self.ledger.due[Fault.REPEAT_ACK] += count

    def reorder_acks(self, count: int = 2) -> None:
        """Hold the next acks back until there are ``count``, then send them last first."""
        self.ledger.due[Fault.REORDER_ACK] += count

    def ack_unknown_ids(self, count: int = 1) -> None:
        """Send an ack for a batch that never was before each of the next acks."""
        self.ledger.due[Fault.UNKNOWN_ACK] += count

    def delay_acks(self, delay_s: float) -> None:
        """Send every ack that much later, until told otherwise; 0 stops it."""
        self.ledger.ack_delay_ns = int(delay_s * _NS)

    def limit_acks(self, per_s: float | None) -> None:
        """Send at most so many acks a second, over all connections; None lifts the limit."""
        self.ledger.ack_interval_ns = int(_NS / per_s) if per_s else 0

    def corrupt_signatures(self, count: int = 1) -> None:
        """Sign the next signed frames wrongly."""
        self.ledger.due[Fault.CORRUPT_SIGNATURE] += count

    def take_lost_batch(self) -> bool:
        """Use up one batch that is neither stored nor acknowledged; False when none is due."""
        return self.ledger.take(Fault.LOSE_BATCH)

    def answer_requests(self, status: int, *, count: int = 1, retry_after_s: int = 0) -> None:
        """Answer the next HTTP requests with a status, unseen."""
        headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
        self.ledger.answers.extend((status, headers) for _ in range(count))

    def choke_on(self, event_id: str, code: int = 1011) -> None:
        """Close whenever an event of this id comes, until :meth:`clear`."""
        self.ledger.choking[event_id] = CloseWith(code)

    def close_at_hello(self, code: int, reason: str = "", *, count: int = 1) -> None:
        """Answer each of the next hellos with a close."""
        self.ledger.hello_closes.extend(CloseWith(code, reason) for _ in range(count))

    def close_at_batch(self, code: int, reason: str = "", *, count: int = 1) -> None:
        """Close instead of storing each of the next batches."""
        self.ledger.batch_closes.extend(CloseWith(code, reason) for _ in range(count))
