"""The package's own log records, as the settings ask for them.

Only the logger ``z4j_otel`` is touched, never the root logger or an application's handler.
``log_level`` sets its level, in a worker as anywhere: records below do not come into being,
those above go to the application's handlers, whatever level the root logger has.
``log_format`` gives it a handler of its own, on standard error, and takes its records from
the application's handlers: nothing is written twice. Without both nothing is changed.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

from z4j_otel.config import AgentConfig

__all__ = ["JsonLines", "OwnHandler", "set_up_logs"]

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class OwnHandler(logging.Handler):
    """Writes to the process's standard error; told from others by its class."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        # Celery puts a logger of its own in place of sys.stderr, which would wrap the line.
        stream = sys.__stderr__ or sys.stderr
        try:
            stream.write(f"{self.format(record)}\n")
            stream.flush()
        except Exception:  # noqa: BLE001 -- what handlers do with a stream that is gone
            self.handleError(record)


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; members without a value are left out."""
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "action": getattr(record, "action", None),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: text for name, text in told.items() if text is not None})


def set_up_logs(config: AgentConfig, *, level: str = "", form: str = "") -> None:
    """Give the package's logger the level and the handler that the settings ask for.

    Args:
        config: ``log_level`` and ``log_format``.
        level: What counts when no level is set.
        form: What counts when no format is set.
    """
    logger = logging.getLogger("z4j_otel")
    if wanted := config.log_level or level:
        logger.setLevel(wanted)
    chosen = config.log_format or form
    if not chosen or any(isinstance(each, OwnHandler) for each in logger.handlers):
        return
    handler = OwnHandler()
    handler.setFormatter(JsonLines() if chosen == "json" else logging.Formatter(_TEXT))
    logger.addHandler(handler)
    logger.propagate = False
