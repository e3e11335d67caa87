"""What is in the place of our files is told from them, and moved out of the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from z4j_otel.buffer.foreign import is_no_directory_of_ours, put_aside, remove_journal


def test_only_a_directory_of_ours_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing one is in nobody's way; a link, a file and another user's are foreign."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    assert not is_no_directory_of_ours(tmp_path / "missing")
    assert not is_no_directory_of_ours(tmp_path)
    assert is_no_directory_of_ours(tmp_path / "file")
    assert is_no_directory_of_ours(tmp_path / "link")
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert is_no_directory_of_ours(tmp_path)


def test_putting_aside_deletes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The thing has another name, which one line tells."""
    (tmp_path / "thing").write_text("precious")
    put_aside(tmp_path / "thing")
    assert (tmp_path / "thing-foreign").read_text() == "precious"
    assert [record.getMessage().count("thing-foreign") for record in caplog.records] == [1]


def test_a_journal_with_a_segment_is_not_removed(tmp_path: Path) -> None:
    """Whatever else is in it."""
    journal = tmp_path / "journal"
    assert remove_journal(journal)
    journal.mkdir()
    (journal / "notes").write_text("")
    (journal / "active.log").write_text("")
    assert not remove_journal(journal)
    (journal / "active.log").unlink()
    assert remove_journal(journal)
    assert not journal.exists()


def test_a_journal_that_a_writer_came_back_to_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment made between our look and the move brings the directory back."""
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "notes").write_text("")
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if self == journal:
            (journal / "active.log").write_text("")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert not remove_journal(journal)
    assert (journal / "active.log").exists()
