"""From the end of a connection to its class and its words."""

from __future__ import annotations

import pytest

from z4j_otel.agent.connection_failures import (
    BatchesUnacked,
    BrainComplained,
    BrainStalled,
    HelloUnanswered,
    Phase,
    diagnose,
)
from z4j_otel.errors import (
    ConnectFailed,
    ConnectionLost,
    FrameReplayed,
    LocalWireError,
    SignatureInvalid,
    VersionUnsupported,
)
from z4j_otel.transport.close_codes import FailureClass

NEW = Phase()
ESTABLISHED = Phase(established=True)
PROVEN = Phase(established=True, proven=True)


@pytest.mark.parametrize(
    ("error", "phase", "kind", "words"),
    [
        (ConnectionLost(4401), NEW, FailureClass.AUTH, "Z4J_TOKEN"),
        (ConnectionLost(4403), NEW, FailureClass.AUTH, "agent_ip_allowlist"),
        (ConnectionLost(4403), ESTABLISHED, FailureClass.AUTH, "Z4J_HMAC_SECRET"),
        (ConnectionLost(4403), PROVEN, FailureClass.PROTOCOL, "mid-session"),
        (ConnectionLost(4003), PROVEN, FailureClass.AUTH, "revoked"),
        (ConnectionLost(4429), ESTABLISHED, FailureClass.CAPACITY, "no room"),
        (ConnectionLost(4002), PROVEN, FailureClass.SLOT, "worker_id"),
        (ConnectionLost(4426), NEW, FailureClass.INCOMPATIBLE, "upgrade"),
        (ConnectionLost(4400), NEW, FailureClass.PROTOCOL, "hello"),
        (ConnectionLost(4400), PROVEN, FailureClass.PROTOCOL, "too large"),
        (ConnectionLost(1012), PROVEN, FailureClass.CONNECTION, "restarting"),
        (ConnectionLost(1006, "gone"), PROVEN, FailureClass.CONNECTION, "broke (gone)"),
        (ConnectionLost(1006), PROVEN, FailureClass.CONNECTION, "no reason"),
        (ConnectionLost(1000), PROVEN, FailureClass.CONNECTION, "code 1000"),
        (ConnectionLost(1011), PROVEN, FailureClass.CONNECTION, "failed over something"),
        (
            ConnectionLost(1011, "keepalive ping timeout"),
            PROVEN,
            FailureClass.CONNECTION,
            "paused",
        ),
        (ConnectionLost(4429), NEW, FailureClass.CAPACITY, "this address"),
        (ConnectFailed("no route"), NEW, FailureClass.CONNECTION, "no route"),
        (ConnectFailed("HTTP 401", http_status=401), NEW, FailureClass.AUTH, "login"),
        (ConnectFailed("HTTP 404", http_status=404), NEW, FailureClass.CONNECTION, "brain_url"),
        (ConnectFailed("HTTP 429", http_status=429), NEW, FailureClass.CAPACITY, "too many"),
        (ConnectFailed("HTTP 502", http_status=502), NEW, FailureClass.CONNECTION, "a proxy"),
        (ConnectFailed("bad", cause="tls_expired"), NEW, FailureClass.CONNECTION, "clock"),
        (ConnectFailed("bad", cause="tls_host"), NEW, FailureClass.CONNECTION, "Z4J_BRAIN_URL"),
        (ConnectFailed("bad", cause="tls_issuer"), NEW, FailureClass.CONNECTION, "Z4J_CA_FILE"),
        (
            ConnectFailed("HTTP 400", http_status=400, cause="tls_client"),
            NEW,
            FailureClass.CONNECTION,
            "HTTP 400; set Z4J_CLIENT_CERTIFICATE_FILE and Z4J_CLIENT_KEY_FILE",
        ),
        (ConnectFailed("x", cause="tls_version"), NEW, FailureClass.CONNECTION, "TLS 1.2"),
        (ConnectFailed("x", cause="proxy"), NEW, FailureClass.CONNECTION, "Z4J_PROXY=none"),
        (ConnectFailed("x", cause="proxy_no"), NEW, FailureClass.CONNECTION, "allow the brain"),
        (ConnectFailed("x", cause="proxy_login"), NEW, FailureClass.AUTH, "Z4J_PROXY_FILE"),
        (ConnectFailed("HTTP 500", http_status=500), NEW, FailureClass.CONNECTION, "HTTP 500"),
        (HelloUnanswered(), NEW, FailureClass.CONNECTION, "did not answer"),
        (BrainStalled(), PROVEN, FailureClass.CONNECTION, "stopped reading"),
        (BatchesUnacked(), PROVEN, FailureClass.CONNECTION, "acknowledges nothing"),
        (SignatureInvalid("x"), PROVEN, FailureClass.PROTOCOL, "SignatureInvalid"),
        (FrameReplayed("x"), PROVEN, FailureClass.PROTOCOL, "FrameReplayed"),
        (VersionUnsupported("x"), NEW, FailureClass.INCOMPATIBLE, "version 2"),
        (
            BrainComplained("scheduler_upgrade_required", "m"),
            PROVEN,
            FailureClass.INCOMPATIBLE,
            "scheduler_upgrade_required: m",
        ),
        (BrainComplained("else", ""), PROVEN, FailureClass.PROTOCOL, "else"),
        (LocalWireError("secret detail"), PROVEN, FailureClass.PROTOCOL, "LocalWireError"),
        (ZeroDivisionError("secret detail"), PROVEN, FailureClass.CONNECTION, "ZeroDivisionError"),
    ],
)
def test_every_end_has_a_class_and_words(error, phase, kind, words):
    """Each cause leads to its pause and to a text that names it, without foreign details."""
    failure = diagnose(error, phase)
    assert failure.kind is kind
    assert words in failure.text
    assert "secret detail" not in failure.text


def test_same_code_before_and_after_hello_is_different_news():
    """A refused address and a refused signature are told separately."""
    before = diagnose(ConnectionLost(4403), NEW)
    after = diagnose(ConnectionLost(4403), ESTABLISHED)
    assert before.key != after.key


def test_revoked_token_is_one_condition():
    """The close in mid-session and the refusals that follow it are the same news."""
    revoked = diagnose(ConnectionLost(4003), PROVEN)
    refused = diagnose(ConnectionLost(4401), NEW)
    assert revoked.key == refused.key


def test_secret_and_content_are_different_news():
    """A refusal after others were accepted is not blamed on the secret."""
    assert (
        diagnose(ConnectionLost(4403), ESTABLISHED).key
        != diagnose(ConnectionLost(4403), PROVEN).key
    )


def test_servers_wish_to_be_left_alone_is_kept():
    """What Retry-After asked for goes to whoever decides the pause."""
    error = ConnectFailed("HTTP 503", http_status=503, retry_after_s=17)
    assert diagnose(error, NEW).at_least_s == 17


def test_a_file_for_tls_brings_its_cure_along():
    """Nothing is added to what already ends in the setting to change."""
    failed = ConnectFailed("ca_file: unreadable; set Z4J_CA_FILE", cause="tls_files")
    assert diagnose(failed, NEW).text == "ca_file: unreadable; set Z4J_CA_FILE"
