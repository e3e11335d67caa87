"""What is known of one task: its arrivals, its open runs, its ends. Values and matching.

A task may run more than once under one id, in several processes, even at the same time: it
is retried, or its message is delivered again while the first run goes on. Each run has an
end of its own, and evidence of an end has to find the run that it is about. It is told by
what the evidence carries: the span, the process, the number of the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

__all__ = ["Arrival", "End", "Run", "Story", "Witness", "elapsed_ns", "story_key"]

_MOST: Final = 8
"""Most arrivals, open runs and ends remembered of one task, the newest; a task that retries
for ever needs no more."""


class Witness(msgspec.Struct, gc=False):
    """Who says something about a run, and when it was."""

    source: str
    """The journal that the evidence stood in."""
    attempt: int
    pid: int
    """The process that ran it; 0 when the evidence does not say."""
    worker: str | None
    span_id: str
    at_ns: int
    mono_ns: int
    """The machine's monotonic clock; 0 when the evidence does not say."""


class Arrival(msgspec.Struct, array_like=True, gc=False):
    """A message that was received, and whose run has not begun."""

    source: str
    attempt: int
    at_ns: int
    mono_ns: int


class Run(msgspec.Struct, array_like=True, gc=False):
    """A run that has begun and not ended."""

    source: str
    attempt: int
    started_ns: int
    mono_ns: int
    pid: int
    worker: str | None
    task_name: str
    queue: str | None
    trace_id: str
    span_id: str
    parent_span_id: str
    is_sampled: bool
    is_redelivered: bool
    """Whether the broker delivers the message again when the worker dies."""

    def contradicts(self, who: Witness) -> bool:
        """Whether the evidence is certainly about another run."""
        if self.span_id and who.span_id and self.span_id != who.span_id:
            return True
        if self.pid and who.pid:
            return self.pid != who.pid or bool(
                self.worker and who.worker and self.worker != who.worker
            )
        return False


class End(msgspec.Struct, array_like=True, gc=False):
    """A run that is over, or an end that came without one."""

    attempt: int
    pid: int
    worker: str | None
    span_id: str
    is_retry: bool
    begun_ns: int = 0
    """When its run had begun; when it came, if it had none."""

    def is_of(self, who: Witness) -> bool:
        """Whether the evidence is about the same run."""
        if who.span_id and who.span_id == self.span_id:
            return True
        return bool(
            who.pid
            and (who.pid, who.attempt) == (self.pid, self.attempt)
            and (who.worker == self.worker or not (who.worker and self.worker))
        )


