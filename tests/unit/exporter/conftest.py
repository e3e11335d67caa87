"""Recorded spans as SDK objects, a list for a sink, and a host that gives it out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from z4j_otel import sinks
from z4j_otel.events import LifecycleRecord

DATA = Path(__file__).parents[2] / "data"
START_NS = 1_795_196_915_000_000_000
# Intakes share one memory of spans per process, so no two spans may have the same ids.
_span_ids = itertools.count(1)


class ListSink:
    """A sink that keeps what it gets, and notes how long it was asked to flush."""

    def __init__(self) -> None:
        self.records: list[LifecycleRecord] = []
        self.flushes: list[float] = []

    def emit(self, record: LifecycleRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    def flush(self, timeout_s: float) -> bool:
        """Note the time allowed."""
        self.flushes.append(timeout_s)
        return True

    def kinds(self) -> list[str]:
        """Return the kinds of all records, without their common prefix."""
        return [record.kind.value.removeprefix("task.") for record in self.records]


class FakeHost:
    """A host that gives out one sink, and remembers the settings it was shown."""

    def __init__(self, sink: ListSink | None) -> None:
        self.given = sink
        self.opened: list[Mapping[str, Any] | None] = []
        self.checked: list[Mapping[str, Any]] = []

    def sink(self, settings: Mapping[str, Any] | None = None) -> ListSink | None:
        """Give out the sink."""
        self.opened.append(settings)
        return self.given

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Accept all settings."""
        self.checked.append(settings)


@pytest.fixture
def sink() -> ListSink:
    """A sink that is a list."""
    return ListSink()


@pytest.fixture
def host(sink: ListSink) -> Iterator[FakeHost]:
    """The host of this process for one test; it gives out ``sink``."""
    fake = FakeHost(sink)
    sinks.set_opener(lambda: fake)
    yield fake
    sinks.set_opener(None)


def _context(told: Mapping[str, Any] | None) -> SpanContext | None:
    if told is None:
        return None
    ids = int(told["trace_id"], 16), int(told["span_id"], 16)
    return SpanContext(*ids, is_remote=told["is_remote"], trace_flags=TraceFlags(1))


def _span(told: Mapping[str, Any]) -> ReadableSpan:
    return ReadableSpan(
        told["name"],
        context=_context(told["context"]),
        parent=_context(told["parent"]),
        resource=Resource({}),
        attributes=told["attributes"],
        events=[Event(e["name"], e["attributes"], e["timestamp"]) for e in told["events"]],
        kind=SpanKind[told["kind"]],
        status=Status(StatusCode[told["status"]["code"]], told["status"]["description"]),
        start_time=told["start_time"],
        end_time=told["end_time"],
        instrumentation_scope=InstrumentationScope(told["scope"], told["scope_version"]),
    )


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], list[tuple[str, ReadableSpan]]]:
    """Read the spans recorded for an engine, as (scenario, span), in the order they ended."""

    def read(engine: str) -> list[tuple[str, ReadableSpan]]:
        told = json.loads((DATA / f"spans_{engine}.json").read_text())["spans"]
        told.sort(key=lambda span: span["end_time"] or span["start_time"])
        return [(span.get("scenario", ""), _span(span)) for span in told]

    return read


@pytest.fixture
def make_span() -> Callable[..., ReadableSpan]:
    """Build a span of one second; each one has ids of its own."""

    def make(
        attributes: Any = None,
        *,
        name: str = "run/tasks.add",
        scope: str = "opentelemetry.instrumentation.celery",
        kind: SpanKind = SpanKind.CONSUMER,
        status: StatusCode | Status = StatusCode.UNSET,
        **changes: Any,
    ) -> ReadableSpan:
        given: dict[str, Any] = {
            "context": SpanContext(7, next(_span_ids), is_remote=False, trace_flags=TraceFlags(1)),
            "resource": Resource({}),
            "status": status if isinstance(status, Status) else Status(status),
            "start_time": START_NS,
            "end_time": START_NS + 1_000_000_000,
            "instrumentation_scope": InstrumentationScope(scope),
        }
        return ReadableSpan(name, attributes=attributes, kind=kind, **(given | changes))

    return make
