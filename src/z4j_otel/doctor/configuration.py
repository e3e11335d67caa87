"""Are the settings complete and well formed? Every problem at once, each with its cure."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from z4j_otel.config import SETTINGS, AgentConfig, load_config
from z4j_otel.errors import ConfigError
from z4j_otel.findings import Finding, failed, fine, warned

__all__ = ["Examined", "examine_settings"]

_NAME: Final = "config"
_MOST_PROBLEMS: Final = 50
_ROWS: Final = {row.name: row for row in SETTINGS}
_EXAMPLES: Final = {
    "brain_url": "https://z4j.example.com",
    "token": "<the agent's token>",
    "hmac_secret": "<the signing secret, shown with the token>",
}
_NEW_AGENT: Final = (
    "# In the brain's dashboard: Agents, New agent. It shows both secrets once:",
    "export Z4J_TOKEN=<token>",
    "export Z4J_HMAC_SECRET=<hmac_secret>",
)
_RESOLVER: Final = "z4j_otel.config.resolver"


@dataclass(frozen=True, slots=True)
class Examined:
    """The settings as far as they can be read, and what is wrong with them."""

    config: AgentConfig
    """Everything that is well formed; what is not has its default."""
    findings: tuple[Finding, ...]
    problems: tuple[str, ...]
    """What the agent would not start with, one line each."""
    has_address: bool
    """Whether the brain's address may be used."""
    has_credentials: bool
    """Whether token and signing secret may be used."""


def examine_settings(
    arguments: Mapping[str, Any],
    *,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    host_settings: Mapping[str, Any] | None = None,
    host_label: str = "host settings",
) -> Examined:
    """Read the settings as the agent would, and go on where it would give up.

    Args:
        arguments: Values by setting name that beat all others.
        environ: The environment.
        file: A TOML file with settings.
        host_settings: A framework's settings by setting name.
        host_label: What to call them.
    """
    reader = _Reader(dict(arguments), dict(environ), file, dict(host_settings or {}), host_label)
    with _unknown_names() as unknown:
        config, problems = reader.read()
    problems += _missing(config, {error.setting for error in problems})
    wrong = {error.setting for error in problems}
    findings = [_finding(error) for error in problems]
    findings += [_unknown(text) for text in dict.fromkeys(unknown)]
    if config.disabled:
        findings.append(_disabled(config))
    return Examined(
        config=config,
        findings=tuple(findings or [_all_fine(config)]),
        problems=tuple(str(error) for error in problems),
        has_address=bool(config.brain_url),
        has_credentials=not wrong & {"token", "hmac_secret"},
    )


class _Reader:
    """Reads the settings again and again, each time without the one that was wrong."""

    def __init__(
        self,
        arguments: dict[str, Any],
        environ: dict[str, str],
        file: Path | None,
        host: dict[str, Any],
        host_label: str,
    ) -> None:
        self._arguments = arguments
        self._environ = environ
        self._file = file
        self._host = host
        self._host_label = host_label

    def read(self) -> tuple[AgentConfig, list[ConfigError]]:
        problems: list[ConfigError] = []
        while len(problems) < _MOST_PROBLEMS:
            try:
                return self._load(), problems
            except ConfigError as error:
                problems.append(error)
                self._leave_out(error)
        return AgentConfig(), problems

    def _load(self) -> AgentConfig:
        return load_config(
            self._arguments,
            self._environ,
            self._file,
            host_settings=self._host,
            host_label=self._host_label,
            is_partial=True,
        )

    def _leave_out(self, error: ConfigError) -> None:
        """Forget a setting wherever it was given; a file is forgotten as a whole."""
        names = {error.setting, f"{error.setting}_file"}
        variables = {f"Z4J_{name.upper()}" for name in names}
        if error.source.startswith("file"):
            self._file = None
            variables.add("Z4J_CONFIG")
        for name in names:
            self._arguments.pop(name, None)
            self._host.pop(name, None)
        for name in variables:
            self._environ.pop(name, None)


def _missing(config: AgentConfig, wrong: set[str]) -> list[ConfigError]:
    """Return the required settings that nobody gave."""
    if config.disabled:
        return []
    return [
        ConfigError(name, "not set", f"{name} is required; set {_ROWS[name].env_name}")
        for name in ("brain_url", "token", "hmac_secret")
        if name not in wrong and not getattr(config, name)
    ]


def _finding(error: ConfigError) -> Finding:
    row = _ROWS.get(error.setting)
    if row is None:
        cure = "correct the name, or remove it"
        return failed(_NAME, str(error), cure, setting=error.setting, source=error.source)
    example = _EXAMPLES.get(error.setting, f"<{row.kind.value}>")
    cure = f"export {row.env_name}={example}"
    steps = _NEW_AGENT if row.is_secret else (f"# {row.help}", cure)
    return failed(_NAME, str(error), cure, *steps, setting=error.setting, source=error.source)


def _unknown(text: str) -> Finding:
    return warned(_NAME, text, "correct the name, or remove it")


def _disabled(config: AgentConfig) -> Finding:
    source = config.sources.get("disabled", "default")
    return warned(
        _NAME,
        f"z4j-otel is switched off ({source}): no agent starts",
        "unset Z4J_DISABLED",
        setting="disabled",
        source=source,
    )


def _all_fine(config: AgentConfig) -> Finding:
    kinds = Counter(source.partition(" Z4J_")[0] for source in config.sources.values())
    given = ", ".join(f"{count} from {kind}" for kind, count in sorted(kinds.items()))
    return fine(_NAME, f"all settings are well formed ({given})", given=dict(config.sources))


@contextmanager
def _unknown_names() -> Iterator[list[str]]:
    """Collect what the resolver tells of names that nobody knows."""
    told: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "action", "") == "settings_unknown":
                told.append(record.getMessage())

    handler, logger = Collector(logging.WARNING), logging.getLogger(_RESOLVER)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