class Story(msgspec.Struct, array_like=True):
    """One task, as the evidence so far tells it."""

    arrivals: list[Arrival] = []
    runs: list[Run] = []
    ends: list[End] = []
    sent: tuple[int, str] | None = None
    """Attempt and span of the publish that was told last."""
    last_ns: int = 0
    """The latest time told to the brain."""
    used: list[tuple[str, int]] = []
    """Kinds and seconds told that could still be met again."""
    span: tuple[str, str, bool] | None = None
    """Trace and span of the run that began last, and whether it is sampled."""
    schedule: str = ""
    """Name of the schedule that published the task; empty when none did."""
    schedule_told: int = 0
    """How far its run has been told: 1 begun, 2 ended."""

    def is_blank(self) -> bool:
        """Whether nothing is known of any run."""
        return not (self.arrivals or self.runs or self.ends)

    def arrive(self, arrival: Arrival) -> None:
        """Note a message."""
        self.arrivals.append(arrival)
        del self.arrivals[:-_MOST]

    def take_arrival(self, who: Witness) -> Arrival | None:
        """Return the arrival that a run or an end belongs to, and forget it."""
        fitting = [each for each in self.arrivals if each.attempt == who.attempt]
        own = [each for each in fitting if each.source == who.source]
        for arrival in own or fitting:
            self.arrivals.remove(arrival)
            return arrival
        return None

    def begin(self, run: Run) -> None:
        """Note a run."""
        if run.span_id:
            self.span = (run.trace_id, run.span_id, run.is_sampled)
        self.runs.append(run)
        del self.runs[:-_MOST]

    def find_run(self, who: Witness) -> Run | None:
        """Return the open run that evidence is about."""
        for run in self.runs:
            if who.span_id and run.span_id == who.span_id:
                return run
        possible = [run for run in self.runs if not run.contradicts(who)]
        surely = [run for run in possible if run.pid and run.pid == who.pid]
        fitting = [run for run in surely or possible if run.attempt == who.attempt]
        if not fitting and not surely and any(end.attempt == who.attempt for end in self.ends):
            return None  # it speaks of an attempt that is over
        return next(reversed(fitting or surely or possible), None)

    def end(self, who: Witness, run: Run | None, *, is_retry: bool) -> None:
        """Note the end of a run, or one that came without a start."""
        known = run if run is not None else who
        if run is not None:
            self.runs.remove(run)
        pid, begun_ns = known.pid or who.pid, who.at_ns if run is None else run.started_ns
        self.ends.append(End(known.attempt, pid, known.worker, known.span_id, is_retry, begun_ns))
        del self.ends[:-_MOST]

    def knows_end_of(self, who: Witness) -> bool:
        """Whether the run that evidence is about is over."""
        return any(end.is_of(who) for end in self.ends)

    def is_news(self, who: Witness) -> bool:
        """Whether the attempt is later than every one that is over."""
        return all(who.attempt > end.attempt for end in self.ends)

    def has_later_than(self, run: Run) -> bool:
        """Whether the task was delivered or run again after this run."""
        return bool(
            any(each is not run and each.started_ns > run.started_ns for each in self.runs)
            or any(each.at_ns > run.started_ns for each in self.arrivals)
            or any(
                end.pid != run.pid and end.attempt >= run.attempt and end.begun_ns > run.started_ns
                for end in self.ends
            )
        )

    def tell_at(self, kind: str, at_ns: int, *, is_late: bool = False) -> int:
        """Return the time to tell the brain for something that happened at ``at_ns``.

        Args:
            kind: What is told; the brain keeps one of a kind per whole second.
            at_ns: When it happened, by some clock.
            is_late: It belongs before what was told last, and must not seem to follow it.
        """
        told_ns = at_ns if is_late else max(at_ns, self.last_ns)
        second = told_ns // _NS
        if (kind, second) in self.used:
            while (kind, second) in self.used:
                second += 1
            told_ns = second * _NS
        if told_ns // _NS > self.last_ns // _NS:
            # True times go back no further than to an open run, whose end may come late. Told
            # times may be ahead of them.
            oldest_ns = min([at_ns, *(run.started_ns for run in self.runs)])
            self.used = [used for used in self.used if used[1] >= oldest_ns // _NS]
        self.used.append((kind, second))
        self.last_ns = max(self.last_ns, told_ns)
        return told_ns

    def add(self, other: Story) -> None:
        """Take over what another agent knew of the same task; twice is as good as once."""
        self.arrivals = _united(other.arrivals, self.arrivals)
        self.runs = _united(other.runs, self.runs)
        self.ends = _united(other.ends, self.ends)
        self.sent = self.sent or other.sent
        self.span = self.span or other.span
        self.last_ns = max(self.last_ns, other.last_ns)
        self.used += [used for used in other.used if used not in self.used]
        self.schedule = self.schedule or other.schedule
        self.schedule_told = max(self.schedule_told, other.schedule_told)

    def forget_arrivals(self, source: str) -> None:
        """Forget messages whose worker is gone: they are delivered anew."""
        self.arrivals = [each for each in self.arrivals if each.source != source]


_NS: Final = 1_000_000_000
_T = TypeVar("_T")


def _united(older: list[_T], newer: list[_T]) -> list[_T]:
    return [*(each for each in older if each not in newer), *newer][-_MOST:]


encode_story: Final[Callable[[Story], bytes]] = msgspec.msgpack.Encoder().encode
decode_story: Final[Callable[[bytes], Story]] = msgspec.msgpack.Decoder(Story).decode


def story_key(engine: str, task_id: str) -> str:
    """Return the name of a task among all engines."""
    return f"{engine}/{task_id}"


def elapsed_ns(begin_ns: int, begin_mono_ns: int, end_ns: int, end_mono_ns: int) -> int:
    """Return the time between two moments; never negative.

    The monotonic clock decides where both have it: it is the same for all processes of a
    machine, and nobody sets it.
    """
    if 0 < begin_mono_ns <= end_mono_ns:
        return end_mono_ns - begin_mono_ns
    return max(0, end_ns - begin_ns)
