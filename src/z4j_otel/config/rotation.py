"""Secrets that change while the agent runs: those that were read from a file.

Whoever mounts a secret as a file, Kubernetes for example, replaces the file when the
secret is rotated. It is read again for each connection, so a rotated token needs no restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from z4j_otel.config.parsing import parse
from z4j_otel.config.settings import SETTINGS, AgentConfig
from z4j_otel.errors import ConfigError

__all__ = ["fresh_key", "fresh_secret"]

_logger = logging.getLogger(__name__)
_ROWS = {row.name: row for row in SETTINGS}


def fresh_secret(config: AgentConfig, name: str) -> Callable[[], str]:
    """Return what reads a secret anew at each call, where it came from a file.

    A file that is gone, empty or malformed leaves the last good value in force.

    Args:
        config: Knows value and file.
        name: The setting's name.
    """
    path = config.secret_files.get(name)
    known: str = getattr(config, name).reveal()

    def read() -> str:
        nonlocal known
        try:
            found = parse(_ROWS[name], path.read_text("utf-8")).reveal() if path else known
        except (OSError, ValueError) as error:
            _logger.debug("%s cannot be read again: %s", path, type(error).__name__)
            return known
        if found and found != known:
            known = found
            _logger.info(
                "[z4j] %s has changed in %s; it is used from now on",
                name,
                path,
                extra={"action": "secret_rotated"},
            )
        return known

    return read


def fresh_key(config: AgentConfig) -> Callable[[], bytes]:
    """Return what reads the signing key anew at each call; the last good one counts."""
    read = fresh_secret(config, "hmac_secret")
    known = config.signing_key()

    def key() -> bytes:
        from z4j_otel.wire.signing import decode_secret  # noqa: PLC0415 -- see AgentConfig

        nonlocal known
        try:
            known = decode_secret(read())
        except ConfigError as error:
            _logger.warning("[z4j] the rotated signing secret is not used: %s", error)
        return known

    return key
