"""Secrets that change while the agent runs."""

from __future__ import annotations

import logging

import pytest

from z4j_otel.config import load_config
from z4j_otel.config.rotation import fresh_key, fresh_secret

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_KEY = "HxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4="


@pytest.fixture
def config(tmp_path):
    """Settings with both secrets in files."""
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "key").write_text(KEY_TEXT)
    return load_config(
        {
            "brain_url": "http://localhost",
            "token_file": str(tmp_path / "token"),
            "hmac_secret_file": str(tmp_path / "key"),
        },
        {},
    )


def test_a_rotated_token_is_used_and_told_once(config, tmp_path, caplog):
    """The next connection takes what the file holds then."""
    token = fresh_secret(config, "token")
    assert token() == "first"
    (tmp_path / "token").write_text("second\n")
    with caplog.at_level(logging.INFO, "z4j_otel"):
        assert (token(), token()) == ("second", "second")

    (record,) = caplog.records
    assert record.getMessage().startswith("[z4j] token has changed in ")
    assert "second" not in record.getMessage()


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff", None])
def test_a_file_that_is_no_good_leaves_the_last_good_value(config, tmp_path, content):
    """While a file is replaced it may be missing, or empty, for a moment."""
    token = fresh_secret(config, "token")
    if content is None:
        (tmp_path / "token").unlink()
    else:
        (tmp_path / "token").write_bytes(content)

    assert token() == "first"


def test_a_secret_that_came_from_no_file_stays():
    """The environment of a process does not change from outside."""
    given = {"brain_url": "http://localhost", "token": "t", "hmac_secret": KEY_TEXT}

    assert fresh_secret(load_config(given, {}), "token")() == "t"


def test_a_rotated_signing_secret_is_used(config, tmp_path):
    """It is decoded as at the start."""
    key = fresh_key(config)
    assert key() == bytes(range(32))
    (tmp_path / "key").write_text(OTHER_KEY)

    assert key() != bytes(range(32))


def test_a_rotated_signing_secret_that_is_none_leaves_the_last_one(config, tmp_path, caplog):
    """A mistake does not end what works, and is told without its text."""
    key = fresh_key(config)
    (tmp_path / "key").write_text("short")

    assert key() == bytes(range(32))
    assert "the rotated signing secret is not used" in caplog.text
    assert "short" not in caplog.text.replace("too short", "")


def test_a_relative_path_stays_the_same_file(tmp_path, monkeypatch):
    """Also when the process changes its directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("first")
    given = {"brain_url": "http://localhost", "token_file": "token", "hmac_secret": KEY_TEXT}
    token = fresh_secret(load_config(given, {}), "token")
    monkeypatch.chdir("/")
    (tmp_path / "token").write_text("second")

    assert token() == "second"
