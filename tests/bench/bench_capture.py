"""What our hooks cost on the application's threads, beyond the upstream spans.

Celery's own tracer runs a task, and its own producer publishes to a memory broker, with the
signals' receivers changed between short blocks: none, upstream's, upstream's and ours, and
upstream's with receivers that only write what an event has of bytes: the floor. Blocks take
turns, so that all meet the same machine.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.app.trace import build_tracer
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor, utils
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from z4j_otel import sinks
from z4j_otel.agent.host import Host
from z4j_otel.exporter.sink import EventSink
from z4j_otel.instrumentors.celery.instrumentor import CeleryCapture
from z4j_otel.instrumentors.tracing import TaskTracer
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import Redactor

BLOCKS = 120
RUNS = 30
WARM = 3
SIGNALS = (
    signals.task_prerun,
    signals.task_postrun,
    signals.before_task_publish,
    signals.after_task_publish,
)
Layer = tuple[tuple[str, ...], list[list[Any]]]
"""The attributes that upstream copies, and the receivers of each signal."""
_clock = time.perf_counter_ns
_EVENT_BYTES = 400


class _NoExporter(SpanExporter):
    """Takes spans off the process's hands, as a fast collector would."""

    def export(self, spans: Any) -> SpanExportResult:
        """Forget them."""
        return SpanExportResult.SUCCESS


class _Timed:
    """A receiver of ours with a stop-watch."""

    spent_ns = 0

    def __init__(self, receiver: Callable[..., None]) -> None:
        self._receiver = receiver

    def __call__(self, **arguments: Any) -> None:
        begin = _clock()
        self._receiver(**arguments)
        _Timed.spent_ns += _clock() - begin


class _Floor:
    """Receivers that do the least: a call, and one write for each record."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._event = b"x" * _EVENT_BYTES

    def write(self, **_arguments: Any) -> None:
        """Write a record."""
        os.write(self._fd, self._event)

    def look(self, **_arguments: Any) -> None:
        """Note something."""

    def receivers(self) -> list[Callable[..., None]]:
        """Return one for each of the signals."""
        return [self.write, self.write, self.look, self.write]


def run() -> dict[str, float]:
    """Return microseconds per run of a task and per publish, added by each layer."""
    with tempfile.TemporaryDirectory() as folder:
        app = _make_app()
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(_NoExporter()))
        journal = JournalWriter(Path(folder) / "journal", max_bytes=1 << 32)
        floor = _Floor(Path(folder) / "floor")
        sink = EventSink(journal, Redactor(), common={"environment": "bench"})
        layers = _connect(app, sink, floor)
        runs = _compare(layers, _runner(app))
        publishes = _compare(layers, _publisher(app))
        assert not journal.dropped
    return {f"run_{name}": value for name, value in runs.items()} | {
        f"publish_{name}": value for name, value in publishes.items()
    }


def _make_app() -> Celery:
    app = Celery("bench", broker="memory://", set_as_current=True)
    app.conf.update(result_backend="disabled://", task_ignore_result=True)

    @app.task(name="bench.add")
    def add(x: int, y: int, note: str = "") -> int:
        return x + y

    app.finalize()
    return app


def _connect(app: Celery, sink: EventSink, floor: _Floor) -> list[Layer]:
    """Return what each layer hooks: nothing, upstream, ours as well, ours timed, the floor."""
    layers = [[list(signal.receivers) for signal in SIGNALS]]
    CeleryInstrumentor().instrument()
    layers.append([list(signal.receivers) for signal in SIGNALS])
    least = [
        [*members, ((id(receiver), members[0][0][1]), receiver)]  # for every sender, as upstream's
        for members, receiver in zip(layers[1], floor.receivers(), strict=True)
    ]
    names = utils.CELERY_CONTEXT_ATTRIBUTES
    host = Host()
    host._pid, host._sink = os.getpid(), sink
    sinks.set_opener(lambda: host)
    capture = CeleryCapture(TaskTracer("celery"))
    capture.connect()
    capture.main_process._runs.broker_scheme = "redis"
    layers.append([list(signal.receivers) for signal in SIGNALS])
    ours = {key for signal in layers[2] for key, _ in signal} - {
        key for signal in layers[1] for key, _ in signal
    }
    timed = [
        [(key, _Timed(receiver) if key in ours else receiver) for key, receiver in signal]
        for signal in layers[2]
    ]
    repaired = utils.CELERY_CONTEXT_ATTRIBUTES
    attributes = (names, names, repaired, repaired, names)
    return list(zip(attributes, [*layers, timed, least], strict=True))


def _runner(app: Celery) -> Callable[[], Callable[[], object]]:
    task = app.tasks["bench.add"]
    traced = build_tracer(task.name, task, app=app, hostname="bench@host")
    base = {
        "task": task.name, "lang": "py", "retries": 0, "root_id": None, "parent_id": None,
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0,
                          "redelivered": False},
        "origin": "gen1@host", "hostname": "bench@host", "timelimit": [None, None],
        "argsrepr": "(2, 3)", "kwargsrepr": "{'note': 'n'}", "is_eager": False,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "args": [2, 3], "kwargs": {"note": "n"},
    }  # fmt: skip

    def prepare() -> Callable[[], object]:
        task_id = str(uuid.uuid4())
        request = {**base, "id": task_id, "root_id": task_id, "correlation_id": task_id}
        return lambda: traced(task_id, [2, 3], {"note": "n"}, request)

    return prepare


def _publisher(app: Celery) -> Callable[[], Callable[[], object]]:
    task = app.tasks["bench.add"]
    connection = app.connection_for_write()
    producer = app.amqp.Producer(connection.channel(), auto_declare=False)

    def prepare() -> Callable[[], object]:
        return lambda: task.apply_async((2, 3), {"note": "n"}, producer=producer)

    return prepare


def _use(layer: Layer) -> None:
    utils.CELERY_CONTEXT_ATTRIBUTES, receivers = layer
    for signal, members in zip(SIGNALS, receivers, strict=True):
        # The list must stay the same object: Celery's tracer keeps it.
        signal.receivers[:] = members
        signal.sender_receivers_cache.clear()


def _compare(layers: list[Layer], prepare: Callable[[], Callable[[], object]]) -> dict[str, float]:
    times: list[list[int]] = [[] for _ in layers]
    spent: list[int] = []
    for _ in range(BLOCKS):
        for number_of_layer, layer in enumerate(layers):
            _use(layer)
            for number in range(RUNS + WARM):
                action = prepare()
                _Timed.spent_ns = 0
                begin = _clock()
                action()
                elapsed = _clock() - begin
                if number >= WARM:
                    times[number_of_layer].append(elapsed)
                    spent.append(_Timed.spent_ns)
    _use(layers[0])
    bare, upstream, ours, _, least = (_at(sorted(each), 50) for each in times)
    inside = sorted(value for value in spent if value)
    return {
        "bare_p50_us": bare,
        "upstream_p50_us": upstream - bare,
        "ours_p50_us": ours - upstream,
        "floor_p50_us": least - upstream,
        "inside_p50_us": _at(inside, 50),
        "inside_p99_us": _at(inside, 99),
    }


def _at(times: list[int], percentile: int) -> float:
    return times[len(times) * percentile // 100] / 1000


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.2f}")  # noqa: T201 -- this is what it is for
