"""What an owner hands to the agent process it starts: settings, files, engines, identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from z4j_otel.config import AgentConfig, load_config
from z4j_otel.config.secret import Secret
from z4j_otel.config.settings import SETTINGS

__all__ = ["Handover", "pack_settings", "unpack_settings"]

_FILES: Final = "secret_files"


class Handover(msgspec.Struct, frozen=True):
    """The first thing an agent process is told. It holds secrets: never log it."""

    lock: str
    """Path of the lock file, whose descriptor comes by itself."""
    settings: dict[str, Any]
    engines: dict[str, list[str]]
    """What the owner can carry out, by engine instance."""
    hello: dict[str, Any]
    """Who the owner is, see ``HelloBuilder.facts``."""
    log_level: int
    """Least severity that the owner's log takes from this package."""
    schedulers: dict[str, list[str]] = {}
    """What the owner can do with schedules, by scheduler."""

    def __repr__(self) -> str:
        return f"Handover(lock={self.lock!r}, engines={sorted(self.engines)})"


def pack_settings(config: AgentConfig) -> dict[str, Any]:
    """Return every setting that has a value, as JSON values; secrets in the clear.

    And the files that secrets were read from: the agent process reads them again.
    """
    values = ((row.name, getattr(config, row.name)) for row in SETTINGS)
    packed = {
        name: _plain(value) for name, value in values if value not in (None, "", (), Secret())
    }
    return {**packed, _FILES: {name: str(path) for name, path in config.secret_files.items()}}


def unpack_settings(settings: Mapping[str, Any]) -> AgentConfig:
    """Return the configuration that was packed; nothing else plays a part.

    Raises:
        ConfigError: It was not packed by this version.
    """
    given = dict(settings)
    files = given.pop(_FILES, {})
    config = load_config(given, only_arguments=True)
    return dataclasses.replace(
        config, secret_files={name: Path(path) for name, path in files.items()}
    )


def _plain(value: object) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
