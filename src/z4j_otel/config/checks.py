"""Rules that concern more than one setting: what must be set, and what does not go together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Final

from z4j_otel.config.network import check_network
from z4j_otel.config.problems import Problem
from z4j_otel.config.settings import AgentConfig
from z4j_otel.errors import ConfigError

__all__ = ["check_all"]

_REQUIRED: Final[Mapping[str, tuple[str, str]]] = {
    "brain_url": (
        "brain_url is required",
        "set Z4J_BRAIN_URL; to try without a brain of yours, type: z4j-otel brain",
    ),
    "token": ("token is required", "set Z4J_TOKEN to the agent's token from the dashboard"),
    "hmac_secret": (
        "hmac_secret is required",
        "set Z4J_HMAC_SECRET, shown with the agent's token; the first-boot setup token has none",
    ),
}
_MINT: Final = "make an agent in the dashboard (Agents) and set Z4J_TOKEN to its token"
_NO_TOKENS: Final = (
    (re.compile(r"^z4k_"), "this is an API key of the brain, not an agent's token"),
    (
        re.compile(r"^https?://|setup\?token="),
        "this is an address, as of the brain's first-boot setup, not an agent's token",
    ),
    (
        re.compile(r"(?i)^(change_?me|replace_?me|your[_-].*|<.*>|x{3,}|\.{3}|token|secret)$"),
        "this is a placeholder, not an agent's token",
    ),
)


def check_all(config: AgentConfig, *, is_partial: bool) -> Iterator[Problem]:
    """Check the configuration as a whole; yields each rule that is broken.

    Args:
        config: What to check.
        is_partial: Whether required settings may be missing.
    """
    if not is_partial:
        for name, (text, cure) in _REQUIRED.items():
            if not getattr(config, name):
                yield Problem(name, "not set", text, cure)
    yield from _check_token(config)
    if config.hmac_secret:
        yield from _check_signing_key(config)
    yield from check_network(config)
    yield from _check_buffer_path(config)


def _source(config: AgentConfig, name: str) -> str:
    return config.sources.get(name, "default")


def _check_token(config: AgentConfig) -> Iterator[Problem]:
    token = config.token.reveal()
    for shape, text in _NO_TOKENS:
        if shape.search(token):
            yield Problem("token", _source(config, "token"), text, _MINT)
            return
    if token and token == config.hmac_secret.reveal():
        text = "token and hmac_secret are the same text"
        cure = "set each to its own, both shown when the agent is made in the dashboard"
        yield Problem("token", _source(config, "token"), text, cure)


def _check_signing_key(config: AgentConfig) -> Iterator[Problem]:
    try:
        config.signing_key()
    except ConfigError as error:
        cure = "copy it anew from the dashboard (Agents)"
        yield Problem("hmac_secret", _source(config, "hmac_secret"), error.expected, cure)


def _check_buffer_path(config: AgentConfig) -> Iterator[Problem]:
    """Keep the buffer in a directory that belongs to us: it holds what tasks were given."""
    if config.buffer_path is None:
        return
    from z4j_otel.buffer.home import clamp_buffer_path, with_home  # noqa: PLC0415 -- rarely needed

    if clamp_buffer_path(config.buffer_path, with_home(os.environ, config.home)) is None:
        yield Problem(
            "buffer_path",
            _source(config, "buffer_path"),
            "expected a file below Z4J_HOME (~/.z4j when unset)",
            "set Z4J_HOME to move all files",
        )
