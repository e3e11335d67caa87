"""A slice of ``make damage``: bytes inverted and lengths cut off, of all files of an agent."""

from __future__ import annotations

import pytest

from ..damage.cases import play, scenes  # noqa: TID252 -- what `make damage` plays
from ..damage.disks import Damage  # noqa: TID252 -- as above
from ..damage.slices import cases_of  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_intact_files_are_delivered_whole(state: str) -> None:
    """Nothing is lost, nothing is said twice, and the equation closes."""
    with scenes() as (directory, made):
        whole = Damage(
            "cut off", "journal/active.log", len(made[state].files["journal/active.log"])
        )
        figures = play(directory, made[state], [(whole, True), (whole, False)])
    assert (figures.problems, figures.started, figures.lost) == ([], 2, 0)


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_damage_costs_what_it_hits_and_is_counted(state: str) -> None:
    """A start succeeds, intact entries are delivered, and what is not is counted exactly."""
    with scenes() as (directory, made):
        cases = list(cases_of(made[state].files, every=1499, journal_every=31))
        figures = play(directory, made[state], cases)
    assert figures.problems == []
    assert figures.started == figures.cases == len(cases)
    assert figures.lost > 0
