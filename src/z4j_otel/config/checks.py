"""Rules that concern more than one setting: what must be set, and what does not go together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from z4j_otel.config.network import check_network
from z4j_otel.config.settings import AgentConfig
from z4j_otel.errors import ConfigError

__all__ = ["check_all"]

_REQUIRED: Final[Mapping[str, str]] = {
    "brain_url": "brain_url is required; set Z4J_BRAIN_URL",
    "token": "token is required; set Z4J_TOKEN to the agent's token from the dashboard",
    "hmac_secret": "hmac_secret is required; set Z4J_HMAC_SECRET, shown with the agent's token",
}


def check_all(config: AgentConfig, *, is_partial: bool) -> None:
    """Check the configuration as a whole.

    Args:
        config: What to check.
        is_partial: Whether required settings may be missing.

    Raises:
        ConfigError: The first rule that is broken.
    """
    if not is_partial:
        for name, expected in _REQUIRED.items():
            if not getattr(config, name):
                raise ConfigError(name, "not set", expected)
    if config.hmac_secret:
        _check_signing_key(config)
    check_network(config)
    _check_buffer_path(config)


def _check_signing_key(config: AgentConfig) -> None:
    try:
        config.signing_key()
    except ConfigError as error:
        source = config.sources.get("hmac_secret", error.source)
        raise ConfigError("hmac_secret", source, error.expected) from None


def _check_buffer_path(config: AgentConfig) -> None:
    """Keep the buffer in a directory that belongs to us: it holds what tasks were given."""
    if config.buffer_path is None:
        return
    import tempfile  # noqa: PLC0415 -- costs as much as all of config, and is rarely needed

    home = (config.home or Path("~/.z4j").expanduser()).resolve()
    temporary = Path(tempfile.gettempdir(), f"z4j-{_user_number()}").resolve()
    path = (home / config.buffer_path).resolve()
    if home not in path.parents and temporary not in path.parents:
        raise ConfigError(
            "buffer_path",
            config.sources.get("buffer_path", "default"),
            "expected a file below Z4J_HOME (~/.z4j when unset); set Z4J_HOME to move all files",
        )


def _user_number() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
