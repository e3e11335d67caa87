"""The agent in an application's own code: ``Agent``, ``install_agent``, ``get_runtime``.

All three lead to the one agent of the process. What is captured does not depend on them:
under ``opentelemetry-instrument`` it starts by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from z4j_otel.agent.engines import attach_all
from z4j_otel.agent.host import process_host
from z4j_otel.agent.placement import RunningAgent
from z4j_otel.errors import ConfigError
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.registry import find_engines, load_engine

__all__ = ["Agent", "get_runtime", "install_agent"]


def install_agent(
    engines: Iterable[EngineAdapter] | None = None, **settings: Any
) -> RunningAgent | None:
    """Capture what the engines do in this process, and connect it to the brain.

    Returns at once; the agent connects by itself, on a thread or in a process of its own
    (``agent_host``). In a Celery worker it starts when the pool is there. A second call with
    the same settings and engines returns the agent that runs.

    Args:
        engines: Adapters of the engines to serve, for example ``CeleryEngineAdapter(app)``;
            those of all installed engines when None.
        settings: Any setting by its name (``brain_url``, ``token``, ``hmac_secret``,
            ``project_id``, …); what is not given comes from ``Z4J_*`` or a file.

    Returns:
        The agent; None where ``Z4J_DISABLED`` says so or another z4j agent is active.

    Raises:
        ConfigError: A setting is wrong or missing, or an agent with others is active, or
            one that does not serve these engines.
        EngineUnavailable: An engine named in the settings is not installed.
    """
    adapters = list(engines or ())
    host = process_host()
    config = host.configure(settings)
    if config is None:
        return None
    _check_served(host.agent, adapters)
    # Here, not with the agent: pool children have none, and name their events alike.
    attach_all(adapters)
    _instrument(tuple(adapter.name for adapter in adapters) or config.engines)
    return host.start_agent(engines=adapters)


def get_runtime() -> RunningAgent | None:
    """Return the agent that runs in this process, or None."""
    return process_host().agent


def _check_served(agent: RunningAgent | None, adapters: Iterable[EngineAdapter]) -> None:
    """Refuse engines that the agent which runs would not serve, instead of dropping them."""
    served = agent.status()["engines"] if agent is not None else ()
    for adapter in adapters:
        if agent is not None and adapter.name not in served:
            text = f"an agent without engine {adapter.name!r} is active in this process;"
            raise ConfigError("engines", "install_agent", f"{text} give it all engines at once")


def _instrument(names: tuple[str, ...]) -> None:
    """Hook the engines, each once."""
    known = find_engines()
    engines = [load_engine(name, known) for name in names if name in known]
    for engine in engines or [engine for engine in known.values() if engine.is_installed]:
        instrumentor = engine.instrumentor()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument()


class Agent:
    """An agent with a beginning and an end, for scripts and services.

    ::

        with Agent(brain_url="https://z4j.example.com", token=..., hmac_secret=...):
            main()

    ``async with`` works too, and ``run_forever()`` fits a thread of its own. Entering waits
    until the brain has accepted the agent, at most ten seconds, and goes on without it
    otherwise; leaving delivers what was captured, within ``flush_timeout_seconds``.
    """

    def __init__(self, *, engines: Iterable[EngineAdapter] = (), **settings: Any) -> None:
        """Prepare an agent; nothing is started or checked yet.

        Args:
            engines: Adapters to serve; more can be registered before the start.
            settings: Any setting by its name; the rest comes from ``Z4J_*`` or a file.
        """
        self._engines = list(engines)
        self._settings = settings
        self._runtime: RunningAgent | None = None
        self._loop_end: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def register_engine(self, adapter: EngineAdapter) -> None:
        """Serve one more engine, or one more instance of an engine under another name.

        Raises:
            ConfigError: The agent has been started, or the name is taken.
        """
        if self._runtime is not None:
            text = "engines are registered before the agent is started"
            raise ConfigError("engines", "register_engine", text)
        if any(known.name == adapter.name for known in self._engines):
            text = f"two engines are named {adapter.name!r}; give one another name"
            raise ConfigError("engines", "register_engine", text)
        self._engines.append(adapter)

    def start(self) -> None:
        """Start capturing and connecting; returns at once.

        Raises:
            ConfigError: A setting is wrong or missing.
        """
        self._runtime = install_agent(self._engines or None, **self._settings)

    def stop(self) -> None:
        """Deliver what was captured and end the agent; a second call does nothing."""
        if self._runtime is not None:
            self._runtime = None
            process_host().stop()
        if self._loop_end is not None:
            loop, ended = self._loop_end
            loop.call_soon_threadsafe(ended.set)

    def wait_connected(self, timeout_s: float = 10.0) -> bool:
        """Wait until the brain has accepted the agent; False when it did not in time."""
        return self._runtime is not None and self._runtime.wait_connected(timeout_s)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Deliver everything captured so far; False when the time did not suffice."""
        return self._runtime is None or self._runtime.flush(timeout_s)

    async def run_forever(self) -> None:
        """Start, and run until :meth:`stop` is called from another thread or task.

        It touches no signals: in a thread of its own, ``asyncio.run(agent.run_forever())``
        ends with the process, which delivers what is left.
        """
        ended = asyncio.Event()
        self._loop_end = (asyncio.get_running_loop(), ended)
        await asyncio.to_thread(self.start)
        try:
            await ended.wait()
        finally:
            self._loop_end = None
            await asyncio.to_thread(self.stop)

    def __enter__(self) -> Agent:  # noqa: PYI034 -- typing.Self is new in Python 3.11
        self.start()
        self.wait_connected()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Agent:  # noqa: PYI034 -- see __enter__
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)
