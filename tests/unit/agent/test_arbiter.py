"""The arbiter: one end per attempt, one event per kind and second, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.events import LostSpan
from z4j_otel.wire import canonical

SECOND = 1_000_000_000
T0 = 1_795_000_000 * SECOND


def event(kind: str, at_s: float = 0.0, **data: Any) -> bytes:
    """Encode an event of task t1."""
    return canonical.encode(
        {
            "id": "7b0e1c1e-0000-4000-8000-000000000000",
            "kind": f"task.{kind}",
            "engine": "celery",
            "task_id": "t1",
            "occurred_at": iso_utc(T0 + int(at_s * SECOND)),
            "data": {"task_name": "shop.add", "queue": "orders", "attempt": 0, **data},
        }
    )


def with_mono(made: bytes, mono_ns: int) -> bytes:
    """Return an event as it stands in a journal, with the machine's monotonic clock."""
    return canonical.encode({**canonical.decode(made), "mono_ns": mono_ns})


def told(arbiter: Arbiter, *events: bytes) -> list[dict[str, Any]]:
    """Return what the arbiter lets through, decoded."""
    return [json.loads(out) for e in events if (out := arbiter.judge(e)) is not None]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the kinds, short."""
    return [e["kind"].partition(".")[2] for e in events]


def test_an_undisturbed_story_passes_whole() -> None:
    """Received, started and succeeded in their order are all told."""
    out = told(Arbiter(), event("received"), event("started", 1), event("succeeded", 2))
    assert kinds(out) == ["received", "started", "succeeded"]


@pytest.mark.parametrize("second_end", ["failed", "succeeded", "retried", "revoked"])
def test_only_the_first_end_of_a_run_is_told(second_end: str) -> None:
    """A second end of the same run is counted and dropped."""
    arbiter = Arbiter()
    out = told(
        arbiter, event("received"), event("started", 1), event("failed", 2), event(second_end, 3)
    )
    assert kinds(out) == ["received", "started", "failed"]
    assert arbiter.duplicates == 1


def test_a_start_after_the_end_is_dropped() -> None:
    """A child's start that comes after the main process's revocation tells nothing new."""
    out = told(Arbiter(), event("received"), event("revoked", 1), event("started", 2))
    assert kinds(out) == ["received", "revoked"]


def test_a_run_that_the_pool_began_again_unannounced_is_one_start() -> None:
    """A child may die before its pool knows that it had begun; the pool then sends it again."""
    lost: list[LostSpan] = []
    arbiter = Arbiter(on_lost_span=lost.append)
    starts = [
        event("started", at, span_id=name * 16, trace_id="a" * 32)
        for at, name in ((1, "b"), (2, "c"))
    ]
    out = told(arbiter, event("received"), *starts, event("failed", 3, cause="worker_lost"))
    assert kinds(out) == ["received", "started", "failed"]
    assert [span.span_id[0] for span in lost] == ["b", "c"]


def test_an_exporter_that_fails_over_a_lost_span_costs_no_event() -> None:
    """It is the application's, and has nothing to do with what the brain is told."""

    def fail(_: LostSpan) -> None:
        raise AttributeError("set_attribute")

    start = event("started", 1, span_id="b" * 16, trace_id="a" * 32)
    end = event("failed", 2, cause="worker_lost")
    assert kinds(told(Arbiter(on_lost_span=fail), start, end)) == ["started", "failed"]


def test_a_redelivery_is_a_new_run() -> None:
    """After a new arrival of the same id, start and end are told again."""
    run = [event("received"), event("started", 1), event("retried", 2, retry_count=1)]
    again = [event("received", 3), event("started", 4), event("succeeded", 5)]
    assert len(told(Arbiter(), *run, *again)) == 6


def test_a_synthesised_arrival_is_dropped_when_the_real_one_is_known() -> None:
    """A revocation brings its own arrival, which counts only for a task never announced."""
    known = told(Arbiter(), event("received"), event("received", 1, synthesised=True))
    unknown = told(Arbiter(), event("received", 1, synthesised=True))
    assert (len(known), len(unknown)) == (1, 1)


