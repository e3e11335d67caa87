"""A program without our instrumentor, whose spans of tasks our exporter turns into events."""

from __future__ import annotations

import json
import uuid

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from z4j_otel.exporter import Z4JExporter

from .plants import PLANTS, Plant

_SCOPE = "opentelemetry.instrumentation.celery"
_STATES = {"exception on a span": "FAILURE", "reason on a span": "RETRY"}


class OutOfStock(Exception):
    """An application's own error."""


def _sell(each: Plant) -> None:
    raise OutOfStock(each.content())


def _play(tracer: Tracer, each: Plant, state: str) -> str:
    task_id = str(uuid.uuid4())
    attributes = {
        "celery.action": "run",
        "celery.state": state,
        "celery.task_name": "store.far",
        "messaging.message.id": task_id,
        "messaging.destination": "orders",
        "celery.delivery_info": repr({"note": each.content()}),
    }
    if state == "RETRY":
        attributes["celery.retry.reason"] = f"Retry in 0s: OutOfStock({each.content()!r})"
    try:
        with tracer.start_as_current_span(
            "run/store.far", kind=SpanKind.CONSUMER, attributes=attributes
        ):
            _sell(each)
    except OutOfStock:
        return task_id


def main() -> None:
    """Make a span for each plant of this way; print the ids of the tasks, by plant."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Z4JExporter()))
    tracer = provider.get_tracer(_SCOPE)
    ids = {
        each.name: _play(tracer, each, _STATES[each.way]) for each in PLANTS if each.way in _STATES
    }
    provider.shutdown()
    print(json.dumps(ids))  # noqa: T201 -- for whoever started it


if __name__ == "__main__":
    main()
