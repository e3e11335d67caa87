"""A RabbitMQ as small as can be: queues that are lists, channels that hold what they got."""

from __future__ import annotations

from types import SimpleNamespace

from amqp import Message
from amqp.exceptions import ChannelError, MessageNacked, NotFound, PreconditionFailed
from kombu import Exchange, Queue

DEATH = {"queue": "work", "reason": "rejected", "exchange": "", "routing-keys": ["work"]}


class Lost(Exception):
    """What the client library raises when the connection breaks."""


def message(task_id="t", *, body=b'[[7], {"y": 8}, {}]', death=DEATH, properties=(), **headers):
    """Return a task's message as the client library has it."""
    headers = {"id": task_id, "task": "shop.pay", "retries": 0, **headers}
    if death:
        headers["x-death"] = [death]
    found = Message(
        body,
        application_headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        **dict(properties),
    )
    found.delivery_info = {"exchange": "dlx", "routing_key": "work"}
    return found


class Channel:
    """A channel; ``fail`` names what breaks the connection."""

    def __init__(self, rabbit):
        self.rabbit, self.held, self.is_open = rabbit, {}, True
        self.connection = SimpleNamespace(client=None)

    def _may(self, step):
        self.rabbit.steps.append(step)
        assert self.is_open
        if step in self.rabbit.failing:
            raise self.rabbit.failing[step]

    def prepare_queue_arguments(self, arguments, **_options):
        """Leave the arguments as they are."""
        return arguments

    def queue_declare(self, queue, passive=False, arguments=None, **_options):
        """Tell the depth, or refuse another form."""
        self._may("declare")
        if queue not in self.rabbit.queues:
            self.is_open = False
            raise NotFound(queue)
        kind = self.rabbit.kinds.get(queue, self.rabbit.default)
        if not passive and (arguments or {}).get("x-queue-type", self.rabbit.default) != kind:
            self.is_open = False
            raise PreconditionFailed(queue)
        return SimpleNamespace(message_count=len(self.rabbit.queues[queue]))

    def basic_get(self, queue):
        """Hold the oldest message."""
        self._may("get")
        waiting = self.rabbit.queues[queue]
        if not waiting:
            return None
        found = waiting.pop(0)
        tag = len(self.held) + 1
        found.delivery_info = {**(found.delivery_info or {}), "delivery_tag": tag}
        self.held[tag] = (queue, found)
        return found

    def basic_ack(self, delivery_tag):
        """Forget a message."""
        self._may("ack")
        if not self.rabbit.is_deaf:
            del self.held[delivery_tag]

    def basic_publish_confirm(self, copy, exchange, routing_key, **options):
        """Put a message into a queue."""
        assert (exchange, options["mandatory"]) == ("", True)
        self._may("publish")
        if routing_key not in self.rabbit.queues:
            raise ChannelError("NO_ROUTE", (60, 50), "Basic.return", 312)
        if routing_key in self.rabbit.full:
            raise MessageNacked
        self.rabbit.queues[routing_key].append(copy)
        self._may("confirm")

    def close(self):
        """Give back what is held, to its place."""
        for queue, found in reversed(list(self.held.values())):
            self.rabbit.queues[queue].insert(0, found)
        self.held, self.is_open = {}, False


class Rabbit:
    """The broker, and a connection to it, in one."""

    driver_type = "amqp"
    connection_errors = (Lost,)
    channel_errors = (ChannelError,)

    def __init__(self, **queues):
        self.queues = {name: list(messages) for name, messages in queues.items()}
        self.kinds, self.full, self.is_deaf = {}, set(), False
        self.failing, self.steps = {}, []
        self.default = "classic"
        self.transport = self

    def channel(self):
        """Open a channel."""
        return Channel(self)

    def maybe_close_channel(self, channel):
        """Close a channel."""
        channel.close()

    def ensure_connection(self, **_options):
        """Be there."""

    def release(self):
        """Close the connection."""


def app_on(rabbit, *queues, **conf):
    """Return an app on this broker, by default with one queue and its dead letters."""
    if not queues:
        arguments = {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "k"}
        queues = (
            Queue("work", queue_arguments=arguments),
            Queue("dead", Exchange("dlx"), routing_key="k"),
        )
    table = type("Queues", (dict,), {"max_priority": None})({each.name: each for each in queues})
    return SimpleNamespace(
        connection_for_write=lambda: rabbit,
        amqp=SimpleNamespace(queues=table),
        conf=SimpleNamespace(accept_content=["json"], **conf),
    )
