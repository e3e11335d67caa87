"""One agent's conversation with the embedded brain, without its socket.

Theory of operation: bytes in, bytes out. ``receive`` takes one message and returns what is
to be sent at once; ``drain`` returns what has become due since, for example a command or a
delayed ack. Either raises :class:`CloseWith` once the brain has decided to close and
everything before that is sent. The close codes are those of PROTOCOL §1.6: up to
``hello_ack`` a bad frame costs 4400 or 4426, later 1011; a bad signature or a stale frame
costs 4403, an oversize frame 4400.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from z4j_otel.devbrain.faults import CloseWith, Fault
from z4j_otel.devbrain.orders import IssuedCommand
from z4j_otel.devbrain.outbox import Outbox
from z4j_otel.devbrain.projects import AgentRecord, Slot
from z4j_otel.errors import (
    FrameReplayed,
    RemoteWireError,
    SignatureInvalid,
    VersionUnsupported,
)
from z4j_otel.ids import new_frame_id
from z4j_otel.wire.frames import MAX_BATCH_EVENTS, Hello, HelloAck
from z4j_otel.wire.session import (
    AgentStatusReceived,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    HeartbeatReceived,
    HelloReceived,
    Received,
    Role,
    Session,
)

if TYPE_CHECKING:
    from z4j_otel.devbrain.state import BrainState

__all__ = ["BrainConnection"]

_MAX_ACKED_ID_CHARS: Final = 64


class BrainConnection:
    """The brain's end of one connection; made by ``DevBrain.open``.

    ``on_change`` is called, from any thread, whenever ``drain`` may have something new.
    """

    def __init__(self, brain: BrainState, agent: AgentRecord) -> None:
        self._brain = brain
        self._agent = agent
        self._session = Session(Role.BRAIN, agent.project.key)
        self._outbox = Outbox(brain.faults)
        self._closing: CloseWith | None = None
        self._unread: list[bytes | str] = []
        self._heard_ns = brain.clock.now_ns()
        brain.readers.add(self)
        self.on_change: Callable[[], None] = lambda: None
        self.hello: Hello | None = None
        self.session_id = str(uuid.uuid4())

    @property
    def is_established(self) -> bool:
        """Whether the agent was told ``hello_ack``."""
        return self.hello is not None

    def receive(self, data: bytes | str) -> list[bytes]:
        """Take one message of the agent.

        Returns:
            The frames to send now, possibly none.

        Raises:
            CloseWith: The connection is to be closed, and nothing is left to send.
        """
        self.feed(data)
        return self.drain()

    def feed(self, data: bytes | str) -> None:
        """Take one message and leave the answers for ``drain``."""
        with self._brain.changed:
            if self._brain.faults.is_stalled:
                self._unread.append(data)
                return
            self._handle(data)
            self._brain.changed.notify_all()

    def drain(self) -> list[bytes]:
        """Return the frames that are due.

        Raises:
            CloseWith: As for ``receive``.
        """
        with self._brain.changed:
            frames = self._outbox.take_due(self._brain.clock.now_ns())
            if not frames and self._closing is not None:
                self.disconnected()
                raise self._closing
            return frames

    def next_wake_ns(self) -> int | None:
        """Return when ``drain`` has something to do next, or None when only a change can tell."""
        with self._brain.changed:
            return self._outbox.next_ns()

    def close(self, code: int, reason: str = "") -> None:
        """Let the brain close the connection."""
        with self._brain.changed:
            self._closing = self._closing or CloseWith(code, reason)
            self.on_change()

    def disconnected(self) -> None:
        """Note that the connection is gone. May be called more than once."""
        with self._brain.changed:
            for slot in self._agent.slots.values():
                if slot.connection is self:
                    slot.connection = None
            self._brain.changed.notify_all()

    def resume(self) -> None:
        """Handle what came in while the brain did not read."""
        with self._brain.changed:
            while self._unread:
                self._handle(self._unread.pop(0))
            self._brain.changed.notify_all()
            self.on_change()

    def check_idle(self, now_ns: int) -> None:
        """Close with 4408 when the agent was silent too long (PROTOCOL §1.4)."""
        if self.is_established and now_ns - self._heard_ns > self._brain.settings.idle_ns:
            self.close(4408)

    def send_command(self, command: IssuedCommand, now_ns: int) -> None:
        """Deliver a command."""
        command.deliver(self.session_id, now_ns)
        self._outbox.put(
            lambda at_ns: self._session.send_command(command.id, command.payload, now_ns=at_ns),
            now_ns,
        )
        self.on_change()

    def _handle(self, data: bytes | str) -> None:
        if self._closing is not None:
            return
        now_ns = self._brain.clock.now_ns()
        self._heard_ns = now_ns
        size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "replace"))
        if size > self._brain.settings.max_frame_bytes:
            self.close(4400)
        elif not self._agent.is_live:
            self.close(4003 if self.is_established else 4401)
        else:
            try:
                self._dispatch(self._session.receive(data, now_ns=now_ns), now_ns)
            except RemoteWireError as error:
                self.close(self._code_of(error))

    def _code_of(self, error: RemoteWireError) -> int:
        if isinstance(error, (SignatureInvalid, FrameReplayed)):
            return 4403
        if self.is_established:
            return 1011
        return 4426 if isinstance(error, VersionUnsupported) else 4400

    def _dispatch(self, received: Received, now_ns: int) -> None:
        if isinstance(received, HelloReceived):
            self._greet(received.hello, now_ns)
            return
        self._touch(now_ns)
        if isinstance(received, BatchReceived):
            self._take_batch(received, now_ns)
        elif isinstance(received, HeartbeatReceived):
            self._brain.heartbeats.append((self._agent.id, received.payload))
            self._agent.project.inventory.apply_heartbeat(received.payload, now_ns)
        elif isinstance(received, AgentStatusReceived):
            self._brain.statuses.append((self._agent.id, received.payload))
        elif isinstance(received, CommandAcked):
            self._brain.take_ack(self._agent, self.session_id, received)
        elif isinstance(received, CommandFinished):
            self._brain.take_result(self._agent, self.session_id, received, now_ns)

    def _greet(self, hello: Hello, now_ns: int) -> None:
        fault = self._brain.faults.ledger.hello_closes
        if fault:
            self._closing = fault.popleft()
            return
        self.hello = hello
        self._agent.hello = hello
        self._agent.seen_ns = self._agent.connected_ns = now_ns
        settings = self._brain.settings
        ack = HelloAck(
            brain_version=settings.brain_version,
            agent_id=self._agent.id,
            project_id=self._agent.project.id,
            session_id=self.session_id,
            heartbeat_interval_seconds=settings.heartbeat_interval_s,
            max_frame_size_bytes=settings.max_frame_bytes,
        )
        frame = self._session.send_hello_ack(ack, frame_id=new_frame_id("hack")[:17], now_ns=now_ns)
        self._outbox.put(lambda _at_ns: frame, now_ns)
        self._take_slot(hello, now_ns)

    def _take_slot(self, hello: Hello, now_ns: int) -> None:
        slots = self._agent.slots
        known = slots.get(hello.worker_id)
        taken = known is not None and known.connection is not None
        cap = self._brain.settings.worker_cap
        if not taken and cap and len(self._agent.connections()) >= cap:
            self.close(4429)
            return
        if known is not None and known.connection is not None:
            known.connection.close(4002)
        # A slot keeps its place among the others only while it is held.
        if not taken:
            slots.pop(hello.worker_id, None)
        slots[hello.worker_id] = Slot(hello, now_ns, now_ns, self)
        self._brain.deliver_pending(self._agent)

    def _touch(self, now_ns: int) -> None:
        self._agent.seen_ns = now_ns
        if self.hello is not None and (slot := self._agent.slots.get(self.hello.worker_id)):
            slot.seen_ns = now_ns

    def _take_batch(self, batch: BatchReceived, now_ns: int) -> None:
        ledger = self._brain.faults.ledger
        if ledger.batch_closes:
            self._closing = ledger.batch_closes.popleft()
            return
        choking = ledger.choking and _choking_on(batch, ledger.choking)
        if choking:
            self._closing = choking
            return
        if ledger.take(Fault.LOSE_BATCH):
            return
        events = batch.events[:MAX_BATCH_EVENTS]
        accepted = self._brain.take_events(self._agent, events, now_ns)
        counts = (len(events), accepted, len(events) - accepted)

        def make(acked_id: str) -> Callable[[int], bytes]:
            return lambda at_ns: self._session.send_event_batch_ack(
                acked_id, *counts, frame_id=new_frame_id("eba"), now_ns=at_ns
            )

        acked_id = batch.frame_id[:_MAX_ACKED_ID_CHARS]
        self._outbox.put_ack(make(acked_id), make(new_frame_id("ev")), now_ns)


def _choking_on(batch: BatchReceived, choking: Mapping[str, CloseWith]) -> CloseWith | None:
    for event in batch.events:
        event_id = event.get("id") if isinstance(event, dict) else None
        if isinstance(event_id, str) and event_id in choking:
            return choking[event_id]
    return None
