"""The brain's HTTP routes for agents, without their socket (PROTOCOL §7).

Theory of operation: a request in, an answer out; a poll that may wait is asked again until
it has something or its time is over. A session is a nonce of one agent, opened by a poll
that claims nothing, forgotten after 300 s without a request, and closed for five minutes by
the first frame whose signature, time or number is wrong. Everything else is answered as the
real brain does: requests over the size limit before anybody looks at them, frames that
cannot be read as if they had been taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from z4j_otel.devbrain.faults import CloseWith
from z4j_otel.devbrain.orders import REPEATABLE, IssuedCommand, OrderStatus
from z4j_otel.devbrain.projects import AgentRecord
from z4j_otel.errors import FrameMalformed, FrameReplayed, SignatureInvalid
from z4j_otel.ids import new_nonce
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType
from z4j_otel.wire.reading import read_from_agent
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    HeartbeatReceived,
    Received,
)
from z4j_otel.wire.signing import SessionBinding, Signer
from z4j_otel.wire.verify import UNSIGNED, Verifier, parse_frame

if TYPE_CHECKING:
    from z4j_otel.devbrain.state import BrainState

__all__ = ["Answer", "LongPollDesk", "Request"]

_NS: Final = 1_000_000_000
_IDLE_NS: Final = 300 * _NS
_TOMBSTONE_NS: Final = 300 * _NS
_OFFER_AGAIN_NS: Final = 10 * _NS
_MAX_FRAME_CHARS: Final = 1_048_576
_MAX_FRAMES: Final = 500
_MAX_ERRORS: Final = 10
_CONFLICT: Final = "long-poll session invalidated; reconnect with a fresh session nonce"
_UNKNOWN: Final = (
    "long-poll session invalidated; perform the connect probe with a fresh session nonce"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    peer: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; its body is JSON."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The content as bytes."""
        return json.dumps(self.content, separators=(",", ":")).encode()


