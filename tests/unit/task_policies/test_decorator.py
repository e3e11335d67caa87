"""The decorator: where it may stand, and what it refuses."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest
from celery import Celery, shared_task

import z4j_otel
from z4j_otel import z4j_meta, z4j_task
from z4j_otel.errors import ConfigError

pytestmark = pytest.mark.usefixtures("policies")

NUMBERS = itertools.count()
"""Shared tasks turn up in every app that is made later."""


def pay(card, amount=0):
    """Pay."""


def paths(policies, task):
    """Return what the policies on a task hide."""
    return {path for policy in policies.policies_on(task) for path in policy.redact}


def test_it_returns_what_it_is_given():
    """The function, the class and the task stay themselves."""
    assert z4j_task(redact=["card"])(pay) is pay
    assert z4j_meta(tags=["x"])(pay) is pay


@pytest.mark.parametrize("is_above", [True, False])
@pytest.mark.parametrize("options", [{}, {"bind": True}, {"autoretry_for": (OSError,)}])
@pytest.mark.parametrize("kind", ["task", "shared", "eager"])
def test_it_may_stand_above_or_below_the_engines_own(policies, kind, options, is_above):
    """The policy is found on the task either way, whatever Celery wraps the function in."""
    app = Celery("shop", set_as_current=False)
    name = f"shop.pay{next(NUMBERS)}"
    make = app.task(name=name, shared=False, lazy=kind != "eager", **options)
    if kind == "shared":
        make = shared_task(name=name, **options)

    def run(card):
        """Take a card."""

    def bound(self, card):
        """Take a card."""

    function = bound if "bind" in options else run
    with_policy = z4j_task(redact=["card"])
    made = with_policy(make(function)) if is_above else make(with_policy(function))
    assert not app.finalized
    assert made is not function
    assert paths(policies, app.tasks[name]) == {("card",)}


def test_a_task_that_is_made_already_takes_it(policies):
    """Also where the proxy has been used before."""
    app = Celery("shop", set_as_current=False)
    task = app.task(pay, shared=False)
    assert task.name in app.tasks
    z4j_task(redact=["card"])(task)
    assert paths(policies, app.tasks[task.name]) == {("card",)}


def test_a_class_has_it_with_all_that_derive_from_it(policies):
    """What a derived class adds is its own."""
    app = Celery("shop", set_as_current=False)

    @z4j_task(redact=["card"])
    class Pay(app.Task):
        name = "shop.pay"

        def run(self, card, pin):
            """Pay."""

    @z4j_task(redact=["pin"])
    class PayTwice(Pay):
        name = "shop.twice"

    assert paths(policies, app.register_task(Pay())) == {("card",)}
    assert ("pin",) in paths(policies, app.register_task(PayTwice()))


def test_a_slip_in_a_name_is_refused_at_once():
    """It would be a leak: the text tells the nearest name, and all there are."""
    told = "the task has no argument 'crad'; did you mean 'card'? it has: card, amount"
    with pytest.raises(ConfigError, match=re.escape(told)):
        z4j_task(redact=["crad.number"])(pay)
    with pytest.raises(ConfigError, match=r"^keep \(z4j_task\): the task has no argument 'x'; it"):
        z4j_task(keep=["x"])(pay)


def test_any_name_will_do_where_the_function_takes_any():
    """``**kwargs`` takes all names."""
    z4j_task(redact=["anything"])(lambda **options: options)


@pytest.mark.parametrize("target", [7, "shop.pay"])
def test_only_a_task_can_have_a_policy(target):
    """Something else is refused where it stands."""
    with pytest.raises(ConfigError, match="expected a function, a task or a task's class"):
        z4j_task(skip=True)(target)


def test_an_object_that_takes_no_attribute_is_refused():
    """The text says what to decorate instead."""
    with pytest.raises(ConfigError, match="decorate the function that the task runs"):
        z4j_task(skip=True)(len)


def test_forgotten_parentheses_are_told():
    """``@z4j_task`` alone is a common slip."""
    with pytest.raises(ConfigError, match=re.escape("@z4j_task(redact=['card'])")):
        z4j_task(pay)


def test_a_name_alone_declares_a_policy_at_once(policies):
    """For a process that only publishes the task."""
    z4j_task("other.pay", redact=["card"])
    assert policies.policy_of("other.pay").policy.redact == {("card",)}


def test_the_existing_agents_name_and_keywords_work(policies):
    """``redact_kwargs`` and ``keep_kwargs`` add to the new ones, and are checked as they are."""
    z4j_meta("old", redact=["a"], redact_kwargs=["b"], keep_kwargs=["c"], deadline_ms=5000)
    policy = policies.policy_of("old").policy
    assert policy.redact == {("a",), ("b",)}
    assert policy.keep == {("c",)}
    assert policy.deadline_ms == 5000
    with pytest.raises(ConfigError, match="redact"):
        z4j_meta(redact_kwargs="card")


def test_the_decorator_costs_little_to_import():
    """Neither OpenTelemetry nor the rules of redaction are loaded with an application's tasks."""
    code = (
        "import sys; from z4j_otel import z4j_task\n"
        "heavy = {'opentelemetry', 'celery', 'msgspec', 'z4j_otel.redaction', 'asyncio'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"z4j_task", "z4j_meta"} <= set(z4j_otel.__all__)
