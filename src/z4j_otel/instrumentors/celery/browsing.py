"""Looking into a queue of RabbitMQ: its messages are taken, and given back.

Theory of operation
    AMQP has no way to read a message and leave it. What is got without an ack is nobody
    else's until the channel is closed; then the broker puts it back to its place, marked as
    redelivered. So a look is bounded in messages, bytes and time, and is had on a channel of
    its own, which is closed whatever happens. When this process dies the broker does the
    same.

    On a *classic* queue that is all that a look does. On a quorum queue each look counts as a
    failed delivery: at the queue's delivery limit the broker drops the message. So nothing
    but a classic queue is looked into, and what the queue is is found out first, by declaring
    it as the app does, with its type said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.clock import Clock
from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.queue_access import form_of

__all__ = ["Allowance", "Look", "browse", "headers_of", "is_declared_classic"]

_MAX_MESSAGES: Final = 5000
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_S: Final = 8.0
"""The brain waits 15 seconds for a list of dead letters."""
_TYPE: Final = "x-queue-type"
_CLASSIC: Final = "classic"
_NOT_FOUND: Final = 404


class Allowance:
    """What one command may look at, over all queues."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s = clock.monotonic_s() + _MAX_S
        self._left_messages = _MAX_MESSAGES
        self._left_bytes = _MAX_BYTES

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be looked at."""
        is_late = self._clock.monotonic_s() > self._until_s
        return is_late or self._left_messages <= 0 or self._left_bytes <= 0

    def spend(self, size_bytes: int) -> None:
        """Count a message."""
        self._left_messages -= 1
        self._left_bytes -= size_bytes


@dataclass(slots=True)
class Look:
    """A look into one queue; its messages are held until it ends."""

    channel: Any
    queue: str
    depth: int
    """How many messages waited when it began."""
    allowance: Allowance
    is_complete: bool = False
    """Whether all that waited has been seen."""

    def messages(self) -> Iterator[Any]:
        """Yield what waits, the oldest first: messages of the client library, not decoded."""
        # A queue that is missing must not be asked: that has closed the channel.
        while self.depth and not self.allowance.is_spent:
            message = self.channel.basic_get(self.queue)
            if message is None:
                self.is_complete = True
                return
            self.allowance.spend(len(message.body or b""))
            yield message
        self.is_complete = not self.depth

    def remove(self, message: Any) -> None:
        """Take one message away for good."""
        self.channel.basic_ack(message.delivery_tag)


@contextmanager
def browse(app: Any, connection: Any, queue: str, allowance: Allowance) -> Iterator[Look]:
    """Look into a queue; a queue that does not exist is empty.

    Args:
        app: The Celery app.
        connection: An open connection to RabbitMQ.
        queue: The queue's name.
        allowance: What may still be looked at.

    Raises:
        CommandRefused: It is no classic queue, or the app declares it in another form.
        Exception: Of the broker's client library: the connection broke.
    """
    if not is_declared_classic(app, queue):
        raise CommandRefused(_unreadable(queue))
    channel = connection.channel()
    # Bytes stay what they are, whatever a message says of itself.
    channel.auto_decode = False
    try:
        yield Look(channel, queue, _open(app, connection, channel, queue), allowance)
    finally:
        connection.maybe_close_channel(channel)


def headers_of(message: Any) -> dict[str, Any]:
    """Return a message's headers; empty where it has none."""
    headers = message.properties.get("application_headers")
    return headers if isinstance(headers, dict) else {}


def is_declared_classic(app: Any, queue: str) -> bool:
    """Whether the app says nothing else of a queue."""
    arguments = form_of(app, queue).queue_arguments or {}
    return bool(arguments.get(_TYPE, _CLASSIC) == _CLASSIC)


def _open(app: Any, connection: Any, channel: Any, queue: str) -> int:
    try:
        depth = int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) == _NOT_FOUND:
            return 0
        raise
    form = form_of(app, queue)
    form.queue_arguments = {**(form.queue_arguments or {}), _TYPE: _CLASSIC}
    try:
        form(channel).queue_declare()
    except connection.channel_errors as error:
        raise CommandRefused(_unreadable(queue)) from error
    return depth


def _unreadable(queue: str) -> str:
    return (
        f"queue {queue} is not looked into: it is no classic queue, where a look could cost the"
        " message, or task_queues of the Celery app does not list it as it is"
    )
