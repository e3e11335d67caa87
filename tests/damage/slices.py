"""All cases in order, and some hundred of them at a time: what one process plays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from .cases import Figures, play, scenes
from .disks import Damage, Files, all_damage
from .life import ACTIVE, JOURNAL

__all__ = ["SLICE", "Row", "cases_of", "play_slice"]

SLICE = 400
"""Cases at a time."""
Row = tuple[str, str, str]
"""State of the files, file, and kind of damage."""
_Case = tuple[Damage, bool]


def cases_of(files: Files, *, every: int, journal_every: int = 1) -> Iterator[_Case]:
    """Yield damage, and whether writers are heard again: of a journal, both ways.

    Args:
        files: What is damaged.
        every: Of the database's bytes and lengths, every how many-th is tried.
        journal_every: The same for the journal.
    """
    for damage in all_damage(files, beheaded=ACTIVE):
        is_journal = damage.name.startswith(JOURNAL)
        if damage.at % (journal_every if is_journal else every) == 0:
            yield damage, True
            if is_journal and damage.kind != "beheaded":
                yield damage, False


def play_slice(begin: int, every: int) -> dict[Row, Figures]:
    """Play some hundred cases, in files of this process's own making."""
    figures: dict[Row, Figures] = {}
    with scenes() as (directory, made):
        numbered = (
            (state, case) for state in made for case in cases_of(made[state].files, every=every)
        )
        for state, case in islice(numbered, begin, begin + SLICE):
            row = (state, case[0].name, _kind_of(case))
            figures.setdefault(row, Figures()).add(play(directory, made[state], [case]))
    return figures


def _kind_of(case: _Case) -> str:
    damage, is_heard_again = case
    is_journal = damage.name.startswith(JOURNAL)
    return damage.kind + (", writers silent" if is_journal and not is_heard_again else "")
