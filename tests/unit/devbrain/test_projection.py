"""Every rule by which events become a task's row (PROTOCOL §5.6)."""

from __future__ import annotations

import pytest

from z4j_otel.clock import iso_z
from z4j_otel.devbrain.projection import TaskTable
from z4j_otel.devbrain.rows import EventRow

NS = 1_000_000_000
NOW = 1_767_323_045 * NS

EVERYTHING = {
    "task_name": "shop.pay",
    "queue": "default",
    "worker": "celery@web01",
    "priority": "high",
    "args": [1],
    "kwargs": {"n": 2},
    "parent_task_id": "p",
    "root_task_id": "r",
    "result": {"ok": True},
    "runtime_ms": 12,
    "exception": "Boom",
    "traceback": "text",
    "retry_count": 2,
    "eta": "2027-01-01T00:00:00Z",
    "tags": ["a"],
}


class Story:
    """One task in one table."""

    def __init__(self, **options):
        self.table = TaskTable("project", **options)

    def tell(self, kind, after_s=0.0, data=None, **more):
        """Apply one event that happened ``after_s`` relative to an hour ago."""
        event = EventRow(
            project_id="project",
            agent_id="agent",
            engine="celery",
            task_id="t",
            kind=f"task.{kind}",
            occurred_at_ns=0,
            data={**(data or {}), **more},
            sent_id="",
        )
        at_ns = NOW - 3600 * NS + int(after_s * NS)
        return self.table.apply(event, at_ns=at_ns, now_ns=NOW)

    @property
    def row(self):
        """The task's row."""
        return self.table.row("celery", "t")


@pytest.fixture
def story():
    """Return a task of which nothing is known yet."""
    return Story()


@pytest.mark.parametrize("kind", ["sent", "rejected", "dreamt"])
def test_some_kinds_make_no_row(story, kind):
    """task.sent, task.rejected and unknown kinds leave no trace among the tasks."""
    assert not story.tell(kind, data=EVERYTHING)
    assert story.row is None
    assert len(story.table) == 0


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("received", "received"),
        ("started", "started"),
        ("succeeded", "success"),
        ("failed", "failure"),
        ("retried", "retry"),
        ("revoked", "revoked"),
    ],
)
def test_any_lifecycle_event_makes_the_row(story, kind, state):
    """The first event gives name, queue and priority, whatever its kind."""
    story.tell(kind, data=EVERYTHING)
    row = story.row
    assert (row.state, row.name, row.queue, row.priority) == (state, "shop.pay", "default", "high")
    assert (row.eta, row.tags) == (None, [])


def test_received_fills_its_columns(story):
    """Arguments, relatives and the time come from task.received only."""
    story.tell("received", data=EVERYTHING)
    row = story.row
    assert (row.args, row.kwargs) == ([1], {"n": 2})
    assert (row.parent_task_id, row.root_task_id) == ("p", "r")
    assert row.received_at == iso_z(NOW - 3600 * NS)
    assert (row.worker_name, row.started_at, row.result, row.runtime_ms) == (None,) * 4


def test_started_fills_its_columns(story):
    """The worker and the start come from task.started only."""
    story.tell("started", data=EVERYTHING)
    row = story.row
    assert row.worker_name == "celery@web01"
    assert row.started_at == iso_z(NOW - 3600 * NS)
    assert (row.args, row.received_at, row.parent_task_id, row.finished_at) == (None,) * 4


def test_succeeded_fills_its_columns(story):
    """The result, the runtime and the end come with success, no exception does."""
    story.tell("succeeded", data=EVERYTHING)
    row = story.row
    assert (row.result, row.runtime_ms) == ({"ok": True}, 12)
    assert (row.exception, row.traceback, row.fingerprint) == (None, None, None)
    assert row.finished_at == iso_z(NOW - 3600 * NS)


def test_failed_fills_its_columns(story):
    """Exception, traceback, runtime and fingerprint come with failure."""
    story.tell("failed", data=EVERYTHING)
    row = story.row
    assert (row.exception, row.traceback, row.runtime_ms, row.result) == ("Boom", "text", 12, None)
    assert row.fingerprint
    assert row.last_failed_at == row.finished_at


def test_failed_texts_are_cut_and_stringified(story):
    """Anything becomes text of at most 8192 characters."""
    story.tell("failed", exception={"a": 1}, traceback="x" * 9000)
    assert story.row.exception == "{'a': 1}"
    assert len(story.row.traceback) == 8192


@pytest.mark.parametrize(("count", "stored"), [(3, 3), ("4", 4), (None, 0), ("x", 0)])
def test_retry_count_is_set_and_not_counted(story, count, stored):
    """task.retried stores the number it brings, and 0 without one."""
    story.tell("retried", retry_count=7)
    story.tell("retried", 1, **({} if count is None else {"retry_count": count}))
    assert story.row.retry_count == stored


def test_retry_stores_no_time(story):
    """After a retry an older event still passes."""
    story.tell("retried", 5)
    assert story.tell("started", 1)
    assert story.row.state == "started"


def test_revoked_clears_what_an_end_brought(story):
    """Result, exception and runtime do not outlive a revocation."""
    story.tell("failed", data=EVERYTHING)
    story.tell("revoked", 1)
    row = story.row
    assert (row.state, row.exception, row.traceback, row.runtime_ms) == ("revoked", *(None,) * 3)
    assert row.fingerprint


def test_an_end_is_taken_whatever_its_time(story):
    """Rule 1: a final event on an unfinished row is never too old."""
    story.tell("started", 10)
    assert story.tell("succeeded", 0)
    assert story.row.state == "success"


