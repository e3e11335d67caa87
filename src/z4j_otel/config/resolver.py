"""Which source decides a setting: argument, environment, host, file, OpenTelemetry, default.

The first source that has a value wins. An empty text means unset, everywhere. A secret
can also be named by file: ``Z4J_TOKEN_FILE`` holds the path of a file with the token.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from z4j_otel.config.checks import check_all
from z4j_otel.config.names import ALIASES, KNOWN, OBSOLETE, nearest
from z4j_otel.config.parsing import Setting, parse
from z4j_otel.config.problems import Problem
from z4j_otel.config.settings import SETTINGS, AgentConfig
from z4j_otel.config.sources import Source, read_all

__all__ = ["Examined", "check_settings", "examine", "load_config"]

_logger = logging.getLogger(__name__)
_MOST_SHOWN: Final = 80
_told: set[str] = set()
"""Warnings that this process has logged: it may resolve its settings several times."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A configuration and everything that is wrong with it."""

    config: AgentConfig
    """What was resolved; a setting whose value is wrong has its default here."""
    problems: tuple[Problem, ...]
    """All of them, in the order of the settings' table."""


def load_config(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    *,
    host_settings: Mapping[str, Any] | None = None,
    host_label: str = "host settings",
    is_partial: bool = False,
    only_arguments: bool = False,
) -> AgentConfig:
    """Resolve all settings and check them.

    Names that nobody knows are told in one warning, or refused in strict mode; an unknown
    argument is always refused.

    Args:
        arguments: Values by setting name that beat all others; None and "" mean unset.
        environ: The environment; ``Z4J_<NAME>`` of each setting is read.
        file: A TOML file with settings at its top level, or a ``pyproject.toml``;
            ``Z4J_CONFIG`` when None, else ``[tool.z4j]`` of the working directory's
            ``pyproject.toml``.
        host_settings: A framework's settings by setting name, beaten by the environment.
        host_label: What to call them in messages, for example ``Django settings``.
        is_partial: Accept that required settings are missing, for tools that show or
            test a configuration. They are never required of a disabled agent.
        only_arguments: Take what the arguments say, and look nowhere else.

    Raises:
        ConfigError: A value is malformed, missing or against another one; the text names
            setting and source, never the value.
    """
    found = examine(
        arguments,
        environ,
        file,
        host_settings=host_settings,
        host_label=host_label,
        is_partial=is_partial,
        only_arguments=only_arguments,
    )
    for problem in found.problems:
        if problem.is_fatal:
            raise problem.error(is_strict=found.config.strict_mode)
    _warn([problem for problem in found.problems if str(problem) not in _told])
    return found.config


def check_settings(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    *,
    host_settings: Mapping[str, Any] | None = None,
    host_label: str = "host settings",
    is_partial: bool = False,
) -> list[Problem]:
    """Return everything that is wrong with a configuration, each with its cure.

    The arguments are those of :func:`load_config`. Nothing is raised and nothing is logged.
    """
    found = examine(
        arguments,
        environ,
        file,
        host_settings=host_settings,
        host_label=host_label,
        is_partial=is_partial,
    )
    return list(found.problems)


def examine(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    *,
    host_settings: Mapping[str, Any] | None = None,
    host_label: str = "host settings",
    is_partial: bool = False,
    only_arguments: bool = False,
) -> Examined:
    """Resolve all settings and collect everything that is wrong, for tools that show it.

    The arguments are those of :func:`load_config`. Nothing is raised and nothing is logged.
    """
    sources, problems = [Source("argument", arguments or {})], list[Problem]()
    if not only_arguments:
        sources, problems = read_all(
            arguments or {}, environ, file, host_settings or {}, host_label
        )
    resolved = _Resolution(sources)
    config = AgentConfig(
        **resolved.values,
        sources=MappingProxyType(resolved.origins),
        secret_files=MappingProxyType(resolved.secret_files),
    )
    problems += resolved.problems
    wrong = {problem.setting for problem in problems if problem.is_fatal}
    problems += _find_unknown(sources, is_strict=config.strict_mode)
    problems += [
        problem
        for problem in check_all(config, is_partial=is_partial or config.disabled)
        # That a value is missing is no second news where it is malformed.
        if problem.setting not in wrong
    ]
    return Examined(config, tuple(problems))


