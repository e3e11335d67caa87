"""Which tasks this worker can run, as ``registry_delta`` tells it (PROTOCOL §4.8)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.task_files import TaskFiles
from z4j_otel.instrumentors.watching import FileWatcher

__all__ = ["TaskInventory", "describe_tasks"]

_logger = logging.getLogger(__name__)

_MAX_TASKS: Final = 10_000
_BUILT_IN: Final = "celery."
_OPTIONS: Final = (
    "rate_limit",
    "max_retries",
    "time_limit",
    "soft_time_limit",
    "acks_late",
    "ignore_result",
)


class TaskInventory:
    """The tasks of this process's worker, and for developers what their files say.

    Args:
        handle: The app and its worker.
    """

    def __init__(self, handle: CeleryHandle) -> None:
        self._handle = handle
        self._files: TaskFiles | None = None
        self._watcher: FileWatcher | None = None
        self._lock = threading.Lock()

    def tasks(self) -> dict[str, dict[str, Any]] | None:
        """Return the tasks by name; None outside a worker."""
        if self._handle.worker is None:
            return None
        loaded = describe_tasks(self._handle.worker.app)
        files = self._files
        return loaded if files is None else files.overlay(loaded)

    def watch(self, *, uses_events: bool) -> str:
        """Follow the files in which the worker's tasks are defined, from now on.

        Args:
            uses_events: Whether the system may be asked to tell of changes.

        Returns:
            How changes are noticed; empty where there is nothing to watch.
        """
        loaded = self.tasks()
        with self._lock:
            if loaded is None or self._watcher is not None:
                return ""
            modules = {entry["module"] for entry in loaded.values() if entry["module"]}
            self._files = TaskFiles(modules)
            if not self._files.paths:
                return ""
            self._watcher = FileWatcher(self._files.paths, self._look, uses_events=uses_events)
        self._watcher.start()
        return self._watcher.way

    def _look(self) -> None:
        assert self._files is not None
        before = self.tasks() or {}
        self._files.look()
        after = self.tasks() or {}
        changes = _in_words(before, after)
        if changes:
            _logger.info(
                "[z4j] task files have changed: %s; restart the worker to run what they say",
                changes,
                extra={"action": "task_files_changed"},
            )


def describe_tasks(app: Any) -> dict[str, dict[str, Any]]:
    """Return the app's own tasks by name: module and options that are set, JSON values.

    Args:
        app: The Celery app; its tasks are made where that has not been done.
    """
    # One step: a thread of the application may register a task meanwhile.
    tasks = list(app.tasks.items())
    own = ((str(name), task) for name, task in tasks if not str(name).startswith(_BUILT_IN))
    return {name: _describe(name, task) for name, task in sorted(own)[:_MAX_TASKS]}


def _in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    kinds = {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "updated": {name for name in after.keys() & before.keys() if before[name] != after[name]},
    }
    return ", ".join(f"{kind} {' '.join(sorted(names))}" for kind, names in kinds.items() if names)


def _describe(name: str, task: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "module": str(getattr(task, "__module__", "") or "")}
    for option in _OPTIONS:
        value = getattr(task, option, None)
        # Other types are objects of the application: nobody knows what they print.
        if isinstance(value, bool | int | float | str):
            entry[option] = value
    return entry
