"""One story per task: where the evidence of several processes meets.

A task's main process, its pool child and its publisher each tell what they saw, in the
journal's order, which is causal. Three things are left to settle before the brain is told:

* *exactly one end per attempt.* A child that was killed at its hard time limit may have
  told its own end first, and Celery reports some ends twice. The first end of a run stands,
  later ones are counted and dropped; so is a start that comes after the end.
* *one event per kind and second.* The brain keeps one event per task, kind and whole
  second (PROTOCOL §5.3). A second one in the same second is moved to the next free second,
  with the true time in ``observed_at``; times within a task never go back (seen in z4j 1.13).
* *what only two processes together know.* ``prefetch_wait_ms`` of a start, ``runtime_ms``
  of an end that the main process reported, and the span that a killed child left open.

Pure state in memory, one small record per task, the least recently seen forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.events import LostSpan
from z4j_otel.wire import canonical

__all__ = ["Arbiter"]

_NS: Final = 1_000_000_000
_ENDS: Final = frozenset({"task.succeeded", "task.failed", "task.retried", "task.revoked"})
_UNFOLLOWED: Final = frozenset({"task.rejected"})
_ENDED_BY_OTHERS: Final = frozenset({"time_limit", "worker_lost"})


class _Data(msgspec.Struct, frozen=True, gc=False):
    attempt: int = 0
    synthesised: bool = False
    terminated: bool = False
    cause: str = ""
    runtime_ms: int | None = None
    task_name: str = ""
    queue: str | None = None
    worker: str | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    trace_sampled: bool = False
    exception_type: str = ""


class _Head(msgspec.Struct, gc=False):
    kind: str
    engine: str
    task_id: str
    occurred_at: str
    data: _Data = _Data()


class _Story:
    """What is known of one task."""

    __slots__ = (
        "has_ended",
        "is_retried",
        "last_ns",
        "received_ns",
        "sent",
        "start",
        "started_ns",
        "used",
    )

    def __init__(self) -> None:
        self.has_ended = self.is_retried = False
        self.sent: tuple[int, str] | None = None
        self.received_ns = 0
        self.started_ns = 0
        self.start: _Data | None = None
        self.last_ns = 0
        self.used: set[tuple[str, int]] = set()


class Arbiter:
    """Decides what the brain is told of each task, event by event."""

    def __init__(
        self,
        *,
        max_tasks: int = 50_000,
        on_lost_span: Callable[[LostSpan], None] | None = None,
    ) -> None:
        """Build an arbiter.

        Args:
            max_tasks: Most tasks remembered; each costs some hundred bytes.
            on_lost_span: Told once of every span that a killed process left open.
        """
        self._stories: OrderedDict[tuple[str, str], _Story] = OrderedDict()
        self._max_tasks = max_tasks
        self._on_lost_span = on_lost_span
        self._decode = msgspec.json.Decoder(_Head).decode
        self.duplicates = 0
        """Events dropped because another one had told the same."""

    def judge(self, event: bytes) -> bytes | None:
        """Return the event as it is to be sent, or None when it adds nothing.

        An event that cannot be read passes unchanged: the brain decides.
        """
        try:
            head = self._decode(event)
            occurred_ns = parse_iso_ns(head.occurred_at)
        except (msgspec.MsgspecError, ValueError):
            return event
        if not head.task_id or head.kind in _UNFOLLOWED:
            return event
        story = self._story(head)
        if not self._accepts(story, head):
            self.duplicates += 1
            return None
        return self._told(story, head, event, occurred_ns)

    def _story(self, head: _Head) -> _Story:
        key = (head.engine, head.task_id)
        story = self._stories.get(key)
        if story is None:
            story = self._stories[key] = _Story()
            if len(self._stories) > self._max_tasks:
                self._stories.popitem(last=False)
        else:
            self._stories.move_to_end(key)
        return story

    def _accepts(self, story: _Story, head: _Head) -> bool:
        kind = head.kind
        if kind == "task.sent":
            return self._is_new_publish(story, head.data)
        if kind == "task.received":
            if head.data.synthesised and (story.received_ns or story.has_ended):
                return False
            story.has_ended = False
            story.start = None
            return True
        if story.has_ended and not _undoes_retry(story, head):
            return False
        if kind == "task.started" and story.start is not None:
            self._restart(story, head)
            return False
        if kind in _ENDS:
            story.has_ended = True
            story.is_retried = kind == "task.retried"
        return True

    def _restart(self, story: _Story, head: _Head) -> None:
        """Note that a pool ran a task again whose child died before it could say so.

        Celery tells nobody, so to the operator it stays one attempt; the first run's span
        is ended for it.
        """
        assert story.start is not None
        now_ns = parse_iso_ns(head.occurred_at)
        if story.start.span_id and self._on_lost_span is not None:
            self._on_lost_span(_lost_span(head, story.start, story.started_ns, now_ns))
        story.start = head.data
        story.started_ns = now_ns

    @staticmethod
    def _is_new_publish(story: _Story, data: _Data) -> bool:
        """A publish can be told by its hook and by its span; both name the same span."""
        publish = (data.attempt, data.span_id)
        if data.span_id and publish == story.sent:
            return False
        story.sent = publish
        return True

    def _told(self, story: _Story, head: _Head, event: bytes, occurred_ns: int) -> bytes:
        kind, data = head.kind, head.data
        if kind == "task.sent":
            return event
        if kind == "task.received":
            story.received_ns = occurred_ns
        elif kind == "task.started":
            event = _with_prefetch_wait(event, story.received_ns, occurred_ns)
            story.started_ns = occurred_ns
            story.start = data
        elif story.start is not None:
            event = self._close(story, head, event, occurred_ns)
        return self._timed(story, head, event, occurred_ns)

    def _close(self, story: _Story, head: _Head, event: bytes, occurred_ns: int) -> bytes:
        """Settle the end of a run that began here."""
        data, start = head.data, story.start
        assert start is not None
        story.start = None
        if data.runtime_ms is not None:
            return event
        is_lost = data.cause in _ENDED_BY_OTHERS or data.terminated
        if is_lost and start.span_id and self._on_lost_span is not None:
            self._on_lost_span(_lost_span(head, start, story.started_ns, occurred_ns))
        runtime_ms = max(0, occurred_ns - story.started_ns) // 1_000_000
        more: dict[str, object] = {"runtime_ms": runtime_ms}
        if start.span_id and not data.span_id:
            more |= {"trace_id": start.trace_id, "span_id": start.span_id}
        return _with_data(event, more)

    def _timed(self, story: _Story, head: _Head, event: bytes, occurred_ns: int) -> bytes:
        told_ns = max(occurred_ns, story.last_ns)
        second = told_ns // _NS
        if (head.kind, second) in story.used:
            while (head.kind, second) in story.used:
                second += 1
            told_ns = second * _NS
        if told_ns // _NS > story.last_ns // _NS:
            # Told times never go back, so the seconds before cannot be met again.
            story.used = {used for used in story.used if used[1] >= second}
        story.used.add((head.kind, second))
        story.last_ns = told_ns
        if told_ns == occurred_ns:
            return event
        moved = _with_data(event, {"observed_at": head.occurred_at})
        return _with_time(moved, iso_utc(told_ns))


def _undoes_retry(story: _Story, head: _Head) -> bool:
    """Whether a retry that was recorded could not be published: Celery then rejects the task."""
    return story.is_retried and head.kind == "task.failed" and head.data.cause == "rejected"


def _with_prefetch_wait(event: bytes, received_ns: int, started_ns: int) -> bytes:
    if not received_ns:
        return event
    wait_ms = max(0, started_ns - received_ns) // 1_000_000
    # Canonical order puts the new key right before "queue"; the quote in front of the
    # colon is unescaped only where a key ends, so the first match is the key itself.
    before, found, after = event.partition(b'"queue":')
    return before + b'"prefetch_wait_ms":%d,' % wait_ms + found + after if found else event


def _with_data(event: bytes, more: dict[str, object]) -> bytes:
    value = canonical.decode(event)
    value["data"].update(more)
    return canonical.encode(value)


def _with_time(event: bytes, occurred_at: str) -> bytes:
    value = canonical.decode(event)
    value["occurred_at"] = occurred_at
    return canonical.encode(value)


def _lost_span(head: _Head, start: _Data, started_ns: int, ended_ns: int) -> LostSpan:
    return LostSpan(
        task_id=head.task_id,
        task_name=start.task_name,
        queue=start.queue,
        worker=start.worker,
        attempt=start.attempt,
        trace_id=start.trace_id,
        span_id=start.span_id,
        parent_span_id=start.parent_span_id,
        is_sampled=start.trace_sampled,
        started_ns=started_ns,
        ended_ns=ended_ns,
        cause="revoked" if head.data.terminated else head.data.cause or "worker_lost",
        error_type=head.data.exception_type or "Terminated",
    )
