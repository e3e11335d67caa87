"""One run: the plants go through a worker, and all that comes out of it is collected."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.e2e.otlp_receiver import OtlpReceiver
from tests.truth.brokers import rabbitmq, rabbitmqctl, redis

from z4j_otel.cli.brain_api import wait_until

from .brains import Brain
from .places import READY, SENT, plant
from .scene import Scene
from .wiretap import Wiretap
from .wrong import what_is_said

__all__ = ["Outcome", "play"]

_READY_S = 60.0
_DELIVERED_S = 90.0
_COMMANDS = {
    "to retry": ("retry_task", {}),
    "to retry in vain": ("retry_task", {}),
    "to override": (
        "retry_task",
        {
            "override_args": ["card", plant("override argument").content()],
            "override_kwargs": {"password": plant("override keyword").content(), "order": 7},
        },
    ),
}


@dataclasses.dataclass(slots=True)
class Outcome:
    """All that came out of a run."""

    ids: dict[str, str] = dataclasses.field(default_factory=dict)
    """The task of each plant."""
    surfaces: dict[str, list[bytes]] = dataclasses.field(default_factory=dict)
    """What was written, sent, shown and printed, by path."""
    events: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    """The events as they were sent, by task."""
    shown: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    """The events as the brain shows them, by task."""
    rows: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """The brain's row of each task."""
    commands: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """How each command ended."""
    issues: list[int] = dataclasses.field(default_factory=list)
    """How many failures the brain takes for one and the same, for each."""
    letters: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """The dead letters by task, where the broker keeps some."""
    heartbeats: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, path: str, *found: bytes) -> None:
        """Keep what came out on one path."""
        self.surfaces.setdefault(path, []).extend(found)


class SpanStore(OtlpReceiver):
    """Keeps as text what z4j-otel wrote on spans.

    Upstream's instrumentation writes names, reasons and errors on its spans as they are, and
    who exports them decided so; on those, only our own attributes are ours to answer for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ours: list[bytes] = []

    def take(self, body: bytes) -> None:
        """Keep the spans of one request."""
        super().take(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scoped in resource.scope_spans:
                is_ours = scoped.scope.name.startswith("z4j")
                for span in scoped.spans:
                    ours = [each for each in span.attributes if each.key.startswith("z4j.")]
                    self.ours.append(f"{span}".encode() if is_ours else f"{ours}".encode())


@contextlib.contextmanager
def _broker(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a broker and a result backend, with their passwords."""
    if kind == "embedded":
        results = f"z4j_otel.cli.workload.results:Results+sqlite:///{folder}/results.db"
        yield "filesystem://", results
        return
    password = plant("broker's password").secret
    with redis() as results:
        # A Redis whose default user needs no password takes any.
        secret = plant("result backend's password").secret
        backend = results.replace("//", f"//default:{secret}@", 1)
        if kind == "redis":
            with redis() as broker:
                yield broker.replace("//", f"//default:{password}@", 1), backend
        else:
            with _rabbitmq(password) as broker:
                yield broker, backend


@contextlib.contextmanager
def _rabbitmq(password: str) -> Iterator[str]:
    """Yield the URL of a virtual host, of a user with this password."""
    user = f"canary-{secrets.token_hex(4)}"
    with rabbitmq() as url:
        host = url.rpartition("/")[2]
        for arguments in (("add_user", user, password), ("set_permissions", "-p", host, user)):
            rights = (".*",) * 3 if arguments[0] == "set_permissions" else ()
            rabbitmqctl(*arguments, *rights)
        try:
            yield f"amqp://{user}:{password}@{url.rpartition('@')[2]}"
        finally:
            rabbitmqctl("delete_user", user)


def play(
    brain: Brain,
    folder: Path,
    *,
    broker: str,
    without: str | None,
    agent_host: str = "thread",
    say: Callable[[str], None],
) -> Outcome:
    """Push every plant through a worker and collect all that comes out.

    Args:
        brain: The brain, running.
        folder: An empty directory for all files.
        broker: ``redis``, ``rabbitmq`` or ``embedded``.
        agent_host: Where the agent lives: ``thread`` or ``process``.
        without: A rule to take away from the worker, or None.
        say: Is told what happens.
    """
    outcome = Outcome()
    agent = brain.environment()
    with (
        _broker(broker, folder) as (url, results),
        Wiretap(agent["Z4J_BRAIN_URL"], is_refusing=True) as tap,
        SpanStore() as spans,
        Scene(
            folder, {**agent, "Z4J_BRAIN_URL": tap.url},
            broker=url, results=results, spans=spans.env(), without=without,
            agent_host=agent_host,
        ) as scene,
    ):  # fmt: skip
        say("a worker whose brain is away")
        scene.schedules()
        scene.worker()
        wait_until(lambda: _is_ready(scene), "ready worker", timeout_s=_READY_S)
        say("the plants")
        outcome.ids = scene.publish()
        _wait_stored(scene, outcome)
        outcome.add("journal, buffer: undelivered", *_flat(scene.files()))
        for name, printed in scene.tools():
            outcome.add(f"z4j-otel {name}", printed)
        say("the brain is back")
        tap.admit()
        outcome.ids |= scene.trace()
        _wait_delivered(brain, outcome)
        say("commands")
        _command(brain, outcome)
        if url.startswith("amqp"):
            outcome.letters = {each["task_id"]: each for each in brain.dead_letters()}
            outcome.add("dead letters", json.dumps(outcome.letters).encode())
        say("schedules")
        scene.beat()
        wait_until(lambda: _has_ticked(scene), "run of a schedule", timeout_s=_READY_S)
        wait_until(lambda: _has_details(tap), "details of the worker", timeout_s=_READY_S)
        outcome.add("journal, buffer: at work", *_flat(scene.files()))
        for name, printed in scene.tools():
            outcome.add(f"z4j-otel {name}", printed)
        scene.stop("beat")
        scene.stop("worker")
        outcome.add("journal, buffer: afterwards", *_flat(scene.files()))
        outcome.add("logs", *_flat(scene.logs()))
        outcome.add("frames to the brain", *tap.up)
        outcome.add("frames from the brain", *tap.down)
        outcome.add("headers to the brain", "\n".join(tap.headers).encode())
        outcome.add("spans", *spans.ours)
        outcome.add("errors of settings", what_is_said())
        _read_frames(tap, outcome)
        _look_at(brain, outcome)
    return outcome