def test_two_retries_within_one_second_are_told_in_different_seconds() -> None:
    """The brain keeps one event per kind and second, so the second one moves on."""
    arbiter = Arbiter()
    first = told(
        arbiter, event("received"), event("started", 0.1), event("retried", 0.2, retry_count=1)
    )
    second = told(
        arbiter, event("received", 0.3), event("started", 0.4), event("retried", 0.5, retry_count=2)
    )
    seconds = [(e["kind"], e["occurred_at"][:19]) for e in first + second]
    assert len(set(seconds)) == 6
    assert second[2]["data"]["retry_count"] == 2
    assert second[2]["data"]["observed_at"] == iso_utc(T0 + SECOND // 2)


@given(
    st.lists(
        st.tuples(st.sampled_from(["received", "started", "retried"]), st.floats(0, 5)), max_size=20
    )
)
def test_time_never_goes_back_and_no_second_is_used_twice(steps: list[tuple[str, float]]) -> None:
    """Whatever the clocks say, a task's told times ascend and are unique per kind and second."""
    out = told(Arbiter(), *(event(kind, at_s) for kind, at_s in steps))
    times = [parse_iso_ns(e["occurred_at"]) for e in out]
    assert times == sorted(times)
    seconds = [(e["kind"], at // SECOND) for e, at in zip(out, times, strict=True)]
    assert len(set(seconds)) == len(seconds)


def test_a_start_tells_how_long_the_task_waited_in_the_worker() -> None:
    """The wait between arrival and start is put into the start, in canonical order."""
    arbiter = Arbiter()
    arbiter.judge(event("received"))
    out = arbiter.judge(event("started", 0.25, tags={"queue": "x"}))
    assert out is not None
    assert json.loads(out)["data"]["prefetch_wait_ms"] == 250
    assert canonical.encode(json.loads(out)) == out


def test_the_main_process_end_of_a_killed_run_gets_its_runtime_and_span() -> None:
    """Runtime and span ids of a killed run come from its start."""
    arbiter = Arbiter()
    span = {"trace_id": "a" * 32, "span_id": "b" * 16}
    told(arbiter, event("received"), event("started", 1, **span))
    (end,) = told(
        arbiter, event("failed", 3, cause="worker_lost", exception_type="WorkerLostError")
    )
    assert end["data"]["runtime_ms"] == 2000
    assert end["data"]["span_id"] == "b" * 16


def test_the_span_of_a_killed_run_is_reported_once() -> None:
    """A hard time limit that is told twice leaves one span to be ended."""
    lost: list[LostSpan] = []
    arbiter = Arbiter(on_lost_span=lost.append)
    start = event("started", 1, trace_id="a" * 32, span_id="b" * 16, trace_sampled=True)
    end = event("failed", 3, cause="time_limit", exception_type="TimeLimitExceeded")
    told(arbiter, event("received"), start, end, end)
    assert [(s.span_id, s.cause, s.ended_ns - s.started_ns) for s in lost] == [
        ("b" * 16, "time_limit", 2 * SECOND)
    ]


def test_a_run_that_ended_by_itself_leaves_no_span() -> None:
    """An ordinary failure's span was ended by its own process."""
    lost: list[LostSpan] = []
    arbiter = Arbiter(on_lost_span=lost.append)
    start = event("started", 1, trace_id="a" * 32, span_id="b" * 16)
    told(arbiter, event("received"), start, event("failed", 2, cause="exception", runtime_ms=1000))
    assert lost == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"kind":1}',
        b'{"kind":"task.started","engine":"e","task_id":"t","occurred_at":"x"}',
    ],
)
def test_an_event_that_cannot_be_read_passes_unchanged(raw: bytes) -> None:
    """The arbiter judges only what it understands."""
    assert Arbiter().judge(raw) == raw


def test_a_retry_that_could_not_be_published_ends_as_a_failure() -> None:
    """The retry is recorded before its publish; when that fails, Celery rejects the task."""
    run = [event("received"), event("started", 1), event("retried", 2, retry_count=1)]
    out = told(Arbiter(), *run, event("failed", 3, cause="rejected"), event("failed", 4))
    assert kinds(out) == ["received", "started", "retried", "failed"]


