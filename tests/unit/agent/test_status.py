"""The dict of status: complete, plain, the same members in every state."""

from __future__ import annotations

import json
import os
import re

import pytest

from z4j_otel.agent import status as status_module
from z4j_otel.agent.status import build_status_dict
from z4j_otel.buffer.memory import MemoryBuffer


@pytest.fixture
def status(ledger, kit):
    """Return the status of an agent with one entry that is 2.5 s old."""
    buffer = MemoryBuffer()
    kit.fill(buffer, 1)
    ledger.open(buffer)
    return build_status_dict(
        {"state": "connected"},
        ledger,
        worker_id="w",
        capabilities={"rq": ["b"], "celery": ["a"]},
        now_ns=buffer.stats().oldest_ns + 2_500_000_000,
    )


def test_every_member_is_documented(status):
    """The module's text names exactly the members of the dict."""
    heads = re.findall(r"^(``.*)$", status_module.__doc__, re.MULTILINE)
    named = {name for line in heads for name in re.findall(r"``(\w+)``", line)}
    assert named == set(status)


def test_values_are_plain(status):
    """JSON can hold them all."""
    assert json.loads(json.dumps(status)) == status


def test_buffer_and_engines_are_shown(status):
    """Depth, bytes and age of the buffer, and who the agent is."""
    assert status["pid"] == os.getpid()
    assert (status["engines"], status["capabilities"]["rq"]) == (["celery", "rq"], ["b"])
    shown = status["buffer"]
    assert (shown["entries"], shown["oldest_age_s"], len(shown["id"])) == (1, 2.5, 32)
    assert status["last_error"] is None


def test_an_empty_buffer_has_no_age(ledger):
    """None is not zero."""
    shown = build_status_dict(
        {"state": "stopped"}, ledger, worker_id="w", capabilities={}, now_ns=1
    )
    assert shown["buffer"]["oldest_age_s"] is None
