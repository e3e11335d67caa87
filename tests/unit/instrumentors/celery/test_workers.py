"""Commands to workers."""

from functools import partial

import pytest

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.workers import WorkerControl, pool_kind

from .scripted import Fleet, pool_of

W = "w@here"
OK = {"ok": "yes"}
UNKNOWN = {"error": "unknown task"}


def control(fleet):
    """Return the actions over a fleet."""
    return WorkerControl(fleet.handle, fleet.peers)


@pytest.mark.parametrize("rate", ["0", "10", "10/s", "5/m", "1/h"])
def test_rate_limit_is_set_on_one_worker(rate):
    """The rate goes to the worker as it came, and to no worker named like the task."""
    fleet = Fleet(rate_limit=OK)
    asked = {"task_name": "t", "rate": rate, "worker_name": W}
    assert control(fleet).rate_limit(asked) == {"task_name": "t", "rate": rate, "worker": W}
    assert fleet.commands() == [("rate_limit", {"task_name": "t", "rate_limit": rate})]


@pytest.mark.parametrize("rate", ["", "-1", "10/d", "1.5", "10 /s", "x", "٣"])
def test_other_rates_are_refused(rate):
    """Only the forms of the protocol count."""
    fleet = Fleet(rate_limit=OK)
    with pytest.raises(CommandRefused, match="rate must"):
        control(fleet).rate_limit({"task_name": "t", "rate": rate})
    assert fleet.asked == []


def test_rate_limit_of_an_unknown_task_names_it():
    """A worker without the task is a refusal, other reasons stay as they are."""
    asked = {"task_name": "t", "rate": "1", "worker_name": W}
    with pytest.raises(CommandRefused, match="has no task t"):
        control(Fleet(rate_limit=UNKNOWN)).rate_limit(asked)
    with pytest.raises(CommandRefused, match="answered: no"):
        control(Fleet(rate_limit={"error": "no"})).rate_limit(asked)


def everywhere(**answers):
    """Set a rate on all of two workers."""
    fleet = Fleet(rate_limit=answers)
    fleet.names = list(answers)
    return control(fleet).rate_limit({"task_name": "t", "rate": "1"})


def test_rate_limit_everywhere_wants_one_worker_with_the_task():
    """Workers without the task do not matter, unless none has it."""
    assert everywhere(a=UNKNOWN, b=OK) == {"task_name": "t", "rate": "1", "worker": None}
    with pytest.raises(CommandRefused, match="none of 2 workers"):
        everywhere(a=UNKNOWN, b=UNKNOWN)
    with pytest.raises(AdapterError, match="worker b answered: broken"):
        everywhere(a=OK, b={"error": "broken"})
    with pytest.raises(AdapterError, match="no worker answered") as raised:
        everywhere()
    assert raised.value.indeterminate


def test_pool_grows_by_what_was_asked():
    """The new size is waited for."""
    fleet = Fleet(pool_grow=OK, stats=[pool_of(1, 2), pool_of(1, 2), pool_of(1, 2, 3)])
    assert control(fleet).pool_grow({"worker_name": W, "delta": 1}) == {"worker": W, "delta": 1}
    assert fleet.commands() == [("pool_grow", {"n": 1})]
    assert len(fleet.pauses) == 1


def test_pool_that_does_not_grow_is_uncertain():
    """An ok without an effect is no success."""
    fleet = Fleet(pool_grow=OK, stats=pool_of(1, 2))
    with pytest.raises(AdapterError, match="has 2 processes and not 3") as raised:
        control(fleet).pool_grow({"worker_name": W, "delta": 1})
    assert raised.value.indeterminate


def test_pool_of_greenlets_is_measured_by_its_limit():
    """Pools without processes tell their concurrency."""
    sizes = [{"pool": {"max-concurrency": n}} for n in (10, 12)]
    answer = control(Fleet(pool_grow=OK, stats=sizes)).pool_grow({"worker_name": W, "delta": 2})
    assert answer["delta"] == 2


@pytest.mark.parametrize(("kind", "word"), [("solo", "solo"), ("thread", "threads")])
def test_pools_of_fixed_size_are_refused(kind, word):
    """A pool that cannot change is not asked to."""
    fleet = Fleet(stats=pool_of(1, kind=kind))
    with pytest.raises(CommandRefused, match=f"a {word} pool keeps its size"):
        control(fleet).pool_grow({"worker_name": W, "delta": 1})
    assert fleet.commands() == []


