"""Secrets are found by their look, wherever in a text they stand."""

import pytest

from z4j_otel.redaction import REDACTED, Redactor
from z4j_otel.redaction.patterns import add_pem_spans, fold, is_card_number

HEX = "0123456789abcdef" * 2
BODY = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"
SECRETS = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0",
    f"Bearer {BODY}",
    f"sk_live_{BODY}",
    f"pk_test_{BODY}",
    f"rk_live_{BODY}",
    f"whsec_{BODY}",
    "xoxb-123456789012-abcdefABCDEF",
    "xoxp-123456789012-abcdefABCDEF",
    "xapp-1-A0123-456-abcdef",
    "hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXX",
    *(f"gh{kind}_{BODY}Abcd" for kind in "pousr"),
    f"github_pat_{BODY}{BODY}{BODY}",
    f"glpat-{BODY[:20]}",
    f"gldt-{BODY[:20]}",
    f"npm_{BODY}Abcd",
    f"pypi-{BODY}",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"AIza{BODY}abc",
    f"ya29.{BODY}",
    f"GOCSPX-{BODY}",
    f"SG.{BODY[:22]}.{BODY}{BODY[:11]}",
    f"SK{HEX}",
    f"sk-ant-api03-{BODY}",
    f"sk-proj-{BODY}",
    f"sk-{BODY}",
    f"key-{HEX}",
    f"hf_{BODY}",
    f"shpat_{HEX}",
    f"dop_v1_{HEX}{HEX}",
    f"dapi{HEX}",
    f"sq0atp-{BODY}",
    f"hvs.{BODY}",
    f"AGE-SECRET-KEY-1{BODY}{BODY}",
    f"api/webhooks/12345/{BODY}",
    "123-45-6789",
    "4111111111111111",
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "3782 822463 10005",
    "6011000990139424",
    "30569309025904",
    "ada.lovelace+x@example.com",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nxx\n-----END PGP PRIVATE KEY BLOCK-----",
]
HARMLESS = [
    "task-name-abcdefghijklmnopqrstuvwxyz",
    "4111111111111112",
    "1700000000000",
    "40000000-0000-0000-0000-000000000002",
    "2024-01-31 12:00:00,123",
    "0.4111111111111111",
    "@app.task",
    "Bearer token missing",
    "eyJ",
    "monkeyJack.run",
    "http://localhost:8080/a@b",
    "https://example.com:443/x",
    "-----END CERTIFICATE-----",
    "-----BEGIN CERTIFICATE-----",
    "line 12, 345 678",
]
URLS = [
    ("postgres://bob:hunter2@db:5432/x", "postgres://[REDACTED]@db:5432/x"),
    ("redis://:hunter2@cache/0", "redis://[REDACTED]@cache/0"),
    ("https://bob:hunter2@host/p?q=1", "https://[REDACTED]@host/p?q=1"),
    ("https://hunter2@o1.example.com/1", "https://[REDACTED]@o1.example.com/1"),
    ("amqp://bob:hun/ter2@mq//v", "amqp://[REDACTED]@mq//v"),
    ("ftp://bob:hun/ter2@host/p", "ftp://[REDACTED]@host/p"),
    ("amqp://bob:hun@ter2@mq", "amqp://[REDACTED]@mq"),
    ("http://a:80/b@d.com", "http://a:80/[REDACTED]"),
    ("http://a.b/c@d", "http://a.b/c@d"),
    ("s://h1:26379;s://:hunter2@h2", "s://h1:26379;s://[REDACTED]@h2"),
    ("a://b,c://d:hunter2@e", "a://b,c://[REDACTED]@e"),
    ("a://b c://d:hunter2@e", "a://b c://[REDACTED]@e"),
]


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    """Return a redactor with the default policy."""
    return Redactor()


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_goes_and_its_surroundings_stay(redactor: Redactor, secret: str) -> None:
    """The match alone is replaced, at the start, within and at the end of a text."""
    assert redactor.redact_text(f"before {secret}, after") == f"before {REDACTED}, after"
    assert redactor.redact_text(secret) == REDACTED


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_returned_unchanged(redactor: Redactor, text: str) -> None:
    """What only resembles a secret is not touched."""
    assert redactor.redact_text(f"see {text} there") == f"see {text} there"


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_credentials_in_urls_go(redactor: Redactor, url: str, expected: str) -> None:
    """Scheme, host and path of a URL stay, user and password go."""
    assert redactor.redact_text(f"connect {url} now") == f"connect {expected} now"


@pytest.mark.parametrize(
    "text",
    ["see -----BEGIN PRIVATE KEY-----\nMIIEvQ", "see MIIEvQ\nabc=\n-----END PRIVATE KEY-----"],
)
def test_half_a_private_key_goes(redactor: Redactor, text: str) -> None:
    """A private key whose begin or end was cut off is redacted."""
    assert "MIIEvQ" not in redactor.redact_text(text)


def test_a_key_block_after_an_orphaned_end_goes_too() -> None:
    """An end without begin does not hide the block that follows."""
    text = "-----END PRIVATE KEY----- . -----BEGIN x -----BEGIN PRIVATE KEY-----a"
    spans: list[tuple[int, int, str]] = []
    add_pem_spans(text, fold(text), spans)
    assert sorted(span[:2] for span in spans) == [(0, 25), (text.rindex("-----BEGIN"), len(text))]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_goes_from_texts_of_every_length(redactor: Redactor, secret: str) -> None:
    """Short and long texts are searched in two ways, which find the same."""
    for more in (0, 100, 1000):
        assert secret not in redactor.redact_text(f"{'. ' * more}{secret} .")


def test_folding_keeps_every_character_at_its_place() -> None:
    """Folded text has the length of its original, also for letters that grow or shrink."""
    assert fold("a\u0130\u0131\u017f\u212a") == "aiisk"
    assert fold("ÄB") == "äb"


@pytest.mark.parametrize(
    ("digits", "answer"), [("4222222222222", True), ("41111", False), ("9111111111111111", False)]
)
def test_card_numbers_need_prefix_length_and_check_digit(digits: str, answer: bool) -> None:
    """Digits are a card number only by all three marks."""
    assert is_card_number(digits) is answer


def test_a_card_number_is_found_beside_other_digits(redactor: Redactor) -> None:
    """Digits before a card number do not hide it."""
    assert redactor.redact_text("in 2024 4111 1111 1111 1111 on") == f"in 2024 {REDACTED} on"


@pytest.mark.parametrize("text", ["1" * 40, "411 " * 30, "911 " * 12])
def test_long_rows_of_digits_are_no_card(redactor: Redactor, text: str) -> None:
    """More digits than a card has are looked through group by group."""
    assert redactor.redact_text(text + "x")


def test_a_bots_token_keeps_the_bots_number(redactor: Redactor) -> None:
    """Telegram writes both into the path; a time of day in front of text is none."""
    assert redactor.redact_text(f"/bot123456789:AA{BODY}/x") == "/bot123456789[REDACTED]/x"
    assert redactor.redact_text(f"12:AA{BODY}") == f"12:AA{BODY}"


def test_an_address_in_a_query_goes() -> None:
    """URLs write the sign as ``%40``; what is no address stays."""
    redactor = Redactor()
    text = "GET https://x/?to=ada%2Bx%40example.com&n=1"
    assert redactor.redact_text(text) == "GET https://x/?to=[REDACTED]&n=1"
    assert redactor.redact_text("?scale=100%40&n=1") == "?scale=100%40&n=1"
