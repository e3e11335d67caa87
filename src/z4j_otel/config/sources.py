"""The places that values of settings come from, each read into names and values.

No place is asked for more than it holds: nothing here knows what a setting means.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from z4j_otel.config.names import OTHER_VARIABLES
from z4j_otel.config.parsing import Setting
from z4j_otel.config.problems import Problem

__all__ = ["PREFIX", "Source", "read_all"]

PREFIX: Final = "Z4J_"
# What an agent hands to its own child processes.
_INTERNAL_PREFIX: Final = "Z4J_OTEL_"
_PINNED: Final = "Z4J_OTEL_PINNED"
"""A drill sets it for its processes: whatever the application says in its own code, nothing
but the environment counts, so that they never reach the application's brain."""
_PROJECT_FILE: Final = "pyproject.toml"
_PROJECT_TABLE: Final = b"[tool.z4j"
_MOST_BYTES: Final = 1024**2
_RESOURCE: Final = "OTEL_RESOURCE_ATTRIBUTES"
_SERVICE: Final = "OTEL_SERVICE_NAME"


@dataclass(frozen=True, slots=True)
class Source:
    """Values by setting name, and what to call the place they come from."""

    label: str
    values: Mapping[str, Any] = field(default_factory=dict)
    names_variable: bool = False
    """Whether it is the environment, where a setting's name is a variable's."""
    is_certain: bool = True
    """Whether somebody meant these values for z4j-otel; what is wrong with others is told,
    and stops nothing."""
    is_trusted: bool = True
    """Whether it may decide where data and credentials go."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each value comes from, where the label does not say it."""

    def find(self, name: str) -> Any:
        """Return a value; None where it is unset or empty."""
        value = self.values.get(name)
        return None if isinstance(value, str) and not value.strip() else value

    def describe(self, name: str) -> str:
        """Say where a value comes from."""
        if self.names_variable:
            return f"{self.label} {PREFIX}{name.upper()}"
        return self.origins.get(name, self.label)

    def spell(self, name: str) -> str:
        """Return a setting's name as this source writes it."""
        return f"{PREFIX}{name.upper()}" if self.names_variable else name

    def write(self, row: Setting) -> str:
        """Return how a value of a setting can be written here."""
        if self.names_variable:
            return f"export {row.env_name}='{row.example}'"
        return f'{row.name} = "{row.example}"'


def read_all(
    arguments: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None,
    host_settings: Mapping[str, Any],
    host_label: str,
) -> tuple[list[Source], list[Problem]]:
    """Return all sources, the strongest first, and what is wrong with reading them."""
    variables = Source("environment", _variables(environ), names_variable=True)
    standard = _standard(environ)
    if environ.get(_PINNED):
        return [variables, standard], []
    named = environ.get(f"{PREFIX}CONFIG", "").strip()
    path = file or (Path(named).expanduser() if named else None)
    toml, problems = _project() if path is None else _file(path)
    given = Source("argument", arguments)
    host = Source(host_label, _flat(host_settings))
    return [given, variables, host, toml, standard], problems


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name[len(PREFIX) :].lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX)
        and name not in OTHER_VARIABLES
        and not name.startswith(_INTERNAL_PREFIX)
    }


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their names, however their host writes them.

    Flask keeps ``Z4J_TAGS``, Django a dictionary that may be written in capitals; and
    earlier agents have ``redaction = {"extra_key_patterns": ...}``.
    """
    flat: dict[str, Any] = {}
    for given, value in settings.items():
        name = str(given).lower().removeprefix(PREFIX.lower())
        if name == "redaction" and isinstance(value, Mapping):
            flat |= {f"{name}_{below}": each for below, each in value.items()}
        else:
            flat[name] = value
    return flat


def _file(path: Path) -> tuple[Source, list[Problem]]:
    """Read the file that somebody named."""
    label = f"file {path.name}"
    try:
        values = _parsed(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Source(label), [_unread(path, f"cannot be read: {reason}")]
    except ValueError:
        # The parser's own message quotes the line, which may hold a secret.
        return Source(label), [_unread(path, "expected a TOML file in UTF-8")]
    if path.name == _PROJECT_FILE:
        values = _table(values)
    return Source(label, _flat(values)), []


def _unread(path: Path, text: str) -> Problem:
    cure = "correct the file, or name another with --config or Z4J_CONFIG"
    return Problem("config", f"file {path}", text, cure)


def _project() -> tuple[Source, list[Problem]]:
    """Read ``[tool.z4j]`` of the working directory's own project file, where there is one.

    Directories above are not searched: a service must not find what somebody else has left
    in ``/`` or ``/srv``. A file that another user owns or may write is passed over, and so
    is one that cannot be read: nobody has named it.
    """
    path = Path(_PROJECT_FILE)
    source = Source(f"{_PROJECT_FILE} [tool.z4j]", is_trusted=False)
    try:
        # A pipe of that name would have the application wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 -- it is open already
            status = os.fstat(descriptor)
            data = opened.read(_MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError:
        return source, []
    if _PROJECT_TABLE not in data:
        return source, []
    if not _is_ours(status):
        cure = f"chown and chmod go-w {_PROJECT_FILE}, or name it with Z4J_CONFIG"
        text = "not used, because another user may write it"
        return source, [Problem("config", source.label, text, cure, is_fatal=False)]
    try:
        values = _table(_parsed(data))
    except ValueError:
        cure = f"correct {_PROJECT_FILE}"
        text = "not used: expected a TOML file in UTF-8"
        return source, [Problem("config", source.label, text, cure, is_fatal=False)]
    return Source(source.label, _flat(values), is_trusted=False), []


def _is_ours(status: os.stat_result) -> bool:
    is_own = not hasattr(os, "geteuid") or status.st_uid in {0, os.geteuid()}
    return is_own and not status.st_mode & stat.S_IWOTH


def _parsed(data: bytes) -> dict[str, Any]:
    module = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        parsed: dict[str, Any] = module.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return parsed


def _table(values: Mapping[str, Any]) -> dict[str, Any]:
    tool = values.get("tool")
    table = tool.get("z4j") if isinstance(tool, Mapping) else None
    return dict(table) if isinstance(table, Mapping) else {}


def _standard(environ: Mapping[str, str]) -> Source:
    """Read what OpenTelemetry's own variables say of this service."""
    attributes = _resource(environ.get(_RESOURCE, ""))
    environment = attributes.get("deployment.environment.name") or attributes.get(
        "deployment.environment"
    )
    service = environ.get(_SERVICE, "").strip()
    values = {"environment": environment, "agent_name": service or attributes.get("service.name")}
    origins = {
        "environment": f"environment {_RESOURCE}",
        "agent_name": f"environment {_SERVICE if service else _RESOURCE}",
    }
    return Source("environment OTEL_*", values, is_certain=False, origins=origins)


def _resource(text: str) -> dict[str, str]:
    """Read ``key=value,key=value`` with values percent-encoded, as OpenTelemetry's SDK does."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {key.strip(): unquote(value.strip()) for key, _, value in pairs}
