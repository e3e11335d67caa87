"""What Redis' own record of a run adds up to."""

from __future__ import annotations

import json

import pytest
import redis

from ..chaos.record import RedisRecord, commands_of, fates_of  # noqa: TID252 -- what it tests

WORKER, BOOK, NEXT, CLIENT = (f"127.0.0.1:{port}" for port in (1, 2, 3, 4))


def message(task_id):
    """Return a message as kombu writes it."""
    return json.dumps(
        {"headers": {"id": task_id}, "properties": {"delivery_tag": f"tag-{task_id}"}}
    )


class Tape:
    """Commands, one a second."""

    def __init__(self):
        self.lines = []

    def say(self, client, *words, database=3):
        """Add one as ``MONITOR`` shows it."""
        quoted = " ".join('"' + word.replace('"', '\\"') + '"' for word in words)
        self.lines.append(f"{len(self.lines)}.000000 [{database} {client}] {quoted}".encode())

    def push(self, task_id, verb="LPUSH", client=CLIENT):
        """Put a message into the queue."""
        self.say(client, verb, "q", message(task_id))

    def pop(self, client=WORKER, timeout="1"):
        """Ask for a message."""
        self.say(client, "BRPOP", "q", "q\\x06\\x163", timeout)

    def book(self, task_id):
        """Enter a message in the book of those taken."""
        self.say(BOOK, "HSET", "unacked", f"tag-{task_id}", message(task_id))

    def ack(self, task_id):
        """Take a message out of the book."""
        self.say(BOOK, "HDEL", "unacked", f"tag-{task_id}")

    def lost(self, *ended_s):
        """Return the tasks whose messages were lost."""
        fates = fates_of(commands_of(self.lines, 3), ended_s)
        return [task_id for task_id, fate in fates.items() if fate.is_lost]


@pytest.fixture
def tape():
    """Return an empty tape."""
    return Tape()


def test_a_message_that_a_worker_took_and_never_booked_is_lost_with_it(tape):
    """Its fate says when and by whom."""
    tape.push("a")
    tape.pop()

    assert tape.lost(1.5) == ["a"]
    (fate,) = fates_of(commands_of(tape.lines, 3), [1.5]).values()
    assert fate.seen == (
        "LPUSH 00:00:00.000 by 127.0.0.1:4, taken 00:00:01.000 by BRPOP of 127.0.0.1:1, "
        "which said no more until its worker was gone 00:00:01.500; never booked"
    )


def test_a_message_handed_back_by_a_dead_childs_worker_can_be_lost_like_any_other(tape):
    """This is what leaves a task in the state of a retry."""
    tape.push("a")
    tape.pop()
    tape.book("a")
    tape.ack("a")
    tape.push("a", client=BOOK)
    tape.pop()

    assert tape.lost(9.0) == ["a"]


def test_a_pop_that_waits_takes_the_next_message(tape):
    """As long as it has not timed out."""
    tape.pop(timeout="5")
    tape.push("a")

    assert tape.lost(2.0) == ["a"]


def test_a_pop_that_has_timed_out_takes_nothing(tape):
    """Redis has answered it before."""
    tape.pop(timeout="1")
    tape.say(CLIENT, "PING")
    tape.push("a")

    assert tape.lost(3.0) == []


@pytest.mark.parametrize(
    "then",
    [
        lambda tape: tape.book("a"),
        lambda tape: (tape.book("a"), tape.ack("a")),
        lambda tape: tape.push("a", "RPUSH"),
        lambda tape: tape.say(WORKER, "PING"),
        lambda tape: tape.pop(client=NEXT),
    ],
    ids=["booked", "acked", "in the queue again", "its taker lives", "another one takes"],
)
def test_nothing_less_is_a_loss(tape, then):
    """Each of these leaves a message that can come, has run, or may be in somebody's hands."""
    tape.push("a")
    tape.pop()
    then(tape)

    assert tape.lost(9.0) == []


def test_without_the_end_of_a_worker_nothing_is_lost(tape):
    """A worker that forgets what it took is a fault to be found."""
    tape.push("a")
    tape.pop()

    assert tape.lost() == []


def test_a_worker_takes_at_most_one_message_with_it(tape):
    """The other one is in its queue still."""
    tape.push("a")
    tape.push("b")
    tape.pop()

    assert tape.lost(9.0) == ["a"]


def test_what_somebody_takes_out_to_look_at_is_not_lost(tape):
    """At the end of a drill the queue is emptied by RPOP."""
    tape.push("a")
    tape.say(CLIENT, "RPOP", "q")
    tape.say(CLIENT, "RPOP", "q")

    assert tape.lost(9.0) == []


def test_what_is_no_message_of_a_task_is_passed_over(tape):
    """Nor is anything in another database."""
    tape.say(CLIENT, "LPUSH", "q", "no message")
    tape.say(CLIENT, "HSET", "elsewhere", "tag-a", "1")
    tape.push("a")
    tape.say(WORKER, "BRPOP", "q", "1", database=4)

    assert tape.lost(9.0) == []


def test_redis_itself_is_recorded_to_the_end(redis_url, tmp_path):
    """Also what was said a moment before, in the very words."""
    with (
        redis.Redis.from_url(redis_url) as client,
        RedisRecord(redis_url, tmp_path / "redis.log") as record,
    ):
        client.lpush("q", message("a"))
        client.brpop(["q"], timeout=1)
        fates = record.fates([])

    assert list(fates) == ["a"]
    assert "taken" in fates["a"].seen
    assert not fates["a"].is_lost
