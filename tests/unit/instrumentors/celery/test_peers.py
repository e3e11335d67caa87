"""Asking one worker."""

from types import SimpleNamespace

import pytest

from z4j_otel.errors import AdapterError, CommandRefused

from .scripted import Fleet

MAIL = "celery@web-01.example.com"
WIRE = "celery@[web-01.example.com]"


def test_worker_named_like_an_address_is_reached():
    """The brain's form of a name leads to the worker's own."""
    fleet = Fleet(do={"ok": "done"})
    fleet.names = [MAIL]
    fleet.peers.require(WIRE)
    assert fleet.peers.order(WIRE, "do", n=1) == "done"
    assert fleet.asked[-1] == ("do", {"n": 1}, [MAIL])


def test_missing_worker_is_refused_with_those_that_answer():
    """A name nobody has ends before anything is sent; others are told in the brain's form."""
    fleet = Fleet()
    fleet.names = [MAIL]
    with pytest.raises(CommandRefused, match=r"nothing was sent.*celery@\[web-01") as raised:
        fleet.peers.require("gone@x")
    assert not raised.value.indeterminate
    fleet.names = []
    with pytest.raises(CommandRefused, match="workers that do: none"):
        fleet.peers.require("gone@x")


def test_lost_answer_is_asked_for_again():
    """One silence is none: an answer may be lost when a pool forks meanwhile."""
    fleet = Fleet(ping=[None, {"ok": "pong"}], stats=[None, {"pid": 1}])
    fleet.peers.require("w@here")
    assert fleet.peers.look("w@here", "stats") == {"pid": 1}


def test_own_worker_needs_no_ping():
    """The worker of this process is there."""
    fleet = Fleet()
    fleet.handle.worker = SimpleNamespace(name=MAIL)
    fleet.peers.require(WIRE)
    assert fleet.asked == []


def test_silence_after_an_order_is_uncertain():
    """An order without an answer may have been carried out."""
    with pytest.raises(AdapterError, match="did not answer do") as raised:
        Fleet().peers.order("w@here", "do")
    assert raised.value.indeterminate


@pytest.mark.parametrize("answer", [{"error": "no"}, "no"])
def test_declined_order_is_a_refusal(answer):
    """Whatever is no ok is a refusal with the worker's words."""
    with pytest.raises(CommandRefused, match="worker w@here answered: no"):
        Fleet(do=answer).peers.order("w@here", "do")


def test_looks_tell_nothing_or_what_is_said():
    """A question to nobody has no answer."""
    fleet = Fleet(stats={"pid": 1})
    assert fleet.peers.look("w@here", "stats") == {"pid": 1}
    assert fleet.peers.look("gone@x", "stats") is None


def test_waiting_ends_with_the_effect_or_the_patience():
    """An effect may come late; one that never comes is told after some looks."""
    fleet = Fleet()
    seen = iter([False, True])
    assert fleet.peers.wait_for(lambda: next(seen))
    assert len(fleet.pauses) == 1
    assert not fleet.peers.wait_for(lambda: False)
    assert 10 < sum(fleet.pauses) < 20


def test_deaf_moment_is_waited_out():
    """An error while waiting counts as not yet, until the last look."""

    def fail():
        raise AdapterError("deaf")

    turns = [lambda: True, fail]

    def take_turn():
        return turns.pop()()

    assert Fleet().peers.wait_for(take_turn)
    with pytest.raises(AdapterError, match="deaf"):
        Fleet().peers.wait_for(fail)
