"""Which arguments a policy hides, however they are passed."""

from __future__ import annotations

from collections import namedtuple

import pytest

from z4j_otel import z4j_task
from z4j_otel.redaction import REDACTED
from z4j_otel.redaction.arguments import hide_arguments, hides_result_inside
from z4j_otel.task_policies.lookup import BoundPolicy
from z4j_otel.task_policies.policy import build_policy
from z4j_otel.task_policies.signatures import read_parameters


def pay(card, amount, *rest, note="", **others):
    """Take all kinds of arguments."""


def few(card, amount=0):
    """Take two."""


def hide(args=None, kwargs=None, *, of=pay, is_canvas=False, hidden=None, **options):
    """Pass arguments through a policy."""
    parameters = None if of is None else read_parameters(of)
    bound = BoundPolicy(build_policy(options), parameters, is_canvas)
    return hide_arguments(bound, args, kwargs, hidden)


@pytest.mark.parametrize(
    ("options", "args", "kwargs"),
    [
        ({"redact": ["card"]}, [REDACTED, 5, 6, 7], {"note": "n", "x": 1}),
        ({"redact": ["note"]}, ["4111", 5, 6, 7], {"note": REDACTED, "x": 1}),
        ({"redact": ["rest"]}, ["4111", 5, REDACTED, REDACTED], {"note": "n", "x": 1}),
        ({"redact": ["others"]}, ["4111", 5, 6, 7], {"note": "n", "x": REDACTED}),
        ({"redact": ["x"]}, ["4111", 5, 6, 7], {"note": "n", "x": REDACTED}),
        ({"keep": ["amount"]}, [REDACTED, 5, *[REDACTED] * 2], {"note": REDACTED, "x": REDACTED}),
        ({"keep": ["rest", "x"]}, [REDACTED, REDACTED, 6, 7], {"note": REDACTED, "x": 1}),
        ({"keep": []}, [REDACTED] * 4, {"note": REDACTED, "x": REDACTED}),
        ({"keep": ["card", "note"], "redact": ["note"]}, ["4111", *[REDACTED] * 3],
         {"note": REDACTED, "x": REDACTED}),
        ({}, ["4111", 5, 6, 7], {"note": "n", "x": 1}),
    ],
)  # fmt: skip
def test_arguments_are_hidden_by_their_names(options, args, kwargs):
    """Positional ones, keywords, and what ``*args`` and ``**kwargs`` take."""
    assert hide(["4111", 5, 6, 7], {"note": "n", "x": 1}, **options) == (args, kwargs)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"number": "4111", "of": "jane"}, {"number": REDACTED, "of": "jane"}),
        ([{"number": "4111"}, {"of": "jane"}], [{"number": REDACTED}, {"of": "jane"}]),
        (({"number": {"deep": 1}},), [{"number": REDACTED}]),
        (None, None),
        ("{'number': 4111}", REDACTED),
        (4111, REDACTED),
        (namedtuple("Card", "number")("4111"), {"number": REDACTED}),  # noqa: PYI024 -- a tuple of this form is the case
        (object(), REDACTED),
    ],
)
def test_a_path_leads_into_a_value(value, shown):
    """Dicts and lists are looked through; where nothing can be told apart, all goes."""
    assert hide([value], {}, of=few, redact=["card.number"])[0] == [shown]


def test_a_path_may_be_all_that_is_kept():
    """The rest of the value is hidden."""
    value = {"user": {"id": 7, "email": "j@x"}, "items": [{"id": 1, "price": 2}]}
    args, _ = hide([value], {}, of=few, keep=["card.user.id", "card.items.id"])
    assert args == [{"user": {"id": 7, "email": REDACTED}, "items": [{"id": 1, "price": REDACTED}]}]


def test_the_shorter_of_two_paths_counts():
    """Hidden is hidden, kept is kept."""
    value = {"a": {"b": 1, "c": 2}}
    assert hide([value], {}, of=few, redact=["card.a", "card.a.b"])[0] == [{"a": REDACTED}]
    assert hide([value], {}, of=few, keep=["card.a", "card.a.b"])[0] == [value]


def test_places_tell_nothing_where_a_decorator_gives_arguments():
    """Of ``pay(connection, card)`` behind what opens the connection, callers pass the card."""

    def wrapped(connection, card, amount=0): ...

    assert hide(["4111"], {}, of=wrapped, redact=["card"]) == ([REDACTED], {})
    assert hide(["4111"], {"amount": 5}, of=wrapped, keep=["connection", "amount"]) == (
        [REDACTED],
        {"amount": 5},
    )
    shown = (["db", REDACTED], {})
    assert hide(["db", "4111"], {}, of=wrapped, redact=["card"]) == shown


def test_places_tell_nothing_where_results_come_first():
    """A chord's callback is given the results before what its signature holds."""

    def body(results, card="none"): ...

    with_policy = BoundPolicy(build_policy({"redact": ["card"]}), read_parameters(body))
    assert hide_arguments(with_policy, ["4111"], {}, is_whole=False) == ([REDACTED], {})


