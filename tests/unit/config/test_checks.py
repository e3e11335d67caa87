"""Rules that concern more than one setting."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest

from z4j_otel.config import AgentConfig, Secret
from z4j_otel.config.checks import check_all
from z4j_otel.errors import ConfigError

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
GOOD = AgentConfig(
    brain_url="wss://brain.example.com", token=Secret("t"), hmac_secret=Secret(KEY_TEXT)
)


def check(**changes):
    """Check a good configuration with some changes."""
    check_all(dataclasses.replace(GOOD, **changes), is_partial=False)


@pytest.mark.parametrize(
    ("name", "unset"), [("brain_url", ""), ("token", Secret()), ("hmac_secret", Secret())]
)
def test_a_missing_required_setting_is_named(name, unset):
    """The text says which setting is required and which variable sets it."""
    with pytest.raises(ConfigError, match=f"{name} is required; set Z4J_{name.upper()}"):
        check(**{name: unset})


def test_nothing_is_required_of_a_partial_configuration():
    """Tools can look at a configuration that is not complete."""
    check_all(AgentConfig(), is_partial=True)


def test_a_malformed_signing_secret_names_its_source_not_its_value():
    """A secret that is no key is refused at start."""
    sources = {"hmac_secret": "environment Z4J_HMAC_SECRET"}
    with pytest.raises(ConfigError, match="environment Z4J_HMAC_SECRET") as caught:
        check(hmac_secret=Secret("much-too-short"), sources=sources)
    assert "much-too-short" not in str(caught.value)


@pytest.mark.parametrize("url", ["ws://brain.example.com/ws", "http://192.0.2.1:8000"])
def test_plain_connections_to_other_hosts_are_refused(url):
    """The token does not travel in the clear unless dev mode says so."""
    with pytest.raises(ConfigError, match="refusing plain ws:// connection"):
        check(brain_url=url)
    check(brain_url=url, dev_mode=True)


@pytest.mark.parametrize("url", ["ws://localhost", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_plain_connections_to_this_host_are_allowed(url):
    """Loopback needs no encryption."""
    check(brain_url=url)


def test_the_buffer_must_lie_below_home(tmp_path):
    """A path elsewhere is refused, also when dots or a link lead there."""
    (tmp_path / "link").symlink_to("/")
    for path in (Path("/elsewhere/b.sqlite"), Path("../b.sqlite"), tmp_path / "link/b.sqlite"):
        with pytest.raises(ConfigError, match="expected a file below Z4J_HOME"):
            check(home=tmp_path, buffer_path=path)


def test_the_buffer_may_lie_below_home_or_our_temporary_directory(tmp_path):
    """Relative paths count from home; the fallback directory is ours as well."""
    check(home=tmp_path, buffer_path=Path("b.sqlite"))
    check(home=tmp_path, buffer_path=tmp_path / "deeper" / "b.sqlite")
    temporary = Path(tempfile.gettempdir(), f"z4j-{os.getuid()}", "b.sqlite")
    check(home=tmp_path, buffer_path=temporary)
