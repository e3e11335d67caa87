"""The places that a setting can come from, each written as a user would write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from z4j_otel.config import Setting

__all__ = ["PLACES", "Given", "accepts"]

_STANDARD = {"environment": "deployment.environment.name", "agent_name": "service.name"}


@dataclass
class Given:
    """Where one configuration's values stand."""

    environ: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None


def _argument(given: Given, row: Setting, value: Any, _folder: Path) -> None:
    given.arguments[row.name] = value


def _variable(given: Given, row: Setting, value: Any, _folder: Path) -> None:
    given.environ[row.env_name] = _text(value)


def _secret_file(given: Given, row: Setting, value: Any, folder: Path) -> None:
    path = folder / f"{row.name}.secret"
    path.write_text(f"{value}\n")
    given.environ[f"{row.env_name}_FILE"] = str(path)


def _host(given: Given, row: Setting, value: Any, _folder: Path) -> None:
    given.host[row.name] = value


def _config(given: Given, row: Setting, value: Any, folder: Path) -> None:
    given.file = folder / "named.toml"
    given.file.write_text(_toml(row, value))


def _config_variable(given: Given, row: Setting, value: Any, folder: Path) -> None:
    path = folder / "z4j.toml"
    path.write_text(_toml(row, value))
    given.environ["Z4J_CONFIG"] = str(path)


def _project(_given: Given, row: Setting, value: Any, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.z4j]\n{_toml(row, value)}")


def _standard(given: Given, row: Setting, value: Any, _folder: Path) -> None:
    given.environ["OTEL_RESOURCE_ATTRIBUTES"] = f"{_STANDARD[row.name]}={quote(value)}"


def _nowhere(_given: Given, _row: Setting, _value: Any, _folder: Path) -> None:
    """Leave the setting to its default."""


PLACES: dict[str, Callable[[Given, Setting, Any, Path], None]] = {
    "default": _nowhere,
    "argument": _argument,
    "Z4J_*": _variable,
    "Z4J_*_FILE": _secret_file,
    "host": _host,
    "--config": _config,
    "Z4J_CONFIG": _config_variable,
    "[tool.z4j]": _project,
    "OTEL_*": _standard,
}
"""How each place is given a value, by what the table calls it."""


def accepts(place: str, row: Setting) -> bool:
    """Whether a setting can stand in a place at all."""
    if place == "Z4J_*_FILE":
        return row.is_secret
    return place != "OTEL_*" or row.name in _STANDARD


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items())
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


def _toml(row: Setting, value: Any) -> str:
    if isinstance(value, Mapping):
        lines = [f"{key} = {json.dumps(each)}" for key, each in value.items()]
        return f"{row.name} = {{ {', '.join(lines)} }}\n"
    plain = value if isinstance(value, (bool, int, float, list)) else str(value)
    return f"{row.name} = {json.dumps(list(value) if isinstance(value, tuple) else plain)}\n"
