"""A user's application module: the demo's tasks, some that note when they ran, and set-up.

``WAYS_ACTIVATE`` lists the instrumentors that the module activates itself, in order:
``celery`` is upstream's, ``z4j`` is ours. ``WAYS_PROVIDER`` lists the exporters of a tracer
provider of the module's own, ``z4j`` and ``otlp``; without it, the module makes none.
``WAYS_ARGUMENTS`` holds arguments of Z4JExporter as a JSON object.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from z4j_otel.cli.workload.app import app, fail, killed, slow

__all__ = ["app"]


def _named(variable: str) -> list[str]:
    return [name for name in os.environ.get(variable, "").split(",") if name]


def _exporter(name: str):
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 -- not every run has it
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    from z4j_otel.exporter import Z4JExporter  # noqa: PLC0415 -- not every run uses it

    return Z4JExporter(**json.loads(os.environ.get("WAYS_ARGUMENTS", "{}")))


def _instrumentor(name: str):
    if name == "celery":
        return CeleryInstrumentor()
    from z4j_otel.instrumentors.celery import (  # noqa: PLC0415 -- not every run uses it
        Z4JCeleryInstrumentor,
    )

    return Z4JCeleryInstrumentor()


if _named("WAYS_PROVIDER"):
    provider = TracerProvider()
    for name in _named("WAYS_PROVIDER"):
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    trace.set_tracer_provider(provider)
for name in _named("WAYS_ACTIVATE"):
    _instrumentor(name).instrument()


def _note_start(path: str) -> None:
    Path(f"{path}.part").write_text(str(time.time_ns()))
    Path(f"{path}.part").rename(path)


@app.task(name="ways.killed")
def noted_killed(path: str) -> None:
    """Note the time, then die by SIGKILL."""
    _note_start(path)
    killed.run()


@app.task(name="ways.hard_limited", time_limit=1)
def noted_hard_limited(path: str) -> None:
    """Note the time, then run into the hard time limit."""
    _note_start(path)
    slow.run(30)


@app.task(name="ways.terminated")
def noted_terminated(path: str) -> None:
    """Note the time, then work until somebody revokes the task."""
    _note_start(path)
    slow.run(30)


@app.task(name="ways.parent")
def parent() -> None:
    """Publish other tasks, one of which fails."""
    app.tasks["shop.add"].delay(20, 3)
    fail.delay("as ordered")
