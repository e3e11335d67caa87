"""What the brain is told of the engines' tasks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from z4j_otel.agent.execution import allow_all
from z4j_otel.agent.link import LinkBroken
from z4j_otel.agent.registry import RegistryNews, halves
from z4j_otel.agent.remote import RemoteEngine
from z4j_otel.agent.service import OwnerService
from z4j_otel.redaction import Redactor
from z4j_otel.wire.frames import RegistryDelta


@pytest.fixture
def news():
    """Return news of nothing yet."""
    return RegistryNews(Redactor())


def tasks(**tasks_and_limits):
    """Make a registry of tasks with a limit each."""
    return {name: {"name": name, "limit": limit} for name, limit in tasks_and_limits.items()}


def test_first_news_name_everything_and_later_ones_the_difference(news):
    """Added, removed and updated are told once."""
    assert news.take() == []
    news.note("celery", tasks(a=1, b=2, c=3))
    (first,) = news.take()
    assert [task["name"] for task in first.added] == ["a", "b", "c"]
    news.note("celery", tasks(a=1, b=2, c=3))
    assert news.take() == []
    news.note("celery", tasks(b=5, c=3, d=4))
    (second,) = news.take()
    assert second == RegistryDelta(
        engine="celery",
        added=[{"name": "d", "limit": 4}],
        removed=["a"],
        updated=[{"name": "b", "limit": 5}],
    )
    assert news.take() == []


def test_new_connection_is_told_everything(news):
    """Nobody knows what another brain remembers."""
    news.note("celery", tasks(a=1))
    assert news.take() == (news.begin(), news.take())[1]


def test_engines_are_kept_apart(news):
    """Each engine has deltas of its own."""
    news.note("celery", tasks(a=1))
    news.note("rq", tasks(a=1))
    assert [delta.engine for delta in news.take()] == ["celery", "rq"]


def test_nothing_secret_is_told(news):
    """Names and options pass the redactor."""
    key = "AKIA" + "Q" * 16
    news.note("celery", {f"send.{key}": {"name": f"send.{key}", "queue": key, "password": "x1"}})
    text = repr(news.take())
    assert key not in text
    assert "x1" not in text


def test_many_tasks_come_in_pieces(news):
    """A frame names at most 200 changes, and none is told twice."""
    news.note("celery", tasks(**{f"t{number}": 1 for number in range(450)}))
    pieces = news.take()
    assert [len(piece.added) for piece in pieces] == [200, 200, 50]
    assert len({task["name"] for piece in pieces for task in piece.added}) == 450


def test_halves_say_the_same_together():
    """What is too large for a frame is divided until nothing can be."""
    delta = RegistryDelta(engine="celery", added=[{"name": "a"}], removed=["b", "c"])
    first, second = halves(delta)
    assert (first.added + second.added, first.removed + second.removed) == (
        delta.added,
        delta.removed,
    )
    assert halves(second) == []


def test_registry_of_an_agent_beside_comes_over_the_line(kit):
    """The owner answers for engines that know their tasks; a broken line tells nothing."""
    able, unable = kit.FakeEngine(), kit.FakeEngine("other")
    able.task_registry = lambda: tasks(a=1)
    service = OwnerService(
        {"celery": able, "other": unable},
        redactor=Redactor(),
        policy=allow_all,
        release=lambda: None,
    )
    handlers = service.handlers()
    line = SimpleNamespace(ask=lambda name, value, timeout_s: handlers[name](value))
    assert RemoteEngine("celery", [], line).task_registry() == tasks(a=1)
    assert RemoteEngine("other", [], line).task_registry() is None

    def broken(*_, **__):
        raise LinkBroken

    assert RemoteEngine("celery", [], SimpleNamespace(ask=broken)).task_registry() is None
