"""The messages of the tasks a worker received lately, kept so that a task can run again.

Celery forgets a task's arguments once it has finished, unless the result backend keeps
them. This store remembers the raw messages of the last tasks, in the memory of the
worker's main process only: never on disk, never on the wire. It is bounded in bytes and in
tasks; the oldest go first.

One thread remembers (the consumer's), any thread may look up. A plain dictionary serves
both without a lock, so that a fork can never inherit a held one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

__all__ = ["RecentMessage", "RecentMessages"]

_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_TASKS: Final = 2000
# What an entry costs beyond its body: a Celery header with its representations of the
# arguments, the properties and the delivery's facts.
_ENTRY_BYTES: Final = 4096


class RecentMessage(msgspec.Struct, frozen=True, gc=False):
    """One task message as the broker delivered it.

    One is made for every task: a frozen dataclass costs several times as much.
    """

    headers: dict[str, Any]
    body: bytes | str
    """Still serialised, already decompressed."""
    content_type: str
    content_encoding: str
    delivery_info: dict[str, Any]
    """``exchange``, ``routing_key``, ``priority``."""
    properties: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """About how much memory this message holds."""
        return len(self.body) + _ENTRY_BYTES


class RecentMessages:
    """A byte-bounded memory of the latest task messages, by task id."""

    def __init__(self, *, max_bytes: int = _MAX_BYTES, max_tasks: int = _MAX_TASKS) -> None:
        """Build an empty store.

        Args:
            max_bytes: Most memory to hold; 0 remembers nothing.
            max_tasks: Most messages to hold, at least 1.
        """
        self._max_bytes = max_bytes
        self._max_tasks = max_tasks
        self._held_bytes = 0
        self._messages: OrderedDict[str, RecentMessage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def held_bytes(self) -> int:
        """About how much memory the messages hold."""
        return self._held_bytes

    def remember(self, request: Any) -> None:
        """Keep the message of a task that a worker has just received.

        Costs microseconds: nothing is decoded or copied. A later message of the same task
        (a retry, a redelivery) replaces the earlier one. Messages of task protocol 1 are
        not kept: Celery has decoded them already.

        Args:
            request: The ``celery.worker.request.Request`` of ``task_received``.
        """
        content_type = request.content_type
        body = request.body
        if content_type is None or body is None:
            return
        if isinstance(body, memoryview):
            body = body.tobytes()
        original = request.message
        message = RecentMessage(
            headers=original.headers,
            body=body,
            content_type=content_type,
            content_encoding=request.content_encoding,
            delivery_info=request.delivery_info,
            properties=original.properties or {},
        )
        self._keep(request.id, message, len(body) + _ENTRY_BYTES)

    def find(self, task_id: str) -> RecentMessage | None:
        """Return the latest message of a task, or None when it is not held (any more)."""
        return self._messages.get(task_id)

    def forget(self, task_id: str) -> None:
        """Drop the message of a task, if it is held."""
        earlier = self._messages.pop(task_id, None)
        if earlier is not None:
            self._held_bytes -= earlier.size_bytes

    def _keep(self, task_id: str, message: RecentMessage, size: int) -> None:
        messages = self._messages
        if task_id in messages:
            self.forget(task_id)
        if size > self._max_bytes:
            return
        messages[task_id] = message
        self._held_bytes += size
        while self._held_bytes > self._max_bytes or len(messages) > self._max_tasks:
            _, oldest = messages.popitem(last=False)
            self._held_bytes -= oldest.size_bytes
