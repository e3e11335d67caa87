"""A few seconds of ``make fuzz``, the same in every run, and what it has found so far."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from .fuzzing import Play, Target
from .targets import TARGETS

ROUNDS = 60


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_bytes_end_in_an_answer(name: str) -> None:
    """Nothing but the boundary's own errors comes out, in time, and nothing is kept."""
    figures = Play(TARGETS[name], seed=1).run(rounds=ROUNDS)
    assert figures.faults == []
    assert figures.inputs >= ROUNDS


def test_a_crash_and_a_hang_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The play can fail: each fault is told once, with its input stored to be played again."""
    monkeypatch.setattr("tests.fuzz.fuzzing.FAILURES", tmp_path)
    monkeypatch.setattr("tests.fuzz.fuzzing.HERE", tmp_path / "a" / "b")
    monkeypatch.setattr("tests.fuzz.fuzzing._LIMIT_S", 1)

    def opened():
        return nullcontext(lambda data: next(iter(())) if data == b"x" else _never())

    play = Play(Target("broken", opened, lambda: [b"x"]), seed=1)
    play.give(b"x")
    play.give(b"x")
    faults = play.give(b"y").faults
    assert [fault.partition(" ")[0] for fault in faults] == ["StopIteration", "Hang"]
    assert {path.read_bytes() for path in (tmp_path / "broken").iterdir()} == {b"x", b"y"}


def _never() -> None:
    while True:
        pass
