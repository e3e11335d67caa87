"""What a running agent of this machine has told the brain."""

from __future__ import annotations

import json
import os

from z4j_otel.agent.status_file import STATUS_FORMAT
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret
from z4j_otel.doctor.inventory import as_told_by, find_living
from z4j_otel.wire.frames import Hello

CONFIG = AgentConfig(
    token=Secret("t" * 43), hmac_secret=Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
)
STATUS = {
    "capabilities": {"celery": ["cancel_task"]},
    "schedulers": {"celery-beat": ["list"]},
    "state": "connected",
    "written_at": "2026-01-01T00:00:00Z",
    "format": STATUS_FORMAT,
}


def living(home, status=STATUS, deployment=CONFIG.deployment):
    """Leave the files of a living agent."""
    files = AgentFiles.claim(home, os.getpid(), deployment)
    files.status_path.write_text(json.dumps(status))
    return files


def test_the_status_of_a_living_agent_with_this_token_is_found(tmp_path):
    """Another secret does not matter: the brain keeps the lists by token."""
    other_secret = "0" * 16 + "." + CONFIG.deployment.rpartition(".")[2]
    files = living(tmp_path, deployment=other_secret)
    try:
        assert find_living(tmp_path, CONFIG)["capabilities"] == STATUS["capabilities"]
    finally:
        files.close()


def test_other_tokens_dead_agents_and_silent_ones_do_not_count(tmp_path):
    """Neither does a home that is not there."""
    other = living(tmp_path, deployment="0" * 16 + "." + "1" * 16)
    silent = living(tmp_path, {**STATUS, "capabilities": {}})
    dead = living(tmp_path)
    dead.close()
    try:
        assert find_living(tmp_path, CONFIG) is None
        assert find_living(None, CONFIG) is None
        assert find_living(tmp_path / "missing", CONFIG) is None
    finally:
        other.close()
        silent.close()


def test_hello_repeats_what_was_told():
    """Everything else of it stays."""
    hello = Hello(agent_version="1", framework="bare", engines=["rq"], worker_id="doctor-x")

    told = as_told_by(STATUS, hello)

    assert told.engines == ["celery"]
    assert told.schedulers == ["celery-beat"]
    assert told.capabilities == {"celery": ["cancel_task"], "celery-beat": ["list"]}
    assert told.worker_id == "doctor-x"


def test_a_status_of_another_version_has_no_schedulers():
    """It is taken as it is."""
    told = as_told_by({"capabilities": {"celery": []}}, Hello(agent_version="1", framework="bare"))
    assert told.schedulers == []
