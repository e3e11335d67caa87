"""Tasks as their source files say."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from z4j_otel.instrumentors.celery.task_files import TaskFiles, tasks_in

SOURCE = """
NAME = "computed"

@app.task
def pay(): return 1

@app.task(bind=True)
def retry(self): return 2

@shared_task(name="other.name")
async def named(): return 3

@app.task(name=NAME)
def computed(): return 4

@functools.cache
def plain(): return 5

if True:
    @log
    @app.task()
    def inner(): return 6
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return the file of an imported module ``shop_files``."""
    path = tmp_path / "shop_files.py"
    path.write_text(SOURCE)
    module = SimpleNamespace(__file__=str(path))
    monkeypatch.setitem(sys.modules, "shop_files", module)
    return path


def loaded():
    """Return the registry of a worker that has loaded the source."""
    return {name: {"name": name, "queue": "q"} for name in tasks_in(SOURCE, "shop_files")}


def test_tasks_are_found_by_their_decorators():
    """Names are given or made of module and function; computed ones are passed over."""
    names = {"shop.pay", "shop.retry", "other.name", "shop.inner"}
    assert set(tasks_in(SOURCE, "shop")) == names


def test_digest_is_of_the_code_only():
    """Layout and comments change nothing, the body does."""
    before = tasks_in(SOURCE, "shop")
    assert tasks_in("# more\n" + SOURCE.replace("return 1", "return  1 # one"), "shop") == before
    after = tasks_in(SOURCE.replace("return 1", "return 9"), "shop")
    assert {name for name in before if before[name] != after[name]} == {"shop.pay"}


def test_unchanged_files_change_no_registry(path):
    """At the start a registry is what the worker has loaded."""
    files = TaskFiles(["shop_files", "not.imported", "sys"])
    files.look()
    assert files.paths == [path]
    assert files.overlay(loaded()) == loaded()


def test_changes_are_laid_over(path):
    """Added and updated tasks are marked as not loaded, removed ones go."""
    files = TaskFiles(["shop_files"])
    source = SOURCE.replace("def pay", "def refund").replace("return 2", "return 22")
    path.write_text(source)
    files.look()
    shown = files.overlay(loaded())
    assert "shop_files.pay" not in shown
    assert shown["shop_files.refund"]["is_loaded"] is False
    assert (shown["shop_files.retry"]["queue"], shown["shop_files.retry"]["is_loaded"]) == (
        "q",
        False,
    )
    assert "is_loaded" not in shown["other.name"]
    path.write_text(SOURCE)
    files.look()
    assert files.overlay(loaded()) == loaded()


@pytest.mark.parametrize("content", [b"def (", b"\xff\xfe", b"a\x00b", b"(" * 10_000])
def test_broken_file_is_as_it_was(path, content):
    """Half a file is no news, and nothing of it is executed."""
    files = TaskFiles(["shop_files"])
    path.write_bytes(content)
    files.look()
    assert files.overlay(loaded()) == loaded()
    path.unlink()
    files.look()
    assert files.overlay(loaded()) == loaded()


def test_huge_file_is_not_read(path, monkeypatch):
    """A file of megabytes is not somebody's tasks."""
    files = TaskFiles(["shop_files"])
    monkeypatch.setattr("z4j_otel.instrumentors.celery.task_files._MAX_BYTES", 10)
    path.write_text("# " + SOURCE.replace("return 1", "return 9"))
    files.look()
    assert files.overlay(loaded()) == loaded()
