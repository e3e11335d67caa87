"""The examination: which checks, in which order, and what each needs of those before it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

from z4j_otel.bounded import bounded
from z4j_otel.clock import Clock, SystemClock
from z4j_otel.config import AgentConfig
from z4j_otel.doctor.brain import build_hello, examine_brain, skip_brain
from z4j_otel.doctor.certificates import examine_tls
from z4j_otel.doctor.configuration import Examined, examine_settings
from z4j_otel.doctor.inventory import as_told_by, find_living
from z4j_otel.doctor.network import examine_dns, examine_proxy, examine_tcp
from z4j_otel.doctor.report import Report
from z4j_otel.doctor.route import Route, find_route
from z4j_otel.doctor.storage import buffer_path_of, examine_storage
from z4j_otel.doctor.stranger import describe_stranger
from z4j_otel.doctor.surroundings import (
    examine_forks,
    examine_orchestrator,
    examine_other_agents,
    examine_redaction,
)
from z4j_otel.doctor.telemetry import examine_telemetry
from z4j_otel.doctor.verdicts import ELSEWHERE
from z4j_otel.findings import Finding, failed, skipped
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.checkup import Checkup
from z4j_otel.instrumentors.registry import Engine, find_engines
from z4j_otel.wire.frames import Hello

__all__ = ["Examination", "Request", "examine"]

_NETWORK: Final = ("dns", "tcp", "proxy", "tls")
_ANSWERS: Final = frozenset({"http", "not_http"})
_HELLO_S: Final = 8.0
_SHOWN: Final = ("brain_url", "project_id", "agent_name", "transport", "dev_mode")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be examined, and for whom."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments, which beat all other sources."""
    config_file: Path | None = None
    framework: str = "bare"
    """Who asks: ``bare``, ``django`` … Stands in the title, and in hello."""
    host_settings: Mapping[str, Any] = field(default_factory=dict)
    """A framework's own settings, which the environment beats."""
    host_label: str = "host settings"
    app_name: str | None = None
    """An application as its engine's command line names it: ``shop.celery:app``."""
    apps: Mapping[str, Any] = field(default_factory=dict)
    """Applications that the caller has, by engine name."""
    talks: bool = True
    """Whether to say hello to the brain."""


class Examination:
    """One run of all checks. Settings and files are looked at when it is made.

    Args:
        request: What is wanted.
        clock: This machine's clocks.
        engines: Those to look at by name; all that are known when None.
    """

    def __init__(
        self,
        request: Request,
        *,
        clock: Clock | None = None,
        engines: Mapping[str, Engine] | None = None,
    ) -> None:
        self._request = request
        self._clock = clock or SystemClock()
        self._start_environ = dict(os.environ)
        known = find_engines() if engines is None else engines
        self._engines = {name: each for name, each in known.items() if each.is_installed}
        self._settings = examine_settings(
            request.settings,
            file=request.config_file,
            host_settings=request.host_settings,
            host_label=request.host_label,
        )
        with _quiet():
            directory, self._storage = examine_storage(self._settings.config)
        self._directory = directory
        self.report = _report(request, self._settings, directory, sorted(self._engines))
        """What has been found so far."""

    def run(self) -> Iterator[Finding]:
        """Check one thing after the other; every finding is in the report when it comes."""
        with _quiet():
            for finding in self._all():
                self.report.findings.append(finding)
                yield finding

    def _all(self) -> Iterator[Finding]:
        yield from self._settings.findings
        yield self._storage
        apps = _Apps(self._request, self._config, self._engines)
        yield from self._network(apps)
        yield from apps.findings
        for name, app, checkup in apps.found:
            yield from _guarded(name, lambda each=checkup, one=app: each.examine(one))  # type: ignore[misc] # mypy infers no lambda with defaults
        yield from _guarded("opentelemetry", self._telemetry)
        yield from _guarded("other_agents", lambda: [examine_other_agents()])
        yield from _guarded("fork_model", lambda: [examine_forks(self._config)])
        yield from _guarded("orchestrator", lambda: [examine_orchestrator(self._config)])
        yield from _guarded("redaction", lambda: [examine_redaction(self._config)])

    @property
    def _config(self) -> AgentConfig:
        return self._settings.config

    def _telemetry(self) -> Iterable[Finding]:
        return examine_telemetry(trace.get_tracer_provider(), start_environ=self._start_environ)

    def _network(self, apps: _Apps) -> Iterator[Finding]:
        if not self._settings.has_address:
            yield from (skipped(name, "there is no usable brain_url") for name in _NETWORK)
            yield from skip_brain("there is no usable brain_url")
            return
        route = find_route(self._config)
        addresses, dns = examine_dns(route)
        yield dns
        tcp = examine_tcp(route, addresses)
        yield tcp
        proxy = examine_proxy(route, tcp, addresses)
        yield proxy
        reachable = addresses if tcp.is_ok and proxy.is_ok else []
        tls = examine_tls(route, reachable)
        yield tls
        why = self._why_not_talk(dns, tcp, proxy, tls)
        yield from (
            skip_brain(why) if why else _guarded("websocket", lambda: self._talk(apps, route))
        )

    def _why_not_talk(self, *before: Finding) -> str:
        broken = next((each.name for each in before if not each.is_ok), "")
        if broken:
            return f"{broken} failed"
        if not self._request.talks:
            return "--no-websocket"
        if not self._settings.has_credentials:
            return "there is no usable token and signing secret"
        return ""

    def _talk(self, apps: _Apps, route: Route) -> list[Finding]:
        config, who = self._config, self._request.framework
        # An adapter may look at the application's own database.
        hello: Hello | None = bounded(
            lambda: build_hello(config, apps.adapters(), framework=who, clock=self._clock),
            _HELLO_S,
        )
        status = find_living(self._directory, config)
        if status is not None and hello is not None:
            hello = as_told_by(status, hello)
        elif not apps.found:
            hello = None
        upgrade, *rest = examine_brain(config, hello, self._clock)
        return [_explained(upgrade, route), *rest]


