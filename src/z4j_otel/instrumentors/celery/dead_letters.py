"""``dlq.list`` and ``requeue_dead_letter`` on RabbitMQ.

A letter is requeued by publishing the very same message, with its id and its arguments
untouched, to the queue that it died in; the broker confirms that, and only then is the letter
acked. So a broken connection at any moment leaves the letter where it was, at worst beside a
copy that runs: that is told as ``indeterminate``. At the end the broker is asked for the
number of letters again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from amqp import Message
from amqp.exceptions import ChannelError, MessageNacked

from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery.broker import broker_connection
from z4j_otel.instrumentors.celery.browsing import Allowance, Look, browse, headers_of
from z4j_otel.instrumentors.celery.dead_queues import dead_letter_queues
from z4j_otel.instrumentors.celery.depths import count_waiting
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.letters import (
    expired_at,
    headers_to_send,
    origin_of,
    read_letter,
    task_id_of,
)
from z4j_otel.instrumentors.dead_letters import (
    DeadLetter,
    PageRequest,
    build_page,
    read_page_request,
)
from z4j_otel.instrumentors.parameters import read_task_id

__all__ = ["DeadLetterControl"]

_CONFIRM_S: Final = 10.0
_NO_ROUTE: Final = 312

Queues = dict[str, list[str]]
"""Dead-letter queues, each with the queues whose letters lie there."""


@dataclass(slots=True)
class _Errand:
    """One letter to send back."""

    task_id: str
    allowance: Allowance
    has_published: bool = False


class DeadLetterControl:
    """Shows dead letters, and sends one back to where it died."""

    def __init__(self, handle: CeleryHandle) -> None:
        self._handle = handle

    def list_letters(self, parameters: dict[str, Any], engine: str) -> dict[str, Any]:
        """Return a page of the dead letters, newest first.

        Of more than 5000 letters the oldest 5000 are known, and ``total`` is None.

        Args:
            parameters: ``queue`` (where the letters died, or where they lie), ``limit`` and
                ``cursor``, or none.
            engine: The engine instance's name.

        Raises:
            CommandRefused: A parameter is wrong, or a queue cannot be looked into.
            AdapterError: The broker cannot be reached, or failed.
        """
        request = read_page_request(parameters)
        queues = self._chosen(request)
        try:
            with broker_connection(self._handle.app) as connection:
                letters, is_complete = self._read(connection, queues)
        except CommandError:
            raise
        except Exception as error:
            text = f"the broker does not tell about dead letters ({type(error).__name__})"
            raise AdapterError(text) from error
        if request.queue is not None and request.queue not in queues:
            letters = [letter for letter in letters if letter.queue == request.queue]
        return build_page(letters, request, engine=engine, is_complete=is_complete)

    def requeue(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send a dead letter back to the queue it died in.

        Returns:
            ``task_id``, ``queue``, ``dead_letter_queue``, and how many letters were there
            before and afterwards.

        Raises:
            CommandRefused: No letter of this task is known, or it would not run.
            AdapterError: The broker failed, or did not take the message.
        """
        errand = _Errand(read_task_id(parameters), Allowance(self._handle.clock))
        with broker_connection(self._handle.app) as connection:
            try:
                for queue, sources in dead_letter_queues(self._handle.app).items():
                    done = self._requeue_from(connection, queue, sources, errand)
                    if done is not None:
                        return done
            except Exception as error:
                if errand.has_published:
                    raise _left_behind(error) from error
                if isinstance(error, CommandError):
                    raise
                text = f"the broker failed before anything was published ({type(error).__name__})"
                raise AdapterError(text) from error
        raise CommandRefused(
            "no dead letter of this task is known here: it lies in none of the dead-letter queues"
            " of the Celery app, or not among the first 5000 messages"
        )

    def _chosen(self, request: PageRequest) -> Queues:
        queues = dead_letter_queues(self._handle.app)
        if request.queue is None:
            return queues
        chosen = {
            name: sources
            for name, sources in queues.items()
            if request.queue == name or request.queue in sources
        }
        if not chosen:
            raise CommandRefused(
                f"queue {request.queue} has no dead-letter queue in task_queues of the Celery app"
            )
        return chosen

    def _read(self, connection: Any, queues: Queues) -> tuple[list[DeadLetter], bool]:
        allowance = Allowance(self._handle.clock)
        found: list[DeadLetter] = []
        is_complete = True
        for queue, sources in queues.items():
            with browse(self._handle.app, connection, queue, allowance) as look:
                for message in look.messages():
                    letter = read_letter(headers_of(message), queue, sources)
                    found += [] if letter is None else [letter]
                is_complete &= look.is_complete
        return found, is_complete

    def _requeue_from(
        self, connection: Any, dead_queue: str, sources: list[str], errand: _Errand
    ) -> dict[str, Any] | None:
        app = self._handle.app
        with browse(app, connection, dead_queue, errand.allowance) as look:
            letter = _find(look, errand.task_id)
            if letter is None:
                return None
            queue = self._destination(letter, dead_queue, sources)
            _publish(connection, letter, queue)
            errand.has_published = True
            look.remove(letter)
        return {
            "task_id": errand.task_id,
            "queue": queue,
            "dead_letter_queue": dead_queue,
            "dead_letters_before": look.depth,
            "dead_letters_after": self._count_after(connection, look, errand.task_id),
        }

    def _destination(self, letter: Any, dead_queue: str, sources: list[str]) -> str:
        headers = headers_of(letter)
        expired = expired_at(headers, self._handle.clock.now_ns())
        if expired is not None:
            raise CommandRefused(
                f"the task expired at {expired}, and workers would drop it again; retry it"
                " instead: a retry does not keep the old expiry"
            )
        queue = origin_of(headers, dead_queue, sources)
        if queue is None:
            raise CommandRefused(
                f"nothing tells which queue the letter in {dead_queue} died in; retry the task"
                " instead"
            )
        return queue

    def _count_after(self, connection: Any, look: Look, task_id: str) -> int:
        """Return how many letters there are now, when it is plain that this one has gone."""
        app, queue = self._handle.app, look.queue
        after = count_waiting(connection, [queue]).get(queue, 0)
        if after >= look.depth:
            # Others may have come meanwhile: look for this one.
            with browse(app, connection, queue, Allowance(self._handle.clock)) as again:
                if _find(again, task_id) is not None:
                    raise AdapterError(f"queue {queue} still has a letter of the task")
        return after


