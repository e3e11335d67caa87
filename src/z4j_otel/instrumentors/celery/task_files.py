"""Tasks as their source files say now: what a restart of the worker would bring.

Theory of operation
    A developer edits ``tasks.py`` while the worker runs. The worker goes on with what it
    has imported: nothing is imported or reloaded here. The file is parsed, its decorated
    functions are compared with those that it had when the worker started, and the
    difference is laid over the worker's registry. A file that does not parse (half saved,
    a mistake) is as it was before.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["TaskFiles", "tasks_in"]

_DECORATORS: Final = frozenset({"task", "shared_task"})
_MAX_BYTES: Final = 4_000_000


class TaskFiles:
    """The files of some modules, and how their tasks differ from the start.

    Args:
        modules: Names of imported modules; others are passed over.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        found = ((name, _file_of(name)) for name in modules)
        self._files = {path: name for name, path in found if path is not None}
        self._first = self._read_all({})
        self._now = self._first

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return sorted(self._files)

    def look(self) -> None:
        """Read the files again."""
        self._now = self._read_all(self._now)

    def overlay(self, registry: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return a registry as it would be after a restart; the given one stays.

        What is not loaded says ``is_loaded: false``.
        """
        first, now = _merged(self._first), _merged(self._now)
        gone = first.keys() - now.keys()
        changed = {name: entry for name, entry in now.items() if first.get(name) != entry}
        result = {name: entry for name, entry in registry.items() if name not in gone}
        for name, (module, digest) in changed.items():
            known = result.get(name, {"name": name, "module": module})
            result[name] = {**known, "is_loaded": False, "source": digest}
        return result

    def _read_all(self, before: dict[Path, dict[str, Any]]) -> dict[Path, dict[str, Any]]:
        return {
            path: _read(path, module, before.get(path, {})) for path, module in self._files.items()
        }


def tasks_in(source: str, module: str) -> dict[str, str]:
    """Return the tasks that a source defines, by name, each with a digest of its code.

    Layout and comments do not count. Tasks whose name is computed are passed over.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds NUL characters.
    """
    return {
        name: hashlib.sha256(ast.dump(node).encode()).hexdigest()[:16]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in _names_of(node, module)
    }


def _names_of(node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> Iterator[str]:
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        target = call.func if call is not None else decorator
        word = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if word not in _DECORATORS:
            continue
        given = [each.value for each in call.keywords if each.arg == "name"] if call else []
        if not given:
            yield f"{module}.{node.name}"
        elif isinstance(given[0], ast.Constant):
            yield str(given[0].value)


def _read(path: Path, module: str, before: dict[str, Any]) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return before
        found = tasks_in(path.read_text("utf-8"), module)
    except FileNotFoundError:
        # Many editors remove a file for a moment when they save it; a removed one is read
        # as it was until the worker starts again and cannot import it.
        return before
    except (OSError, SyntaxError, ValueError, RecursionError):
        return before
    return {name: (module, digest) for name, digest in found.items()}


def _merged(files: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    return {name: entry for tasks in files.values() for name, entry in tasks.items()}


def _file_of(module: str) -> Path | None:
    name = getattr(sys.modules.get(module), "__file__", None)
    return Path(name).absolute() if name and str(name).endswith(".py") else None