class _Apps:
    """The applications of the engines in use, found once."""

    def __init__(
        self, request: Request, config: AgentConfig, engines: Mapping[str, Engine]
    ) -> None:
        self._wanted = {
            name: each
            for name, each in engines.items()
            if not config.engines or name in config.engines
        }
        self.found: list[tuple[str, Any, Checkup]] = []
        self.findings: list[Finding] = []
        for name, engine in self._wanted.items():
            if engine.checkup is not None:
                self._find(name, engine.checkup(), request)

    def _find(self, name: str, checkup: Checkup, request: Request) -> None:
        app, finding = checkup.find(request.app_name, request.apps.get(name))
        self.findings.append(finding)
        if app is not None:
            self.found.append((name, app, checkup))

    def adapters(self) -> list[EngineAdapter]:
        """Return what hello is made of: an adapter for each engine in use."""
        apps = {name: app for name, app, _ in self.found}
        return [
            engine.adapter(apps[name]) if name in apps else engine.adapter()
            for name, engine in self._wanted.items()
        ]


def examine(request: Request | None = None) -> Report:
    """Run all checks and return what they found; starts no agent, leaves nothing behind."""
    examination = Examination(request or Request())
    for _ in examination.run():
        pass
    return examination.report


def _report(
    request: Request, settings: Examined, directory: Path | None, engines: list[str]
) -> Report:
    config = {name: getattr(settings.config, name) for name in _SHOWN}
    config["buffer_path"] = buffer_path_of(settings.config, directory)
    return Report(request.framework, config, engines, [], list(settings.problems))


def _explained(upgrade: Finding, route: Route) -> Finding:
    """Say who answered where no WebSocket was to be had."""
    cause = upgrade.details.get("cause")
    who = describe_stranger(route) if cause in _ANSWERS else ""
    if not who:
        return upgrade
    if cause == "not_http":
        # Our library knows nothing older than HTTP/1.1.
        return replace(upgrade, message=f"{route.url} is no brain: {who}", cure=ELSEWHERE)
    return replace(upgrade, message=f"{upgrade.message}; {who}")


def _guarded(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Run a check whose own failure is a finding, too: the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 -- see above
        text = f"the check itself failed ({type(error).__name__})"
        yield failed(name, text, "report it with what this prints: z4j-otel version")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log still: everything it would say is among the findings."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
