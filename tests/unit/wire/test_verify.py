"""The receiver's verdicts, against the golden vectors and bit by bit."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from z4j_otel.clock import parse_iso_ns
from z4j_otel.errors import FrameMalformed, FrameReplayed, RemoteWireError, SignatureInvalid
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType
from z4j_otel.wire.signing import SessionBinding, Signer
from z4j_otel.wire.verify import UNSIGNED, Verifier, parse_frame

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "verify_vectors.json").read_text("utf-8")
)
LOSS = {"buffer_id": "b", "runtime_id": "r"}


def receive(verifier: Verifier, data: bytes | str, now_ns: int) -> None:
    """Read and verify a frame as a session does."""
    kind, frame = parse_frame(data)
    if kind not in UNSIGNED:
        verifier.verify(kind, frame, now_ns=now_ns)


@pytest.fixture
def check(key: bytes, binding: SessionBinding, now_ns: int) -> Callable[[bytes | str], None]:
    """Return one verifier's whole check."""
    verifier = Verifier(key, binding)
    return lambda data: receive(verifier, data, now_ns)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_vector_gets_its_verdict(case: dict[str, Any]) -> None:
    """Accept, close with 4403, or close with 1011, as the reference does."""
    ids = (VECTORS[name] for name in ("agent_id", "project_id", "session_id"))
    verifier = Verifier(base64.b64decode(VECTORS["secret_b64"]), SessionBinding(*ids))
    now_ns = parse_iso_ns(VECTORS["verifier_now"])
    wire = case["wire"]
    data = wire.encode("latin-1") if "wire_encoding" in case else wire
    for prior in case.get("prior_frames", ()):
        receive(verifier, prior, now_ns)
    if case["verdict"] == "accept":
        receive(verifier, data, now_ns)
        return
    is_4403 = case["verdict"] == "SignatureError"
    expected = (SignatureInvalid, FrameReplayed) if is_4403 else FrameMalformed
    with pytest.raises(expected):
        receive(verifier, data, now_ns)


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_rejected(
    position: int, bit: int, key: bytes, binding: SessionBinding
) -> None:
    """No single bit of a signed frame can change its meaning unseen (``1E-07`` is ``1e-07``)."""
    now_ns = 1_767_323_045_678_901_000
    payload = canonical.encode({"events": [{"text": "é", "n": 1e-7, "more": [None, True]}]})
    data = bytearray(
        Signer(key, binding).seal(FrameType.EVENT_BATCH, "ev_1", payload, nonce="n1", now_ns=now_ns)
    )
    receive(Verifier(key, binding), bytes(data), now_ns)
    meant = canonical.decode(bytes(data))
    data[position % len(data)] ^= 1 << bit
    with contextlib.suppress(FrameMalformed):
        assume(canonical.decode(bytes(data)) != meant)
    with pytest.raises(RemoteWireError):
        receive(Verifier(key, binding), bytes(data), now_ns)


@pytest.mark.parametrize(
    "frame",
    [
        [],
        None,
        "text",
        {},
        {"v": True, "type": "error"},
        {"v": 2.0, "type": "error"},
        {"v": "2", "type": "error"},
        {"v": 3, "type": "error"},
        {"v": 2},
        {"v": 2, "type": 5},
        {"v": 2, "type": ["error"]},
        {"v": 2, "type": "goodbye"},
        *({"v": 2, "type": "error", "payload": payload} for payload in ([], 0, "", False, "x")),
    ],
    ids=repr,
)
def test_what_is_no_frame_is_malformed(frame: Any) -> None:
    """The members every frame has are checked before anything else."""
    with pytest.raises(FrameMalformed):
        parse_frame(json.dumps(frame))


@pytest.mark.parametrize("signature", [None, "", 0, 5, ["a"], "é" * 64, "A" * 64, "a" * 63])
def test_a_signature_of_another_form_is_invalid(
    signature: Any, key: bytes, binding: SessionBinding, now_ns: int
) -> None:
    """Missing, not text, not ASCII, of another length: all are refused, none crashes."""
    frame = {"v": 2, "type": "error", "hmac": signature}
    with pytest.raises(SignatureInvalid):
        Verifier(key, binding).verify(FrameType.ERROR, frame, now_ns=now_ns)


