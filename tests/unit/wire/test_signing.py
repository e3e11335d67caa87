"""Secrets, tokens and signatures, against the golden vectors and the reference library."""

from __future__ import annotations

import base64
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.clock import parse_iso_ns
from z4j_otel.errors import ConfigError, LocalWireError
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType
from z4j_otel.wire.signing import (
    SessionBinding,
    Signer,
    decode_secret,
    purge_token,
    signature_of,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "signing_vectors.json").read_text("utf-8")
)
SIGNED = [vector for vector in VECTORS["vectors"] if vector["outcome"] == "ok"]
# The reference drops a fraction of zero from ts; we always write six digits.
SEALED = [vector for vector in SIGNED if "." in vector["frame"]["ts"]]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


IDS = ("agent_id", "project_id", "session_id")


def oracle() -> Any:
    """Return the reference library, which is absent below Python 3.11."""
    if sys.version_info >= (3, 11):
        return importlib.import_module("z4j_core.transport.framing")
    return pytest.importorskip("z4j_core.transport.framing")


def name_of(case: dict[str, Any]) -> str:
    """Return what a vector is called."""
    return str(case.get("name") or case.get("queue"))


def binding_of(vector: dict[str, Any]) -> SessionBinding:
    """Return the ids a vector was signed with."""
    return SessionBinding(vector["agent_id"], vector["project_id"], vector["session_id"])


@pytest.mark.parametrize("vector", SIGNED, ids=name_of)
def test_a_vector_has_its_canonical_bytes_and_signature(vector: dict[str, Any]) -> None:
    """What the reference signed, we sign alike from its wire text."""
    frame = canonical.decode(vector["wire"])
    bound = {name: vector[name] for name in ("agent_id", "project_id", "session_id")}
    unsigned = {name: value for name, value in frame.items() if name != "hmac"}
    assert canonical.encode(unsigned | bound) == vector["canonical"].encode()
    key = base64.b64decode(vector["secret_b64"])
    assert signature_of(key, binding_of(vector), frame) == vector["hmac"] == frame["hmac"]


@pytest.mark.parametrize("vector", SEALED, ids=name_of)
def test_a_vector_sealed_by_us_carries_its_signature(vector: dict[str, Any]) -> None:
    """The concatenated envelope is the canonical one."""
    frame = vector["frame"]
    now_ns = parse_iso_ns(frame["ts"])
    signer = Signer(base64.b64decode(vector["secret_b64"]), binding_of(vector))
    signer._seq = frame["seq"] - 1
    payload = canonical.encode(frame["payload"])
    data = signer.seal(
        FrameType(frame["type"]), frame["id"], payload, nonce=frame["nonce"], now_ns=now_ns
    )
    assert data == canonical.encode(frame)


def test_the_surrogate_vector_cannot_be_signed(key: bytes, binding: SessionBinding) -> None:
    """Where the reference fails to sign, so do we."""
    with pytest.raises(LocalWireError):
        signature_of(key, binding, {"payload": {"v": "\ud800"}})
    with pytest.raises(LocalWireError):
        Signer(key, binding).seal(FrameType.ERROR, "\ud800", b"{}", nonce="n", now_ns=0)


def test_members_named_like_the_bound_ones_are_overwritten(
    key: bytes, binding: SessionBinding
) -> None:
    """A peer cannot choose what it is bound to."""
    plain = signature_of(key, binding, {"v": 2})
    assert signature_of(key, binding, {"v": 2, "session_id": "other", "hmac": "x"}) == plain
    assert signature_of(key, binding, {"v": 2, "more": 1}) != plain


@pytest.mark.parametrize("field", ["agent_id", "project_id", "session_id"])
def test_every_bound_id_changes_the_signature(
    field: str, key: bytes, binding: SessionBinding
) -> None:
    """A frame of another agent, project or session does not verify."""
    ids = {name: getattr(binding, name) for name in SessionBinding.__dataclass_fields__}
    other = SessionBinding(**{**ids, field: "else"})
    assert signature_of(key, other, {"v": 2}) != signature_of(key, binding, {"v": 2})


def test_frames_are_numbered_when_counted(key: bytes, binding: SessionBinding) -> None:
    """A frame that was made and not sent leaves no gap."""
    signer = Signer(key, binding)

    def seq() -> int:
        data = signer.seal(FrameType.HEARTBEAT, "hb", b"{}", nonce="n", now_ns=0)
        return int(canonical.decode(data)["seq"])

    assert [seq(), seq()] == [1, 1]
    signer.count()
    assert seq() == 2


@pytest.mark.parametrize("case", VECTORS["purge_tokens"]["cases"], ids=name_of)
def test_purge_tokens_match_the_vectors(case: dict[str, Any]) -> None:
    """The token binds queue and depth under the project's key."""
    key = base64.b64decode(VECTORS["purge_tokens"]["secret_b64"])
    assert purge_token(key, case["queue"], case["depth"]) == case["token"]


@pytest.mark.parametrize("case", VECTORS["secret_decoding"], ids=name_of)
def test_secrets_decode_as_the_vectors_say(case: dict[str, Any]) -> None:
    """Strict URL-safe base64; keys that no signer takes are refused right away."""
    if case["outcome"] == "ok" and len(case["hex"]) >= 64:
        assert decode_secret(case["input"]).hex() == case["hex"]
        return
    with pytest.raises(ConfigError) as caught:
        decode_secret(case["input"], source="the test")
    assert "the test" in str(caught.value)
    assert not case["input"] or case["input"] not in str(caught.value)


@pytest.mark.parametrize("text", ["A" * 45, "====", "\u00e9" * 44, "  ", "A" * 40 + "=A=="])
def test_other_malformed_secrets_are_refused(text: str) -> None:
    """Impossible lengths, other alphabets, padding inside."""
    with pytest.raises(ConfigError):
        decode_secret(text)


@given(st.binary(min_size=32, max_size=80))
def test_any_key_survives_its_text_form(key: bytes) -> None:
    """With and without padding."""
    text = base64.urlsafe_b64encode(key).decode()
    assert decode_secret(text) == decode_secret(text.rstrip("=")) == key


@given(data=st.dictionaries(TEXT, VALUES, max_size=4), frame_id=TEXT, seq=st.integers(1, 2**70))
def test_the_reference_verifies_what_we_sign(
    data: dict[str, Any], frame_id: str, seq: int, key: bytes, binding: SessionBinding
) -> None:
    """Any content, any unicode, any number: an independent verifier accepts our frame."""
    framing = oracle()
    signer = Signer(key, binding)
    signer._seq = seq - 1
    payload = canonical.encode({"events": [data]})
    wire = signer.seal(FrameType.EVENT_BATCH, frame_id, payload, nonce="n", now_ns=time.time_ns())
    verifier = framing.FrameVerifier(
        secret=key, **{name: getattr(binding, name) for name in IDS}, direction="agent->brain"
    )
    assert verifier.parse_and_verify(wire).type == "event_batch"


@given(value=VALUES)
def test_we_agree_with_what_the_reference_signs(
    value: Any, key: bytes, binding: SessionBinding
) -> None:
    """The reference's signature over any content is ours."""
    framing = oracle()
    signer = framing.FrameSigner(secret=key, **{name: getattr(binding, name) for name in IDS})
    frame = framing.parse_frame(
        json.dumps(
            {"v": 2, "type": "event_batch", "id": "e", "payload": {"events": [{"x": value}]}}
        )
    )
    signed = canonical.decode(signer.sign_and_serialize(frame))
    assert signature_of(key, binding, signed) == signed["hmac"]
