"""More tasks of the workload: what only the truth table needs."""

import contextlib
import sys
import time
from pathlib import Path

from celery import Task, chain, group
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.worker.request import Request

from z4j_otel.cli.workload.app import add, app, killed

from . import hostile
from .ids import id_below


@app.task(name="shop.add_late", acks_late=True)
def add_late(x, y):
    """Return a sum; the message is acked at the end."""
    return x + y


@app.task(name="shop.echo")
def echo(*args, **kwargs):
    """Return the arguments' types."""
    return [type(each).__name__ for each in (*args, *kwargs.values())]


@app.task(name="shop.give", serializer="pickle")
def give(what, size):
    """Return something that is large, odd or both."""
    values = {
        "text": lambda: "x" * size,
        "bytes": lambda: b"\x00\xff" * size,
        "wide": lambda: {f"key {n}": n for n in range(size)},
        "deep": lambda: _nested(size),
        "nan": lambda: [float("nan"), float("inf"), -float("inf")],
        "surrogate": lambda: "lone \ud800 surrogate",
    }
    return values[what]()


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


@app.task(name="shop.untouched", serializer="pickle")
def untouched(*values, **more):
    """Tell who looked at hostile arguments before the task did."""
    taken = [*values, *more.values()]
    return {"values": len(taken), "looks": hostile.looks_at(taken)}


@app.task(name="shop.consume", serializer="pickle", bind=True)
def consume(_self, values):
    """Take all there is from an iterator."""
    return sum(values)


@app.task(name="shop.returns_itself")
def returns_itself(value):
    """Return the argument; only an eager caller gets the very object."""
    return value


class OddError(Exception):
    """Cannot be made text of."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Unpicklable(Exception):
    """Cannot leave its process."""

    def __init__(self, first, second):
        super().__init__(first)
        self.cannot = (lambda: second, sys.stdout)


@app.task(name="shop.raise_odd")
def raise_odd(what):
    """Raise an error that gives trouble to who reports it."""
    if what == "unprintable":
        raise OddError
    if what == "unpicklable":
        raise Unpicklable(1, 2)
    if what == "huge":
        raise ValueError("x" * 5_000_000)
    if what == "recursion":
        raise_odd.run(what)
    try:
        {}["first"]
    except KeyError as error:
        raise ValueError("second") from error


@app.task(name="shop.exit_system")
def exit_system():
    """Ask the interpreter to end."""
    raise SystemExit(3)


@app.task(name="shop.requeued", bind=True, acks_late=True)
def requeued(_self, marker):
    """Put the message back once; the redelivery succeeds."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        raise Reject("not now", requeue=True)
    return "second run"


@app.task(name="shop.retry_quietly", bind=True, default_retry_delay=0)
def retry_quietly(self):
    """Ask for a retry and return all the same."""
    if not self.request.retries:
        self.retry(throw=False, countdown=0)
    return f"attempt {self.request.retries}"


@app.task(name="shop.retry_changed", bind=True)
def retry_changed(self, number):
    """Retry with another argument, in a second."""
    if number < 2:
        raise self.retry(args=(number + 1,), countdown=1, exc=ConnectionError("busy"))
    return number


@app.task(name="shop.limited_softly", soft_time_limit=1)
def limited_softly():
    """Notice the soft time limit and end well."""
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "in time"
    return "too late"


@app.task(name="shop.replaced_by_chain", bind=True)
def replaced_by_chain(self, x):
    """Put two tasks, one after the other, in its own place."""
    return self.replace(chain(add.s(x, x), add.s(1)))


@app.task(name="shop.replaced_by_group", bind=True)
def replaced_by_group(self, x):
    """Put two tasks, side by side, in its own place."""
    return self.replace(group(add.s(x, x), add.s(x, 1)))


@app.task(name="shop.sends", bind=True)
def sends(self, depth):
    """Send a task from within, which sends another one."""
    child = id_below(self.request.id)
    task, argument = (sends, depth - 1) if depth else (echo, "leaf")
    task.apply_async((argument,), task_id=child)
    return child


@app.task(name="shop.applies", bind=True)
def applies(self):
    """Run another task in place."""
    return add.apply((1, 1), task_id=id_below(self.request.id)).get(disable_sync_subtasks=False)


@app.task(name="shop.applies_failing", bind=True)
def applies_failing(self):
    """Run another task in place, which fails; this one does not mind."""
    with contextlib.suppress(ValueError):
        raise_odd.apply(("chained",), task_id=id_below(self.request.id), throw=True)
    return "went on"


@app.task(name="shop.errback")
def errback(task_id):
    """Be told of a failure, as a task."""
    return task_id


@app.task(name="shop.inline_errback")
def inline_errback(request, exc, traceback):
    """Be told of a failure, as a function: Celery runs it in place."""
    del exc, traceback
    return request.id


class CountingTask(Task):
    """An application's own base class that overrides what it may."""

    abstract = True
    calls = 0

    def __call__(self, *args, **kwargs):
        """Count, then run."""
        self.calls += 1
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        """Do something of its own."""

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        """Fail while a failure is handled."""
        raise RuntimeError("on_failure failed")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        """Do something of its own."""


@app.task(name="shop.custom", base=CountingTask, bind=True)
def custom(self, is_failing):
    """Run with a class of the application's own."""
    if is_failing:
        raise ValueError("custom failure")
    return self.calls


class LoudRequest(Request):
    """An application's own request class, as Celery's manual shows one."""

    def on_timeout(self, soft, timeout):
        """Do more at a time limit."""
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        """Do more at a failure."""
        return super().on_failure(
            exc_info, send_failed_event=send_failed_event, return_ok=return_ok
        )


class LoudTask(Task):
    """A task whose requests are of that class."""

    abstract = True
    Request = "truth.tasks:LoudRequest"


@app.task(name="shop.loud", base=LoudTask)
def loud(how):
    """End in one of several ways."""
    if how == "raise":
        raise ValueError("loud failure")
    if how == "die":
        killed.run()
    return how


@app.task(name="shop.loud_limited", base=LoudTask, time_limit=1)
def loud_limited():
    """Run into the hard time limit."""
    from z4j_otel.cli.workload.app import _die_at_once  # noqa: PLC0415 -- see there

    _die_at_once()
    time.sleep(30)


@app.task(name="shop.seen_twice", bind=True, acks_late=True)
def seen_twice(_self, marker, seconds):
    """Take longer than the broker waits for an ack, in the first run only."""
    path = Path(marker)
    if path.exists():
        return "second run"
    path.touch()
    time.sleep(seconds)
    return "first run"
