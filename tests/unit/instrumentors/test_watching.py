"""Watching files, for developers."""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace

import pytest

from z4j_otel.instrumentors.watching import FileWatcher


@pytest.fixture
def path(tmp_path):
    """Return a file to watch."""
    path = tmp_path / "tasks.py"
    path.write_text("a = 1")
    return path


@pytest.fixture
def watch(path):
    """Return a function that makes a watcher; all end with the test."""
    made = []

    def make(on_change=lambda: None, **options):
        made.append(FileWatcher([path], on_change, debounce_s=0.001, **options))
        return made[-1]

    yield make
    for watcher in made:
        watcher.stop()
        watcher.stop()


def test_burst_of_changes_is_told_once(watch, path):
    """Files count as changed when they differ and have been quiet for a while."""
    watcher = watch()
    assert not watcher.settle()
    path.write_text("a = 2, in one")
    path.write_text("a = 3, in two steps")
    assert watcher.settle()
    assert not watcher.settle()


def test_restless_files_are_waited_for(watch, path):
    """While events still come, nothing is told."""
    watcher, seen = watch(), []
    wait = watcher._wake.wait

    def restless(timeout):
        seen.append(timeout)
        return len(seen) < 3 or wait(0)

    watcher._wake.wait = restless
    path.write_text("a = 22")
    assert watcher.settle()
    assert len(seen) == 3


def test_file_that_goes_and_comes_is_followed(watch, path):
    """Editors put another file in the place of the old one."""
    watcher = watch()
    path.unlink()
    assert watcher.settle()
    path.write_text("a = 1")
    assert watcher.settle()


def test_only_writing_wakes(watch):
    """Reading a file ourselves must not wake us again."""
    watcher = watch()
    watcher.notice(SimpleNamespace(event_type="opened"))
    watcher.notice(SimpleNamespace(event_type="closed_no_write"))
    assert not watcher._wake.is_set()
    watcher.notice(SimpleNamespace(event_type="modified"))
    assert watcher._wake.is_set()


def test_ended_watcher_settles_nothing(watch, path):
    """The end does not wait for files to be quiet."""
    watcher = watch()
    watcher.stop()
    path.write_text("a = 22")
    assert not watcher.settle()


@pytest.mark.parametrize("uses_events", [True, False])
def test_change_is_told(watch, path, uses_events):
    """With the system's events and without, a change is told."""
    told = threading.Event()
    watcher = watch(told.set, uses_events=uses_events, poll_s=0.01)
    watcher.start()
    assert watcher.way == ("watchdog" if uses_events else "polling")
    path.write_text("a = 22")
    assert told.wait(20)


def test_without_the_extra_files_are_polled(watch, monkeypatch):
    """The package is optional."""
    monkeypatch.setitem(sys.modules, "watchdog.events", None)
    watcher = watch(poll_s=0.01)
    watcher.start()
    assert watcher.way == "polling"


def test_without_events_of_the_system_files_are_polled(watch, monkeypatch):
    """A machine may have no watches left."""

    def refuse(self):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("watchdog.observers.Observer.start", refuse)
    watcher = watch(poll_s=0.01)
    watcher.start()
    assert watcher.way == "polling"
