"""Secrets pasted into the wrong settings: what is said of it names the setting only."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from z4j_otel.config import load_config
from z4j_otel.errors import ConfigError

from .places import SETTINGS

__all__ = ["what_is_said"]

_RIGHT = {
    "Z4J_BRAIN_URL": "https://brain.example.com",
    "Z4J_TOKEN": "t" * 43,
    "Z4J_HMAC_SECRET": "11" * 32,
}


def what_is_said() -> bytes:
    """Return all that is logged and raised, for each setting that holds a secret."""
    said: list[str] = []
    for each in SETTINGS:
        environment = {**_RIGHT, each.name.rpartition(" ")[2]: each.content()}
        with _logged() as log:
            try:
                load_config(environ=environment)
            except ConfigError as error:
                said += [str(error), repr(error)]
        said.append(log.getvalue())
    return "\n".join(said).encode()


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    log = io.StringIO()
    handler, logger = logging.StreamHandler(log), logging.getLogger("z4j_otel")
    level, logger.level = logger.level, logging.DEBUG
    logger.addHandler(handler)
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
