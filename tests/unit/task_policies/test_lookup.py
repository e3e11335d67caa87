"""From a task's name to its policy."""

from __future__ import annotations

import pytest
from celery import Celery

from z4j_otel import z4j_task


class Tasks:
    """An engine of functions by name."""

    def __init__(self, **known):
        self.known = known
        self.asked = []

    def tasks(self, name):
        """Return the functions of a name."""
        self.asked.append(name)
        return self.known.get(name, [])

    def function(self, task):
        """Return the task itself."""
        return task

    def is_canvas(self, name):
        """Tell that one of them is the engine's own."""
        return name == "canvas"

    def arguments(self, name, task_id):
        """Know none."""


def plain(card):
    """Have no policy."""


@pytest.fixture
def engine(policies, monkeypatch):
    """Give an engine, the only one of this process."""
    engine = Tasks(plain=[plain], canvas=[plain])
    monkeypatch.setattr(policies, "finders", lambda: [engine])
    return engine


def test_a_process_without_policies_does_not_even_look(policies, engine):
    """That is all that tasks pay."""
    assert policies.policy_of("plain") is None
    assert engine.asked == []


def test_a_policy_is_found_by_name_with_the_tasks_parameters(policies, engine):
    """Positional arguments get their names from the function."""
    engine.known["pay"] = [z4j_task(redact=["card"])(lambda card, amount: None)]
    bound = policies.policy_of("pay")
    assert bound.policy.redact == {("card",)}
    assert bound.parameters.by_place == ("card", "amount")


def test_a_known_task_is_looked_up_once(policies, engine):
    """With a policy and without."""
    engine.known["pay"] = [z4j_task(skip=True)(lambda: None)]
    for _ in range(3):
        assert policies.policy_of("pay").policy.skip
        assert policies.policy_of("plain") is None
    assert engine.asked == ["pay", "plain"]


def test_a_later_policy_counts_from_then_on(policies, engine):
    """Applications import their modules when they like."""
    z4j_task("other", skip=True)
    later = [lambda: None]
    engine.known["later"] = later
    assert policies.policy_of("later") is None
    z4j_task(skip=True)(later[0])
    assert policies.policy_of("later").policy.skip


def test_a_task_that_is_not_here_is_told_without_arguments(policies, engine):
    """A process that has policies cannot know whether it has one; and asks again next time."""
    z4j_task("other", skip=True)
    assert policies.policy_of("nosuch").policy.keep == frozenset()
    assert policies.policy_of("nosuch").policy.keep == frozenset()
    assert engine.asked == ["nosuch", "nosuch"]


def test_a_name_of_several_apps_has_the_strictest_policy(policies, engine):
    """Nobody knows which of them a message was for."""
    engine.known["pay"] = [
        z4j_task(redact=["card"])(lambda card, pin: None),
        z4j_task(redact=["pin"])(lambda card, pin: None),
    ]
    assert policies.policy_of("pay").policy.redact == {("card",), ("pin",)}


def test_what_is_said_by_name_and_on_the_task_adds_up(policies, engine):
    """Both go."""
    z4j_task("pay", redact=["pin"])
    engine.known["pay"] = [z4j_task(redact=["card"])(lambda card, pin: None)]
    assert policies.policy_of("pay").policy.redact == {("card",), ("pin",)}


def test_the_engines_own_tasks_are_looked_into(policies, engine):
    """Their arguments hold those of others."""
    z4j_task("other", skip=True)
    assert policies.policy_of("canvas").is_canvas


def test_without_an_engine_only_names_count(policies, monkeypatch):
    """A process of another engine's spans knows no tasks."""
    monkeypatch.setattr(policies, "finders", list)
    z4j_task("known", skip=True)
    assert policies.policy_of("known").policy.skip
    assert policies.policy_of("unknown") is None
    assert policies.policy_of("") is None


def test_celery_is_asked_where_it_is_imported(policies):
    """Nobody has to register it."""
    app = Celery("shop", set_as_current=False)

    @app.task(name="finding.pay", shared=False)
    @z4j_task(skip=True)
    def pay():
        """Pay."""

    assert app.tasks["finding.pay"]
    assert policies.policy_of("finding.pay").policy.skip
