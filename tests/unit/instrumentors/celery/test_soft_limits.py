"""Soft time limits that come while a pool child works for us."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import before_task_publish

from z4j_otel.instrumentors.celery import soft_limits
from z4j_otel.instrumentors.celery.soft_limits import SoftLimits, would_be_lost

RUN = object()


def frames(*modules: str) -> Any:
    """Return the innermost of some frames, given from the outside in."""
    frame = None
    for module in modules:
        frame = SimpleNamespace(f_globals={"__name__": module}, f_back=frame)
    return frame


SIGNALS = "celery.utils.dispatch.signal"
UPSTREAM = "opentelemetry.instrumentation.celery"
IN_A_HOOK = frames("celery.app.trace", "shop", SIGNALS, "z4j_otel.x", "json")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what would be sent again."""
    sent: list[Any] = []
    name = "z4j_otel.instrumentors.celery.soft_limits._thread"
    start = SimpleNamespace(start_new_thread=lambda _function, args: sent.append(args))
    monkeypatch.setattr(name, start)
    return sent


def limit_at(limits: SoftLimits, frame: Any) -> None:
    """Let the limit come while the child is in a frame."""
    limits.around_limit(billiard.pool.soft_timeout_sighandler, None, (10, frame), {})


@pytest.mark.parametrize(
    ("modules", "is_lost"),
    [
        (("celery.app.trace", "shop.tasks"), False),
        (("shop.tasks", "celery.app.amqp", "kombu.messaging"), False),
        (("shop.tasks", SIGNALS), True),
        (("shop.tasks", SIGNALS, "z4j_otel.x", "celery.app.base"), True),
        (("shop.tasks", SIGNALS, UPSTREAM, "celery.local"), True),
        (("shop.tasks", SIGNALS, "shop.receivers"), False),
        (("z4j_otel.x", "celery.app.task", "z4j_otel.guard", "z4j_otel.x", "re"), True),
        (("z4j_otel.x", "celery.app.task", "x"), False),
        (("shop.tasks", "opentelemetry.instrumentation.requests", "socket"), False),
        ((), False),
    ],
)
def test_only_hooks_would_keep_a_limit(modules: tuple[str, ...], is_lost: bool) -> None:
    """What Celery calls through a wrapper of ours, and other instrumentations, let it pass."""
    assert would_be_lost(frames(*modules)) is is_lost


def test_a_limit_that_comes_into_a_hook_comes_again(sent: list[Any]) -> None:
    """It is put off as often as it takes, and then raised."""
    limits = SoftLimits(lambda: RUN)
    limit_at(limits, IN_A_HOOK)
    limit_at(limits, IN_A_HOOK)
    assert sent == [(10,), (10,)]
    with pytest.raises(SoftTimeLimitExceeded):
        limit_at(limits, frames("shop.tasks"))


def test_a_limit_is_dropped_with_its_run(sent: list[Any]) -> None:
    """It hits neither the pool between two tasks nor the next task, which has its own."""
    runs = [RUN, None, RUN]
    limits = SoftLimits(lambda: runs.pop(0))
    limit_at(limits, IN_A_HOOK)
    limit_at(limits, frames("billiard.pool"))
    assert sent == [(10,)]
    with pytest.raises(SoftTimeLimitExceeded):
        limit_at(limits, frames("shop.tasks"))


def test_outside_of_all_runs_nothing_is_changed(sent: list[Any]) -> None:
    """Where no run is known, the limit is raised as without us."""
    with pytest.raises(SoftTimeLimitExceeded):
        limit_at(SoftLimits(lambda: None), IN_A_HOOK)
    assert sent == []


def test_it_is_sent_to_this_very_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little later, as the main process sent it."""
    steps: list[Any] = []
    monkeypatch.setattr(soft_limits.time, "sleep", steps.append)
    monkeypatch.setattr(soft_limits.os, "kill", lambda *to: steps.append(to))
    soft_limits._send_again(10)
    assert steps == [0.005, (os.getpid(), 10)]


@pytest.fixture
def handler(capture: Any) -> Iterator[None]:
    """Install the handler that a pool child of an instrumented worker has."""
    capture._worker_starting()
    before = signal.signal(signal.SIGUSR1, billiard.pool.soft_timeout_sighandler)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("handler")
def test_a_task_hears_of_a_limit_that_came_while_it_published(
    app: Celery, capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither our guard nor Celery's dispatcher keeps it."""
    heard: list[str] = []

    def hook(*_args: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)

    def work() -> None:
        try:
            before_task_publish.send(sender="x", headers={"id": "t1", "task": "x"})
            select.select([], [], [], 10)
        except SoftTimeLimitExceeded:
            heard.append("limit")

    monkeypatch.setattr(capture.publisher, "_hand_over", hook)
    app.task(work, name="work").apply()
    assert heard == ["limit"]
