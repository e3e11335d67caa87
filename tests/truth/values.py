"""What tasks take, return and raise, as far from plain as Celery lets them be."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery
from celery.contrib.testing.mocks import TaskMessage

from z4j_otel.cli.workload.scenarios import RAISES, RETURNS, Scenario

from . import hostile
from .ids import id_of

__all__ = ["VALUES"]

Send = Callable[[Celery, Path], Any]
_MANY = 10_000_000
_EAGER_ROW = {"queue": None, "worker_name": None}
_EAGER = {kind: {"eager": True} for kind in ("received", "started")}
_REFUSED = "received failed"


def _send(name: str, *args: Any, **options: Any) -> Send:
    return lambda app, _folder: app.tasks[f"shop.{name}"].apply_async(args, **options)


def _give(what: str, size: int = 0) -> Send:
    return _send("give", what, size)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _cyclic(app: Celery, _folder: Path) -> Any:
    value: list[Any] = [1]
    value.append(value)
    # A result backend that keeps the arguments in JSON could not store the result.
    return app.tasks["shop.echo"].apply_async((value,), serializer="pickle", ignore_result=True)


def _hostile(app: Celery, folder: Path) -> Any:
    """Send values that are harmful from the moment the worker unpickles them."""
    values = (hostile.Raising(), hostile.Blocking(), hostile.Restless(), hostile.Lazy())
    # Celery writes the arguments' text into the message; here it is given one.
    return app.tasks["shop.untouched"].apply_async(
        values, {"more": hostile.Raising()}, serializer="pickle", argsrepr="-", kwargsrepr="-",
        task_id=id_of(folder, "hostile"), ignore_result=True,
    )  # fmt: skip


def _eager(name: str, *args: Any, **options: Any) -> Send:
    def send(app: Celery, folder: Path) -> Any:
        task_id = id_of(folder, f"eager {name} {args!r}")
        return app.tasks[f"shop.{name}"].apply(args, task_id=task_id, **options)

    return send


def _eager_hostile(app: Celery, folder: Path) -> Any:
    values = (hostile.Raising(), hostile.Blocking(), hostile.Restless(), hostile.Lazy())
    task_id = id_of(folder, "eager_hostile")
    return app.tasks["shop.untouched"].apply(values, task_id=task_id)


def _eager_iterator(app: Celery, folder: Path) -> Any:
    task_id = id_of(folder, "eager_iterator")
    return app.tasks["shop.consume"].apply((hostile.numbers(4),), task_id=task_id)


def _eager_returns(app: Celery, folder: Path) -> Any:
    """Let a task return an iterator; nobody may have taken anything from it."""
    task_id = id_of(folder, "eager_returns_iterator")
    result = app.tasks["shop.returns_itself"].apply((hostile.numbers(4),), task_id=task_id)
    assert list(result.result) == [0, 1, 2, 3]
    return result


def _always_eager(app: Celery, _folder: Path) -> Any:
    app.conf.task_always_eager = True
    try:
        return app.tasks["shop.add"].delay(6, 6)
    finally:
        app.conf.task_always_eager = False


def _eager_throws(app: Celery, folder: Path) -> Any:
    task_id = id_of(folder, "eager_throws")
    with contextlib.suppress(ValueError):
        app.tasks["shop.raise_odd"].apply(("chained",), task_id=task_id, throw=True)
    return SimpleNamespace(id=task_id)


def _raw(body: bytes, content_type: str) -> Send:
    """Send a message whose body is not what its type says, or of a type nobody accepts."""

    def send(app: Celery, _folder: Path) -> Any:
        headers = TaskMessage("shop.add", id=str(uuid.uuid4()), args=(1, 1)).headers
        with app.producer_or_acquire() as producer:
            producer.publish(
                body, headers={**headers, "task": "shop.add"}, content_type=content_type,
                content_encoding="utf-8", routing_key=app.conf.task_default_queue,
                exchange="", declare=[app.amqp.queues[app.conf.task_default_queue]],
            )  # fmt: skip
        return SimpleNamespace(id=headers["id"])

    return send


VALUES: tuple[Scenario, ...] = (
    Scenario(
        "binary", "takes bytes", _send("echo", b"\x00\xff\xfe"), RETURNS, "success", "shop.echo",
        row={"args": ["<bytes of 3> \ufffd\ufffd\ufffd"], "result": ["bytes"]},
    ),
    Scenario(
        "binary_result", "returns bytes", _give("bytes", 3), RETURNS, "success", "shop.give",
        row={"args": ["bytes", 3], "result": "<bytes of 6>"},
    ),
    Scenario(
        "huge", "takes 10 MB of text", lambda app, _: app.tasks["shop.echo"].delay("x" * _MANY),
        RETURNS, "success", "shop.echo", row={"args": ..., "result": ["str"]},
    ),
    Scenario(
        "huge_result", "returns 10 MB of text", _give("text", _MANY), RETURNS, "success",
        "shop.give", row={"args": ["text", _MANY], "result": "xxxxxxxx"},
    ),
    Scenario(
        "cyclic", "takes a list that holds itself (pickle)", _cyclic, RETURNS, "success",
        "shop.echo", row={"args": [[1, "[cycle]"]], "result": ["list"]},
    ),
    Scenario(
        "deep", "takes 300 lists, one in another",
        lambda app, _: app.tasks["shop.echo"].delay(_nested(300)), RETURNS, "success",
        "shop.echo", row={"args": ..., "result": ["list"]},
    ),
    Scenario(
        "deep_result", "returns 300 lists, one in another", _give("deep", 300), RETURNS,
        "success", "shop.give", row={"args": ["deep", 300], "result": ...},
    ),
    Scenario(
        "nan", "takes numbers that are none", _send("echo", float("nan"), float("inf")), RETURNS,
        "success", "shop.echo", row={"args": ["nan", "inf"], "result": ["float", "float"]},
    ),
    Scenario(
        "nan_result", "returns numbers that are none", _give("nan"), RETURNS, "success",
        "shop.give", row={"args": ["nan", 0], "result": ["nan", "inf", "-inf"]},
    ),
    Scenario(
        "surrogate", "takes half a character", _send("echo", "half \ud800"), RETURNS, "success",
        "shop.echo", row={"args": ["half \ufffd"], "result": ["str"]},
    ),
    Scenario(
        "surrogate_result", "returns half a character", _give("surrogate"), RETURNS, "success",
        "shop.give", row={"args": ["surrogate", 0], "result": "lone \ufffd surrogate"},
    ),
    Scenario(
        "wide", "takes a mapping of 10 000 keys",
        lambda app, _: app.tasks["shop.echo"].delay({f"key {n}": n for n in range(10_000)}),
        RETURNS, "success", "shop.echo", row={"args": ..., "result": ["dict"]},
    ),
    Scenario(
        "wide_result", "returns a mapping of 10 000 keys", _give("wide", 10_000), RETURNS,
        "success", "shop.give", row={"args": ["wide", 10_000], "result": ...},
    ),
    Scenario(
        "hostile", "takes values that raise, block or change when looked at (pickle)", _hostile,
        RETURNS, "success", "shop.untouched",
        row={"args": ..., "kwargs": ..., "result": {"values": 5, "looks": []}},
    ),
    Scenario(
        "raises_unprintable", "raises an error that has no text",
        _send("raise_odd", "unprintable"), RAISES, "failure", "shop.raise_odd",
        row={"args": ["unprintable"], "exception": "OddError"}, cause="exception",
    ),
    Scenario(
        "raises_unpicklable", "raises an error that cannot leave its process",
        _send("raise_odd", "unpicklable"), RAISES, "failure", "shop.raise_odd",
        row={"args": ["unpicklable"], "exception": "Unpicklable: 1"}, cause="exception",
    ),
    Scenario(
        "raises_huge", "raises an error of 5 MB", _send("raise_odd", "huge"), RAISES, "failure",
        "shop.raise_odd", row={"args": ["huge"], "exception": "ValueError: xxxx"},
        cause="exception",
    ),
    Scenario(
        "raises_recursion", "recurses for ever", _send("raise_odd", "recursion"), RAISES,
        "failure", "shop.raise_odd",
        row={"args": ["recursion"], "exception": "RecursionError: maximum"}, cause="exception",
    ),
    Scenario(
        "raises_chained", "raises one error from another", _send("raise_odd", "chained"), RAISES,
        "failure", "shop.raise_odd",
        row={"args": ["chained"], "exception": "ValueError: second"}, cause="exception",
    ),
    Scenario(
        "garbled", "has a body that is not what it says", _raw(b"{no json", "application/json"),
        _REFUSED, "failure", row={"args": ..., "kwargs": ..., "exception": ...},
        cause="rejected", is_published=False,
    ),
    Scenario(
        "unaccepted", "has a body of a type the worker does not accept",
        _raw(b"- 1", "application/x-yaml"), _REFUSED, "failure",
        row={"args": ..., "kwargs": ..., "exception": "ContentDisallowed"},
        cause="rejected", is_published=False,
    ),
    Scenario(
        "eager", "runs in the publisher (apply)", _eager("add", 4, 4), RETURNS, "success",
        row={**_EAGER_ROW, "args": [4, 4], "result": 8}, is_published=False, data=_EAGER,
    ),
    Scenario(
        "eager_fails", "fails in the publisher", _eager("fail", "no stock"), RAISES, "failure",
        "shop.fail",
        row={**_EAGER_ROW, "args": ["no stock"], "exception": "OutOfStock: no stock"},
        cause="exception", is_published=False, data=_EAGER,
    ),
    Scenario(
        "eager_throws", "fails in the publisher and tells it", _eager_throws, RAISES, "failure",
        "shop.raise_odd",
        row={**_EAGER_ROW, "args": ["chained"], "exception": "ValueError: second"},
        cause="exception", is_published=False, data=_EAGER,
    ),
    Scenario(
        "eager_retries", "retries in the publisher", _eager("flaky", 1),
        f"received started retried {RETURNS}", "success", "shop.flaky",
        row={**_EAGER_ROW, "args": [1], "retry_count": 1, "result": "attempt 1"},
        is_published=False, data=_EAGER,
    ),
    Scenario(
        "always_eager", "runs in the publisher (task_always_eager)", _always_eager, RETURNS,
        "success", row={**_EAGER_ROW, "args": [6, 6], "result": 12}, is_published=False,
        data=_EAGER,
    ),
    Scenario(
        "eager_hostile", "takes hostile values in the publisher", _eager_hostile, RETURNS,
        "success", "shop.untouched",
        row={**_EAGER_ROW, "args": ..., "result": {"values": 4, "looks": []}},
        is_published=False, data=_EAGER,
    ),
    Scenario(
        "eager_iterator", "takes an iterator in the publisher", _eager_iterator, RETURNS,
        "success", "shop.consume",
        row={**_EAGER_ROW, "args": ["<builtins.generator>"], "result": 6},
        is_published=False, data=_EAGER,
    ),
    Scenario(
        "eager_returns_iterator", "returns an iterator in the publisher", _eager_returns,
        RETURNS, "success", "shop.returns_itself",
        row={**_EAGER_ROW, "args": ["<builtins.generator>"], "result": "<builtins.generator>"},
        is_published=False, data=_EAGER,
    ),
)  # fmt: skip
