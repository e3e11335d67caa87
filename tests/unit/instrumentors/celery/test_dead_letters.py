"""Dead letters shown and sent back, and what is told when the broker fails in between."""

from __future__ import annotations

import pytest

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.browsing import headers_of
from z4j_otel.instrumentors.celery.dead_letters import DeadLetterControl
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.testing.clocks import ManualClock

from .rabbit import Lost, Rabbit, app_on, message


def control(rabbit, app=None):
    """Return the commands on a broker."""
    return DeadLetterControl(CeleryHandle(app or app_on(rabbit), clock=ManualClock()))


def ids(rabbit, queue):
    """Return the ids of the tasks in a queue."""
    return [headers_of(each)["id"] for each in rabbit.queues[queue]]


@pytest.fixture
def rabbit():
    """A broker with two dead letters."""
    return Rabbit(work=[], dead=[message("a"), message("b")])


def test_letters_are_listed_and_stay(rabbit):
    """By either name of a queue, or without one; others' messages are not shown."""
    rabbit.queues["dead"].append(message(None))
    for queue in (None, "work", "dead"):
        page = control(rabbit).list_letters({"queue": queue}, "celery")
        assert sorted(entry["task_id"] for entry in page["entries"]) == ["a", "b"]
        assert page["total"] == 2
    assert len(rabbit.queues["dead"]) == 3


def test_letters_of_another_queue_are_left_out(rabbit):
    """Several queues may share one for their dead letters."""
    rabbit.queues["dead"].append(message("c", death={"queue": "other"}))
    page = control(rabbit).list_letters({"queue": "work"}, "celery")
    assert (len(page["entries"]), page["total"]) == (2, 2)
    assert control(rabbit).list_letters({"queue": "dead"}, "celery")["total"] == 3


def test_queue_without_dead_letters_is_refused(rabbit):
    """An empty list would say that nothing died."""
    with pytest.raises(CommandRefused, match="queue idle has no dead-letter queue"):
        control(rabbit).list_letters({"queue": "idle"}, "celery")


def test_list_that_failed_is_told(rabbit):
    """It is not the same as an empty list."""
    rabbit.failing["get"] = Lost()
    with pytest.raises(AdapterError, match=r"does not tell about dead letters \(Lost\)"):
        control(rabbit).list_letters({}, "celery")
    rabbit.kinds["dead"] = "quorum"
    with pytest.raises(CommandRefused):
        control(rabbit).list_letters({}, "celery")


def test_letter_is_sent_back(rabbit):
    """Its own message goes to the queue it died in, and leaves the others where they are."""
    answer = control(rabbit).requeue({"task_id": "b"})
    assert answer == {
        "task_id": "b",
        "queue": "work",
        "dead_letter_queue": "dead",
        "dead_letters_before": 2,
        "dead_letters_after": 1,
    }
    assert (ids(rabbit, "work"), ids(rabbit, "dead")) == (["b"], ["a"])
    (sent,) = rabbit.queues["work"]
    assert (sent.body, sent.properties["content_type"]) == (message().body, "application/json")
    assert "x-death" not in headers_of(sent)
    assert rabbit.steps.index("confirm") < rabbit.steps.index("ack")


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        (message("other"), "no dead letter of this task"),
        (message(expires="1970-01-01T00:00:00+00:00"), "retry it instead"),
        (message(death={"queue": "gone"}), "queue gone, which the letter died in, does not exist"),
    ],
)
def test_refused_letter_stays(letter, text):
    """Nothing is published, or nothing of it arrived."""
    rabbit = Rabbit(work=[], dead=[letter])
    with pytest.raises(CommandRefused, match=text):
        control(rabbit).requeue({"task_id": "t"})
    assert (len(rabbit.queues["dead"]), rabbit.queues["work"]) == (1, [])


def test_letter_of_unknown_origin_stays():
    """With several queues before it nobody knows where it belongs."""
    rabbit = Rabbit(work=[], dead=[message(death=None)])
    app = app_on(rabbit)
    work = app.amqp.queues["work"]
    app.amqp.queues["more"] = type(work)("more", queue_arguments=work.queue_arguments)
    with pytest.raises(CommandRefused, match="nothing tells which queue"):
        control(rabbit, app).requeue({"task_id": "t"})
    assert control(rabbit).requeue({"task_id": "t"})["queue"] == "work"


def test_full_queue_is_a_plain_failure(rabbit):
    """The broker said no, so the letter stays and nothing runs."""
    rabbit.full.add("work")
    with pytest.raises(AdapterError, match="may be full") as caught:
        control(rabbit).requeue({"task_id": "a"})
    assert not caught.value.indeterminate
    assert ids(rabbit, "dead") == ["a", "b"]


@pytest.mark.parametrize(
    ("step", "is_uncertain", "text", "at_work", "at_dead"),
    [
        ("declare", False, "before anything was published", [], ["a", "b"]),
        ("get", False, "before anything was published", [], ["a", "b"]),
        ("publish", True, "did not confirm", [], ["a", "b"]),
        ("confirm", True, "did not confirm", ["a"], ["a", "b"]),
        ("ack", True, "may still be there", ["a"], ["a", "b"]),
    ],
)
def test_broker_that_goes_away(rabbit, step, is_uncertain, text, at_work, at_dead):
    """Before the publish nothing has happened; after it nobody knows. No letter is lost."""
    rabbit.failing[step] = Lost()
    with pytest.raises(AdapterError, match=text) as caught:
        control(rabbit).requeue({"task_id": "a"})
    assert caught.value.indeterminate is is_uncertain
    assert (ids(rabbit, "work"), ids(rabbit, "dead")) == (at_work, at_dead)


def test_letter_that_is_still_there_is_told(rabbit):
    """The broker's count is believed, not our own ack."""
    rabbit.is_deaf = True
    with pytest.raises(AdapterError, match="still has a letter") as caught:
        control(rabbit).requeue({"task_id": "a"})
    assert caught.value.indeterminate


def test_new_letters_meanwhile_do_not_matter(rabbit):
    """The count has not fallen, and the letter has gone all the same."""
    publish = rabbit.queues["work"].append

    class Busy(list):
        """A queue; whoever writes to it lets another letter die."""

        def append(self, value):
            publish(value)
            rabbit.queues["dead"].append(message("c"))

    rabbit.queues["work"] = Busy()
    answer = control(rabbit).requeue({"task_id": "a"})
    assert (answer["dead_letters_before"], answer["dead_letters_after"]) == (2, 2)