def _find(look: Look, task_id: str) -> Any:
    """Return the letter of a task, or None; it and those before it are held from now on."""
    fitting = (each for each in look.messages() if task_id_of(headers_of(each)) == task_id)
    return next(fitting, None)


def _publish(connection: Any, letter: Any, queue: str) -> None:
    """Publish a letter's message, and wait until the broker confirms that it has it."""
    properties = {**letter.properties, "application_headers": headers_to_send(headers_of(letter))}
    copy = Message(letter.body, **properties)
    channel = connection.channel()
    try:
        channel.basic_publish_confirm(
            copy, exchange="", routing_key=queue, mandatory=True, timeout=_CONFIRM_S
        )
    except MessageNacked as error:
        raise AdapterError(f"queue {queue} does not take the message: it may be full") from error
    except Exception as error:
        if isinstance(error, ChannelError) and error.reply_code == _NO_ROUTE:
            text = f"queue {queue}, which the letter died in, does not exist any more"
            raise CommandRefused(text) from error
        text = f"the broker did not confirm the message ({type(error).__name__}); the dead letter"
        raise AdapterError(f"{text} is still there", indeterminate=True) from error
    finally:
        connection.maybe_close_channel(channel)


def _left_behind(error: Exception) -> AdapterError:
    why = error.message if isinstance(error, CommandError) else type(error).__name__
    return AdapterError(
        f"the message was published, and its dead letter may still be there ({why}); look"
        " before you repeat this",
        indeterminate=True,
    )
