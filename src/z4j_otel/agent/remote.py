"""The owner's engines, as its agent process sees them: over the line."""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from z4j_otel.agent.execution import failed
from z4j_otel.agent.link import Link, LinkBroken
from z4j_otel.commands import Command, CommandResult
from z4j_otel.errors import AdapterError, CommandUnsupported

__all__ = ["RemoteEngine", "RemoteSchedules", "run_remotely"]

_logger = logging.getLogger(__name__)

_HEALTH_S: Final = 30.0
_GRACE_S: Final = 5.0
"""The dispatcher watches the command's own deadline; this only ends a wait for nobody."""


class RemoteEngine:
    """Implements :class:`z4j_otel.instrumentors.adapter.EngineAdapter` by asking the owner."""

    def __init__(self, name: str, capabilities: list[str], link: Link) -> None:
        self.name = name
        self._capabilities = capabilities
        self._link = link

    def capabilities(self) -> list[str]:
        """Return what the owner's adapter can do."""
        return list(self._capabilities)

    def execute(self, command: Command) -> dict[str, Any]:
        """Refuse: commands go to the owner whole, see :func:`run_remotely`."""
        raise CommandUnsupported(f"{command.action[:64]} is carried out by the worker's process")

    def queue_depths(self) -> dict[str, int]:
        """Ask the owner how many messages wait."""
        found: dict[str, int] = self._asked("queue_depths")
        return found

    def worker_details(self) -> dict[str, dict[str, Any]]:
        """Ask the owner what it knows of its worker."""
        found: dict[str, dict[str, Any]] = self._asked("worker_details")
        return found

    def task_registry(self) -> dict[str, dict[str, Any]] | None:
        """Ask the owner which tasks its worker can run; None when it does not say."""
        try:
            found: dict[str, dict[str, Any]] | None = self._link.ask(
                "task_registry", self.name, timeout_s=_HEALTH_S
            )
        except LinkBroken as error:
            _logger.debug("the tasks of %s are not known: %s", self.name, error)
            return None
        return found

    def _asked(self, what: str) -> dict[str, Any]:
        try:
            return dict(self._link.ask(what, self.name, timeout_s=_HEALTH_S) or {})
        except LinkBroken as error:
            _logger.debug("%s of %s are not known: %s", what, self.name, error)
            return {}


class RemoteSchedules:
    """Implements :class:`z4j_otel.agent.schedules.native.Desk` by asking the owner."""

    def __init__(self, capabilities: dict[str, list[str]], link: Link) -> None:
        self._capabilities = capabilities
        self._link = link

    def capabilities(self) -> dict[str, list[str]]:
        """Return what the owner's schedulers can do."""
        return dict(self._capabilities)

    def version(self, name: str) -> str:
        """Ask the owner whether anything has changed."""
        return str(self._asked("schedules_version", name))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Ask the owner for all schedules."""
        found: list[dict[str, Any]] = self._asked("schedules", name)
        return found

    def _asked(self, what: str, name: str) -> Any:
        try:
            told = self._link.ask(what, name, timeout_s=_HEALTH_S)
        except LinkBroken as error:
            raise AdapterError(f"the worker's process does not tell: {error}") from error
        if "error" in told:
            raise AdapterError(told["error"])
        return told["value"]


def run_remotely(link: Link, command: Command) -> CommandResult:
    """Have the owner carry a command out."""
    try:
        value = link.ask(
            "run", msgspec.to_builtins(command), timeout_s=command.timeout_s + _GRACE_S
        )
    except LinkBroken as error:
        lost = AdapterError(f"the worker's process did not answer: {error}", indeterminate=True)
        return failed(lost, command)
    return msgspec.convert(value, CommandResult)
