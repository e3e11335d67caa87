"""The agent in an application's own code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from z4j_otel import (
    Agent,
    CeleryAdapter,
    ConfigError,
    Z4JCeleryInstrumentor,
    get_runtime,
    install_agent,
)
from z4j_otel.agent.host import process_host
from z4j_otel.devbrain.server import BrainThread


@pytest.fixture
def brain() -> Iterator[BrainThread]:
    """Give a brain on a loopback port."""
    with BrainThread() as brain:
        yield brain


@pytest.fixture
def settings(brain: BrainThread, tmp_path: Path) -> dict[str, Any]:
    """Give what an agent needs to reach it."""
    env = brain.env()
    return {
        "brain_url": env["Z4J_BRAIN_URL"],
        "token": env["Z4J_TOKEN"],
        "hmac_secret": env["Z4J_HMAC_SECRET"],
        "home": str(tmp_path / "home"),
    }


@pytest.fixture
def app() -> Iterator[Celery]:
    """Give an application whose hooks are gone afterwards."""
    yield Celery("unit", broker="memory://", set_as_current=False)
    process_host().stop()
    for instrumentor in (Z4JCeleryInstrumentor(), CeleryInstrumentor()):
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


def kinds(brain: BrainThread) -> list[str]:
    """Return the kinds of all events the brain has."""
    return [event.kind for event in brain.brain.events()]


def test_what_a_script_does_is_delivered_when_it_leaves(
    brain: BrainThread, settings: dict[str, Any], app: Celery
) -> None:
    """A script that lasts a moment delivers all, and leaves no files."""

    @app.task(name="u.one")
    def one() -> int:
        return 1

    with Agent(engines=[CeleryAdapter(app=app)], **settings) as agent:
        assert agent.wait_connected(5)
        one.apply()
    assert kinds(brain) == ["task.received", "task.started", "task.succeeded"]
    assert list(Path(settings["home"]).iterdir()) == []


def test_an_agent_works_in_async_code(
    brain: BrainThread, settings: dict[str, Any], app: Celery
) -> None:
    """`async with` is the same, without blocking the loop."""

    async def main() -> None:
        async with Agent(engines=[CeleryAdapter(app=app)], **settings):
            assert get_runtime() is not None

    asyncio.run(main())
    assert [list(agent.capabilities) for agent in brain.brain.agents()] == [["celery"]]


def test_run_forever_ends_when_the_agent_is_stopped(settings: dict[str, Any], app: Celery) -> None:
    """Another task or thread may end it."""
    agent = Agent(engines=[CeleryAdapter(app=app)], **settings)

    async def main() -> None:
        running = asyncio.create_task(agent.run_forever())
        while not await asyncio.to_thread(agent.wait_connected, 0.1):
            pass
        await asyncio.to_thread(agent.stop)
        await running

    asyncio.run(main())
    assert get_runtime() is None


def test_two_engines_of_one_name_are_refused(settings: dict[str, Any], app: Celery) -> None:
    """The second of two Celery applications needs a name of its own."""
    agent = Agent(engines=[CeleryAdapter(app=app)], **settings)
    with pytest.raises(ConfigError, match="give one another name"):
        agent.register_engine(CeleryAdapter(app=app))
    agent.register_engine(CeleryAdapter(app=app, name="analytics"))


def test_installing_twice_gives_the_same_agent(settings: dict[str, Any], app: Celery) -> None:
    """One agent per process; other settings are refused."""
    first = install_agent([CeleryAdapter(app=app)], **settings)
    assert install_agent(**settings) is first is get_runtime()
    with pytest.raises(ConfigError, match="stop it first"):
        install_agent(**{**settings, "environment": "other"})


def test_an_engine_that_the_agent_does_not_serve_is_refused(
    settings: dict[str, Any], app: Celery
) -> None:
    """A second call never drops an engine silently: it says to give all of them at once."""
    first = install_agent([CeleryAdapter(app=app)], **settings)
    assert install_agent([CeleryAdapter(app=app)], **settings) is first
    with pytest.raises(ConfigError, match="give it all engines at once"):
        install_agent([CeleryAdapter(app=app, name="analytics")], **settings)


def test_wrong_settings_are_told_at_once(app: Celery) -> None:
    """In code a configuration error is raised, with the setting's name."""
    with pytest.raises(ConfigError, match="brain_url"):
        install_agent([CeleryAdapter(app=app)], brain_url="ftp://x", token="t", hmac_secret="x")


def test_nothing_is_started_where_z4j_is_switched_off(app: Celery) -> None:
    """`disabled` wins over everything."""
    assert install_agent([CeleryAdapter(app=app)], disabled=True) is None
