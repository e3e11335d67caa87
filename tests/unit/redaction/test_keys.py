"""Names are judged by their parts."""

import pytest

from z4j_otel.redaction.keys import NAME_STEMS, KeyRules, to_snake
from z4j_otel.redaction.policy import RedactionPolicy

SENSITIVE_TEXT = """
password password_confirmation password_hash passwd pwd old_password new_password secret secrets
client_secret clientSecret webhook_secret hmac_secret token access_token refreshToken id_token
idtoken api_token bearer_token session_token sessiontoken api_key apikey api-key x-api-key X_API_KEY
authorization auth credentials cookie set-cookie Set_Cookie ssn social_security
social_security_number credit_card credit_card_number card_number cvv cvc db_password
AWS_SECRET_ACCESS_KEY userPassword private_key dsn sessionid csrf_token passphrase stripe_secret
secret_key PGPASSWORD dbpassword SENTRY_DSN PHPSESSID JSESSIONID session_id csrfmiddlewaretoken
smtp_pass http.auth proxy-authorization encryptionKey ssh_private_key aws_access_key_id jwt otp
connection_string tokens access_tokens APIKey awsSecretKey AccountKey user.password cvv2
"""
HARMLESS_TEXT = """
tokens_used author passenger secretary max_tokens secretariat token_count token_type tokenizer
prompt_tokens key primary_key routing_key cache_key sort_key public_key keyboard monkey compass
bypass passed author_id authored assess_id assessment cookieless_mode next_page_token user note id
session queue task_name retries secretion pass_count encoded discard cardinality opt pwned sessions
"""
SENSITIVE = SENSITIVE_TEXT.split()
HARMLESS = HARMLESS_TEXT.split()


@pytest.fixture
def rules() -> KeyRules:
    """Return the default rules."""
    return KeyRules(RedactionPolicy())


@pytest.mark.parametrize("key", SENSITIVE)
def test_sensitive_parts_are_found(rules: KeyRules, key: str) -> None:
    """A name with a sensitive part is sensitive, however it is written."""
    assert rules.is_sensitive(key)
    assert rules.is_sensitive(key.upper()) or not key.isupper()


@pytest.mark.parametrize("key", HARMLESS)
def test_similar_words_are_left_alone(rules: KeyRules, key: str) -> None:
    """A name that only looks like a sensitive one is harmless."""
    assert not rules.is_sensitive(key)


@pytest.mark.parametrize("key", SENSITIVE)
def test_every_sensitive_name_has_a_stem(key: str) -> None:
    """The quick search for stems in texts misses no sensitive name."""
    assert any(stem in key.lower() for stem in NAME_STEMS)


@pytest.mark.parametrize(
    ("name", "snake"),
    [("userPassword", "user_password"), ("APIKey", "api_key"), ("a - b..c", "a_b_c")],
)
def test_names_are_written_in_snake_case(name: str, snake: str) -> None:
    """Humps and separators of any kind become single underscores."""
    assert to_snake(name) == snake


def test_a_too_long_key_is_sensitive(rules: KeyRules) -> None:
    """A key over 256 characters is content."""
    assert rules.is_sensitive("a" * 257)
    assert not rules.is_sensitive("a" * 256)


def test_extra_patterns_match_the_whole_name() -> None:
    """An extra pattern matches the key as written or in snake case, ignoring case."""
    rules = KeyRules(RedactionPolicy(extra_key_patterns=("internal_id",), defaults_enabled=False))
    assert rules.has_extra
    assert rules.is_sensitive("Internal_ID")
    assert rules.is_sensitive("internalId")
    assert not rules.is_sensitive("my_internal_id")
    assert not rules.is_sensitive("password")


def test_memory_of_answers_is_bounded(rules: KeyRules) -> None:
    """Any number of different keys leaves the memory of answers small."""
    for number in range(5000):
        assert not rules.is_sensitive(f"field{number}")
    assert len(rules._known) <= 2048