def _warn(problems: Sequence[Problem]) -> None:
    if problems:
        _told.update(str(problem) for problem in problems)
        _logger.warning(
            "[z4j] settings: %s",
            " | ".join(str(problem) for problem in problems),
            extra={"action": "settings_doubtful"},
        )


@dataclass(slots=True)
class _Resolution:
    """Finds each setting's value in the strongest source that has one."""

    sources: Iterable[Source]
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    secret_files: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row in SETTINGS:
            for source in self.sources:
                if self._take(row, source):
                    break

    def _take(self, row: Setting, source: Source) -> bool:
        """Take the setting from a source; False when it has no value of it."""
        for name, value in _candidates(row, source):
            if value is None:
                continue
            origin = source.describe(name)
            if not source.is_trusted and (row.decides_trust or row.is_secret):
                self.problems.append(_untrusted(row, origin))
                continue
            try:
                self.values[row.name] = self._parse(row, name, value)
            except ValueError as error:
                self.problems.append(_malformed(row, origin, source, str(error)))
                if not source.is_certain:
                    continue
            else:
                self.origins[row.name] = origin
            return True
        return False

    def _parse(self, row: Setting, name: str, value: object) -> Any:
        if name in ALIASES:
            value = ALIASES[name].words.get(str(value).strip().lower(), value)
        elif name != row.name:
            # It is read again later, wherever the process may have gone by then.
            path = Path(str(value)).expanduser().absolute()
            value = _read_secret(path)
            self.secret_files[row.name] = path
        return parse(row, value)


def _candidates(row: Setting, source: Source) -> Iterator[tuple[str, Any]]:
    yield row.name, source.find(row.name)
    if row.is_secret:
        yield f"{row.name}_file", source.find(f"{row.name}_file")
    for name, alias in ALIASES.items():
        if alias.setting == row.name:
            yield name, source.find(name)


def _read_secret(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"the file cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ValueError("expected a file with text in UTF-8") from None


def _malformed(row: Setting, origin: str, source: Source, text: str) -> Problem:
    if not source.is_certain:
        cure = f"set {row.env_name} instead"
        return Problem(row.name, origin, f"not used: {text}", cure, is_fatal=False)
    if row.is_secret:
        return Problem(row.name, origin, text, "copy it anew from the dashboard (Agents)")
    return Problem(row.name, origin, text, f"for example: {source.write(row)}")


def _untrusted(row: Setting, origin: str) -> Problem:
    text = "not taken from here: who may write this file would decide whom the agent trusts"
    cure = f"set {row.env_name}, or name the file with --config or Z4J_CONFIG"
    return Problem(row.name, origin, text, cure, is_fatal=False)


def _find_unknown(sources: Iterable[Source], *, is_strict: bool) -> Iterator[Problem]:
    for source in sources:
        is_argument = source.label == "argument"
        for name in sorted(set(source.values) - KNOWN - set(ALIASES)):
            origin = source.describe(name)
            if name in OBSOLETE:
                text, cure = OBSOLETE[name]
                yield Problem(name, origin, text, cure, is_fatal=False)
                continue
            near = nearest(name)
            cure = f"did you mean {source.spell(near)}?" if near else "see z4j-otel config"
            is_fatal = is_argument or is_strict
            yield Problem(_short(name), _short(origin), "unknown setting", cure, is_fatal=is_fatal)


def _short(name: str) -> str:
    """Return a name that anybody may have written, fit for a line of a log."""
    shown = "".join(each if each.isprintable() else "?" for each in name[:_MOST_SHOWN])
    return shown if len(name) <= _MOST_SHOWN else f"{shown}…"