def _look_at(brain: Brain, outcome: Outcome) -> None:
    """Take down all that the brain shows."""
    for task_id in outcome.ids.values():
        outcome.rows[task_id] = brain.task(task_id) or {}
        outcome.shown[task_id] = brain.events(task_id)
    outcome.issues = brain.issues()
    found = brain.shown() | {
        "single tasks": json.dumps(list(outcome.rows.values())),
        "events": json.dumps(list(outcome.shown.values())),
    }
    for name, shown in found.items():
        outcome.add(f"{brain.title}: {name}", shown.encode())


def _flat(found: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    return (content for _, content in found)


def _is_ready(scene: Scene) -> bool:
    if not scene.is_alive():
        raise RuntimeError(f"the worker ended:\n{scene.log()[-4000:]}")
    return READY in scene.log()


def _wait_stored(scene: Scene, outcome: Outcome) -> None:
    """Wait until the last task's end stands in the buffer."""
    last = outcome.ids["to override"]

    def is_stored() -> bool:
        exported = dict(scene.tools(("buffer export",)))["buffer export"].decode()
        return any(last in line and "task.failed" in line for line in exported.splitlines())

    wait_until(is_stored, "stored end of the last task", timeout_s=_READY_S)


def _wait_delivered(brain: Brain, outcome: Outcome) -> None:
    def is_shown(name: str) -> bool:
        row = brain.task(outcome.ids[name])
        return bool(row) and row["state"] in {"success", "failure", "retry"}  # type: ignore[index]

    for name in outcome.ids:
        if name != "task name":
            wait_until(lambda name=name: is_shown(name), f"end of {name}", timeout_s=_DELIVERED_S)


def _command(brain: Brain, outcome: Outcome) -> None:
    celery = {"engine": "celery"}
    for name, (action, parameters) in _COMMANDS.items():
        ended = brain.command(action, **celery, task_id=outcome.ids[name], **parameters)
        outcome.commands[name] = ended
        assert ended["status"] == "completed", ended
        new = ended["result"]["new_task_id"]
        outcome.ids[f"{name}, again"] = new
    orders: Mapping[str, tuple[str, dict[str, Any]]] = {
        "rate limit": (
            "rate_limit",
            {"task_name": plant("unknown task of a rate limit").content(), "rate": "1/s"},
        ),
        "purge": (
            "purge_queue",
            {"queue": plant("unknown queue of a purge").content(), "force": True},
        ),
        "rate limit of a worker": (
            "rate_limit",
            {
                "task_name": "store.keep",
                "rate": "1/s",
                "worker_name": plant("unknown worker").content(),
            },
        ),
        "cancel": ("cancel_task", {**celery, "task_id": outcome.ids["to retry"]}),
    }
    for name, (action, parameters) in orders.items():
        outcome.commands[name] = brain.command(action, **parameters)
    outcome.ids["submitted, again"] = brain.submit(
        "store.keep",
        [plant("submitted argument").content()],
        {"password": plant("submitted keyword").content(), "order": 7},
    )
    for name in [name for name in outcome.ids if name.endswith(", again")]:

        def is_over(name: str = name) -> bool:
            row = brain.task(outcome.ids[name])
            return bool(row) and row["state"] in {"success", "failure"}  # type: ignore[index]

        wait_until(is_over, f"end of {name}", timeout_s=_DELIVERED_S)


def _has_ticked(scene: Scene) -> bool:
    if not scene.is_alive("beat"):
        raise RuntimeError(f"beat ended:\n{scene.log('beat')[-4000:]}")
    return SENT in scene.log("beat")


def _has_details(tap: Wiretap) -> bool:
    return sum(b"worker_details" in frame for frame in tap.up) > 1


def _read_frames(tap: Wiretap, outcome: Outcome) -> None:
    for raw in tap.up:
        frame = json.loads(raw)
        payload = frame.get("payload") or {}
        if frame.get("type") == "heartbeat":
            outcome.heartbeats.append(payload)
        for event in payload.get("events", ()) if isinstance(payload, dict) else ():
            outcome.events.setdefault(event["task_id"], []).append(event)
