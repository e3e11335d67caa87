"""The embedded brain says of the same events what the real brain says."""

from __future__ import annotations

import contextlib
import time
import uuid

import pytest
from websockets.sync.client import connect

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import Heartbeat, Hello
from z4j_otel.wire.session import BatchAcked, Role, Session
from z4j_otel.wire.signing import decode_secret

NS = 1_000_000_000
SENT, RECEIVED, STARTED = "task.sent", "task.received", "task.started"
SUCCEEDED, FAILED, RETRIED, REVOKED = (
    "task.succeeded",
    "task.failed",
    "task.retried",
    "task.revoked",
)
FULL = {
    "task_name": "shop.tasks.pay",
    "queue": "default",
    "worker": "celery@web01",
    "priority": "high",
    "args": [1, 2.5, {"a": None}],
    "kwargs": {"password": "x", "note": "n", "nested": {"token": {"deep": [1]}}},
    "parent_task_id": "parent",
    "root_task_id": "root",
    "result": {"ok": True},
    "runtime_ms": 12,
    "exception": "Boom: no 12345",
    "traceback": 'File "/a/b.py", line 3, in f\nBoom',
    "retry_count": 2,
}
STORIES = {
    "whole life": [(RECEIVED, 0, FULL), (STARTED, 1, FULL), (SUCCEEDED, 2, FULL)],
    "sent only": [(SENT, 0, FULL)],
    "failed first": [(FAILED, 0, FULL)],
    "succeeded first, no data": [(SUCCEEDED, 0, {})],
    "revoked first": [(REVOKED, 0, FULL)],
    "retried first": [(RETRIED, 0, FULL)],
    "received without data": [(RECEIVED, 0, FULL), (RECEIVED, 1, {})],
    "started without worker": [(STARTED, 0, FULL), (STARTED, 1, {})],
    "received after started": [(STARTED, 1, {"worker": "w"}), (RECEIVED, 0, FULL)],
    "received at the same time": [(STARTED, 1, {"worker": "w"}), (RECEIVED, 1, FULL)],
    "received later than started": [(STARTED, 0, {"worker": "w"}), (RECEIVED, 1, FULL)],
    "started after the end": [(SUCCEEDED, 0, FULL), (STARTED, 5, FULL)],
    "older end": [(RECEIVED, 5, FULL), (SUCCEEDED, 0, FULL)],
    "end after end": [(SUCCEEDED, 0, FULL), (FAILED, 1, FULL), (REVOKED, 2, FULL)],
    "older end after end": [(FAILED, 2, FULL), (SUCCEEDED, 1, FULL)],
    "recovery": [(FAILED, 0, FULL), (SUCCEEDED, 1, {"result": 5})],
    "revoked after success": [(SUCCEEDED, 0, FULL), (REVOKED, 1, {})],
    "retry and again": [
        (STARTED, 0, FULL),
        (RETRIED, 1, {"retry_count": 1}),
        (STARTED, 2, FULL),
        (RETRIED, 3, {}),
    ],
    "retry count as text": [(RETRIED, 0, {"retry_count": "3"})],
    "late name": [(STARTED, 1, {}), (RECEIVED, 0, {"task_name": "late"})],
    "name by an accepted event": [(STARTED, 0, {}), (SUCCEEDED, 1, {"task_name": "late"})],
    "placeholder name": [
        (STARTED, 0, {"task_name": "<unknown:12345678>"}),
        (SUCCEEDED, 1, {"task_name": "real"}),
        (STARTED, 2, {"task_name": "later"}),
    ],
    "received without name": [(STARTED, 0, {"task_name": "first"}), (RECEIVED, 1, {})],
    "odd priorities": [(RECEIVED, 0, {"priority": "urgent"}), (STARTED, 1, {"priority": ["low"]})],
    "later priority": [(RECEIVED, 0, {"priority": "low"}), (STARTED, 1, {"priority": "critical"})],
    "odd runtimes": [(SUCCEEDED, 0, {"runtime_ms": "12"}), (FAILED, 1, {"runtime_ms": 3.9})],
    "runtime stays away": [(SUCCEEDED, 0, {"runtime_ms": 3}), (FAILED, 1, {"exception": "E"})],
    "odd exception": [(FAILED, 0, {"exception": {"a": 1}, "traceback": 5})],
    "long traceback": [(FAILED, 0, {"exception": "E" * 9000, "traceback": "t" * 9000})],
    "address in the traceback": [(FAILED, 0, {"traceback": "from a@b.example"})],
    "address as worker": [(STARTED, 0, {"worker": "celery@web-01.example.com"})],
    "one second": [(STARTED, 0, {"worker": "a"}), (STARTED, 0.5, {"worker": "b"})],
    "future": [(RECEIVED, 3600, FULL)],
    "near future": [(RECEIVED, 40, FULL), (STARTED, 41, FULL)],
    "long ago": [(RECEIVED, -500 * 86400, FULL)],
    "own parent": [(RECEIVED, 0, {"parent_task_id": "SELF", "root_task_id": "SELF"})],
    "odd parent": [(RECEIVED, 0, {"parent_task_id": 5, "root_task_id": "r" * 201})],
    "unknown kind": [("task.dreamt", 0, FULL)],
    "rejected": [(STARTED, 0, FULL), ("task.rejected", 1, FULL)],
    "secret value": [(RECEIVED, 0, {"args": ["Bearer abcdefghijklmnop1234", "x"]})],
    "long string": [(RECEIVED, 0, {"args": ["é" * 6000]})],
}
FIELDS = [
    *("task_id", "name", "queue", "state", "priority", "args", "kwargs", "result", "exception"),
    *("traceback", "retry_count", "runtime_ms", "worker_name", "parent_task_id"),
    *("root_task_id", "eta", "tags"),
]
TIMES = ("received_at", "started_at", "finished_at")


