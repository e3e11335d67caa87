"""Policies of single tasks, from a publisher over a prefork worker to the brain."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from z4j_otel.cli import brain_api
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.task_policies import TaskPolicy

pytestmark = pytest.mark.timeout(180)

APPS = Path(__file__).parent / "apps"
CARD = "4111-2222-ab"
SAMPLES = 20
HIDDEN = "[REDACTED]"
PUBLISH = f"""
import json
from policies_app import CARD, app
sent = {{}}
def send(name, *args, **kwargs):
    sent.setdefault(name, []).append(app.tasks["pol." + name].delay(*args, **kwargs).id)
send("redact", CARD, user={{"email": "secret-mail", "id": 7}})
send("keep", card=CARD, amount=5)
send("result", CARD)
send("tagged")
send("skip")
send("rejected", CARD)
send("class", CARD)
send("plain", CARD)
for _ in range({SAMPLES}):
    send("sample")
sent["elsewhere"] = [app.send_task("pol.nosuch", [CARD]).id]
sent["last"] = [app.tasks["pol.plain"].delay("last").id]
print(json.dumps(sent))
"""
ENDS = {"succeeded", "failed"}

wait_until = partial(brain_api.wait_until, what="the worker", timeout_s=60.0)


class Played:
    """What was sent, and what the brain has of it."""

    def __init__(self, brain, ids):
        self.brain = brain
        self.ids = ids

    def row(self, name):
        """Return the brain's row of the only task of a name."""
        return self.brain.task("celery", self.ids[name][0])

    def events(self, name, number=0):
        """Return the data of a task's events by kind, the last of each."""
        found = self.brain.events(self.ids[name][number])
        return {event.kind.partition(".")[2]: event.payload for event in found}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Publish each task once to a worker, and wait until the brain knows all there is to know."""
    folder = tmp_path_factory.mktemp("policies")
    variables = {"PYTHONPATH": os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])}
    with BrainThread() as thread:
        stage = Stage(folder, thread.env(), variables=variables, app="policies_app")
        with stage:
            wait_until(stage.is_ready)
            ids = json.loads(stage.run("-c", PUBLISH))
            played = Played(thread.brain, ids)
            wait_until(
                lambda: all(ENDS & played.events(name).keys() for name in ids if has_end(name))
            )
        yield played


def has_end(name):
    """Tell whether the brain is to know of a task's end."""
    return name not in {"skip", "sample"}


def test_hidden_arguments_are_hidden_in_every_event(played):
    """By place and by name, inside of values, and in the result that repeats one."""
    row = played.row("redact")
    user = {"email": HIDDEN, "id": 7}
    assert (row.args, row.kwargs) == ([HIDDEN], {"user": user})
    assert row.result == {"paid by": HIDDEN, "user": user}
    assert played.events("redact")["sent"]["args"] == [HIDDEN]


def test_only_what_is_kept_is_shown(played):
    """Also in what a retry and a failure say of the rest."""
    row, events = played.row("keep"), played.events("keep")
    assert row.kwargs == {"card": HIDDEN, "amount": 5}
    assert events["retried"]["reason"] == f"ValueError: {HIDDEN} again"
    assert events["failed"]["exception"] == f"ValueError: {HIDDEN} refused for 5"
    assert "refused for" in row.traceback


def test_a_result_is_hidden(played):
    """The existing agents' name and keywords do the same."""
    assert played.row("result").result == HIDDEN
    assert played.row("result").args == [HIDDEN]
    assert played.events("result")["succeeded"]["deadline_ms"] == 5000


def test_tags_and_priority_are_told(played):
    """The brain shows the priority in the task's row."""
    assert played.row("tagged").priority == "critical"
    assert played.events("tagged")["started"]["tags"] == {"team": "billing"}


def test_a_skipped_task_is_not_told(played):
    """It ran, and the brain has no row of it."""
    assert played.row("skip") is None
    assert played.events("skip") == {}


def test_a_sampled_run_is_told_as_a_whole_or_not_at_all(played):
    """In the publisher, the worker's main process and its children alike."""
    policy = TaskPolicy(sample_rate=0.5)
    for number, task_id in enumerate(played.ids["sample"]):
        kinds = {"sent", "received", "started", "succeeded"} if policy.tells_of(task_id) else set()
        assert played.events("sample", number).keys() == kinds


def test_a_rejection_and_a_task_by_class_obey(played):
    """Ends that the main process tells, and a policy that a class has."""
    assert played.row("rejected").args == [HIDDEN]
    assert played.events("rejected")["failed"]["exception"] == f"Reject: no {HIDDEN}"
    assert played.row("class").exception == f"ValueError: {HIDDEN}"


def test_a_task_that_nobody_knows_is_told_without_arguments(played):
    """A publisher that has policies cannot know whether it has one, and nor can the worker."""
    assert played.events("elsewhere")["sent"]["args"] == [HIDDEN]
    assert played.events("elsewhere")["received"]["args"] == HIDDEN


def test_a_task_without_policy_is_told_as_ever(played):
    """Beside the others."""
    row = played.row("plain")
    assert (row.args, row.result, row.priority) == ([CARD], CARD, "normal")


def test_what_is_hidden_is_in_no_event(played):
    """The only ones with the card in them are those of the task without a policy."""
    for name, ids in played.ids.items():
        told = json.dumps([event.payload for each in ids for event in played.brain.events(each)])
        assert (CARD in told) is (name == "plain")
        assert "secret-mail" not in told
