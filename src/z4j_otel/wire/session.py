"""One conversation between an agent and a brain, without its socket.

Theory of operation
-------------------
A session lives as long as one connection and is never used again. Its states:

=========== ============================= ===========
state       what happens                  next
=========== ============================= ===========
NEW         agent: ``send_hello``         HELLO_SENT
NEW         brain: receives ``hello``     HELLO_SENT
HELLO_SENT  agent: receives ``hello_ack`` ESTABLISHED
HELLO_SENT  brain: ``send_hello_ack``     ESTABLISHED
ESTABLISHED signed frames, both ways      ESTABLISHED
any         ``receive`` refuses a frame   CLOSED
=========== ============================= ===========

The two handshake frames are unsigned; ``hello_ack`` tells the ids that every later
signature covers, and the cap on frames. Each direction counts its own frames and has its
own replay guard. A handshake frame that comes late, and a signed frame that only the other
side may send, are valid and without effect (``Ignored``).

*Order.* A frame is numbered when it is made, so frames go to the socket in the order in
which they were made; one caller at a time. A frame that is refused here takes no number.

*Errors.* ``LocalWireError`` leaves the session as it was. ``RemoteWireError`` closes it: the
caller closes the connection with the code that fits the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from z4j_otel.clock import iso_z
from z4j_otel.errors import FrameMalformed, LocalWireError, RemoteWireError
from z4j_otel.ids import new_nonce
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import (
    DEFAULT_MAX_FRAME_BYTES,
    MAX_BATCH_EVENTS,
    MAX_ID_CHARS,
    AgentStatus,
    CommandPayload,
    ErrorPayload,
    EventBatchAck,
    FrameType,
    Heartbeat,
    Hello,
    HelloAck,
    RegistryDelta,
)
from z4j_otel.wire.reading import read_from_agent, read_from_brain, read_hello, read_hello_ack
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchAcked,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    CommandReceived,
    ErrorReceived,
    HeartbeatReceived,
    HelloAccepted,
    HelloReceived,
    Ignored,
    Received,
)
from z4j_otel.wire.signing import MIN_KEY_BYTES, SessionBinding, Signer
from z4j_otel.wire.states import FrameOversize, FrameTooLarge, Role, State
from z4j_otel.wire.verify import UNSIGNED, Verifier, parse_frame

__all__ = [
    "AgentStatusReceived",
    "BatchAcked",
    "BatchReceived",
    "CommandAcked",
    "CommandFinished",
    "CommandReceived",
    "ErrorReceived",
    "FrameOversize",
    "FrameTooLarge",
    "HeartbeatReceived",
    "HelloAccepted",
    "HelloReceived",
    "Ignored",
    "Received",
    "Role",
    "Session",
    "State",
]


class Session:
    """State, sequence numbers, signatures and replay checks of one connection.

    Every ``send_*`` returns the bytes of one message and raises ``LocalWireError`` when the
    role or the state does not allow it or the content has no canonical form, and its
    subclass ``FrameTooLarge`` when the message would exceed ``max_frame_bytes``. Frame ids
    have 1 to 64 characters; ``now_ns`` is the time of sending, nanoseconds since the epoch.
    """

    batch_overhead_bytes = 400
    """More than an ``event_batch`` is larger than its events and the commas between them."""

    def __init__(self, role: Role, key: bytes, *, nonce: Callable[[], str] = new_nonce) -> None:
        """Begin a session for one new connection.

        Args:
            role: Our side.
            key: The decoded project secret, at least 32 bytes.
            nonce: Makes the frames' nonces, 1 to 32 characters, never the same twice.

        Raises:
            ValueError: The key is too short.
        """
        if len(key) < MIN_KEY_BYTES:
            raise ValueError("the key has fewer than 32 bytes")
        self.role = role
        self.state = State.NEW
        self.binding: SessionBinding | None = None
        """What signatures are bound to; None before ``hello_ack``."""
        self.max_frame_bytes = DEFAULT_MAX_FRAME_BYTES
        """The cap on a frame, as ``hello_ack`` tells it."""
        self.heartbeat_interval_s = 10.0
        self.brain_version = ""
        self._key = key
        self._nonce = nonce
        self._signer: Signer | None = None
        self._verifier: Verifier | None = None

    def send_hello(self, hello: Hello, *, frame_id: str) -> bytes:
        """Introduce the agent: the first message, unsigned."""
        self._require(Role.AGENT, State.NEW)
        data = self._handshake(FrameType.HELLO, hello, frame_id)
        self.state = State.HELLO_SENT
        return data

    def send_hello_ack(self, ack: HelloAck, *, frame_id: str, now_ns: int) -> bytes:
        """Accept the agent, unsigned; the ids told here bind all that follows."""
        self._require(Role.BRAIN, State.HELLO_SENT)
        data = self._handshake(FrameType.HELLO_ACK, ack, frame_id, ts=iso_z(now_ns))
        self._establish(ack)
        return data

    def send_event_batch(self, events: Sequence[bytes], *, frame_id: str, now_ns: int) -> bytes:
        """Join events into one frame; nothing is encoded again.

        Args:
            events: Canonical bytes of event objects, at most 5000.
            frame_id: The id that the brain acknowledges.
            now_ns: Time of sending.
        """
        if len(events) > MAX_BATCH_EVENTS:
            raise LocalWireError("more than 5000 events in one batch")
        payload = (b'{"events":[', b",".join(events), b"]}")
        return self._send(Role.AGENT, FrameType.EVENT_BATCH, frame_id, *payload, now_ns=now_ns)

    def send_event_batch_ack(
        self,
        acked_id: str,
        received: int,
        accepted: int,
        rejected: int,
        *,
        frame_id: str,
        now_ns: int,
    ) -> bytes:
        """Settle a batch."""
        ack = EventBatchAck(
            acked_id=acked_id, received=received, accepted=accepted, rejected=rejected
        )
        return self._tell(Role.BRAIN, FrameType.EVENT_BATCH_ACK, frame_id, ack, now_ns)

    def send_heartbeat(self, payload: Heartbeat, *, frame_id: str, now_ns: int) -> bytes:
        """Tell that the agent lives."""
        return self._tell(Role.AGENT, FrameType.HEARTBEAT, frame_id, payload, now_ns)

    def send_agent_status(self, payload: AgentStatus, *, frame_id: str, now_ns: int) -> bytes:
        """Tell the agent's diagnostics."""
        return self._tell(Role.AGENT, FrameType.AGENT_STATUS, frame_id, payload, now_ns)

    def send_command(self, command_id: str, payload: CommandPayload, *, now_ns: int) -> bytes:
        """Ask the agent for something."""
        return self._tell(Role.BRAIN, FrameType.COMMAND, command_id, payload, now_ns)

    def send_command_ack(self, command_id: str, claim_token: str | None, *, now_ns: int) -> bytes:
        """Confirm a command's arrival, echoing its claim token."""
        payload = canonical.encode({"delivery_claim_token": claim_token})
        return self._send(Role.AGENT, FrameType.COMMAND_ACK, command_id, payload, now_ns=now_ns)

    def send_command_result(self, command_id: str, payload: bytes, *, now_ns: int) -> bytes:
        """Report a command's outcome; ``payload`` is a result payload's canonical bytes."""
        return self._send(Role.AGENT, FrameType.COMMAND_RESULT, command_id, payload, now_ns=now_ns)

    def send_registry_delta(self, payload: RegistryDelta, *, frame_id: str, now_ns: int) -> bytes:
        """Tell which tasks appeared or went."""
        return self._tell(Role.AGENT, FrameType.REGISTRY_DELTA, frame_id, payload, now_ns)

    def send_error(self, payload: ErrorPayload, *, frame_id: str, now_ns: int) -> bytes:
        """Complain; either side may."""
        return self._tell(self.role, FrameType.ERROR, frame_id, payload, now_ns)

    def receive(self, data: bytes | str, *, now_ns: int) -> Received:
        """Check one message of the peer and say what it means.

        Args:
            data: The message, text or binary.
            now_ns: Current time, nanoseconds since the Unix epoch.

        Raises:
            RemoteWireError: The peer broke the protocol; the session is closed.
            LocalWireError: The session is closed, or the agent has not said hello.
        """
        if self.state is State.CLOSED or (self.role is Role.AGENT and self.state is State.NEW):
            raise LocalWireError(f"nothing is received in state {self.state.value}")
        try:
            return self._receive(data, now_ns)
        except RemoteWireError:
            self.state = State.CLOSED
            raise

    def _receive(self, data: bytes | str, now_ns: int) -> Received:
        if self.role is Role.BRAIN and _size_of(data) > self.max_frame_bytes:
            raise FrameOversize("frame exceeds the cap")
        kind, frame = parse_frame(data)
        if self._verifier is None:
            return self._receive_handshake(kind, frame)
        if kind in UNSIGNED:
            return Ignored(kind.value)
        self._verifier.verify(kind, frame, now_ns=now_ns)
        if self.role is Role.BRAIN:
            return read_from_agent(kind, frame)
        return read_from_brain(kind, frame)

    def _receive_handshake(self, kind: FrameType, frame: dict[str, object]) -> Received:
        if self.state is State.NEW and kind is FrameType.HELLO:
            received = read_hello(frame)
            self.state = State.HELLO_SENT
            return received
        if self.role is Role.AGENT and kind is FrameType.HELLO_ACK:
            accepted = read_hello_ack(frame)
            self._establish(accepted.ack)
            return accepted
        raise FrameMalformed(f"{kind.value} before the handshake is done")

    def _establish(self, ack: HelloAck) -> None:
        self.binding = SessionBinding(ack.agent_id, ack.project_id, ack.session_id)
        self.max_frame_bytes = ack.max_frame_size_bytes
        self.heartbeat_interval_s = float(ack.heartbeat_interval_seconds)
        self.brain_version = ack.brain_version
        self._signer = Signer(self._key, self.binding)
        self._verifier = Verifier(self._key, self.binding)
        self.state = State.ESTABLISHED

    def _require(self, role: Role, state: State) -> None:
        if self.role is not role or self.state is not state:
            raise LocalWireError(
                f"not for a session of role {self.role.value} in state {self.state.value}"
            )

    def _handshake(
        self, kind: FrameType, payload: Hello | HelloAck, frame_id: str, **members: str
    ) -> bytes:
        _check_id(frame_id)
        frame = {"v": 2, "type": kind.value, "id": frame_id, **members}
        return self._capped(canonical.encode(frame | {"payload": msgspec.to_builtins(payload)}))

    def _tell(
        self, role: Role, kind: FrameType, frame_id: str, payload: msgspec.Struct, now_ns: int
    ) -> bytes:
        data = canonical.encode(msgspec.to_builtins(payload))
        return self._send(role, kind, frame_id, data, now_ns=now_ns)

    def _send(
        self, role: Role, kind: FrameType, frame_id: str, *payload: bytes, now_ns: int
    ) -> bytes:
        self._require(role, State.ESTABLISHED)
        assert self._signer is not None  # as in every established session
        _check_id(frame_id)
        data = self._capped(
            self._signer.seal(kind, frame_id, *payload, nonce=self._nonce(), now_ns=now_ns)
        )
        self._signer.count()
        return data

    def _capped(self, data: bytes) -> bytes:
        if len(data) > self.max_frame_bytes:
            raise FrameTooLarge(len(data), self.max_frame_bytes)
        return data


def _size_of(data: bytes | str) -> int:
    return len(data) if isinstance(data, bytes) else len(data.encode(errors="surrogatepass"))


def _check_id(frame_id: str) -> None:
    if not 1 <= len(frame_id) <= MAX_ID_CHARS:
        raise LocalWireError("a frame's id has 1 to 64 characters")
