"""Targets that a hostile brain, or whoever stands between, reaches."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec

from z4j_otel.errors import LocalWireError, RemoteWireError, TransportError
from z4j_otel.transport.longpoll import LongPollTransport
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType, Hello, HelloAck
from z4j_otel.wire.session import FrameTooLarge, Role, Session

from ..virtual_time import virtual_loop  # noqa: TID252 -- the loop of all tests
from .drawing import Drawing
from .fuzzing import Target

__all__ = ["KEY", "TARGETS", "agent_session", "sign"]

KEY = bytes(range(32))
NOW_NS = 1_767_323_045_678_901_000
NOW = "2026-01-02T03:04:05.678901Z"
IDS = {
    "agent_id": "11111111-1111-4111-8111-111111111111",
    "project_id": "22222222-2222-4222-8222-222222222222",
    "session_id": "33333333-3333-4333-8333-333333333333",
}
VECTORS = Path(__file__).parent.parent / "vectors"
KINDS = [kind.value for kind in FrameType]
_POLLS = 6
_TYPES = ["application/json", "text/html", "text/plain; charset=utf-16"]
_STATUSES = [200, 200, 200, 204, 301, 400, 401, 403, 409, 413, 429, 500, 502, 503, 504, 599]


def sign(frame: dict[str, object]) -> bytes:
    """Sign anything, by other means than the code under test."""
    bound = {**frame, **IDS}
    bound.pop("hmac", None)
    text = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hmac.new(KEY, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    return json.dumps({**frame, "hmac": digest}).encode()


def agent_session(*, is_established: bool) -> Session:
    """Return the agent's side, before or after the brain's answer."""
    session = Session(Role.AGENT, KEY)
    session.send_hello(Hello(agent_version="1", framework="bare"), frame_id="he_1")
    if is_established:
        ack = canonical.encode(_hello_ack())
        session.receive(ack, now_ns=NOW_NS)
    return session


def _hello_ack() -> dict[str, object]:
    payload = msgspec.to_builtins(HelloAck(**IDS, brain_version="1.13.0"))
    return {"v": 2, "type": "hello_ack", "id": "hack_1", "ts": NOW, "payload": payload}


@contextlib.contextmanager
def _frames() -> Iterator[Callable[[bytes], None]]:
    """Raw bytes, before and after the brain's answer, to both sides."""

    def take(data: bytes) -> None:
        for is_established in (False, True):
            with contextlib.suppress(RemoteWireError, LocalWireError):
                agent_session(is_established=is_established).receive(data, now_ns=NOW_NS)
        with contextlib.suppress(RemoteWireError, LocalWireError):
            Session(Role.BRAIN, KEY).receive(data, now_ns=NOW_NS)

    yield take


@contextlib.contextmanager
def _signed() -> Iterator[Callable[[bytes], None]]:
    """Payloads that nobody would send, rightly signed, one after the other in one session."""

    def take(data: bytes) -> None:
        draw = Drawing(data)
        session = agent_session(is_established=True)
        for number in itertools.count(1):
            frame: dict[str, object] = {
                "v": 2,
                "type": draw.pick(KINDS),
                "id": f"x_{number}",
                "ts": NOW,
                "nonce": f"n{number}",
                "seq": number,
                "payload": draw.json(),
            }
            if draw.number(3) == 0:
                frame[draw.pick(list(frame))] = draw.json()
            try:
                session.receive(sign(frame), now_ns=NOW_NS)
            except RemoteWireError:
                session = agent_session(is_established=True)
            if draw.is_over or number > 50:
                return

    yield take


@contextlib.contextmanager
def _members() -> Iterator[Callable[[bytes], None]]:
    """A command, or an ack, whose every member may be anything; rightly signed."""

    def take(data: bytes) -> None:
        try:
            frame = json.loads(data)
            is_frame = isinstance(frame, dict)
        except (ValueError, RecursionError):
            return
        if is_frame:
            with contextlib.suppress(RemoteWireError, RecursionError):
                whole = sign({"v": 2, "id": "x", "ts": NOW, "nonce": "n", "seq": 1, **frame})
                agent_session(is_established=True).receive(whole, now_ns=NOW_NS)

    yield take


