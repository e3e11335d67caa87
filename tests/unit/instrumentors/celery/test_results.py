"""Reading of the result backend."""

from datetime import datetime, timezone

import pytest
from celery import Celery

from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery.results import read_result


class Rude(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise RuntimeError


class Backend:
    """A result backend of one row."""

    def __init__(self, **row):
        self.row = row

    def get_task_meta(self, task_id, *, cache):
        """Return the row, or fail as a driver does."""
        assert not cache
        if "error" in self.row:
            raise self.row["error"]
        return self.row


class App:
    """As much of a Celery app as reading needs."""

    def __init__(self, **row):
        self.backend = Backend(**row)
        self.tasks = {}


def test_extended_row_is_read():
    """With result_extended name, arguments and queue are known."""
    row = {"name": "t", "args": [1], "kwargs": {"a": 2}, "queue": "q"}
    stored = read_result(App(status="STARTED", date_done="2026-01-01T00:00:00", **row), "x")
    assert (stored.name, stored.args, stored.kwargs, stored.queue) == ("t", [1], {"a": 2}, "q")
    assert (stored.is_finished, stored.finished_at, stored.exception) == (False, None, None)


def test_plain_row_has_no_arguments():
    """Without result_extended, and with representations for arguments, they are unknown."""
    stored = read_result(App(status="SUCCESS", args="(1,)", kwargs="{}", name=""), "x")
    assert (stored.name, stored.args, stored.kwargs, stored.queue) == (None, None, None, None)


@pytest.mark.parametrize(
    ("date_done", "expected"),
    [
        ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500000+00:00"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000000+00:00"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000+00:00"),  # noqa: DTZ001 -- as SQLAlchemy returns it
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00.000000+00:00"),
        ("yesterday", None),
        (12, None),
    ],
)
def test_times_are_brought_to_utc(date_done, expected):
    """Backends write times in several ways; without an offset they mean UTC."""
    assert read_result(App(status="SUCCESS", date_done=date_done), "x").finished_at == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [(ValueError("no"), "ValueError: no"), (Rude(), "Rude"), ("text", None)],
)
def test_exceptions_become_texts(result, expected):
    """A failure's exception is told as class and message, whatever its class does."""
    assert read_result(App(status="FAILURE", result=result), "x").exception == expected


def test_long_exception_is_cut():
    """The brain keeps 500 characters."""
    stored = read_result(App(status="FAILURE", result=ValueError("x" * 600)), "x")
    assert len(stored.exception) == 500


def test_success_has_no_exception():
    """A task that returned an exception has not failed."""
    assert read_result(App(status="SUCCESS", result=ValueError()), "x").exception is None


def test_unreadable_backend_is_an_engine_error():
    """A driver's error is told by its class only: its text may hold addresses."""
    with pytest.raises(AdapterError, match=r"cannot be read \(OSError\)$"):
        read_result(App(error=OSError("redis://:secret@host")), "x")


@pytest.mark.parametrize("backend", [None, "rpc://"])
def test_backends_that_cannot_be_asked(backend):
    """No backend, and one whose rows are messages to somebody else, are not read."""
    app = Celery("x", broker="memory://", backend=backend, set_as_current=False)
    assert read_result(app, "x") is None


def test_task_with_its_own_backend():
    """A task class may keep its results elsewhere."""
    app = App(status="SUCCESS")
    app.tasks["t"] = App(status="FAILURE")
    assert read_result(app, "x", "t").state == "FAILURE"
    assert read_result(app, "x", "unknown").state == "SUCCESS"


def test_the_queue_of_a_delayed_task_is_the_one_it_was_sent_to():
    """RabbitMQ's delayed delivery writes the delay before it; a retry must not go there."""
    stored = read_result(App(status="SUCCESS", queue="0." * 28 + "orders"), "x")
    assert stored.queue == "orders"
