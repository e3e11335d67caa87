"""Commands that send a message: ``submit_task``, ``schedule.fire`` and ``retry_task``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

from amqp.exceptions import ChannelError

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.ids import new_uuid
from z4j_otel.instrumentors.celery.broker import broker_connection, broker_priority
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.message_copy import MessageCopy, from_message, from_result
from z4j_otel.instrumentors.celery.queue_access import is_amqp
from z4j_otel.instrumentors.celery.queued import Seen, find_queued
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.results import StoredResult, read_result
from z4j_otel.instrumentors.parameters import (
    read_array,
    read_eta_s,
    read_object,
    read_priority_label,
    read_task_id,
    read_text,
    require_text,
)

__all__ = ["TaskSender"]

_NO_SOURCE: Final = (
    "nothing here knows this task's arguments: it is not among the recent tasks of this"
    " worker, the result backend has none, and no message of it waits in a queue that can be"
    " read. Set result_extended = True in the Celery app"
    " (with a result backend), or retry with override_args and override_kwargs"
)
_TASK_OPTIONS: Final = (
    *("queue", "exchange", "routing_key", "priority", "serializer", "compression"),
    *("delivery_mode", "time_limit", "soft_time_limit", "ignore_result", "expires"),
)
_MAX_ERROR_CHARS: Final = 500
_CONFIRMED: Final = {"mandatory": True, "timeout": 10.0, "retry": False}
"""How a message is published on AMQP. Celery's own second try would publish a task twice whose
confirmation is late."""
_UNROUTED: Final = frozenset({312, 404})
"""AMQP: no queue is bound that takes the message; there is no such exchange."""


class TaskSender:
    """Publishes new tasks and repeats old ones."""

    def __init__(
        self, handle: CeleryHandle, recent: RecentMessages, *, seen: Seen | None = None
    ) -> None:
        self._handle = handle
        self._recent = recent
        self._seen = seen

    def for_many(self) -> TaskSender:
        """Return one for a command about many tasks: it looks into each queue once."""
        return TaskSender(self._handle, self._recent, seen=Seen())

    def submit(self, parameters: dict[str, Any], task_id: str | None = None) -> str:
        """Publish a new task and return its id.

        A name that the app does not know is sent all the same, because another worker may
        know it; unless the queue is one that this very worker consumes.

        Args:
            parameters: ``name``, perhaps ``args``, ``kwargs``, ``queue``, ``priority`` and
                ``eta``.
            task_id: The new task's id; a random one when None.

        Raises:
            CommandRefused: The parameters are wrong or do not fit the task.
            AdapterError: The broker did not take the message.
        """
        name = require_text(parameters, "name")
        args = read_array(parameters, "args") or []
        kwargs = read_object(parameters, "kwargs") or {}
        queue = read_text(parameters, "queue")
        options: dict[str, Any] = {} if queue is None else {"queue": queue}
        task = self._handle.app.tasks.get(name)
        if task is not None:
            _check_signature(task, args, kwargs)
            _add_own_options(options, task)
        self._add_choices(options, parameters)
        return self._publish(name, args, kwargs, options, task_id)

    def fire(self, parameters: dict[str, Any], task_id: str | None = None) -> str:
        """Publish the task of a schedule that the brain keeps, and return its id.

        Args:
            parameters: ``task_name``, perhaps ``args``, ``kwargs`` and ``queue``.
            task_id: The new task's id, the same for every delivery of one firing.

        Raises:
            CommandRefused: The parameters are wrong or do not fit the task.
            AdapterError: The broker did not take the message.
        """
        name = require_text(parameters, "task_name")
        chosen = {key: parameters.get(key) for key in ("args", "kwargs", "queue")}
        return self.submit({"name": name, **chosen}, task_id)

    def retry(self, parameters: dict[str, Any], task_id: str | None = None) -> dict[str, Any]:
        """Run a task again under a new id, by reference.

        The arguments are the operator's overrides or the engine's own; ``args`` and
        ``kwargs`` of the command are never looked at.

        Args:
            parameters: ``task_id``, perhaps ``task_name``, ``override_args``,
                ``override_kwargs``, ``priority`` and ``eta``.
            task_id: The new task's id; a random one when None.

        Returns:
            ``new_task_id``, ``task_name`` and ``priority`` (the message's number or None).

        Raises:
            CommandRefused: The parameters are wrong, or nothing knows the arguments.
            AdapterError: The result backend or the broker failed.
        """
        old_id = read_task_id(parameters)
        known_name = read_text(parameters, "task_name")
        known_name = None if known_name == "unknown" else known_name
        args = read_array(parameters, "override_args")
        kwargs = read_object(parameters, "override_kwargs")
        has_both = args is not None and kwargs is not None
        source = self._find_source(old_id, known_name, is_optional=has_both)
        run_args = source.args if args is None else args
        run_kwargs = source.kwargs if kwargs is None else kwargs
        if run_args is None or run_kwargs is None:
            raise CommandRefused(_no_source(args, kwargs))
        name = source.name or known_name
        if name is None:
            raise CommandRefused(
                "nothing here knows the name of this task; set result_extended = True in the"
                " Celery app, or submit it as a new task"
            )
        options = dict(source.options)
        self._add_choices(options, parameters)
        new_id = self._publish(name, run_args, run_kwargs, options, task_id)
        return {"new_task_id": new_id, "task_name": name, "priority": options.get("priority")}

    def publish(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task_id: str
    ) -> str:
        """Publish a task with options of its own, and return its id.

        Args:
            name: The task's.
            args: Positional arguments.
            kwargs: Keyword arguments.
            options: As for ``apply_async``; the task's own come after them.
            task_id: The new task's id.

        Raises:
            CommandRefused: Our own worker, whose queue it is, has no such task.
            AdapterError: The broker did not take the message.
        """
        options = dict(options)
        task = self._handle.app.tasks.get(name)
        if task is not None:
            _add_own_options(options, task)
        return self._publish(name, args, kwargs, options, task_id)

    def _find_source(self, task_id: str, name: str | None, *, is_optional: bool) -> MessageCopy:
        app = self._handle.app
        message = self._recent.find(task_id)
        if message is not None:
            return from_message(app, task_id, message)
        try:
            stored = read_result(app, task_id, name)
        except AdapterError:
            if not is_optional:
                raise
            stored = None
        found = from_result(task_id, stored or StoredResult("PENDING"))
        if is_optional or (found.args is not None and found.kwargs is not None):
            return found
        message = find_queued(app, task_id, self._queues(stored, name), self._seen)
        return found if message is None else from_message(app, task_id, message)

    def _queues(self, stored: StoredResult | None, name: str | None) -> list[str]:
        """Return where a task may still wait: its own queue first, all declared ones last."""
        app, worker = self._handle.app, self._handle.worker
        known = [stored.queue] if stored is not None and stored.queue else []
        if name is not None:
            routed = app.amqp.router.route({}, name).get("queue")
            known += [getattr(routed, "name", routed)] if routed is not None else []
        consumed = worker.queues() if worker is not None else list(app.amqp.queues.consume_from)
        return [*known, *consumed, *app.amqp.queues]

    def _add_choices(self, options: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Add the operator's priority and time to the options of a new message."""
        label = read_priority_label(parameters)
        if label is not None:
            options["priority"] = broker_priority(self._handle.app, label)
        eta_s = read_eta_s(parameters, now_ns=self._handle.clock.now_ns())
        if eta_s is not None:
            options["eta"] = datetime.fromtimestamp(eta_s, timezone.utc)

    def _publish(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task_id: str | None
    ) -> str:
        app = self._handle.app
        self._refuse_unknown(name, options)
        task_id = task_id or new_uuid()
        with broker_connection(app, confirms=True) as connection:
            if is_amqp(connection):
                # RabbitMQ drops what no queue takes, and says nothing unless it is asked to.
                options = {**options, **_CONFIRMED}
            try:
                app.send_task(name, args, kwargs, task_id=task_id, connection=connection, **options)
            except Exception as error:
                if isinstance(error, ChannelError) and error.reply_code in _UNROUTED:
                    raise CommandRefused(_no_queue(name, options)) from error
                text = f"Celery could not send {name} ({type(error).__name__}: {error})"
                raise AdapterError(text[:_MAX_ERROR_CHARS], indeterminate=True) from error
        return task_id

    def _refuse_unknown(self, name: str, options: dict[str, Any]) -> None:
        """Refuse what would only fail: a message to our own worker, which has no such task."""
        worker = self._handle.worker
        if worker is None or worker.knows_task(name):
            return
        queue = options.get("queue")
        if queue is None and "exchange" not in options:
            queue = self._handle.app.amqp.router.route({}, name).get("queue")
        if getattr(queue, "name", queue) in worker.queues():
            raise CommandRefused(
                f"worker {worker.name} has no task {name}; have the worker import it, or choose"
                " a queue of a worker that has it"
            )


def _no_source(args: Any, kwargs: Any) -> str:
    if args is None and kwargs is None:
        return _NO_SOURCE
    given, missing = ("override_kwargs", "override_args")
    if kwargs is None:
        given, missing = missing, given
    return f"{given} is given and {missing} is not, and {_NO_SOURCE}"


def _no_queue(name: str, options: dict[str, Any]) -> str:
    exchange, key = options.get("exchange"), options.get("routing_key")
    return (
        f"{name} was not sent: RabbitMQ has no queue for it (exchange {exchange!r}, routing key"
        f" {key!r}); start a worker that declares and binds one, or submit it to a queue"
    )[:_MAX_ERROR_CHARS]


def _check_signature(task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    if not task.typing:
        return
    try:
        task.__header__(*args, **kwargs)
    except TypeError as error:
        text = f"the arguments do not fit the task: {error}"
        raise CommandRefused(text[:_MAX_ERROR_CHARS]) from error


def _add_own_options(options: dict[str, Any], task: Any) -> None:
    # Celery before 5.7 applies a task's own options in apply_async only.
    for option in _TASK_OPTIONS:
        value = getattr(task, option, None)
        if value is not None:
            options.setdefault(option, value)