@pytest.mark.parametrize("kind", ["received", "started", "retried"])
def test_nothing_follows_an_end(story, kind):
    """Rule 2: a finished row takes no unfinished state, however late."""
    story.tell("succeeded", task_name="n")
    assert not story.tell(kind, 100, data=EVERYTHING)
    assert (story.row.state, story.row.worker_name, story.row.args) == ("success", None, None)


@pytest.mark.parametrize(("first", "second"), [("started", "received"), ("failed", "succeeded")])
def test_older_events_of_a_tier_are_rejected(story, first, second):
    """Rule 3: within a tier, an event older than a time of the row changes nothing."""
    story.tell(first, 1)
    before = story.row
    assert not story.tell(second, 0.999, data={**EVERYTHING, "task_name": None})
    assert story.row == before


@pytest.mark.parametrize(("first", "second"), [("received", "started"), ("failed", "succeeded")])
def test_ties_pass(story, first, second):
    """Rule 3: an event of the very same time is taken."""
    story.tell(first, 1)
    assert story.tell(second, 1)


@pytest.mark.parametrize("placeholder", [None, "unknown", "<unknown>", "<unknown:1a2b>", ""])
def test_a_rejected_event_fills_a_missing_name(story, placeholder):
    """Rule 4: the name, and nothing else, may come too late."""
    story.tell("started", 1, task_name=placeholder, queue="q")
    assert not story.tell("received", 0, data=EVERYTHING)
    assert (story.row.name, story.row.args, story.row.queue) == ("shop.pay", None, "q")


def test_a_known_name_is_not_filled_again(story):
    """Rule 4 leaves a real name alone; only task.received overwrites it."""
    story.tell("started", 1, task_name="real")
    story.tell("received", 0, task_name="late")
    assert story.row.name == "real"
    story.tell("received", 2, task_name="newer")
    assert story.row.name == "newer"


def test_received_overwrites_the_queue_even_with_nothing(story):
    """A task.received without queue leaves none; without a name it leaves the name."""
    story.tell("started", 0, task_name="n", queue="q")
    story.tell("received", 1)
    assert (story.row.name, story.row.queue) == ("n", None)


def test_started_overwrites_the_worker_even_with_nothing(story):
    """A task.started without worker leaves none."""
    story.tell("started", 0, worker="w")
    story.tell("started", 1)
    assert story.row.worker_name is None


def test_a_second_received_keeps_the_relatives(story):
    """Relatives are filled, never emptied."""
    story.tell("received", 0, data=EVERYTHING)
    story.tell("received", 1)
    assert (story.row.parent_task_id, story.row.root_task_id) == ("p", "r")


@pytest.mark.parametrize("relative", ["t", "x" * 201, "a\0b", "", None])
def test_unusable_relatives_are_null(story, relative):
    """The task itself, long ids and NULs are no parent."""
    story.tell("received", parent_task_id=relative)
    assert story.row.parent_task_id is None


def test_relatives_of_another_project_are_null():
    """An id that only another project knows is no parent; one known here is."""
    story = Story(is_foreign=lambda task_id: True)
    story.tell("received", 0, parent_task_id="p", root_task_id="r")
    assert story.row.parent_task_id is None


@pytest.mark.parametrize("priority", ["urgent", None, ["low"], 3])
def test_only_known_priorities_count(story, priority):
    """Anything but the four labels is ignored."""
    story.tell("received", priority="low")
    story.tell("started", 1, priority=priority)
    assert story.row.priority == "low"


def test_any_kind_changes_the_priority(story):
    """A label on any later event is taken."""
    story.tell("received")
    assert story.row.priority == "normal"
    story.tell("started", 1, priority="critical")
    assert story.row.priority == "critical"


def test_times_are_capped_to_now(story):
    """An event from a clock that runs ahead happened now."""
    story.tell("received", 3600 + 30)
    assert story.row.received_at == iso_z(NOW)


def test_events_without_a_task_make_no_row(story):
    """Only events of tasks are projected."""
    event = EventRow(
        project_id="p",
        agent_id="a",
        engine="celery",
        task_id="",
        kind="task.started",
        occurred_at_ns=0,
        data={},
        sent_id="",
    )
    assert not story.table.apply(event, at_ns=NOW, now_ns=NOW)


@pytest.mark.parametrize("state", ["success", "failure"])
def test_reconciliation_ends_a_task(story, state):
    """An answer of success or failure is applied, with its end and exception."""
    story.tell("started")
    answer = {"engine_state": state, "finished_at_ns": NOW - NS, "exception": "x" * 600}
    assert story.table.reconcile("celery", "t", answer, NOW)
    assert (story.row.state, story.row.finished_at) == (state, iso_z(NOW - NS))
    assert len(story.row.exception) == 500


@pytest.mark.parametrize(
    "answer",
    [
        {"engine_state": "started"},
        {"engine_state": "revoked"},
        {"engine_state": "failure", "exception": {"not": "text"}},
    ],
)
def test_reconciliation_ignores_other_answers(story, answer):
    """Unfinished states, revoked and broken answers change nothing."""
    story.tell("started")
    assert not story.table.reconcile("celery", "t", answer, NOW)
    assert story.row.state == "started"


def test_reconciliation_leaves_finished_and_unknown_tasks_alone(story):
    """Only unfinished rows are reconciled."""
    story.tell("failed")
    assert not story.table.reconcile("celery", "t", {"engine_state": "success"}, NOW)
    assert not story.table.reconcile("celery", "u", {"engine_state": "success"}, NOW)


@pytest.mark.parametrize(("kind", "asked"), [("received", 0), ("started", 1), ("retried", 1)])
def test_received_tasks_are_never_asked_about(story, kind, asked):
    """Stale tasks are those started or to be retried, not those received."""
    story.tell(kind)
    assert len(list(story.table.unfinished_before(NOW + 1))) == asked
