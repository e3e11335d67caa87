"""The ledger through OpenTelemetry's metrics."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from z4j_otel.agent.conservation import Conservation
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.metrics import METRICS, MetricKind, PublishedMetrics
from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind
from z4j_otel.testing.clocks import ManualClock

SECOND = 1_000_000_000
TERMS = Conservation(
    captured=20,
    acked=9,
    told_twice=1,
    held=4,
    late=1,
    dropped={
        (EntryKind.EVENT, DropReason.BUFFER_FULL): 5,
        (EntryKind.COMMAND_RESULT, DropReason.TOO_LARGE): 1,
    },
)


@pytest.fixture
def reader():
    """Return a reader that keeps what is collected."""
    return InMemoryMetricReader()


@pytest.fixture
def published(reader):
    """Return the instruments of a real provider, eleven seconds after the epoch."""
    provider = MeterProvider([reader])
    clock = ManualClock()
    clock.now_ns = lambda: 11 * SECOND
    yield PublishedMetrics(provider, clock)
    provider.shutdown()


def collect(reader):
    """Return points by metric: value by attributes, and the metrics themselves."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = [
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    return {
        metric.name: (
            metric.unit,
            {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points},
        )
        for metric in found
    }


def filled(ledger: Ledger) -> Ledger:
    """Let a ledger have seen something."""
    ledger.equation = TERMS
    ledger.stats = BufferStats(entries=6, bytes=600, oldest_ns=8 * SECOND)
    ledger.sent = 12
    return ledger


def test_every_metric_is_published(reader, published, ledger):
    """All rows of the table, each with its unit and the ledger's numbers."""
    published.show(filled(ledger))
    points = collect(reader)
    assert {name: unit for name, (unit, _) in points.items()} == {
        metric.name: metric.unit for metric in METRICS
    }
    single = {name: values[()] for name, (_, values) in points.items() if () in values}
    assert single == {
        "z4j.events.captured": 20,
        "z4j.events.acked": 9,
        "z4j.events.told_twice": 1,
        "z4j.events.pending": 5,
        "z4j.events.unaccounted": 0,
        "z4j.events.sent": 12,
        "z4j.buffer.entries": 6,
        "z4j.buffer.size": 600,
        "z4j.buffer.age": 3.0,
    }


def test_drops_have_kind_and_reason(reader, published, ledger):
    """One series for each; the attributes are those of the table."""
    published.show(filled(ledger))
    _, values = collect(reader)["z4j.events.dropped"]
    assert values == {
        (("kind", "event"), ("reason", "buffer_full")): 5,
        (("kind", "command_result"), ("reason", "too_large")): 1,
    }
    (row,) = (metric for metric in METRICS if metric.attributes)
    assert {name for key in values for name, _ in key} == set(row.attributes)


def test_an_empty_buffer_is_of_no_age(reader, published, ledger):
    """Zero keeps a chart whole."""
    published.show(ledger)
    assert collect(reader)["z4j.buffer.age"][1] == {(): 0.0}


def test_the_agent_published_last_is_shown(reader, published, ledger):
    """A second agent of the process takes over, and no instrument is made twice."""
    published.show(filled(Ledger(buffer_id="b", runtime_id="r")))
    published.show(ledger)
    assert collect(reader)["z4j.events.captured"][1] == {(): 0}


def test_nothing_is_shown_without_an_agent(reader, published):
    """Neither before one was published nor behind one that is gone."""
    assert collect(reader) == {}
    published.show(Ledger(buffer_id="b", runtime_id="r"))
    assert collect(reader) == {}


def test_a_forked_child_shows_nothing(reader, published, ledger):
    """What the parent's agent counted is not the child's."""
    published.show(ledger)
    published._pid -= 1
    assert collect(reader) == {}
    assert os.getpid() == published._pid + 1


def test_no_provider_is_no_failure(ledger):
    """Without an SDK the instruments do nothing."""
    PublishedMetrics(NoOpMeterProvider()).show(ledger)


def test_names_and_units_follow_the_conventions():
    """Dots and lower case, no unit in the name, UCUM annotations for counts."""
    for metric in METRICS:
        assert re.fullmatch(r"z4j\.[a-z]+\.[a-z_]+", metric.name)
        assert metric.unit in {"{event}", "{entry}", "By", "s"}
        assert metric.help.endswith(".")
    counters = {m.name for m in METRICS if m.kind is MetricKind.COUNTER}
    assert {"z4j.events.captured", "z4j.events.acked", "z4j.events.dropped"} <= counters


def test_a_global_provider_that_comes_later_gets_the_instruments():
    """An application may set its provider after the agent has started."""
    code = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.metrics import publish
ledger = Ledger(buffer_id="b", runtime_id="r")
publish(ledger); publish(ledger)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
print(scopes[0].scope.name, sorted(metric.name for metric in scopes[0].metrics)[0])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("z4j_otel z4j.buffer.age\n", "")
