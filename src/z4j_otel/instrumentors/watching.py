"""Watches a few files, for developers: never on in production.

Theory of operation
    One thread sleeps until a file may have changed. With the ``watchdog`` package (extra
    ``watcher``) the system wakes it; without, and where the system cannot, it looks once a
    second. It then waits until the files have been quiet for 250 ms, as editors save in
    several steps, and tells once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from z4j_otel.guard import guard

__all__ = ["FileWatcher"]

_logger = logging.getLogger(__name__)

_DEBOUNCE_S: Final = 0.25
_POLL_S: Final = 1.0
_READS: Final = frozenset({"opened", "closed_no_write"})

Signature = tuple[tuple[int, int, int] | None, ...]


class FileWatcher:
    """Calls a function after files have changed.

    Args:
        paths: The files; they may come and go.
        on_change: Called on the watcher's thread, once per burst of changes.
        uses_events: Whether the system may be asked to tell of changes: a library of
            greenlets would be stopped by that.
        debounce_s: How long the files must be quiet before the call.
        poll_s: How often they are looked at where the system tells nothing.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        on_change: Callable[[], None],
        *,
        uses_events: bool = True,
        debounce_s: float = _DEBOUNCE_S,
        poll_s: float = _POLL_S,
    ) -> None:
        self._paths = tuple(paths)
        self._on_change = guard("task file watcher")(on_change)
        self._uses_events = uses_events
        self._debounce_s = debounce_s
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._has_ended = False
        self._observer: Any = None
        self._known = self._signature()

    def start(self) -> None:
        """Begin to watch, on a daemon thread."""
        self._observer = self._observe() if self._uses_events else None
        threading.Thread(target=self._run, name="z4j-task-files", daemon=True).start()

    @property
    def way(self) -> str:
        """How changes are noticed: ``watchdog`` or ``polling``."""
        return "polling" if self._observer is None else "watchdog"

    def stop(self) -> None:
        """End; a second call does nothing."""
        self._has_ended = True
        self._wake.set()
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()

    def notice(self, event: Any = None) -> None:
        """Take an event of the system: something may have changed."""
        if getattr(event, "event_type", "") not in _READS:
            self._wake.set()

    def settle(self) -> bool:
        """Wait until the files are quiet; returns whether they differ from what is known."""
        found = self._signature()
        while not self._has_ended and found != self._known:
            self._wake.clear()
            is_restless = self._wake.wait(self._debounce_s)
            before, found = found, self._signature()
            if not is_restless and before == found:
                self._known = found
                return True
        return False

    def _run(self) -> None:
        while not self._has_ended:
            self._wake.wait(None if self._observer is not None else self._poll_s)
            self._wake.clear()
            if self.settle():
                self._on_change()

    def _signature(self) -> Signature:
        return tuple(_stamp(path) for path in self._paths)

    def _observe(self) -> Any:
        try:
            from watchdog.events import FileSystemEventHandler  # noqa: PLC0415 -- an extra
            from watchdog.observers import Observer  # noqa: PLC0415 -- an extra
        except ImportError:
            return None
        handler = FileSystemEventHandler()
        handler.on_any_event = self.notice  # type: ignore[method-assign]
        observer = Observer()
        try:
            # Folders, not files: editors save by putting another file in the place.
            for folder in {path.parent for path in self._paths}:
                observer.schedule(handler, str(folder))
            observer.start()
        except (OSError, RuntimeError) as error:
            _logger.debug("the system does not tell of changed files: %s", error)
            observer.unschedule_all()
            return None
        return observer


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
