"""Rules that concern more than one setting."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest

from z4j_otel.config import AgentConfig, Secret
from z4j_otel.config.checks import check_all

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
GOOD = AgentConfig(
    brain_url="wss://brain.example.com", token=Secret("t"), hmac_secret=Secret(KEY_TEXT)
)


def check(**changes):
    """Return what is wrong with a good configuration after some changes, as texts."""
    config = dataclasses.replace(GOOD, **changes)
    return [str(problem) for problem in check_all(config, is_partial=False)]


@pytest.mark.parametrize(
    ("name", "unset"), [("brain_url", ""), ("token", Secret()), ("hmac_secret", Secret())]
)
def test_a_missing_required_setting_is_named(name, unset):
    """The text says which setting is required and which variable sets it."""
    (text,) = check(**{name: unset})
    assert f"{name} is required; set Z4J_{name.upper()}" in text


def test_all_that_is_wrong_is_told():
    """Who corrects one thing does not find the next one only then."""
    config = AgentConfig(brain_url="http://192.0.2.1", buffer_path=Path("/elsewhere/b.sqlite"))
    found = [problem.setting for problem in check_all(config, is_partial=False)]

    assert found == ["token", "hmac_secret", "brain_url", "buffer_path"]


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("z4k_0123456789abcdef", "this is an API key of the brain"),
        ("http://localhost:8000/setup?token=abc", "first-boot setup"),
        ("setup?token=abc", "first-boot setup"),
        ("changeme", "this is a placeholder"),
        ("<your-token>", "this is a placeholder"),
        (KEY_TEXT, "token and hmac_secret are the same text"),
    ],
)
def test_what_is_no_agents_token_is_named(token, text):
    """Whoever pasted something else learns what, and where to get the right one."""
    (problem,) = check(token=Secret(token))
    assert text in problem
    assert "in the dashboard" in problem
    assert token not in problem


def test_nothing_is_required_of_a_partial_configuration():
    """Tools can look at a configuration that is not complete."""
    assert not list(check_all(AgentConfig(), is_partial=True))


def test_a_malformed_signing_secret_names_its_source_not_its_value():
    """A secret that is no key is refused at start."""
    sources = {"hmac_secret": "environment Z4J_HMAC_SECRET"}
    (text,) = check(hmac_secret=Secret("much-too-short"), sources=sources)
    assert "environment Z4J_HMAC_SECRET" in text
    assert "much-too-short" not in text


@pytest.mark.parametrize("url", ["ws://brain.example.com/ws", "http://192.0.2.1:8000"])
def test_plain_connections_to_other_hosts_are_refused(url):
    """The token does not travel in the clear unless dev mode says so."""
    (text,) = check(brain_url=url)
    assert "refusing plain ws:// connection" in text
    assert not check(brain_url=url, dev_mode=True)


@pytest.mark.parametrize("url", ["ws://localhost", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_plain_connections_to_this_host_are_allowed(url):
    """Loopback needs no encryption."""
    assert not check(brain_url=url)


def test_the_buffer_must_lie_below_home(tmp_path):
    """A path elsewhere is refused, also when dots or a link lead there."""
    (tmp_path / "link").symlink_to("/")
    for path in (Path("/elsewhere/b.sqlite"), Path("../b.sqlite"), tmp_path / "link/b.sqlite"):
        (text,) = check(home=tmp_path, buffer_path=path)
        assert "expected a file below Z4J_HOME" in text


def test_the_buffer_may_lie_below_home_or_our_temporary_directory(tmp_path):
    """Relative paths count from home; the fallback directory is ours as well."""
    assert not check(home=tmp_path, buffer_path=Path("b.sqlite"))
    assert not check(home=tmp_path, buffer_path=tmp_path / "deeper" / "b.sqlite")
    temporary = Path(tempfile.gettempdir(), f"z4j-{os.getuid()}", "b.sqlite")
    assert not check(home=tmp_path, buffer_path=temporary)