class _Refused(Exception):
    """Ends the handling of a request with an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Post(msgspec.Struct):
    frames: list[str]


@dataclass(slots=True, eq=False)
class _Session:
    agent: AgentRecord
    nonce: str
    signer: Signer
    verifier: Verifier
    used_ns: int
    closed_ns: int | None = None


class LongPollDesk:
    """Answers the requests of all agents.

    Args:
        state: What the brain knows.
        admit: Counts a request of an address; raises ``CloseWith`` when there are too many.
    """

    def __init__(self, state: BrainState, admit: Callable[[str], None]) -> None:
        self._state = state
        self._admit = admit
        self._sessions: dict[tuple[str, str], _Session] = {}

    def wait_s(self, request: Request) -> float:
        """Return how long a request may wait for something to answer with, seconds."""
        try:
            return float(min(60, max(0, int(request.query.get("wait", "30")))))
        except ValueError:
            return 0.0

    def answer(self, request: Request, *, is_last: bool = True, is_first: bool = True) -> Answer:
        """Answer one request.

        Args:
            request: What came.
            is_last: Whether a poll is to be answered even if there is no command.
            is_first: Whether the request counts; False when the same poll is asked again.

        Returns:
            The answer; status 0 when there is nothing to tell yet.
        """
        with self._state.changed:
            try:
                found = self._handle(request, is_first=is_first, is_last=is_last)
            except _Refused as refused:
                return refused.answer
            self._state.changed.notify_all()
            return found

    def _handle(self, request: Request, *, is_first: bool, is_last: bool) -> Answer:
        now_ns = self._state.clock.now_ns()
        if len(request.body) > self._state.settings.max_request_bytes:
            raise _Refused(_too_large())
        if is_first:
            self._check_faults()
            self._check_bucket(request.peer)
        agent = self._agent(request)
        headers = {
            "X-Z4J-Agent-Id": agent.id,
            "X-Z4J-Project-Id": agent.project.id,
            "X-Z4J-LongPoll-Worker": "1",
        }
        nonce = request.headers.get("x-z4j-session-nonce", "")
        if (request.method, request.path) == ("POST", "/api/v1/agent/events"):
            frames = _frames_of(request)
            session = self._session(agent, nonce, now_ns, may_open=False)
            return Answer(200, self._take_all(session, frames, now_ns), headers)
        if (request.method, request.path) != ("GET", "/api/v1/agent/commands"):
            raise _Refused(Answer(404, {"detail": "Not Found"}))
        limit = _bounded(request, "max_frames", 50, 500)
        _bounded(request, "wait", 30, 60)
        session = self._session(agent, nonce, now_ns, may_open=limit == 0)
        frames = self._fetch(session, limit, _contracts(request), now_ns)
        if not frames and limit and not is_last:
            return Answer(0)
        return Answer(200, {"frames": frames}, headers)

    def _check_faults(self) -> None:
        canned = self._state.faults.ledger.answers
        if canned:
            status, headers = canned.popleft()
            raise _Refused(Answer(status, {"detail": "as told"}, headers))

    def _check_bucket(self, peer: str) -> None:
        try:
            self._admit(peer)
        except CloseWith:
            text = "too many requests; retry in 60 seconds (agent-connect)"
            raise _Refused(Answer(429, {"detail": text}, {"Retry-After": "60"})) from None
        allowed = self._state.settings.ip_allowlist
        if allowed is not None and peer not in allowed:
            raise _Refused(Answer(403, {"error": "ip_denied"}))

    def _agent(self, request: Request) -> AgentRecord:
        scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
        agent = self._state.agents.get(token.strip()) if scheme.lower() == "bearer" else None
        if agent is None or agent.is_revoked:
            raise _Refused(Answer(401, {"detail": "invalid agent token"}))
        if agent.project.is_archived:
            raise _Refused(Answer(403, {"error": "project_inactive"}))
        return agent

    def _session(self, agent: AgentRecord, nonce: str, now_ns: int, *, may_open: bool) -> _Session:
        key = (agent.id, nonce)
        session = self._sessions.get(key)
        if session is not None and session.closed_ns is not None:
            if now_ns - session.closed_ns < _TOMBSTONE_NS:
                raise _Refused(Answer(409, {"detail": _CONFLICT}))
            session = None
        if session is not None and now_ns - session.used_ns > _IDLE_NS:
            session = None
        if session is None:
            if not may_open:
                raise _Refused(Answer(409, {"detail": _UNKNOWN}))
            binding = SessionBinding(agent.id, agent.project.id, nonce)
            secret = agent.project.key
            session = _Session(
                agent, nonce, Signer(secret, binding), Verifier(secret, binding), now_ns
            )
            self._sessions[key] = session
            self._state.counts["longpoll_sessions"] += 1
        session.used_ns = now_ns
        return session

    def _fetch(
        self, session: _Session, limit: int, contracts: frozenset[str], now_ns: int
    ) -> list[str]:
        offered = [
            command
            for command in self._state.commands.values()
            if command.agent_id == session.agent.id and _is_due(command, contracts, now_ns)
        ]
        frames = []
        for command in offered[:limit]:
            command.deliver(session.nonce, now_ns)
            payload = canonical.encode(msgspec.to_builtins(command.payload))
            frame = session.signer.seal(
                FrameType.COMMAND, command.id, payload, nonce=new_nonce(), now_ns=now_ns
            )
            session.signer.count()
            frames.append(frame.decode())
        return frames

    def _take_all(self, session: _Session, frames: list[str], now_ns: int) -> dict[str, Any]:
        accepted = 0
        errors = []
        for text in frames:
            try:
                kind, frame = parse_frame(text)
            except FrameMalformed as error:
                if "v is not" in str(error):
                    errors.append("version skew (retry): unsupported frame version, expected 2")
                else:
                    accepted += 1
                continue
            accepted += int(self._take(session, kind, frame, now_ns))
        rejected = len(frames) - accepted
        return {
            "accepted": accepted,
            "rejected": rejected,
            "errors": errors[:_MAX_ERRORS],
            "error_code": None,
        }

    def _take(self, session: _Session, kind: FrameType, frame: dict[str, Any], now_ns: int) -> bool:
        if kind in UNSIGNED:
            return True
        try:
            session.verifier.verify(kind, frame, now_ns=now_ns)
        except (SignatureInvalid, FrameReplayed):
            session.closed_ns = now_ns
            raise _Refused(Answer(409, {"detail": _CONFLICT})) from None
        except FrameMalformed:
            return True
        session.agent.seen_ns = session.agent.polled_ns = now_ns
        return self._apply(session, read_from_agent(kind, frame), now_ns)

    def _apply(self, session: _Session, received: Received, now_ns: int) -> bool:
        state, agent = self._state, session.agent
        if isinstance(received, BatchReceived):
            if state.faults.take_lost_batch():
                return False
            state.take_events(agent, received.events, now_ns)
        elif isinstance(received, HeartbeatReceived):
            state.heartbeats.append((agent.id, received.payload))
            agent.project.inventory.apply_heartbeat(received.payload, now_ns)
        elif isinstance(received, AgentStatusReceived):
            state.statuses.append((agent.id, received.payload))
        elif isinstance(received, CommandAcked):
            state.take_ack(agent, session.nonce, received)
        elif isinstance(received, CommandFinished):
            state.take_result(agent, session.nonce, received, now_ns)
        return True


def _is_due(command: IssuedCommand, contracts: frozenset[str], now_ns: int) -> bool:
    """Whether a poll is given the command: it waits, or is offered again after 10 s."""
    if command.status is OrderStatus.PENDING:
        is_retry = command.action in ("retry_task", "bulk_retry")
        return not is_retry or command.payload.target.engine in contracts
    return (
        command.status is OrderStatus.DISPATCHED
        and command.action in REPEATABLE
        and command.delivered_ns is not None
        and now_ns - command.delivered_ns >= _OFFER_AGAIN_NS
    )


def _contracts(request: Request) -> frozenset[str]:
    text = request.headers.get("x-z4j-retry-contracts", "")
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if any(not name or value != "1" for name, _, value in pairs):
        return frozenset()
    return frozenset(name for name, _, _ in pairs)


def _bounded(request: Request, name: str, default: int, most: int) -> int:
    try:
        value = int(request.query.get(name, str(default)))
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise _Refused(Answer(422, {"detail": [{"loc": ["query", name]}]}))
    return value


def _frames_of(request: Request) -> list[str]:
    is_json = request.headers.get("content-type", "").startswith("application/json")
    try:
        frames = msgspec.json.decode(request.body, type=_Post).frames if is_json else []
    except msgspec.DecodeError:
        frames = []
    if not 1 <= len(frames) <= _MAX_FRAMES or max(map(len, frames)) > _MAX_FRAME_CHARS:
        raise _Refused(Answer(422, {"detail": [{"loc": ["body", "frames"]}]}))
    return frames


def _too_large() -> Answer:
    text = "request body exceeds the configured maximum"
    return Answer(413, {"error": "payload_too_large", "message": text})
