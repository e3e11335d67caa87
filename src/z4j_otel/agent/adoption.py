"""What dead agents of the same deployment left behind: found, taken over, tended, ended.

How one dead agent's files move into our buffer is told in :mod:`z4j_otel.agent.estate`.
Here is when, in which order, and what becomes of the runs that no process lived to end.

Every 30 s, and at the agent's start, all abandoned files of the deployment are owned and
adopted. A dead agent that was adopting others comes before them: it knows how far it had
come. Files whose processes live on, children that outlived their worker, are kept and
looked at as often as our own journal, until the last of these processes is gone.

Then every process that could have ended one of its runs is dead, and the run's end is
*inferred*: told like any other end, through our own journal, at the time of the last sign
of life, with cause ``worker_lost``. It is ``task.retried`` where the broker delivers the
message again (``acks_late``) or has done so, and ``task.failed`` where the task is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.estate import Estate
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.lost_runs import ending_of
from z4j_otel.buffer.base import EventBuffer
from z4j_otel.buffer.database import reason_of
from z4j_otel.buffer.files import AgentFiles, exists, find_abandoned
from z4j_otel.errors import BufferError_
from z4j_otel.events import LifecycleRecord
from z4j_otel.ids import new_boot_id

__all__ = ["AdoptingImporter"]

_logger = logging.getLogger(__name__)

ADOPT_EVERY_NS = 30 * 1_000_000_000
_ALIVE_EVERY_NS: Final = 5 * 1_000_000_000


class AdoptingImporter:
    """The agent's own journal, and what dead agents of its deployment left."""

    def __init__(
        self,
        own: JournalImporter,
        buffer: EventBuffer,
        *,
        home: Path,
        deployment: str,
        arbiter: Arbiter,
        ledger: Ledger | None = None,
        files: AgentFiles | None = None,
        tell: Callable[[LifecycleRecord], None] | None = None,
        flush: Callable[[], object] = lambda: None,
    ) -> None:
        """Build an importer.

        Args:
            own: Imports this agent's own journal.
            buffer: Where everything goes.
            home: The directory to look for abandoned files in.
            deployment: Whose files may be adopted: the same project and secret.
            arbiter: Judges everything that this agent delivers; the one of ``own``.
            ledger: The one of ``own``: it has the accounts of everything in the buffer.
            files: Our own, on which signs of life are left.
            tell: Puts a record into our own journal: the end of a run that nobody lived to
                tell. Without it such runs stay open.
            flush: Writes what this process has in memory for the journal, because the disk
                took nothing for a while; called before every import.
        """
        self._own = own
        self._buffer = buffer
        self._home = home
        self._deployment = deployment
        self._arbiter = arbiter
        self._ledger = ledger or own.ledger
        self._files = files
        self._tell = tell
        self._me = files.key if files is not None else f"memory@{new_boot_id()}"
        self._flush = flush
        self._estates: dict[str, Estate] = {}
        self._failed: set[str] = set()
        self._looked_ns = -ADOPT_EVERY_NS
        self._alive_ns = -_ALIVE_EVERY_NS
        self.adopted = 0
        """Entries and records taken over so far."""

    def import_pending(self, now_ns: int) -> int:
        """Import what was appended, and adopt what was abandoned.

        Returns:
            The number of records and entries taken in.
        """
        self._flush()
        if _is_due(self._alive_ns, _ALIVE_EVERY_NS, now_ns) and self._files is not None:
            self._alive_ns = now_ns
            self._files.note_alive()
        count = 0
        if _is_due(self._looked_ns, ADOPT_EVERY_NS, now_ns):
            self._looked_ns = now_ns
            count = self._adopt_all(now_ns)
        else:
            for estate in list(self._estates.values()):
                count += self._guarded(estate, estate.import_pending, now_ns)
        return count + self._own.import_pending(now_ns)

    def close(self) -> None:
        """Close the own journal, and hand on what is still tended."""
        self._own.close()
        for estate in list(self._estates.values()):
            self._guarded(estate, estate.hand_on, 0)
            estate.close()
        self._estates.clear()

    def _adopt_all(self, now_ns: int) -> int:
        # A home that cannot be read now holds nobody back: our own journal is open.
        with contextlib.suppress(OSError):
            for files in find_abandoned(self._home, self._deployment):
                self._estates[files.key] = Estate(
                    files, self._buffer, self._arbiter, taker=self._me, ledger=self._ledger
                )
        count = 0
        waiting = dict(self._estates)
        while waiting:
            key, estate = next(iter(waiting.items()))
            del waiting[key]
            count += self._guarded(estate, partial(self._adopt, estate, waiting), now_ns)
        return count

    def _adopt(self, estate: Estate, waiting: dict[str, Estate], now_ns: int) -> int:
        """Adopt an estate, after the one that was taking it."""
        count = 0
        taker = estate.taker()
        if taker not in ("", self._me):
            if taker in waiting:
                first = waiting.pop(taker)
                count += self._guarded(first, partial(self._adopt, first, waiting), now_ns)
            if estate.taker() == taker and exists(self._home, taker):
                self._give_up(estate)  # it is alive, or somebody else looks after it
                return count
        taken = estate.take(now_ns)
        self._note_adopted(estate, taken)
        self._settle_for(estate, now_ns)
        is_over = not estate.unsettled() and estate.is_finished()
        if is_over and self._is_ended(estate, now_ns) and estate.remove(now_ns):
            del self._estates[estate.key]
        estate.rest()
        return count + taken

    def _settle_for(self, estate: Estate, now_ns: int) -> None:
        """Settle what a dead agent had begun to take from others."""
        positions = estate.positions()
        for key in estate.unsettled():
            other = self._estates.get(key)
            if other is not None:
                other.inherit(estate.key, positions, now_ns)
            if other is not None or not exists(self._home, key):
                estate.forget_settled(key, now_ns)

    def _is_ended(self, estate: Estate, now_ns: int) -> bool:
        """Tell the ends of its open runs; False when one could not be told yet."""
        if self._tell is None:
            return True
        life = estate.files.boot_id
        open_runs = list(self._arbiter.open_runs(self._buffer.stories(), life))
        for key, run, is_repeated in open_runs:
            self._tell(ending_of(key, run, estate.last_seen_ns, is_repeated=is_repeated))
        if not open_runs:
            return True
        self._own.import_pending(now_ns)
        return not list(self._arbiter.open_runs(self._buffer.stories(), life))

    def _note_adopted(self, estate: Estate, count: int) -> None:
        self.adopted += count
        if count:
            _logger.info(
                "took over %d events of process %s, which ended without delivering them",
                count,
                estate.files.pid,
                extra={"action": "adopted"},
            )

    def _guarded(self, estate: Estate, work: Callable[[int], int], now_ns: int) -> int:
        """Do something with an estate; one that fails is given up until the next round.

        Not while its importer has in memory what the buffer did not take.
        """
        try:
            return work(now_ns)
        except (BufferError_, OSError) as error:
            _logger.log(
                logging.DEBUG if estate.key in self._failed else logging.WARNING,
                "%s of process %s, which ended, cannot be taken over (%s); it is tried again "
                "every 30 s: see that user %d may read and write it and all that is named alike",
                estate.files.buffer_path,
                estate.files.pid,
                reason_of(error),
                os.geteuid(),
                extra={"action": "adoption_failed"},
            )
            self._failed.add(estate.key)
            if estate.is_waiting:
                estate.rest()
            else:
                self._give_up(estate)
            return 0

    def _give_up(self, estate: Estate) -> None:
        self._estates.pop(estate.key, None)
        estate.close()


def _is_due(last_ns: int, period_ns: int, now_ns: int) -> bool:
    """Whether a period is over; also when the clock was set back."""
    return not 0 <= now_ns - last_ns < period_ns
