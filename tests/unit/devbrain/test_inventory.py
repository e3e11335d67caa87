"""The brain's queues and workers."""

from __future__ import annotations

import json

import pytest

from z4j_otel.clock import iso_utc, iso_z
from z4j_otel.devbrain.inventory import Inventory

NS = 1_000_000_000
NOW = 1_767_323_045 * NS


@pytest.fixture
def inventory():
    """Return an empty inventory."""
    return Inventory("project")


def details(**members):
    """Make a heartbeat that speaks of one worker."""
    return {"adapter_health": {"celery.worker_details": json.dumps({"w": members})}}


def test_events_touch_queue_and_worker(inventory):
    """Every event that names them moves their time forward, never back."""
    for at_ns in (NOW, NOW + NS, NOW - NS):
        inventory.touch("celery", {"queue": "q", "worker": "w"}, at_ns)
    assert inventory.queues()[0].last_seen_at == iso_z(NOW + NS)
    worker = inventory.workers()[0]
    assert (worker.name, worker.state, worker.hostname) == ("w", "online", None)
    assert worker.last_heartbeat == iso_z(NOW + NS)


@pytest.mark.parametrize("name", [None, "", 5, []])
def test_names_that_are_no_text_touch_nothing(inventory, name):
    """Only non-empty text is a name."""
    inventory.touch("celery", {"queue": name, "worker": name}, NOW)
    inventory.count("celery", "worker.online", {"worker": name}, "a")
    assert (inventory.queues(), inventory.workers()) == ([], [])


def test_stored_events_are_counted_by_worker(inventory):
    """Processed is what succeeded or failed."""
    inventory.touch("celery", {"worker": "w"}, NOW)
    for kind in ("task.succeeded", "task.succeeded", "task.failed", "task.retried", "task.started"):
        inventory.count("celery", kind, {"worker": "w"}, "a")
    row = inventory.workers()[0]
    assert (row.processed, row.succeeded, row.failed, row.retried) == (3, 2, 1, 1)


def test_worker_events_link_worker_and_agent(inventory):
    """The link holds as long as one agent alone reports the worker."""
    inventory.touch("celery", {"worker": "w"}, NOW)
    inventory.count("celery", "worker.online", {"worker": "w"}, "a")
    assert inventory.workers()[0].agent_id == "a"
    inventory.count("celery", "worker.heartbeat", {"worker": "w"}, "b")
    assert inventory.workers()[0].agent_id is None
    assert inventory.reporters("w") == {"a", "b"}
    assert inventory.reporters("w", "rq") == set()


def test_depths_come_from_heartbeats(inventory):
    """queue_depths makes unknown queues and passes over what is no number."""
    depths = json.dumps({"q": 4, "bad": "4", "worse": True})
    inventory.apply_heartbeat({"adapter_health": {"celery.queue_depths": depths}}, NOW)
    assert [(row.name, row.pending_count) for row in inventory.queues()] == [("q", 4)]


def test_worker_details_fill_the_row(inventory):
    """Process facts are lifted from the stats."""
    stats = {"pid": 7, "pool": {"max-concurrency": 3}, "loadavg": [1, 2, 3]}
    inventory.apply_heartbeat(
        details(stats=stats, active=[{}, {}], active_queues=[{"name": "q"}, {}, 5]), NOW
    )
    row = inventory.workers()[0]
    assert (row.pid, row.concurrency, row.load_average) == (7, 3, [1, 2, 3])
    assert (row.active_tasks, row.queues, row.hostname) == (2, ["q"], "w")
    assert inventory.queues()[0].name == "q"


def test_pool_processes_stand_in_for_the_concurrency(inventory):
    """Without max-concurrency the processes are counted; stats may be JSON text."""
    inventory.apply_heartbeat(details(stats='{"pool": {"processes": [1, 2]}}'), NOW)
    assert inventory.workers()[0].concurrency == 2
    inventory.apply_heartbeat(details(stats={"pool": {}}), NOW)
    assert inventory.workers()[0].concurrency == 2


def test_conf_is_filtered_and_metadata_merged(inventory):
    """Only allowed settings are kept; what is missing later keeps its earlier value."""
    inventory.apply_heartbeat(details(conf={"timezone": "UTC", "broker_url": "x"}), NOW)
    inventory.apply_heartbeat(details(conf={"enable_utc": True}, registered=["t"]), NOW)
    assert inventory.workers()[0].metadata == {
        "conf": {"timezone": "UTC", "enable_utc": True},
        "registered": ["t"],
    }


def test_the_last_flush_is_the_worker_s_heartbeat(inventory):
    """last_flush_at counts as the time the worker was seen."""
    inventory.apply_heartbeat({**details(), "last_flush_at": iso_utc(NOW - NS)}, NOW)
    assert inventory.workers()[0].last_heartbeat == iso_z(NOW - NS)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"adapter_health": None},
        {"adapter_health": {"celery.queue_depths": "[]", "celery.worker_details": "{"}},
        {"adapter_health": {"celery.queue_depths": 5, "celery.other": "{}"}},
        {"adapter_health": {"celery.worker_details": '{"w": 5}'}, "last_flush_at": "soon"},
    ],
)
def test_wrong_types_are_passed_over(inventory, payload):
    """A heartbeat never breaks anything."""
    inventory.apply_heartbeat(payload, NOW)
    assert (inventory.queues(), inventory.workers()) == ([], [])
