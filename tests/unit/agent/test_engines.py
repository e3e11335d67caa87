"""Which engines an agent serves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from z4j_otel.agent.engines import adapters_in_use, introduce
from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret

KEY = Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


class Adapter(SimpleNamespace):
    """An adapter that notes what it is told."""

    def attach(self):
        """Make itself known."""
        self.is_attached = True

    def bind_worker(self, worker):
        """Take a worker."""
        self.worker = worker


def test_given_adapters_are_used_and_know_their_worker():
    """An instance with a name of its own is bound by its engine, not by its name."""
    named = Adapter(name="analytics", engine="celery", worker=None)
    other = Adapter(name="rq", worker=None)
    plain = SimpleNamespace(name="third")
    worker = object()
    assert adapters_in_use(
        AgentConfig(hmac_secret=KEY), [named, other, plain], {"celery": worker}
    ) == [
        named,
        other,
        plain,
    ]
    assert (named.worker, other.worker) == (worker, None)
    assert named.is_attached


def test_without_any_each_engine_gets_one():
    """Those that are installed, or those that the settings name."""
    assert "celery" in [each.name for each in adapters_in_use(AgentConfig(hmac_secret=KEY), [], {})]
    assert adapters_in_use(AgentConfig(engines=("rq",), hmac_secret=KEY), [], {}) == []


@pytest.mark.parametrize(
    ("configured", "is_worker", "role"),
    [("", True, "task"), ("", False, "other"), ("web", True, "web")],
)
def test_the_role_is_the_users_or_the_processs(configured, is_worker, role):
    """A worker runs tasks; what else a process does only the user knows."""
    hello = introduce(AgentConfig(worker_role=configured), is_worker=is_worker)
    assert hello.build().worker_role == role
    assert hello.facts()["worker_role"] == role
