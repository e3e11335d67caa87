"""One key, one binding and one pair of sessions for the wire's tests."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import SessionBinding

NOW_NS = 1_767_323_045_678_901_000  # 2026-01-02T03:04:05.678901Z


@pytest.fixture(scope="session")
def key() -> bytes:
    """Return the vectors' secret."""
    return bytes(range(32))


@pytest.fixture(scope="session")
def binding() -> SessionBinding:
    """Return the vectors' ids."""
    return SessionBinding(
        "11111111-1111-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
        "33333333-3333-4333-8333-333333333333",
    )


@pytest.fixture(scope="session")
def ack(binding: SessionBinding) -> HelloAck:
    """Return an answer to hello that tells the vectors' ids."""
    return HelloAck(
        agent_id=binding.agent_id,
        project_id=binding.project_id,
        session_id=binding.session_id,
        brain_version="1.13.0",
    )


@pytest.fixture(scope="session")
def now_ns() -> int:
    """Return the vectors' time."""
    return NOW_NS


def _pair(key: bytes, ack: HelloAck) -> tuple[Session, Session]:
    numbers = itertools.count()
    agent, brain = (
        Session(role, key, nonce=lambda: f"nonce{next(numbers)}")
        for role in (Role.AGENT, Role.BRAIN)
    )
    hello = Hello(agent_version="1", framework="bare")
    brain.receive(agent.send_hello(hello, frame_id="he_1"), now_ns=NOW_NS)
    agent.receive(brain.send_hello_ack(ack, frame_id="hack_1", now_ns=NOW_NS), now_ns=NOW_NS)
    return agent, brain


@pytest.fixture
def pair(key: bytes, ack: HelloAck) -> tuple[Session, Session]:
    """Return an agent's and a brain's session, established with each other."""
    return _pair(key, ack)


@pytest.fixture(scope="session")
def new_pair(key: bytes, ack: HelloAck) -> Callable[[], tuple[Session, Session]]:
    """Return what makes pairs, for properties that need one per example."""
    return lambda: _pair(key, ack)


@pytest.fixture
def forge(key: bytes, binding: SessionBinding) -> Callable[..., bytes]:
    """Return a signer that signs anything, written without the code under test."""

    def sign(**members: Any) -> bytes:
        frame = {
            "v": 2,
            "id": "x_1",
            "ts": "2026-01-02T03:04:05.678901Z",
            "nonce": "forged",
            "seq": 1,
            "payload": {},
        } | members
        bound = frame | {
            "agent_id": binding.agent_id,
            "project_id": binding.project_id,
            "session_id": binding.session_id,
        }
        text = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        frame["hmac"] = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return json.dumps(frame).encode()

    return sign
