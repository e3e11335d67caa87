"""Confirmation of purges."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.purging import check_purge
from z4j_otel.instrumentors.rules import LocalRules
from z4j_otel.wire.signing import purge_token

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "signing_vectors.json").read_text("utf-8")
)["purge_tokens"]
SECRET = base64.b64decode(VECTORS["secret_b64"])
RULES = LocalRules(purge_secret=SECRET, purge_threshold=1000)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["depth"]))
def test_tokens_are_those_of_the_protocol(case):
    """Keyed and unkeyed tokens agree with the recorded ones; unkeyed ones count on request."""
    queue, depth = case["queue"], case["depth"]
    assert purge_token(SECRET, queue, depth) == case["token"]
    check_purge(RULES, queue, depth, case["token"])
    with pytest.raises(CommandRefused, match="not confirmed"):
        check_purge(RULES, queue, depth, case["legacy_sha256"])
    lenient = LocalRules(purge_secret=SECRET, accepts_legacy_purge_token=True)
    check_purge(lenient, queue, depth, case["legacy_sha256"])
    check_purge(lenient, queue, depth, case["token"])


@pytest.mark.parametrize("token", ["", "é", "x" * 64, purge_token(SECRET, "q", 6)])
def test_other_tokens_are_refused_with_the_depth(token):
    """A token for another depth, or none at all, is refused and the depth is told."""
    with pytest.raises(CommandRefused, match="queue q has 5 messages now"):
        check_purge(RULES, "q", 5, token)


def test_missing_token_says_what_to_do():
    """Without a token the refusal says how to confirm."""
    with pytest.raises(CommandRefused, match=r"confirm_token is missing.*or force it"):
        check_purge(RULES, "q", 5, None)


def test_many_messages_want_force():
    """A confirmed purge above the threshold is refused, at it is not."""
    check_purge(RULES, "q", 1000, purge_token(SECRET, "q", 1000))
    with pytest.raises(CommandRefused, match="more than the 1000 of Z4J_PURGE_THRESHOLD"):
        check_purge(RULES, "q", 1001, purge_token(SECRET, "q", 1001))


def test_without_a_secret_nothing_is_confirmed():
    """A token made with an empty secret is worth nothing."""
    with pytest.raises(CommandRefused, match="not confirmed"):
        check_purge(LocalRules(), "q", 5, purge_token(b"", "q", 5))
    legacy = hashlib.sha256(b"purge|q|5").hexdigest()
    check_purge(LocalRules(accepts_legacy_purge_token=True), "q", 5, legacy)
