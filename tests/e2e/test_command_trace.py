"""A retry in the traces that a user's collector gets, from a real worker."""

from __future__ import annotations

import uuid

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage

from .otlp_receiver import STATUS_ERROR, OtlpReceiver
from .test_processes import wait_until

pytestmark = pytest.mark.timeout(180)
EXPORT = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_SCHEDULE_DELAY": "200"}
HOSTS = ("thread", "process")


class Scene:
    """A retry of a failed task, the spans of both, and the command's result."""

    def __init__(self, folder, host):
        with EmbeddedBrain() as view, OtlpReceiver() as self.collector:
            variables = {**EXPORT, **self.collector.env(), "Z4J_AGENT_HOST": host}
            options = ("--pool=prefork", "--concurrency=2")
            with Stage(
                folder, view.environment(), worker_options=options, variables=variables
            ) as stage:
                self.failed = stage.publish("raises")["raises"]
                self._wait_failed(view, self.failed)
                brain = view._thread.brain
                self.command = brain.issue("retry_task", engine="celery", task_id=self.failed)
                self.command.wait(30)
                assert self.command.status.value == "completed", self.command.error
                self.result = self.command.result
                self._wait_failed(view, self.result["new_task_id"])
                wait_until(lambda: self.runs(self.result["new_task_id"]) and self.commands())
            self.events = view.events(self.result["new_task_id"])

    def _wait_failed(self, view, task_id):
        wait_until(lambda: (view.task(task_id) or {}).get("state") == "failure")

    def commands(self):
        """Return the spans of commands."""
        return [span for span in self.collector.spans() if span.name.startswith("z4j.command")]

    def runs(self, task_id):
        """Return the spans of a task's runs."""
        return self._of(task_id, "run/")

    def publishes(self, task_id):
        """Return the spans of a task's publishes."""
        return self._of(task_id, "apply_async/")

    def _of(self, task_id, prefix):
        return [
            span
            for span in self.collector.spans()
            if span.name.startswith(prefix)
            and task_id
            in (
                span.attributes.get("messaging.message.id"),
                span.attributes.get("celery.task_id"),
                span.attributes.get("messaging.message_id"),
            )
        ]


@pytest.fixture(scope="module", params=HOSTS)
def scene(request, tmp_path_factory):
    """Play it with the agent in the worker and beside it."""
    return Scene(tmp_path_factory.mktemp(request.param), request.param)


def test_one_trace_shows_command_publish_and_new_run(scene):
    """The publish is the command's child, the new run the publish's."""
    (command,) = scene.commands()
    new_id = scene.result["new_task_id"]
    (publish,) = scene.publishes(new_id)
    (run,) = scene.runs(new_id)
    assert command.parent_span_id == ""
    assert publish.parent_span_id == command.span_id
    assert run.parent_span_id == publish.span_id
    assert {command.trace_id, publish.trace_id, run.trace_id} == {scene.result["trace_id"]}
    assert run.status == STATUS_ERROR


def test_the_command_is_linked_to_the_run_that_failed(scene):
    """The first run is one step away, in the trace of whoever published it."""
    (command,) = scene.commands()
    (failed,) = scene.runs(scene.failed)
    assert command.links == ((failed.trace_id, failed.span_id),)
    assert failed.trace_id != command.trace_id


def test_the_command_says_who_what_and_how_it_ended(scene):
    """Command id, operator, action, task and outcome are attributes."""
    (command,) = scene.commands()
    assert command.name == "z4j.command retry_task"
    expected = {
        "z4j.command.id": scene.command.id,
        "z4j.command.action": "retry_task",
        "z4j.command.status": "success",
        "messaging.message.id": scene.failed,
    }
    assert expected.items() <= command.attributes.items()
    assert uuid.UUID(command.attributes["z4j.command.id"])


def test_the_brain_can_show_the_trace(scene):
    """The events of the new run carry the command's trace, as does its result."""
    started = next(event for event in scene.events if event["kind"] == "task.started")
    assert started["data"]["trace_id"] == scene.result["trace_id"]
