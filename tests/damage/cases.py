"""One damage after the other: what a start makes of it, and whether it is what it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from z4j_otel.buffer.base import EntryKind
from z4j_otel.journal.format import HEADER_BYTES

from ..scratch import quiet_directory  # noqa: TID252 -- shared by suites
from .disks import Damage, keeping_inodes, write
from .life import ACTIVE, BUFFER, JOURNAL, Life
from .making import Made, make

__all__ = ["Figures", "play", "scenes"]

_PAGE_BYTES = 4096
_MAGIC = b"\xf5\x5b"


@dataclass
class Figures:
    """What came of the cases of one kind."""

    cases: int = 0
    started: int = 0
    entries: int = 0
    """Events and results that waited, over all cases."""
    delivered: int = 0
    lost: int = 0
    """What was not delivered."""
    counted: int = 0
    """What the ledger counts as lost."""
    untold: int = 0
    """Cut off behind the last word of processes that say nothing more: nobody can know."""
    again: int = 0
    """Delivered although the brain had it."""
    problems: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Add what came of others."""
        for name in (
            *("cases", "started", "entries", "delivered", "lost", "counted", "untold", "again"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems


@contextmanager
def scenes() -> Iterator[tuple[Path, dict[str, Made]]]:
    """Yield a directory to work in, and the two states of an agent's files."""
    with quiet_directory("z4j-damage-") as folder:
        made = {}
        for name in ("closed", "killed"):
            (folder / name).mkdir()
            made[name] = make(folder / name, is_killed=name == "killed")
        with keeping_inodes():
            yield folder / "again", made


def play(directory: Path, made: Made, cases: Iterable[tuple[Damage, bool]]) -> Figures:
    """Start an agent on every damage.

    Args:
        directory: Where to.
        made: What is damaged.
        cases: Each damage, and whether the writers of the journal are heard again after it.
    """
    figures = Figures()
    for damage, is_heard_again in cases:
        one = Figures(cases=1)
        try:
            _play(directory, made, damage, one, is_heard_again=is_heard_again)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the finding
            one.problems.append(f"{type(error).__name__}: {error}")
        if one.problems:
            one.problems = [f"{damage}: {'; '.join(one.problems)}"]
        figures.add(one)
    return figures


def _play(
    directory: Path, made: Made, damage: Damage, one: Figures, *, is_heard_again: bool
) -> None:
    write(directory, damage.do(made.files), made.origin)
    life = Life(directory)
    one.started = 1
    try:
        life.take_in()
        if is_heard_again:
            (directory / JOURNAL).mkdir(exist_ok=True)
            with (directory / ACTIVE).open("ab") as segment:
                segment.write(made.last_words)
        account = life.end()
        told = life.delivered
        stored = life.buffer.append([(EntryKind.EVENT, b"{}")], now_ns=1)
    finally:
        life.close()
    waiting = {*made.given, *made.results} - made.settled
    missing = waiting - told.keys()
    one.entries, one.delivered = len(waiting), len(waiting) - len(missing)
    one.lost, one.again = len(missing), sum(told[name] for name in made.settled)
    one.counted = sum(account.dropped.values()) - made.dropped
    one.untold = one.lost - one.counted
    _judge(one, made, damage, told, missing, is_heard_again=is_heard_again)
    if not account.closes:
        one.problems.append(f"the equation does not close: {account.describe()}")
    if not stored:
        one.problems.append("nothing can be stored any more")


def _judge(
    one: Figures,
    made: Made,
    damage: Damage,
    told: Counter[str],
    missing: set[str],
    *,
    is_heard_again: bool,
) -> None:
    strangers = told.keys() - {*made.given, *made.results, "e900", "e901"}
    twice = [name for name, count in told.items() if count > 1 and name not in {"e900", "e901"}]
    expected = _hit(made, damage)
    may_be_untold = damage.kind != "flipped" and not is_heard_again
    if strangers:
        one.problems.append(f"never captured: {sorted(strangers)}")
    if twice or one.again:
        one.problems.append(f"delivered again: {twice or one.again}")
    if not missing <= expected:
        one.problems.append(f"intact and not delivered: {sorted(missing - expected)}")
    if damage.kind == "flipped" and len(missing) > 1:
        one.problems.append(f"one byte cost {sorted(missing)}")
    if one.untold < 0 or (one.untold and not may_be_untold):
        one.problems.append(f"{one.lost} are missing and {one.counted} are counted")


def _hit(made: Made, damage: Damage) -> set[str]:
    """Return what may be missing: the entries that have a byte in the damaged stretch."""
    data = made.files[damage.name]
    begin, end = {
        "flipped": (damage.at, damage.at + 1),
        "cut off": (damage.at, len(data)),
        "beheaded": (0, damage.at),
        "missing": (0, len(data)),
    }[damage.kind]
    waiting = {*made.given, *made.results} - made.settled
    if not damage.name.startswith(JOURNAL):
        return waiting if damage.kind != "flipped" or _holds_entry(damage, data) else set()
    if damage.at == 0 and damage.kind == "flipped":
        return set()  # the first byte only says whether a segment is written
    hit = set()
    for name in waiting & made.bodies.keys():
        at = data.find(made.bodies[name])
        if at >= 0 and at - HEADER_BYTES < end and at + len(made.bodies[name]) > begin:
            hit.add(name)
    return hit


def _holds_entry(damage: Damage, data: bytes) -> bool:
    """Whether a byte of the database belongs to a page with an entry, or with a part of one."""
    at = damage.at
    page = at - at % _PAGE_BYTES if damage.name == BUFFER else at - (at - 32) % 4120 + 24
    around = data[page : page + _PAGE_BYTES]
    return _MAGIC in around or b"yyyyyyyy" in around
