"""Targets that hostile task data, and the parameters of commands, reach."""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Callable, Iterator

from celery import Celery
from kombu.transport import memory

from z4j_otel.agent.execution import CommandRunner
from z4j_otel.agent.policy import policy_of
from z4j_otel.commands import BRAIN_ACTIONS, Command, CommandStatus, Target, command_key
from z4j_otel.events import EventKind, LifecycleRecord, SpanIds, TaskFacts
from z4j_otel.exporter.sink import EventSink
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.redaction import RedactionPolicy, Redactor
from z4j_otel.wire import canonical

from .drawing import Drawing, HostileError
from .fuzzing import Target as FuzzTarget

__all__ = ["TARGETS"]

_KINDS = list(EventKind)
_ACTIONS = sorted(BRAIN_ACTIONS)
_KEYS = ("args", "kwargs", "result", "exception", "traceback", "reason", "eta", "extra", "priority")
_NAMES = (
    *("task_id", "task_name", "args", "kwargs", "override_args", "override_kwargs", "queue"),
    *("eta", "priority", "filter", "task_ids", "worker_name", "rate", "n", "confirm_token"),
    *("terminate", "signal", "fire_id", "operation_id", "schedule_id", "definition", "scheduler"),
    *("operation", "expected", "desired_projection", "limit", "cursor", "message_id", "force"),
)
_STRANGE = ("os.system", "__import__", "../../x", "celery.backend_cleanup", "unit.add", "\n", "*")
_MAX_EVENT_BYTES = 32 * 1024


class _Paper:
    """A journal that keeps nothing and looks at everything."""

    def append(self, record: bytes, *, now_ns: int) -> bool:
        del now_ns
        value = json.loads(record)
        assert canonical.encode(value) == record, "an event is not canonical"
        assert len(record) <= _MAX_EVENT_BYTES, "an event is too large"
        return True

    def count_lost(self, reason: str, count: int = 1) -> None:
        raise AssertionError(f"{count} events lost: {reason}")


@contextlib.contextmanager
def _tasks() -> Iterator[Callable[[bytes], None]]:
    """Arguments, results and exceptions, from the record to its bytes."""
    sink = EventSink(_Paper(), Redactor(RedactionPolicy()))

    def take(data: bytes) -> None:
        draw = Drawing(data)
        keys = [draw.pick(_KEYS) for _ in range(draw.number(5))]
        details = {key: _detail(draw, key) for key in keys}
        facts = TaskFacts("celery", draw.text(), draw.text(), draw.text(), draw.text(), 1)
        kind = draw.pick(_KINDS)
        span = SpanIds(draw.number(2**128 - 1), draw.number(2**64 - 1))
        record = LifecycleRecord(kind, facts, 1_700_000_000_000_000_000, details, span)
        _Paper().append(sink.encode(record), now_ns=1)

    yield take


def _detail(draw: Drawing, key: str) -> object:
    if key not in ("exception", "traceback", "reason"):
        return draw.value()
    if draw.number(1):
        return draw.text()
    error = KeyError(draw.text())
    error.__cause__ = ValueError(draw.value())
    try:
        return "".join(traceback.format_exception(error))
    except HostileError:  # extract.py guards itself
        return draw.text()


@contextlib.contextmanager
def _redaction() -> Iterator[Callable[[bytes], None]]:
    """Texts and values through the redactor: bounded, idempotent, JSON."""
    redactor = Redactor(RedactionPolicy())

    def take(data: bytes) -> None:
        draw = Drawing(data)
        once = redactor.redact(draw.value())
        canonical.encode(once)
        text = draw.rest().decode("utf-8", "surrogateescape")
        clean = redactor.redact_text(text, max_bytes=4096)
        assert len(clean.encode()) <= 4096
        assert redactor.redact_text(clean, max_bytes=4096) == clean, "redacting twice differs"
        redactor.redact_name(text)

    yield take


@contextlib.contextmanager
def _commands() -> Iterator[Callable[[bytes], None]]:
    """Actions and parameters on a Celery app in memory: every one becomes an answer."""
    logging.getLogger("z4j_otel").setLevel(logging.CRITICAL)
    app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="unit.add")
    def add(*_args: object, **_kwargs: object) -> None:
        """Do nothing; Celery cannot publish for a lambda."""

    adapter = CeleryEngineAdapter(app=app, reply_timeout_s=0.001)
    redactor = Redactor(RedactionPolicy())
    free = CommandRunner({"celery": adapter}, redactor=redactor)
    shut = CommandRunner({"celery": adapter}, redactor=redactor, policy=policy_of(["none"]))

    def take(data: bytes) -> None:
        draw = Drawing(data)
        action = draw.pick(_ACTIONS) if draw.number(7) else draw.pick(_STRANGE)
        parameters = {draw.pick(_NAMES): _parameter(draw) for _ in range(draw.number(8))}
        target = Target("task", draw.pick((None, "t1", "")), draw.pick((None, "celery", "rq")))
        command = Command(CommandId("c1"), action, target, parameters)
        command_key(command)
        result = free.run(command)
        canonical.encode(result.result)
        assert not (result.error or "").startswith("internal:"), f"{action}: {result.error}"
        refused = shut.run(command)
        assert refused.status is CommandStatus.FAILED
        assert refused.error
        assert refused.error.startswith("refused"), refused.error
        memory.Channel.queues.clear()  # what was published would wait there for ever

    yield take
    app.close()


def _parameter(draw: Drawing) -> object:
    return draw.pick(_STRANGE) if draw.number(4) == 0 else draw.json()


def _noise() -> list[bytes]:
    return [bytes(range(256)), *(bytes([way]) * 64 for way in range(16)), bytes(100)]


TARGETS = [
    FuzzTarget("tasks", _tasks, _noise),
    FuzzTarget("redaction", _redaction, _noise),
    FuzzTarget("commands", _commands, _noise),
]
