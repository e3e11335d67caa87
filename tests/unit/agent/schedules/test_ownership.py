"""One of several processes holds the lock."""

from __future__ import annotations

import os

from z4j_otel.agent.schedules.ownership import MirrorSeat, seat_path

DEPLOYMENT = "0123456789abcdef.fedcba9876543210"


def test_one_holds_it_until_it_leaves(tmp_path):
    """The second one gets it then, and keeps it."""
    path = seat_path(tmp_path, DEPLOYMENT, ["celery-beat"])
    first, second = MirrorSeat(path), MirrorSeat(path)
    assert first.take()
    assert first.take()
    assert not second.take()
    assert not second.is_held
    first.leave()
    first.leave()
    assert second.take()
    assert not first.take()
    second.leave()


def test_forked_child_does_not_keep_its_parents_lock(tmp_path):
    """A child closes its copy; the parent's stays."""
    path = tmp_path / "seat"
    seat, other = MirrorSeat(path), MirrorSeat(path)
    seat.take()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"1" if not seat.is_held else b"0")
        os.read(reading, 0)
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1) == b"1"
    assert not other.take()
    seat.leave()
    assert other.take()
    other.leave()
    os.close(reading)
    os.close(writing)


def test_alone_there_is_nothing_to_agree_on():
    """Without a directory the process has its schedules to itself."""
    seat = MirrorSeat(None)
    assert seat.take()
    seat.leave()
    assert seat.is_held


def test_where_there_are_no_locks_the_brain_decides(tmp_path):
    """A directory that cannot be written is no reason to show no schedules."""
    seat = MirrorSeat(tmp_path / "missing" / "seat")
    assert seat.take()


def test_place_follows_from_project_and_schedulers(tmp_path):
    """Tokens do not count: agents of one project share one stream."""
    place = seat_path(tmp_path, DEPLOYMENT, ["b", "a"])
    assert place == seat_path(tmp_path, "0123456789abcdef.another", ["a", "b"])
    assert place != seat_path(tmp_path, "another.fedcba9876543210", ["a", "b"])
    assert place != seat_path(tmp_path, DEPLOYMENT, ["a"])
    assert "0123456789abcdef" not in place.name
