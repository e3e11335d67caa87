"""Are the settings complete and well formed? Every problem at once, each with its cure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from z4j_otel.config import SETTINGS, AgentConfig
from z4j_otel.config.problems import Problem
from z4j_otel.config.resolver import examine
from z4j_otel.findings import Finding, failed, fine, warned

__all__ = ["MINTING", "Examined", "examine_settings"]

_NAME: Final = "config"
_ROWS: Final = {row.name: row for row in SETTINGS}
_MISSING: Final = {
    "brain_url": "export Z4J_BRAIN_URL=https://<brain host>",
    "token": "export Z4J_TOKEN=<the agent's token>",
    "hmac_secret": "export Z4J_HMAC_SECRET=<the signing secret, shown with the token>",
}
MINTING: Final = (
    "# In the brain's dashboard: Agents, New agent. It shows both secrets once:",
    "export Z4J_TOKEN=<token>",
    "export Z4J_HMAC_SECRET=<hmac_secret>",
)
"""How to get an agent's credentials, line by line."""
_CREDENTIALS: Final = frozenset({"token", "hmac_secret"})
_WAY: Final = frozenset({"brain_url", "proxy"})


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
    found = examine(arguments, environ, file, host_settings=host_settings, host_label=host_label)
    config = found.config
    fatal = [problem for problem in found.problems if problem.is_fatal]
    wrong = {problem.setting for problem in fatal}
    findings = [_finding(problem) for problem in found.problems]
    if config.disabled:
        findings.append(_disabled(config))
    return Examined(
        config=config,
        findings=tuple(findings or [_all_fine(config)]),
        problems=tuple(str(problem) for problem in fatal),
        has_address=bool(config.brain_url) and not wrong & _WAY,
        has_credentials=bool(config.token and config.hmac_secret) and not wrong & _CREDENTIALS,
    )


def _finding(problem: Problem) -> Finding:
    text = f"{problem.setting} ({problem.source}): {problem.text}"
    details = {"setting": problem.setting, "source": problem.source}
    if not problem.is_fatal:
        return warned(_NAME, text, problem.cure, **details)
    is_missing = problem.source == "not set"
    cure = _MISSING.get(problem.setting, problem.cure) if is_missing else problem.cure
    return failed(_NAME, text, cure, *_steps(problem), **details)


def _steps(problem: Problem) -> tuple[str, ...]:
    row = _ROWS.get(problem.setting)
    if row is None:
        return ()
    if row.name in _CREDENTIALS:
        return MINTING
    return (f"# {row.help}", f"export {row.env_name}='{row.example}'")


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
