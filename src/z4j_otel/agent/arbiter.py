"""One story per task: where the evidence of several processes meets. Theory of operation.

Constraints
    A task's main process, its pool child and its publisher each tell what they saw. One
    journal's order is causal; two journals, a dead agent's and ours, have no order between
    them. Any process may be killed at any instruction, the agent too, and the wall clock
    may be set while a task runs.

What is settled
    *Exactly one end per attempt.* A child that was killed at its hard time limit may have
    told its own end first, and Celery reports some ends twice. The first end of a run
    stands, later ones are counted and dropped; so is a start that comes after the end. Runs
    under one id are told apart (see :mod:`z4j_otel.agent.story`): a message that is
    delivered again while its first run goes on makes two attempts, each with its start and
    its end.

    *One event per kind and second.* The brain keeps one event per task, kind and whole
    second (PROTOCOL §5.3). A second one in the same second is moved to the next free
    second, with the true time in ``observed_at``; times within a task never go back, since
    the brain ignores what is older than what it has (§5.6, seen in z4j 1.13). So a clock
    that is set back cannot lose an event or swap two.

    *What only two processes together know.* ``prefetch_wait_ms`` of a start, ``runtime_ms``
    of an end that the main process reported, and the span that a killed child left open.
    Durations are those of the monotonic clock, which every record carries on its way
    through the journal, and which is taken off here.

    *Ends that nobody tells.* When all processes that wrote a journal are dead, its open
    runs have ended without a witness. :meth:`open_runs` names them; the agent that adopts
    the journal tells their ends (see :mod:`z4j_otel.agent.adoption`), with ``inferred``
    set. Such an end keeps its time even if the task was delivered again meanwhile: it is
    told as ``retried``, which the brain then shows in the timeline and nowhere else.

Memory
    A story is loaded when its task is met, from memory or from the buffer, and is to be
    stored in the transaction of the events it let through: :meth:`changes`. So an agent
    that is killed between any two records goes on as if it had not been, and an adopted
    agent's stories are taken over whole: :meth:`take_over`. Memory holds the stories that
    were met last, the buffer some more; what both have forgotten is told as it comes.

What is not settled here
    Two agents that live at the same time do not know of each other's evidence. A message
    that is delivered to another worker while the first is alive makes an attempt there,
    with a start and an end; the brain shows the end that came last. If both end in the same
    way within one second, it keeps one of the two.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from z4j_otel.agent.evidence import (
    Data,
    Head,
    decode_head,
    lost_span,
    run_of,
    with_data,
    with_prefetch_wait,
    with_time,
    witness_of,
)
from z4j_otel.agent.schedule_runs import run_note
from z4j_otel.agent.story import (
    Arrival,
    Run,
    Story,
    Witness,
    decode_story,
    elapsed_ns,
    encode_story,
    story_key,
)
from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.events import LostSpan
from z4j_otel.guard import guard
from z4j_otel.translation import without_mono

__all__ = ["Arbiter"]

_MS: Final = 1_000_000
_ENDS: Final = frozenset({"task.succeeded", "task.failed", "task.retried", "task.revoked"})
_UNFOLLOWED: Final = frozenset({"task.rejected"})
_ENDED_BY_OTHERS: Final = frozenset({"time_limit", "worker_lost"})


class Arbiter:
    """Decides what the brain is told of each task, event by event."""

    def __init__(
        self,
        *,
        max_tasks: int = 5_000,
        recall: Callable[[str], bytes | None] | None = None,
        on_lost_span: Callable[[LostSpan], None] | None = None,
    ) -> None:
        """Build an arbiter.

        Args:
            max_tasks: Most tasks in memory; each costs about a thousand bytes.
            recall: Finds the stored story of a task that is not in memory. Without it
                nothing is stored, and :meth:`changes` stays empty.
            on_lost_span: Told once of every span that a killed process left open.
        """
        self._stories: OrderedDict[str, Story] = OrderedDict()
        self._touched: dict[str, Story] = {}
        self._max_tasks = max_tasks
        self._recall = recall
        # The application's own exporters may be behind it.
        self._on_lost_span = on_lost_span and guard("span of a killed task")(on_lost_span)
        self._notes: list[bytes] = []
        self.duplicates = 0
        """Events dropped because another one had told the same."""

    def judge(self, event: bytes, *, source: str = "") -> bytes | None:
        """Return the event as it is to be sent, or None when it adds nothing.

        An event that cannot be read passes unchanged: the brain decides.

        Args:
            event: Canonical bytes, as they stood in a journal.
            source: Which journal: the life of the agent that it belonged to.
        """
        try:
            head = decode_head(event)
            occurred_ns = parse_iso_ns(head.occurred_at)
        except (msgspec.MsgspecError, ValueError):
            return event
        if head.mono_ns:
            event = without_mono(event)
        if not head.task_id or head.kind in _UNFOLLOWED:
            return event
        story = self._story(story_key(head.engine, head.task_id))
        who = witness_of(head, source, occurred_ns)
        told = self._weigh(story, head, who, event)
        if told is None:
            self.duplicates += 1
        elif (note := run_note(story, head)) is not None:
            self._notes.append(note)
        return told

    def notes(self) -> list[bytes]:
        """Return what was to be told beside the events let through since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def changes(self) -> dict[str, bytes]:
        """Return the stories that were touched since the last call, to be stored."""
        touched, self._touched = self._touched, {}
        while len(self._stories) > self._max_tasks:
            self._stories.popitem(last=False)
        return {key: encode_story(story) for key, story in touched.items()}

    def take_over(self, stories: Mapping[str, bytes]) -> None:
        """Add what a dead agent knew; to be called once for each, before its journal."""
        for key, body in stories.items():
            known = _decoded(body)
            if known is not None:
                self._story(key).add(known)

    def open_runs(
        self, stories: Mapping[str, bytes], source: str
    ) -> Iterator[tuple[str, Run, bool]]:
        """Yield the runs that evidence of one journal began and nothing has ended.

        Args:
            stories: All that are stored; those in memory are newer and count instead.
            source: The journal, as given to :meth:`judge`. Arrivals that it told and that
                began no run are forgotten: their messages are delivered anew.

        Yields:
            A task's key, the run, and whether the message was delivered or run again.
        """
        mark = source.encode()
        for key in [key for key, body in stories.items() if mark in body]:
            story = self._story(key)
            story.forget_arrivals(source)
            for run in story.runs:
                if run.source == source:
                    yield key, run, story.has_later_than(run)

    def _story(self, key: str) -> Story:
        story = self._stories.get(key)
        if story is not None:
            self._stories.move_to_end(key)
        else:
            stored = None if self._recall is None else self._recall(key)
            story = self._stories[key] = _decoded(stored) or Story()
        if self._recall is not None:
            self._touched[key] = story
        elif len(self._stories) > self._max_tasks:
            self._stories.popitem(last=False)
        return story

    def _weigh(self, story: Story, head: Head, who: Witness, event: bytes) -> bytes | None:
        kind, data = head.kind, head.data
        if kind == "task.sent":
            return event if _is_new_publish(story, data) else None
        is_late = False
        if kind == "task.received":
            if data.synthesised and not story.is_blank():
                return None
            story.arrive(Arrival(who.source, who.attempt, who.at_ns, who.mono_ns))
        elif kind == "task.started":
            begun = self._begin(story, head, who, event)
            if begun is None:
                return None
            event = begun
        elif kind in _ENDS:
            run = None if _is_of_message(head) else story.find_run(who)
            if run is None and not _is_end_without_run(story, head, who):
                return None
            is_late = data.inferred and run is not None and story.has_later_than(run)
            story.end(who, run, is_retry=kind == "task.retried")
            if run is not None:
                event = self._close(run, head, who, event)
        return _timed(story, head, who, event, is_late=is_late)

    def _begin(self, story: Story, head: Head, who: Witness, event: bytes) -> bytes | None:
        """Note a start; returns the event, or None when it tells nothing new."""
        run = run_of(head.data, who)
        arrival = story.take_arrival(who)
        if arrival is not None:
            wait_ns = elapsed_ns(arrival.at_ns, arrival.mono_ns, who.at_ns, who.mono_ns)
            event = with_prefetch_wait(event, wait_ns // _MS)
        else:
            former = _began_again(story, who)
            if former is not None:
                # A pool ran a task again whose child died before it could say so. Celery
                # tells nobody, so to the operator it stays one attempt; the first run's
                # span is ended for it.
                self._lose(head, former, who)
                story.runs.remove(former)
                story.begin(run)
                return None
            if story.ends and not story.is_news(who):
                story.end(who, None, is_retry=False)
                return None
        story.begin(run)
        return event

    def _close(self, run: Run, head: Head, who: Witness, event: bytes) -> bytes:
        """Settle the end of a run that began here."""
        data = head.data
        if data.runtime_ms is not None:
            return event
        if data.cause in _ENDED_BY_OTHERS or data.terminated:
            self._lose(head, run, who)
        runtime_ns = elapsed_ns(run.started_ns, run.mono_ns, who.at_ns, who.mono_ns)
        more: dict[str, object] = {"runtime_ms": runtime_ns // _MS}
        if run.pid:
            more["pid"] = run.pid
        if run.span_id and not data.span_id:
            more |= {"trace_id": run.trace_id, "span_id": run.span_id}
        return with_data(event, more)

    def _lose(self, head: Head, run: Run, who: Witness) -> None:
        """Report the span of a run that another process ended."""
        if run.span_id and self._on_lost_span is not None:
            lasted_ns = elapsed_ns(run.started_ns, run.mono_ns, who.at_ns, who.mono_ns)
            self._on_lost_span(lost_span(head, run, run.started_ns + lasted_ns))


def _is_new_publish(story: Story, data: Data) -> bool:
    """A publish can be told by its hook and by its span; both name the same span."""
    publish = (data.attempt, data.span_id)
    if data.span_id and publish == story.sent:
        return False
    story.sent = publish
    return True


def _began_again(story: Story, who: Witness) -> Run | None:
    """Return the open run that a start without a message of its own takes the place of."""
    for run in reversed(story.runs):
        is_same_worker = run.worker == who.worker or not (run.worker and who.worker)
        if run.attempt == who.attempt and is_same_worker:
            return run
    return None


def _is_end_without_run(story: Story, head: Head, who: Witness) -> bool:
    """Whether an end that belongs to no open run says something new."""
    if story.ends and story.ends[-1].is_retry and _undoes_retry(head):
        story.ends[-1].is_retry = False
        return True
    if story.knows_end_of(who):
        return False
    return story.take_arrival(who) is not None or story.is_news(who)


def _is_of_message(head: Head) -> bool:
    """Whether an end is that of a message which never ran, whatever else runs."""
    is_given_up = head.kind == "task.revoked" and not head.data.terminated
    return is_given_up or head.data.cause == "unknown_task"


def _undoes_retry(head: Head) -> bool:
    """Whether a retry that was recorded could not be published: Celery then rejects the task."""
    return head.kind == "task.failed" and head.data.cause == "rejected"


def _timed(story: Story, head: Head, who: Witness, event: bytes, *, is_late: bool) -> bytes:
    told_ns = story.tell_at(head.kind, who.at_ns, is_late=is_late)
    if told_ns == who.at_ns:
        return event
    moved = with_data(event, {"observed_at": head.occurred_at})
    return with_time(moved, iso_utc(told_ns))


def _decoded(body: bytes | None) -> Story | None:
    """Return a stored story; one that another version wrote is forgotten."""
    try:
        return None if body is None else decode_story(body)
    except msgspec.MsgspecError:
        return None
