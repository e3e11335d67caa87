"""The workload's Celery application and tasks.

``Z4J_OTEL_DEMO_DIR`` names a directory for the embedded broker (kombu's filesystem
transport) and the SQLite result backend; ``Z4J_OTEL_DEMO_BROKER`` a real broker instead.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any, NoReturn

from billiard import current_process
from celery import Celery
from celery.exceptions import Ignore, Reject
from kombu.transport import filesystem
from kombu.utils.json import dumps

__all__ = ["WholeFiles", "app"]


class WholeFiles(filesystem.Channel):
    """Shows a message to the worker when it is written.

    Kombu's own makes the file first and writes it then; a worker that reads it in between
    ends with an error of its JSON parser.
    """

    def _put(self, queue: str, payload: Any, **_kwargs: Any) -> None:  # type: ignore[override] # kombu disagrees with itself
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        hidden = Path(self.data_folder_out, f"{name}.part")
        hidden.write_text(dumps(payload), "utf-8")  # type: ignore[no-untyped-call] # kombu is untyped
        hidden.rename(hidden.with_suffix(""))


filesystem.Transport.Channel = WholeFiles


class OutOfStock(Exception):
    """An application's own error."""


_RESULTS = "z4j_otel.cli.workload.results:Results"


def _configure(celery: Celery) -> None:
    directory = Path(os.environ.get("Z4J_OTEL_DEMO_DIR", "."))
    broker = os.environ.get("Z4J_OTEL_DEMO_BROKER")
    backend = (
        os.environ.get("Z4J_OTEL_DEMO_RESULTS")
        or f"{_RESULTS}+sqlite:///{directory / 'results.db'}"
    )
    if not broker:
        messages, control = directory / "messages", directory / "control"
        for folder in (messages, control):
            folder.mkdir(parents=True, exist_ok=True)
        broker = "filesystem://"
        celery.conf.broker_transport_options = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
        }
    celery.conf.update(
        broker_url=broker,
        result_backend=backend,
        result_extended=True,
        task_default_queue=os.environ.get("Z4J_OTEL_DEMO_QUEUE", "orders"),
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # How long Celery waits before it believes that a child is lost, where the broker's
        # transport has no event loop.
        worker_lost_wait=2.0,
    )


app = Celery("shop")
_configure(app)


@app.task(name="shop.add")
def add(x: int, y: int) -> int:
    """Return a sum."""
    return x + y


@app.task(name="shop.pay")
def pay(order: str, *, card: str, api_token: str) -> dict[str, str]:
    """Take arguments that nobody else must see."""
    del card, api_token
    return {"order": order, "receipt": "sent to jane.doe@example.com"}


@app.task(name="shop.fail")
def fail(reason: str) -> NoReturn:
    """Raise the application's own error."""
    raise OutOfStock(reason)


@app.task(name="shop.fail_expected", throws=(OutOfStock,))
def fail_expected(reason: str) -> NoReturn:
    """Raise an error that the task announces."""
    raise OutOfStock(reason)


@app.task(name="shop.flaky", bind=True, max_retries=3)
def flaky(self: Any, succeed_at: int) -> str:
    """Fail until a given attempt."""
    if self.request.retries < succeed_at:
        raise self.retry(exc=ConnectionError("gateway busy"), countdown=0)
    return f"attempt {self.request.retries}"


@app.task(
    name="shop.hopeless", autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0
)
def hopeless() -> NoReturn:
    """Fail every time, also when retried."""
    raise ConnectionError("gateway down")


@app.task(name="shop.ignore")
def ignore() -> NoReturn:
    """Leave without a result."""
    raise Ignore("nothing to do")


@app.task(name="shop.replace", bind=True)
def replace(self: Any, x: int) -> Any:
    """Put another task in its own place."""
    return self.replace(add.s(x, x))


@app.task(name="shop.reject", acks_late=True)
def reject() -> NoReturn:
    """Refuse the message for good."""
    raise Reject("malformed order", requeue=False)


def _die_at_once() -> None:
    """Make SIGTERM end this pool child without a good-bye, on the embedded broker.

    There the children share one locked queue, and Celery sends SIGKILL 0.1 s after
    SIGTERM: on a busy machine that hits a child which holds the lock, and the pool stands
    still for ever. A child that is gone at once holds nothing.
    """
    in_pool_child = current_process().name != "MainProcess"
    if in_pool_child and app.conf.broker_url == "filesystem://":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@app.task(name="shop.slow")
def slow(seconds: float) -> str:
    """Work for a while."""
    _die_at_once()
    time.sleep(seconds)
    return "done"


@app.task(name="shop.soft_limited", soft_time_limit=1)
def soft_limited() -> None:
    """Run into the soft time limit."""
    time.sleep(30)


@app.task(name="shop.hard_limited", time_limit=1)
def hard_limited() -> None:
    """Run into the hard time limit."""
    _die_at_once()
    time.sleep(30)


@app.task(name="shop.killed")
def killed() -> None:
    """Die as under the out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


@app.task(name="shop.exits")
def exits() -> None:
    """Leave the process without a word."""
    os._exit(3)


@app.task(name="shop.killed_once", bind=True, acks_late=True, reject_on_worker_lost=True)
def killed_once(_self: Any, marker: str) -> str:
    """Die in the first run; the redelivery succeeds."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)
    return "second run"


@app.task(name="shop.total")
def total(numbers: list[int]) -> int:
    """Add the results of a chord's header."""
    return sum(numbers)