def test_what_cannot_be_named_is_hidden():
    """Arguments that the task does not take, unknown parameters, and the text of a repr."""
    assert hide(["a", 1, "b"], {"crad": "4111"}, of=few, redact=["card"]) == (
        [REDACTED, 1, REDACTED],
        {"crad": REDACTED},
    )
    assert hide(["a"], {"card": 1, "x": 2}, of=None, redact=["card"]) == (
        [REDACTED],
        {"card": REDACTED, "x": 2},
    )
    assert hide("('4111',)", "{'card': 1}", redact=["card"]) == (REDACTED, REDACTED)
    assert hide(None, None, redact=["card"]) == (None, None)


def test_a_value_that_holds_itself_comes_to_an_end():
    """Within bounds, and without a part of it that the policy hides."""
    loop = {"number": "4111"}
    loop["self"] = [loop, loop]
    args, _ = hide([[loop] * 3], {}, of=few, redact=["card.self.self.number"])
    assert args[0][0]["number"] == "4111"
    ring = []
    ring += [ring, ring]
    assert "4111" not in repr(hide([ring], {}, redact=["card.number"]))


def test_hidden_values_are_named():
    """So that they can be found elsewhere."""
    hidden = []
    hide(["4111"], {"note": "n", "x": {"y": 1}}, redact=["card", "x.y"], hidden=hidden)
    assert hidden == ["4111", 1]


def test_nothing_of_the_application_runs():
    """Subclasses are read past their own methods, and nothing given is changed."""

    class Dict(dict):
        def items(self):
            raise AssertionError

    class List(list):
        def __iter__(self):
            raise AssertionError

    kwargs = Dict(note=Dict(a=1))
    assert hide(List([1, 2]), kwargs, redact=["card", "note.a"]) == (
        [REDACTED, 2],
        {"note": {"a": REDACTED}},
    )
    assert dict.__getitem__(kwargs["note"], "a") == 1


def signature(task, *args, **kwargs):
    """Return what Celery sends of a task that is to follow."""
    common = {"options": {}, "subtask_type": None, "immutable": False}
    return {"task": task, "args": args, "kwargs": kwargs, **common}


@pytest.fixture
def without_engine(policies, monkeypatch):
    """Let only names have policies."""
    monkeypatch.setattr(policies, "finders", list)


@pytest.mark.usefixtures("without_engine")
def test_signatures_inside_the_engines_own_tasks_obey_their_policies():
    """Chords carry their callback, with its arguments."""
    z4j_task("shop.pay", redact=["card"])
    args, kwargs = hide(
        ["group-1", signature("shop.pay", "4111", card="4111", amount=5)],
        {"callback": signature("shop.pay", card="4111"), "other": signature("shop.add", 1, x=2)},
        of=None,
        is_canvas=True,
    )
    assert args[0] == "group-1"
    assert args[1]["args"] == [REDACTED]
    assert args[1]["kwargs"] == {"card": REDACTED, "amount": 5}
    assert kwargs["callback"]["kwargs"] == {"card": REDACTED}
    assert kwargs["other"]["kwargs"] == {"x": 2}
    assert hide(None, "{'callback': 1}", of=None, is_canvas=True) == (None, "{'callback': 1}")


def test_only_an_immutable_signature_tells_its_arguments_by_place(policies, monkeypatch):
    """Before those of another come the results of the tasks that it waits for."""

    def body(results, card="none"): ...

    bound = BoundPolicy(build_policy({"redact": ["card"]}), read_parameters(body))
    monkeypatch.setattr("z4j_otel.redaction.arguments.policy_of", lambda name: bound)
    callback = signature("shop.body", "4111")
    assert hide([callback], {}, of=None, is_canvas=True)[0][0]["args"] == [REDACTED]
    whole = {**callback, "immutable": True}
    assert hide([whole], {}, of=None, is_canvas=True)[0][0]["args"] == ["4111"]


@pytest.mark.usefixtures("without_engine")
def test_a_map_obeys_the_policy_of_its_task():
    """What it is mapped over are the task's arguments; and its results are the task's."""
    z4j_task("shop.pay", redact=["card"], redact_result=True)
    mapped = {"task": signature("shop.pay"), "it": [["4111", 5]]}
    assert hide([], mapped, of=None, is_canvas=True)[1]["it"] == REDACTED
    assert hides_result_inside([], mapped)
    other = {"task": signature("shop.add"), "it": [[1, 2]]}
    assert hide([], other, of=None, is_canvas=True)[1]["it"] == [[1, 2]]
    assert not hides_result_inside([], other)


def test_signatures_without_end_come_to_an_end(policies):
    """What is nested too deeply is hidden."""
    ring = {"a": 1}
    ring["b"] = ring
    assert REDACTED in repr(hide([ring, [ring]], None, of=None, is_canvas=True))
