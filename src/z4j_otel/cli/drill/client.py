"""The drill's hand on an application and its broker: a process of its own.

``python -m z4j_otel.cli.drill.client APP QUEUE`` imports the application as ``celery -A``
does and prints one JSON object that describes it. Then it answers orders, one a line, each
a JSON list of a verb and its argument, with one line of JSON. It publishes to the drill's
queue and reads and deletes that queue, and touches no other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from celery.app.utils import find_app

__all__ = ["Hand", "describe", "main"]

_FOREIGN_AGENTS = ("z4j_bare", "z4j_celery")


def describe(app: Celery) -> dict[str, Any]:
    """Return what the drill must know of an application.

    Raises:
        Exception: The broker is away; kombu's own errors.
    """
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=5)
        transport = connection.transport
        return {
            "broker": connection.as_uri(),
            "transport": transport.driver_type,
            "has_loop": bool(transport.implements.asynchronous),
            "makes_queues": bool(app.conf.task_create_missing_queues),
            "other_agent": next((name for name in _FOREIGN_AGENTS if name in sys.modules), None),
        }


class Hand:
    """Carries out the drill's orders on one queue."""

    def __init__(self, app: Celery, queue: str, options: Mapping[str, Any]) -> None:
        """Prepare.

        Args:
            app: The application.
            queue: The drill's queue.
            options: Options of the broker's transport that the drill's worker has.
        """
        self._app = app
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, **options}
        # Neither Flower nor anybody else need hear of the drill's tasks.
        app.conf.task_send_sent_event = False
        self._queue: Any = app.amqp.queues[queue]  # a kombu.Queue, which has no types
        self.verbs: Mapping[str, Callable[[Any], Any]] = {
            "publish": self.publish,
            "held": lambda _: self.held(),
            "delete": lambda _: self.delete(),
        }

    def publish(self, calls: list[tuple[str, list[Any]]]) -> list[str]:
        """Publish tasks to the drill's queue, and return their ids."""
        # Exchange and routing key are named too: a router of the application could name its own.
        where = {
            "queue": self._queue,
            "exchange": self._queue.exchange.name,
            "routing_key": self._queue.routing_key,
        }
        return [self._app.send_task(name, args, **where).id for name, args in calls]

    def held(self) -> list[str]:
        """Take all messages out of the queue, and return their tasks' ids."""
        ids = []
        with self._app.connection_for_read() as connection, connection.channel() as channel:
            queue = self._queue(channel)
            queue.declare()
            while (message := queue.get(no_ack=True)) is not None:
                ids.append(str(message.headers["id"]))
            # What Redis holds of a worker that is gone. Others put it back into the queue.
            if (key := getattr(channel, "unacked_key", None)) is not None:
                ids += [json.loads(text)[0]["headers"]["id"] for text in channel.client.hvals(key)]
        return ids

    def delete(self) -> bool:
        """Delete the queue and all that belongs to it."""
        with self._app.connection_for_write() as connection, connection.channel() as channel:
            queue = self._queue(channel)
            queue.declare()
            queue.delete()
            if queue.exchange.name == queue.name:
                queue.exchange(channel).delete(if_unused=True)
            if (folder := getattr(channel, "control_folder", None)) is not None:
                # kombu's filesystem transport leaves an empty table behind.
                Path(folder, f"{queue.name}.exchange").unlink(missing_ok=True)
            mine = [getattr(channel, f"unacked_{name}key", "") for name in ("", "index_", "mutex_")]
            if keys := [key for key in mine if key.startswith(queue.name)]:
                channel.client.delete(*keys)
        return True


def main() -> None:
    """Describe the application, then answer orders until the input ends."""
    where, queue = sys.argv[1:]
    # What an application prints while it is imported must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        app = find_app(where)
    except Exception as error:  # noqa: BLE001 -- the user's module may raise anything
        return answer({"unusable": f"{type(error).__name__}: {error}"})
    try:
        described = describe(app)
    except Exception as error:  # noqa: BLE001 -- each transport has errors of its own
        return answer({"away": f"{type(error).__name__}: {error}", "broker": _address(app)})
    answer(described)
    hand = Hand(app, queue, json.loads(os.environ.get("Z4J_OTEL_DRILL_ALONE") or "{}"))
    for line in sys.stdin:
        verb, argument = json.loads(line)
        answer(hand.verbs[verb](argument))
    return None


def _address(app: Celery) -> str:
    return str(app.connection_for_write().as_uri())


if __name__ == "__main__":
    main()
