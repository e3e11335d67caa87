"""What an owner hands to its agent process."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from z4j_otel.agent.handover import Handover, pack_settings, unpack_settings
from z4j_otel.config import load_config

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
REQUIRED = {"brain_url": "http://127.0.0.1:1", "token": "tok-1", "hmac_secret": SECRET}


def test_settings_survive_the_line():
    """Every kind of setting comes out as it went in."""
    config = load_config(
        {
            **REQUIRED,
            "home": "/tmp/x",
            "tags": {"team": "a,b"},
            "engines": ["celery"],
            "redaction_extra_key_patterns": ["a,b", "c"],
            "dev_mode": True,
            "heartbeat_seconds": 7.5,
            "buffer_max_events": 5000,
        },
        {},
    )
    packed = json.loads(json.dumps(pack_settings(config)))
    assert unpack_settings(packed) == config
    assert config.home == Path("/tmp/x")


def test_nothing_else_plays_a_part(monkeypatch, tmp_path):
    """The agent process has exactly its owner's settings, whatever lies where it starts."""
    config = load_config(REQUIRED, {})
    monkeypatch.setenv("Z4J_HEARTBEAT_SECONDS", "9")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.z4j]\nagent_name = "another"\n')
    assert unpack_settings(pack_settings(config)) == config


def test_a_handover_shows_no_secret():
    """It may be printed by accident."""
    given = Handover("/tmp/l", dict(REQUIRED), {"celery": ["x"]}, {}, 20)
    assert "tok-1" not in repr(given)
    assert msgspec.convert(msgspec.to_builtins(given), Handover) == given


def test_the_files_of_secrets_are_handed_over(tmp_path):
    """The agent process reads a rotated token as its owner would."""
    (tmp_path / "token").write_text("tok-1")
    given = {**REQUIRED, "token": "", "token_file": str(tmp_path / "token")}
    config = unpack_settings(json.loads(json.dumps(pack_settings(load_config(given, {})))))

    assert config.secret_files == {"token": tmp_path / "token"}
    assert config.token.reveal() == "tok-1"