def test_an_upper_case_signature_is_invalid(
    forge: Callable[..., bytes], key: bytes, binding: SessionBinding, now_ns: int
) -> None:
    """The digits are compared as text."""
    kind, frame = parse_frame(forge(type="error"))
    frame["hmac"] = frame["hmac"].upper()
    with pytest.raises(SignatureInvalid):
        Verifier(key, binding).verify(kind, frame, now_ns=now_ns)


def test_a_frame_without_canonical_form_is_malformed(
    key: bytes, binding: SessionBinding, now_ns: int
) -> None:
    """A value that came in by another way than our parser does not crash the check."""
    frame = {"v": 2, "type": "error", "hmac": "a" * 64, "payload": {"code": "\ud800"}}
    with pytest.raises(FrameMalformed):
        Verifier(key, binding).verify(FrameType.ERROR, frame, now_ns=now_ns)


@pytest.mark.parametrize("kind", ["heartbeat", "agent_status"])
@pytest.mark.parametrize(
    ("loss", "is_valid"),
    [
        (None, True),
        (LOSS, True),
        (LOSS | {"more": 1}, True),
        (LOSS | {"event_records": 2**53 - 1}, True),
        (LOSS | {"event_records": 2**53}, False),
        (LOSS | {"event_records": -1}, False),
        (LOSS | {"event_records": True}, False),
        (LOSS | {"event_records": 1.0}, False),
        (LOSS | {"event_records": None}, False),
        (LOSS | {"buffer_id": ""}, False),
        (LOSS | {"runtime_id": "r" * 65}, False),
        (LOSS | {"adapter_events": {"celery": 1}}, True),
        (LOSS | {"adapter_events": {"": 1}}, False),
        (LOSS | {"adapter_events": {"e" * 65: 1}}, False),
        (LOSS | {"adapter_events": {str(each): 1 for each in range(33)}}, False),
        (LOSS | {"adapter_events": {"celery": -1}}, False),
        ({}, False),
        ([], False),
        (0, False),
        (False, False),
        ("", False),
    ],
    ids=repr,
)
def test_losses_are_validated(
    kind: str,
    loss: Any,
    is_valid: bool,
    forge: Callable[..., bytes],
    check: Callable[[bytes | str], None],
) -> None:
    """The one payload object with bounds, as the reference has them."""
    data = forge(type=kind, payload={"telemetry_loss": loss})
    if is_valid:
        check(data)
        return
    with pytest.raises(FrameMalformed):
        check(data)


@pytest.mark.parametrize("payload", [None, {}, {"status": "ok"}, {"status": ["success"]}])
def test_a_result_has_one_of_two_states(
    payload: Any, forge: Callable[..., bytes], check: Callable[[bytes | str], None]
) -> None:
    """Anything but success and failed is malformed."""
    with pytest.raises(FrameMalformed):
        check(forge(type="command_result", payload=payload))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"v": 3, "type": "goodbye", "payload": []}, FrameMalformed),
        ({"hmac": "0" * 64, "payload": {"status": "ok"}, "seq": 0}, SignatureInvalid),
    ],
)
def test_the_form_comes_before_the_signature_before_the_rest(
    change: dict[str, Any],
    error: type[Exception],
    forge: Callable[..., bytes],
    check: Callable[[bytes | str], None],
) -> None:
    """Of several faults, the first in the protocol's order is told."""
    frame = json.loads(forge(type="command_result")) | change
    with pytest.raises(error):
        check(json.dumps(frame))


def test_the_status_comes_before_the_freshness(
    forge: Callable[..., bytes], check: Callable[[bytes | str], None]
) -> None:
    """A stale frame with a malformed status is malformed."""
    data = forge(type="command_result", payload={"status": "ok"}, seq=0, ts="never")
    with pytest.raises(FrameMalformed):
        check(data)


def test_a_refused_frame_does_not_advance(
    forge: Callable[..., bytes], check: Callable[[bytes | str], None]
) -> None:
    """Its number and nonce can still be used by the frame they belong to."""
    with pytest.raises(FrameMalformed):
        check(forge(type="heartbeat", payload={"telemetry_loss": 0}))
    check(forge(type="heartbeat"))