@pytest.mark.parametrize("stats", [None, {}, {"pool": {}}, {"pool": {"max-concurrency": "x"}}])
def test_pool_of_unknown_size_is_left_alone(stats):
    """Without the size before there is no evidence of a change."""
    fleet = Fleet(stats=stats)
    with pytest.raises(AdapterError, match="does not tell the size"):
        control(fleet).pool_grow({"worker_name": W, "delta": 1})
    assert fleet.commands() == []


@pytest.mark.parametrize("delta", [None, 0, -1, 101, 1.5, True, "1"])
@pytest.mark.parametrize("action", ["pool_grow", "pool_shrink"])
def test_other_deltas_are_refused(action, delta):
    """Only whole numbers from 1 to 100 count."""
    with pytest.raises(CommandRefused, match="delta must"):
        getattr(control(Fleet()), action)({"worker_name": W, "delta": delta})


def test_pool_shrinks_but_keeps_one():
    """Idle processes go; the last one stays."""
    shrink = partial(control(Fleet(pool_shrink=OK, stats=[pool_of(1, 2), pool_of(1)])).pool_shrink)
    assert shrink({"worker_name": W, "delta": 1}) == {"worker": W, "delta": 1}
    with pytest.raises(CommandRefused, match="has 1 processes and keeps at least one"):
        shrink({"worker_name": W, "delta": 1})


def test_busy_pool_tells_how_far_it_shrank():
    """Celery takes the idle ones before it says that the others are busy."""
    busy = {"error": 'ValueError("Can\'t shrink pool. All processes busy!")'}
    fleet = Fleet(pool_shrink=busy, stats=[pool_of(1, 2, 3), pool_of(1, 2)])
    with pytest.raises(AdapterError, match=r"busy.*went from 3 to 2"):
        control(fleet).pool_shrink({"worker_name": W, "delta": 2})
    with pytest.raises(CommandRefused, match="busy"):
        control(Fleet(pool_shrink=busy, stats=pool_of(1, 2, 3))).pool_shrink(
            {"worker_name": W, "delta": 2}
        )


def queues(*names):
    """Return what a worker tells of its queues."""
    return lambda _: [{"name": name} for name in names]


def test_consumer_is_added_once():
    """The queue is waited for; one that is consumed from already is no error."""
    fleet = Fleet(add_consumer=OK, active_queues=[queues("a"), queues("a"), queues("a", "b")])
    asked = {"worker_name": W, "queue": "b"}
    assert control(fleet).add_consumer(asked) == {"worker": W, "queue": "b"}
    assert control(fleet).add_consumer(asked) == {"worker": W, "queue": "b"}
    assert fleet.commands() == [("add_consumer", {"queue": "b"})]


def test_consumer_that_does_not_come_is_uncertain():
    """An ok without an effect is no success."""
    fleet = Fleet(add_consumer=OK, active_queues=queues("a"))
    with pytest.raises(AdapterError, match="does not consume from b yet") as raised:
        control(fleet).add_consumer({"worker_name": W, "queue": "b"})
    assert raised.value.indeterminate


def test_consumer_is_cancelled():
    """The queue is gone from the worker's list, or it is uncertain."""
    asked = {"worker_name": W, "queue": "b"}
    fleet = Fleet(cancel_consumer=OK, active_queues=[queues("a", "b"), queues("a")])
    assert control(fleet).cancel_consumer(asked) == {"worker": W, "queue": "b"}
    with pytest.raises(CommandRefused, match="does not consume from b, but from a"):
        control(fleet).cancel_consumer(asked)
    with pytest.raises(AdapterError, match="still consumes"):
        control(Fleet(cancel_consumer=OK, active_queues=queues("b"))).cancel_consumer(asked)


@pytest.mark.parametrize("action", ["add_consumer", "cancel_consumer"])
def test_worker_that_hides_its_queues_is_an_error(action):
    """Without the queues there is no evidence."""
    with pytest.raises(AdapterError, match="does not tell its queues"):
        getattr(control(Fleet()), action)({"worker_name": W, "queue": "b"})


@pytest.mark.parametrize("stats", [None, [], {"pool": 1}])
def test_pool_without_a_kind(stats):
    """Whatever a worker says, reading it does not fail."""
    assert pool_kind(stats) == ""
