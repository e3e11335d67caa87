"""What is known of one task, and which evidence is about which run."""

from __future__ import annotations

from typing import Any

import pytest

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

SECOND = 1_000_000_000


def who(**known: Any) -> Witness:
    """Return a witness who knows little."""
    return Witness(
        **{
            "source": "a", "attempt": 0, "pid": 0, "worker": None, "span_id": "",
            "at_ns": 0, "mono_ns": 0, **known,
        }
    )  # fmt: skip


def began(pid: int = 0, **known: Any) -> Run:
    """Return a run of which little is known."""
    return Run(
        **{
            "source": "a", "attempt": 0, "started_ns": 0, "mono_ns": 0, "pid": pid,
            "worker": "w", "task_name": "n", "queue": None, "trace_id": "", "span_id": "",
            "parent_span_id": "", "is_sampled": False, "is_redelivered": False, **known,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "pid"),
    [
        ({"pid": 1}, 1),
        ({"pid": 1, "worker": "w"}, 1),
        ({"pid": 1, "worker": "elsewhere"}, None),
        ({"pid": 9}, None),
        ({"span_id": "s2"}, 2),
        ({"span_id": "s2", "pid": 1}, 2),
        ({}, 2),
        ({"attempt": 5}, 2),
    ],
)
def test_evidence_finds_its_run(evidence: dict[str, Any], pid: int | None) -> None:
    """By span, then by process and worker, else the run that began last."""
    story = Story()
    story.begin(began(1, span_id="s1"))
    story.begin(began(2, span_id="s2"))
    found = story.find_run(who(**evidence))
    assert (None if found is None else found.pid) == pid


def test_evidence_of_an_attempt_that_is_over_finds_nothing() -> None:
    """It does not end the attempt that runs now."""
    story = Story()
    story.end(who(attempt=0), None, is_retry=True)
    story.begin(began(2, attempt=1))
    assert story.find_run(who(attempt=0)) is None
    assert story.find_run(who(attempt=0, pid=2)) is not None


def test_an_end_is_known_by_span_or_process() -> None:
    """Ends of other processes are other ends."""
    story = Story()
    run = began(1, span_id="s")
    story.begin(run)
    story.end(who(), run, is_retry=False)
    assert story.knows_end_of(who(span_id="s"))
    assert story.knows_end_of(who(pid=1, worker="w"))
    assert not story.knows_end_of(who(pid=1, worker="v"))
    assert not story.knows_end_of(who(pid=2))
    assert not story.knows_end_of(who())


def test_an_arrival_of_the_same_journal_and_attempt_is_taken() -> None:
    """One of another journal only when there is none; never one of another attempt."""
    story = Story()
    for source, attempt in (("b", 0), ("a", 0), ("a", 1)):
        story.arrive(Arrival(source, attempt, 0, 0))
    taken = [story.take_arrival(who()) for _ in range(3)]
    assert [arrival and arrival.source for arrival in taken] == ["a", "b", None]
    story.forget_arrivals("a")
    assert story.is_blank()


def test_a_story_is_bounded() -> None:
    """A task that runs for ever under one id needs no more than the newest."""
    story = Story()
    for number in range(100):
        story.arrive(Arrival("a", number, 0, 0))
        story.begin(began(number))
        story.end(who(), None, is_retry=True)
    assert [len(story.arrivals), len(story.runs), len(story.ends)] == [8, 8, 8]
    assert story.runs[-1].pid == 99


def test_a_story_survives_storage() -> None:
    """What is read is what was written."""
    story = Story(sent=(1, "s"), last_ns=5, used=[("task.started", 3)])
    story.arrive(Arrival("a", 0, 1, 2))
    story.begin(began(1))
    story.end(who(pid=4), None, is_retry=True)
    assert decode_story(encode_story(story)) == story


def test_adding_a_story_twice_is_as_good_as_once() -> None:
    """An adoption that was interrupted is repeated."""
    mine, theirs = Story(last_ns=5), Story(sent=(0, "s"), last_ns=9, used=[("k", 1)])
    theirs.begin(began(1))
    theirs.arrive(Arrival("a", 0, 1, 2))
    theirs.end(who(), None, is_retry=False)
    mine.begin(began(2))
    for _ in range(2):
        mine.add(theirs)
    assert [run.pid for run in mine.runs] == [1, 2]
    assert (len(mine.arrivals), len(mine.ends), mine.last_ns, mine.used) == (1, 1, 9, [("k", 1)])


def test_a_run_was_followed_by_another_run_message_or_end() -> None:
    """Then its own end is no longer news about the task."""
    run = began(1, started_ns=5)
    alone, rerun, resent, ended, before = (Story(runs=[run]) for _ in range(5))
    rerun.begin(began(2, started_ns=6))
    resent.arrive(Arrival("a", 0, 6, 0))
    ended.end(who(pid=3, at_ns=6), None, is_retry=False)
    stories = (alone, rerun, resent, ended)
    assert [story.has_later_than(run) for story in stories] == [False, True, True, True]
    former = began(4, started_ns=4)
    before.begin(former)
    before.end(who(pid=4, at_ns=6), former, is_retry=True)  # of a run that began before it
    assert not before.has_later_than(run)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ((0, 0), (5, 0), 5),
        ((5, 0), (0, 0), 0),
        ((0, 10), (99, 12), 2),
        ((0, 10), (7, 0), 7),
        ((0, 10), (7, 3), 7),
    ],
)
def test_the_monotonic_clock_decides_where_both_have_it(
    begin: tuple[int, int], end: tuple[int, int], expected: int
) -> None:
    """A machine that was started anew has another one, which is smaller."""
    assert elapsed_ns(*begin, *end) == expected


def test_a_task_is_named_among_all_engines() -> None:
    """Two engines may use one id."""
    assert story_key("celery", "t1") != story_key("rq", "t1")


def test_the_span_of_the_last_run_is_kept() -> None:
    """It outlives the run, is not lost to a run without one, and is taken over."""
    story = Story()
    story.begin(began(trace_id="t", span_id="s", is_sampled=True))
    story.begin(began(pid=7))
    assert story.span == ("t", "s", True)
    following = Story()
    following.add(decode_story(encode_story(story)))
    assert following.span == ("t", "s", True)
    following.begin(began(trace_id="t", span_id="later"))
    following.add(story)
    assert following.span == ("t", "later", False)


def test_seconds_before_a_moved_event_stay_in_use() -> None:
    """An event moved to the next second is told ahead of its time; a late one can be behind it."""
    story = Story()
    told = [story.tell_at("k", SECOND + offset) for offset in (1, 2)]
    told.append(story.tell_at("k", SECOND + 3, is_late=True))
    assert told == [SECOND + 1, 2 * SECOND, 3 * SECOND]


def test_seconds_that_nothing_can_go_back_to_are_forgotten() -> None:
    """Unless a run that began then is open: its end may come late."""
    free, busy = Story(), Story(runs=[began(1, started_ns=SECOND)])
    for story in (free, busy):
        story.tell_at("k", SECOND)
        story.tell_at("k", 9 * SECOND)
    assert [[second for _, second in story.used] for story in (free, busy)] == [[9], [1, 9]]
