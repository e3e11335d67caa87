"""Where settings come from: argument, environment, the host's own settings, file, default.

The first source that has a value wins. An empty text means unset, everywhere. A secret
can also be named by file: ``Z4J_TOKEN_FILE`` holds the path of a file with the token.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from z4j_otel.config.checks import check_all
from z4j_otel.config.parsing import Setting, parse
from z4j_otel.config.settings import SETTINGS, AgentConfig
from z4j_otel.errors import ConfigError

__all__ = ["load_config"]

_logger = logging.getLogger(__name__)

_PREFIX: Final = "Z4J_"
_KNOWN: Final = frozenset(
    name
    for row in SETTINGS
    for name in ((row.name, f"{row.name}_file") if row.is_secret else (row.name,))
)
# Variables that are read, but are no settings of an agent.
_OTHER_ENV: Final = frozenset({"Z4J_CONFIG", "Z4J_BRAIN_BIN", "Z4J_REQUIRE_SERVICES"})
# What an agent hands to its own child processes.
_INTERNAL_PREFIX: Final = "Z4J_OTEL_"
_PINNED: Final = "Z4J_OTEL_PINNED"
"""A drill sets it for its processes: whatever the application says in its own code, nothing
but the environment counts, so that they never reach the application's brain."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Values by setting name, and what to call the place they come from."""

    label: str
    values: Mapping[str, Any]
    names_variable: bool = False

    def find(self, name: str) -> Any:
        value = self.values.get(name)
        return None if isinstance(value, str) and not value.strip() else value

    def describe(self, name: str) -> str:
        return f"{self.label} {_PREFIX}{name.upper()}" if self.names_variable else self.label


def load_config(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    *,
    host_settings: Mapping[str, Any] | None = None,
    host_label: str = "host settings",
    is_partial: bool = False,
) -> AgentConfig:
    """Resolve all settings and check them.

    Names that nobody knows are told in one warning, or refused in strict mode; an unknown
    argument is always refused.

    Args:
        arguments: Values by setting name that beat all others; None and "" mean unset.
        environ: The environment; ``Z4J_<NAME>`` of each setting is read.
        file: A TOML file with settings at its top level; ``Z4J_CONFIG`` when None.
        host_settings: A framework's settings by setting name, beaten by the environment.
        host_label: What to call them in messages, for example ``Django settings``.
        is_partial: Accept that required settings are missing, for tools that show or
            test a configuration. They are never required of a disabled agent.

    Raises:
        ConfigError: A value is malformed, missing or against another one; the text names
            setting and source, never the value.
    """
    if environ.get(_PINNED):
        arguments, host_settings, file = None, None, None
    path = file or (Path(text) if (text := environ.get("Z4J_CONFIG", "").strip()) else None)
    given = _Source("argument", arguments or {})
    host = _Source(host_label, host_settings or {})
    variables = _Source("environment", _variables(environ), names_variable=True)
    toml = _Source(f"file {path.name}", _read_toml(path)) if path else _Source("file", {})
    values, sources = _resolve((given, variables, host, toml))
    config = AgentConfig(**values, sources=MappingProxyType(sources))
    _check_unknown(given, given.values, is_strict=True)
    for source in (variables, host, toml):
        _check_unknown(source, source.values, is_strict=config.strict_mode)
    check_all(config, is_partial=is_partial or config.disabled)
    return config


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name[len(_PREFIX) :].lower(): value
        for name, value in environ.items()
        if name.startswith(_PREFIX)
        and name not in _OTHER_ENV
        and not name.startswith(_INTERNAL_PREFIX)
    }


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = _toml_module().loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError("config", f"file {path}", f"cannot be read: {reason}") from None
    except ConfigError:
        raise
    except ValueError:
        # The parser's own message quotes the line, which may hold a secret.
        raise ConfigError("config", f"file {path}", "expected a TOML file in UTF-8") from None
    return values


def _toml_module() -> Any:
    try:
        return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ModuleNotFoundError:
        expected = "Python 3.10 reads TOML with the package tomli; run: pip install tomli"
        raise ConfigError("config", "file", expected) from None


def _resolve(sources: Iterable[_Source]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for row in SETTINGS:
        for source in sources:
            for name, value in _candidates(row, source):
                if value is None or row.name in values:
                    continue
                origins[row.name] = source.describe(name)
                values[row.name] = _parsed(row, name, value, origins[row.name])
    return values, origins


def _candidates(row: Setting, source: _Source) -> Iterator[tuple[str, Any]]:
    yield row.name, source.find(row.name)
    if row.is_secret:
        yield f"{row.name}_file", source.find(f"{row.name}_file")


def _parsed(row: Setting, name: str, value: object, origin: str) -> Any:
    try:
        if name != row.name:
            value = Path(str(value)).expanduser().read_text("utf-8")
        return parse(row, value)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(row.name, origin, f"the file cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(row.name, origin, "expected a file with text in UTF-8") from None
    except ValueError as error:
        raise ConfigError(row.name, origin, str(error)) from None


def _check_unknown(source: _Source, values: Mapping[str, Any], *, is_strict: bool) -> None:
    unknown = sorted(set(values) - _KNOWN)
    if not unknown:
        return
    if is_strict:
        name = unknown[0]
        raise ConfigError(name, source.describe(name), f"unknown setting{_nearest(name, source)}")
    _logger.warning(
        "Unknown settings in the %s are ignored: %s",
        source.label,
        "; ".join(
            f"{_PREFIX + name.upper() if source.names_variable else name}{_nearest(name, source)}"
            for name in unknown
        ),
        extra={"action": "settings_unknown"},
    )


def _nearest(name: str, source: _Source) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- importing config is cheap

    close = get_close_matches(name, _KNOWN, n=1)
    if not close:
        return ""
    shown = f"{_PREFIX}{close[0].upper()}" if source.names_variable else close[0]
    return f" (did you mean {shown}?)"