def test_memory_of_a_task_that_retries_for_ever_is_bounded() -> None:
    """Seconds that are over cannot collide any more, so they are forgotten."""
    arbiter = Arbiter()
    for second in range(100):
        told(arbiter, event("received", second), event("retried", second + 0.5))
    (story,) = arbiter._stories.values()
    assert len(story.used) <= 4


def test_memory_is_bounded_by_the_number_of_tasks() -> None:
    """The least recently seen task is forgotten first."""
    arbiter = Arbiter(max_tasks=1)
    other = event("failed").replace(b'"t1"', b'"t2"')
    assert kinds(told(arbiter, event("failed"), other, event("failed", 2))) == ["failed"] * 3


def run(pid: int, at_s: float, **data: Any) -> bytes:
    """Encode the start of a run in a process."""
    return event("started", at_s, pid=pid, worker="w1", **data)


def test_two_runs_of_one_message_overlap_and_end_each_for_itself() -> None:
    """A message that is delivered again while its first run goes on makes two attempts."""
    out = told(
        Arbiter(),
        event("received"),
        run(1, 1),
        event("received", 3600),
        run(2, 3601),
        event("succeeded", 3700, pid=1, worker="w1", runtime_ms=1),
        event("failed", 3800, pid=2, worker="w1", cause="worker_lost"),
        event("succeeded", 3801, pid=2, worker="w1", runtime_ms=2),
    )
    assert kinds(out) == [*["received", "started"] * 2, "succeeded", "failed"]
    assert out[-1]["data"]["runtime_ms"] == 199_000


def test_a_late_second_end_does_not_end_the_next_attempt() -> None:
    """What speaks of an attempt that is over says nothing about the one that runs."""
    out = told(
        Arbiter(),
        event("received"),
        run(1, 1),
        event("retried", 2, pid=1, worker="w1"),
        event("received", 3, attempt=1),
        run(2, 4, attempt=1),
        event("failed", 5, cause="worker_lost"),
        event("succeeded", 6, attempt=1),
    )
    assert kinds(out) == ["received", "started", "retried", "received", "started", "succeeded"]


def test_a_waiting_message_that_is_revoked_does_not_end_the_run_beside_it() -> None:
    """A revocation without termination is about a message."""
    out = told(
        Arbiter(),
        event("received"),
        run(1, 1),
        event("received", 2),
        event("revoked", 3),
        event("succeeded", 4, pid=1, worker="w1"),
    )
    assert kinds(out) == ["received", "started", "received", "revoked", "succeeded"]


def test_an_end_whose_start_was_lost_is_told() -> None:
    """A damaged journal may have lost the start."""
    out = told(Arbiter(), event("received"), event("failed", 2, pid=7, cause="worker_lost"))
    assert kinds(out) == ["received", "failed"]


def test_durations_are_those_of_the_monotonic_clock() -> None:
    """A clock that is set back by hours makes no negative time, and one set forth no long one."""
    arbiter = Arbiter()
    at = [(0, 10), (-7200, 11), (7200, 14)]
    records = [
        with_mono(made, mono * SECOND)
        for made, mono in (
            (event("received", at[0][0]), at[0][1]),
            (run(1, at[1][0]), at[1][1]),
            (event("failed", at[2][0], pid=1, worker="w1", cause="worker_lost"), at[2][1]),
        )
    ]
    out = told(arbiter, *records)
    assert out[1]["data"]["prefetch_wait_ms"] == 1000
    assert out[2]["data"]["runtime_ms"] == 3000
    assert [e["occurred_at"] for e in out] == sorted(e["occurred_at"] for e in out)
    assert out[1]["data"]["observed_at"] == iso_utc(T0 - 7200 * SECOND)
    assert not any("mono_ns" in e for e in out)