class Client:
    """A minimal agent on a real socket."""

    def __init__(self, stack, base_url, token, secret):
        url = base_url.replace("http", "ws", 1) + "/ws/agent"
        headers = {"Authorization": f"Bearer {token}"}
        self.socket = stack.enter_context(connect(url, additional_headers=headers))
        self.session = Session(Role.AGENT, decode_secret(secret))
        hello = Hello(agent_version="1.13.0", framework="bare", engines=["celery"], worker_id="p")
        self.socket.send(self.session.send_hello(hello, frame_id="hello_1"))
        self.receive()

    def receive(self):
        """Return what the brain's next frame means."""
        return self.session.receive(self.socket.recv(30), now_ns=time.time_ns())

    def send(self, events):
        """Send one batch per event and return the acks' counts."""
        counts = []
        for event in events:
            frame = self.session.send_event_batch(
                [canonical.encode(event)], frame_id=f"ev_{uuid.uuid4().hex}", now_ns=time.time_ns()
            )
            self.socket.send(frame)
            while not isinstance(answer := self.receive(), BatchAcked):
                pass
            counts.append((answer.received, answer.accepted, answer.rejected))
        return counts

    def heartbeat(self, **payload):
        """Send a heartbeat."""
        frame = self.session.send_heartbeat(
            Heartbeat(**payload), frame_id="hb_1", now_ns=time.time_ns()
        )
        self.socket.send(frame)


@pytest.fixture(scope="module")
def brains(real_brain):
    """Connect one agent to a real brain and one to an embedded brain."""
    credentials = real_brain.mint_agent("parity")
    env = credentials.environment()
    with contextlib.ExitStack() as stack:
        thread = stack.enter_context(BrainThread())
        real = Client(stack, real_brain.base_url, env["Z4J_TOKEN"], env["Z4J_HMAC_SECRET"])
        ours = thread.credentials
        embedded = Client(stack, thread.url, ours.token, ours.hmac_secret)
        yield real_brain.api, real, thread.brain, embedded


def story_events(story, task_id, base_ns):
    """Write a story's steps as events."""
    for kind, after_s, data in story:
        yield {
            "id": str(uuid.uuid4()),
            "kind": kind,
            "engine": "celery",
            "task_id": task_id,
            "occurred_at": iso_utc(base_ns + int(after_s * NS)),
            "data": {k: task_id if v == "SELF" else v for k, v in data.items()},
        }


def instant(text, now_ns):
    """Read a time; one that the brain replaced by its own clock is just that."""
    if text is None:
        return None
    # SQLite keeps no offset.
    at_ns = parse_iso_ns(text if text.endswith("Z") or "+" in text else f"{text}Z")
    return "now" if abs(at_ns - now_ns) < 8 * NS else at_ns


@pytest.mark.parametrize("name", STORIES)
def test_both_brains_agree(brains, name):
    """The acks, the row and the timeline of a story are the same on both."""
    api, real, brain, embedded = brains
    now_ns = time.time_ns()
    task_id = str(uuid.uuid4())
    events = list(story_events(STORIES[name], task_id, now_ns // NS * NS - 3600 * NS))
    if name == "near future":
        events = list(story_events(STORIES[name], task_id, now_ns))

    assert embedded.send(events) == real.send(events)

    theirs, ours = api.task(task_id), brain.task("celery", task_id)
    assert (theirs is None) == (ours is None)
    if theirs is not None:
        assert {f: getattr(ours, f) for f in FIELDS} == {f: theirs[f] for f in FIELDS}
        assert {f: instant(getattr(ours, f), now_ns) for f in TIMES} == {
            f: instant(theirs[f], now_ns) for f in TIMES
        }
    timeline = {(e["kind"], instant(e["occurred_at"], now_ns)) for e in api.events(task_id)}
    assert {(e.kind, instant(e.occurred_at, now_ns)) for e in brain.events(task_id)} == timeline


def test_both_brains_agree_about_workers(brains):
    """What heartbeats and events say of a worker makes the same row on both."""
    api, real, brain, embedded = brains
    details = {
        "parity@node": {
            "stats": {"pid": 7, "pool": {"max-concurrency": 3}, "loadavg": [0.5, 1, 2]},
            "active": [{"id": "x"}],
            "active_queues": [{"name": "parity-a"}, {"name": "parity-b"}],
            "conf": {"timezone": "UTC", "broker_url": "secret"},
        }
    }
    health = {
        "celery.worker_details": canonical.encode(details).decode(),
        "celery.queue_depths": '{"parity-a": 4}',
    }
    task_id, now_ns = str(uuid.uuid4()), time.time_ns()
    story = [(kind, 0, {"worker": "parity@node"}) for kind in (FAILED, RETRIED, SUCCEEDED)]
    for client in (real, embedded):
        client.heartbeat(adapter_health=health)
        client.send(story_events(story, task_id, now_ns))

    names = [
        *("name", "engine", "state", "hostname", "pid", "concurrency", "queues"),
        *("load_average", "active_tasks", "processed", "failed", "succeeded", "retried"),
    ]
    theirs = wait_until(
        lambda: [w for w in api.list_all("workers") if w["name"] == "parity@node"],
        "the worker's row",
        timeout_s=10,
    )
    ours = [row for row in brain.workers() if row.name == "parity@node"]
    assert [{n: getattr(row, n) for n in names} for row in ours] == [
        {n: row[n] for n in names} for row in theirs
    ]
    queues = {"parity-a", "parity-b"}
    assert queues <= {row["name"] for row in api.list_all("queues")}
    assert queues <= {row.name for row in brain.queues()}
