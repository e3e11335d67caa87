"""Attribute names that z4j-otel reads from spans and writes to them, in one list.

The ``messaging.*`` names are OpenTelemetry's messaging conventions (v1.44, still in
development); the ``z4j.*`` names are ours. The names older instrumentations use stand
with the code that reads them.
"""

from __future__ import annotations

from typing import Final

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_CLIENT_ID: Final = "messaging.client.id"
ERROR_TYPE: Final = "error.type"

Z4J_CAPTURED: Final = "z4j.captured"
"""True on a span whose task was captured in its own process; exporters skip it."""
Z4J_TASK_NAME: Final = "z4j.task.name"
Z4J_TASK_ATTEMPT: Final = "z4j.task.attempt"
Z4J_TASK_STATE: Final = "z4j.task.state"
Z4J_TASK_CAUSE: Final = "z4j.task.cause"
Z4J_COMMAND_ID: Final = "z4j.command.id"
Z4J_COMMAND_ACTION: Final = "z4j.command.action"
Z4J_COMMAND_ISSUED_BY: Final = "z4j.command.issued_by"
Z4J_COMMAND_STATUS: Final = "z4j.command.status"