def test_the_span_of_a_lost_run_never_ends_before_it_began() -> None:
    """Its length is the run's, whatever the wall clock did."""
    lost: list[LostSpan] = []
    arbiter = Arbiter(on_lost_span=lost.append)
    start = run(1, 100, trace_id="a" * 32, span_id="b" * 16)
    end = event("failed", -7200, pid=1, worker="w1", cause="worker_lost")
    told(arbiter, event("received"), with_mono(start, 5 * SECOND), with_mono(end, 9 * SECOND))
    assert lost[0].ended_ns - lost[0].started_ns == 4 * SECOND


def test_an_inferred_end_of_a_run_that_was_followed_keeps_its_time() -> None:
    """It belongs before what was told since; the brain then leaves the task as it is."""
    out = told(
        Arbiter(),
        event("received"),
        run(1, 1),
        event("received", 10),
        run(2, 11),
        event("succeeded", 12, pid=2, worker="w1", runtime_ms=1),
        event("retried", 5, pid=1, worker="w1", cause="worker_lost", inferred=True),
    )
    assert out[-1]["occurred_at"] == iso_utc(T0 + 5 * SECOND)
    assert "observed_at" not in out[-1]["data"]


@pytest.mark.parametrize("is_followed", [False, True])
def test_two_runs_killed_within_one_second_have_an_end_each(is_followed: bool) -> None:
    """The brain keeps one event of a kind and second; the second end is inferred, maybe late."""
    lost = {"worker": "w1", "cause": "worker_lost"}
    arbiter = Arbiter()
    out = told(
        arbiter,
        event("received"),
        run(1, 0.01),
        event("retried", 0.04, pid=1, **lost),
        event("received", 0.15),
        run(2, 0.16),
        *((event("received", 3), run(3, 3.1)) if is_followed else ()),
        event("retried", 0.3, pid=2, inferred=True, **lost),
    )
    seconds = [(e["kind"], e["occurred_at"][:19]) for e in out]
    assert kinds(out).count("retried") == 2
    assert len(seconds) == len({*seconds})


def test_what_is_stored_is_enough_to_go_on() -> None:
    """An arbiter that knows only what another one stored decides as that one would have."""
    stored: dict[str, bytes] = {}
    out: list[dict[str, Any]] = []
    for record in (
        event("received"),
        run(1, 0.2),
        event("retried", 0.4, pid=1, worker="w1"),
        event("failed", 0.5, pid=1, worker="w1", cause="worker_lost"),
        event("received", 0.6, attempt=1),
        run(2, 0.8, attempt=1),
    ):
        arbiter = Arbiter(recall=stored.get)
        out += told(arbiter, record)
        stored |= arbiter.changes()
    assert kinds(out) == ["received", "started", "retried", "received", "started"]
    assert [e["occurred_at"][17:19] for e in out] == ["40", "40", "40", "41", "41"]


def test_a_story_that_cannot_be_read_is_begun_anew() -> None:
    """Another version may have written it."""
    arbiter = Arbiter(recall=lambda key: b"\xc1")
    arbiter.take_over({"celery/t1": b"\xc1"})
    assert kinds(told(arbiter, event("received"))) == ["received"]


def test_memory_holds_the_stories_met_last_and_the_buffer_the_others() -> None:
    """What left memory is recalled."""
    stored: dict[str, bytes] = {}
    arbiter = Arbiter(max_tasks=1, recall=stored.get)
    for record in (event("failed"), event("failed").replace(b'"t1"', b'"t2"')):
        told(arbiter, record)
        stored |= arbiter.changes()
    assert len(arbiter._stories) == 1
    assert told(arbiter, event("failed", 2)) == []


def test_open_runs_are_those_that_a_journal_began() -> None:
    """Its waiting messages are forgotten: they come again."""
    stored: dict[str, bytes] = {}
    arbiter = Arbiter(recall=stored.get)
    for record in (event("received"), run(1, 1), event("received", 2), event("received", 3)):
        arbiter.judge(record, source="dead")
    arbiter.judge(event("received").replace(b'"t1"', b'"t2"'), source="alive")
    stored |= arbiter.changes()
    ((key, open_run, is_repeated),) = arbiter.open_runs(stored, "dead")
    assert (key, open_run.pid, is_repeated) == ("celery/t1", 1, False)
    assert list(arbiter.open_runs(stored, "alive")) == []