@contextlib.contextmanager
def _long_poll() -> Iterator[Callable[[bytes], None]]:
    """Answers of a server in the brain's place, to requests of the long-poll transport."""

    def take(data: bytes) -> None:
        draw = Drawing(data)
        asked = itertools.count()

        def answer(request: httpx.Request) -> httpx.Response:
            if next(asked) >= _POLLS:
                raise httpx.ConnectError("over")
            return _answer(draw, request)

        with virtual_loop() as loop:
            transport = LongPollTransport(
                "http://127.0.0.1:1", "token", http=httpx.MockTransport(answer)
            )
            with contextlib.suppress(TransportError, FrameTooLarge):
                loop.run_until_complete(_converse(transport))

    yield take


async def _converse(transport: LongPollTransport) -> None:
    connection = await transport.connect()
    session = Session(Role.AGENT, KEY)
    try:
        hello = Hello(agent_version="1", framework="bare")
        await connection.send(session.send_hello(hello, frame_id="he_1"))
        session.receive(await connection.receive(), now_ns=NOW_NS)
        event = session.send_event_batch([b"{}"], frame_id="eb_1", now_ns=NOW_NS)
        await connection.send(event)
        while True:
            with contextlib.suppress(RemoteWireError):
                session.receive(await connection.receive(), now_ns=NOW_NS)
    except (RemoteWireError, LocalWireError):
        return
    finally:
        await connection.close()


def _answer(draw: Drawing, request: httpx.Request) -> httpx.Response:
    headers = {"Content-Type": draw.pick(_TYPES)}
    if draw.number(3):
        headers |= {"X-Z4J-Agent-Id": IDS["agent_id"], "X-Z4J-Project-Id": IDS["project_id"]}
    for name in ("Retry-After", "Date", "Location", "X-Z4J-Agent-Id", "Content-Encoding"):
        if draw.number(5) == 0:
            headers[name] = "".join(c for c in draw.text()[:200] if c.isascii() and c >= " ")
    way = draw.number(5)
    if way == 5:
        body = b'{"frames":["%b"],"error":"%b"}' % (draw.take(20), draw.take(20))
    elif way == 0:
        body = draw.take(draw.number(300))
    elif way == 1:
        body = json.dumps(draw.json()).encode()
    elif request.method == "POST":
        body = json.dumps({"accepted": 1, "errors": [], "error_code": None}).encode()
    else:
        body = json.dumps({"frames": [draw.text().encode("utf-8", "replace").decode()]}).encode()
    return httpx.Response(draw.pick(_STATUSES), headers=headers, stream=httpx.ByteStream(body))


def _vectors() -> list[bytes]:
    """Return the frames of the golden vectors, and one of each kind."""
    found: list[bytes] = [canonical.encode(_hello_ack())]
    for path in sorted(VECTORS.glob("*.json")):
        texts = _texts(json.loads(path.read_text("utf-8")))
        found += [text.encode() for text in texts if text.startswith("{") and '"type"' in text]
    return found[:60]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        if "type" in value and "payload" in value:
            yield json.dumps(value)
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _commands() -> list[bytes]:
    payload = {
        "action": "retry_task",
        "target": {"type": "task", "id": "t1", "engine": "celery", "scheduler": None},
        "parameters": {"task_id": "t1", "override_args": [1]},
        "timeout_seconds": 60,
        "issued_by": None,
        "delivery_claim_token": None,
    }
    ack = {"acked_id": "eb_1", "received": 1, "accepted": 1, "rejected": 0}
    error = {"code": "rate_limited", "message": "slow down", "fatal": False}
    kinds = {"command": payload, "event_batch_ack": ack, "error": error}
    return [json.dumps({"type": kind, "payload": body}).encode() for kind, body in kinds.items()]


def _noise() -> list[bytes]:
    return [bytes(range(256)), b"\x08" * 40, b"\x01\x03\x02" * 30, bytes(200)]


TARGETS = [
    Target("frames", _frames, _vectors),
    Target("signed", _signed, _noise),
    Target("members", _members, _commands),
    Target("longpoll", _long_poll, _noise),
]
