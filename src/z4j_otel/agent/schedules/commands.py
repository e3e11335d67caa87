"""The commands on schedules: the native change, the publication after it, and the answer.

The change itself is carried out like any other command, under the local policy and in a
span, wherever the scheduler is; what is published and answered is made here, where the
stream is. Both happen in one turn of the stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from z4j_otel.agent.execution import failed
from z4j_otel.agent.schedules.mirror import ScheduleMirror
from z4j_otel.commands import Action, Command, CommandResult, CommandStatus
from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.schedules import configuration

__all__ = ["ScheduleCommands"]

_logger = logging.getLogger(__name__)

_MIRRORED: Final = (Action.SCHEDULE_TRIGGER, Action.SCHEDULE_ENABLE, Action.SCHEDULE_DISABLE)


class ScheduleCommands:
    """Runs commands; those that are not about a stream it passes on.

    Args:
        run: Carries out a command, or the native part of one; never raises.
        mirror: The streams.
    """

    def __init__(self, run: Callable[[Command], CommandResult], mirror: ScheduleMirror) -> None:
        self._run = run
        self._mirror = mirror
        self._actions: dict[str, Callable[[Command, str], CommandResult]] = {
            Action.SCHEDULE_ACTIVATE.value: self._activate,
            Action.SCHEDULE_MUTATE.value: self._mutate,
            Action.SCHEDULE_CONTROL.value: self._control,
        }

    def run(self, command: Command) -> CommandResult:
        """Carry a command out; blocks. Never raises an ``Exception``."""
        try:
            if command.action == Action.SCHEDULE_RESYNC.value:
                return self._resync(command)
            action = self._actions.get(command.action)
            if action is None:
                return self._passed_on(command)
            owner = str(command.parameters.get("scheduler"))
            with self._mirror.turn(owner):
                return action(command, owner)
        except CommandError as error:
            return failed(error, command)
        except Exception as error:  # noqa: BLE001 -- the rim: a scheduler is the application's
            name = type(error).__name__
            _logger.warning("schedules cannot be told: %s", name, extra={"action": "command_error"})
            return failed(AdapterError(f"internal: {name}", indeterminate=True), command)

    def _passed_on(self, command: Command) -> CommandResult:
        done = self._run(command)
        if command.action in _MIRRORED:
            self._look_again()
        return done

    def _look_again(self) -> None:
        for owner in self._mirror.owners:
            try:
                self._mirror.look(owner, is_thorough=True)
            except CommandError as error:
                _logger.debug("the schedules of %s cannot be told now: %s", owner, error)

    def _activate(self, command: Command, owner: str) -> CommandResult:
        del owner
        done = self._run(command)
        if not done.is_success:
            return done
        return _extended(done, self._mirror.activate(command.parameters))

    def _resync(self, command: Command) -> CommandResult:
        done = self._run(command)
        if not done.is_success:
            return done
        owners = [owner for owner in self._mirror.owners if self._mirror.is_active(owner)]
        for owner in owners:
            self._mirror.publish_all(owner, reason="resync")
        return _extended(done, {"schedulers_drained": len(owners)})

    def _mutate(self, command: Command, owner: str) -> CommandResult:
        self._mirror.require(command.parameters)
        done = self._run(command)
        if not done.is_success:
            return done
        key = str((done.result or {}).get("source_key"))
        try:
            told = self._mirror.publish_all(owner, reason="mutation")
        except CommandError as error:
            text = f"it was done, and could not be told: {error.message}"
            raise AdapterError(text, indeterminate=True) from error
        row = self._mirror.told(owner, key)
        return _extended(
            done,
            {
                **told,
                "operation_id": command.parameters.get("operation_id"),
                "source_key": key,
                "observed_configuration": None if row is None else configuration(row),
            },
        )

    def _control(self, command: Command, owner: str) -> CommandResult:
        self._mirror.require(command.parameters)
        operation_id = command.parameters.get("operation_id")
        if not isinstance(operation_id, str):
            raise CommandRefused("the operation has no id")
        done = self._run(command)
        if not done.is_success:
            return done
        key = str((done.result or {}).get("source_key"))
        sequence = self._mirror.publish_control(owner, key, operation_id)
        return CommandResult(
            CommandStatus.SUCCESS,
            {
                "operation_id": operation_id,
                "sequence": sequence,
                "projection_buffered": True,
                "deduplicated": False,
            },
        )


def _extended(done: CommandResult, members: dict[str, Any]) -> CommandResult:
    return replace(done, result={**(done.result or {}), **members})
