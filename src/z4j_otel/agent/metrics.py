"""The ledger as OpenTelemetry metrics, through the application's own meter provider.

All instruments are observable: they cost nothing until somebody reads them, and then they
read what the agent's thread has last put together, never the database. They are made once
per process and show the agent that was published last, with its last numbers once it has
ended. In a forked child they are silent: what they would show is the parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final
from weakref import ReferenceType, ref

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from z4j_otel.agent.hello import agent_version
from z4j_otel.agent.ledger import Ledger
from z4j_otel.clock import Clock, SystemClock

__all__ = ["METRICS", "Metric", "MetricKind", "PublishedMetrics", "publish"]

_NS: Final = 1_000_000_000


class MetricKind(str, Enum):
    """Which observable instrument a metric is."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up-down counter"
    GAUGE = "gauge"


_Value = int | float
_Reading = Iterable[tuple[_Value, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    kind: MetricKind
    unit: str
    """UCUM, as OpenTelemetry asks."""
    help: str
    read: Callable[[Ledger, int], _Reading]
    """Returns values with attributes, of a ledger and the time in nanoseconds."""
    attributes: tuple[str, ...] = ()


def _term(name: str) -> Callable[[Ledger, int], _Reading]:
    return lambda ledger, _: [(getattr(ledger.equation, name), {})]


def _counter(name: str) -> Callable[[Ledger, int], _Reading]:
    return lambda ledger, _: [(getattr(ledger, name), {})]


def _dropped(ledger: Ledger, _: int) -> _Reading:
    for (kind, reason), count in ledger.equation.dropped.items():
        yield count, {"kind": kind.name.lower(), "reason": reason.value}


def _age(ledger: Ledger, now_ns: int) -> _Reading:
    oldest_ns = ledger.stats.oldest_ns
    return [(0.0 if oldest_ns is None else max(0, now_ns - oldest_ns) / _NS, {})]


METRICS: Final = (
    Metric(
        "z4j.events.captured",
        MetricKind.COUNTER,
        "{event}",
        "Events that the processes of this agent recorded, as far as the agent has read them.",
        _term("captured"),
    ),
    Metric(
        "z4j.events.acked",
        MetricKind.COUNTER,
        "{event}",
        "Events that the brain has acknowledged.",
        _term("acked"),
    ),
    Metric(
        "z4j.events.told_twice",
        MetricKind.COUNTER,
        "{event}",
        "Events held back because another one had told the same.",
        _term("told_twice"),
    ),
    Metric(
        "z4j.events.dropped",
        MetricKind.COUNTER,
        "{event}",
        "Events and command results that were lost.",
        _dropped,
        ("kind", "reason"),
    ),
    Metric(
        "z4j.events.pending",
        MetricKind.UP_DOWN_COUNTER,
        "{event}",
        "Events that wait for the brain.",
        _term("pending"),
    ),
    Metric(
        "z4j.events.unaccounted",
        MetricKind.GAUGE,
        "{event}",
        "Captured events that are in none of the other four; anything but 0 is an error of ours.",
        _term("unaccounted"),
    ),
    Metric(
        "z4j.events.sent",
        MetricKind.COUNTER,
        "{event}",
        "Events sent in this life of the agent, once per connection.",
        _counter("sent"),
    ),
    Metric(
        "z4j.buffer.entries",
        MetricKind.UP_DOWN_COUNTER,
        "{entry}",
        "Entries in the buffer: events and command results.",
        lambda ledger, _: [(ledger.stats.entries, {})],
    ),
    Metric(
        "z4j.buffer.size",
        MetricKind.UP_DOWN_COUNTER,
        "By",
        "Bytes of the entries in the buffer.",
        lambda ledger, _: [(ledger.stats.bytes, {})],
    ),
    Metric(
        "z4j.buffer.age",
        MetricKind.GAUGE,
        "s",
        "Age of the oldest entry in the buffer; 0 when it is empty.",
        _age,
    ),
)
"""Everything that is published; docs/reference/metrics.md is written from it."""


class PublishedMetrics:
    """The instruments of one meter provider.

    Args:
        provider: Whose; the process's global one, present or future, when None.
        clock: For ages; the machine's own when None.
    """

    def __init__(self, provider: MeterProvider | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._pid = 0
        self._ledger: ReferenceType[Ledger] | None = None
        meter = get_meter("z4j_otel", agent_version(), provider)
        makers = {
            MetricKind.COUNTER: meter.create_observable_counter,
            MetricKind.UP_DOWN_COUNTER: meter.create_observable_up_down_counter,
            MetricKind.GAUGE: meter.create_observable_gauge,
        }
        for metric in METRICS:
            makers[metric.kind](
                metric.name,
                callbacks=[partial(self._observe, metric)],
                unit=metric.unit,
                description=metric.help,
            )

    def show(self, ledger: Ledger) -> None:
        """Show this ledger from now on, while it lives and in this process."""
        self._ledger, self._pid = ref(ledger), os.getpid()

    def _observe(self, metric: Metric, _: CallbackOptions) -> Iterable[Observation]:
        ledger = self._ledger() if self._ledger is not None else None
        if ledger is None or self._pid != os.getpid():
            return
        for value, attributes in metric.read(ledger, self._clock.now_ns()):
            yield Observation(value, attributes)


_published: list[PublishedMetrics] = []


def publish(ledger: Ledger) -> None:
    """Show a ledger through the global meter provider."""
    if not _published:
        _published.append(PublishedMetrics())
    _published[0].show(ledger)
