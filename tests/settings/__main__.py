"""``make settings``: every setting from every place it can come from, its effect observed.

One row per setting: what is seen by default, what is seen when it is set, and for each
place whether that was seen. Exit status 0 means that all of it was.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.config import SETTINGS

from .observation import OBSERVATIONS
from .places import PLACES, accepts
from .table import cells, missing, play_cell


def main() -> int:
    """Print the table.

    Returns:
        0 when every cell is good, 1 otherwise.
    """
    began_s = time.monotonic()
    seen = {cell: _played(*cell) for cell in cells()}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("setting", "seen by default", "seen when set", *list(PLACES)[1:]):
        table.add_column(Text(head), no_wrap=head in PLACES)
    bad = [(cell, *pair) for cell, pair in seen.items() if pair[0] != pair[1]]
    for row in SETTINGS:
        if row.name in OBSERVATIONS:
            known = OBSERVATIONS[row.name]
            marks = [_mark(row, place, seen) for place in PLACES]
            cells_of_row = (row.name, known.default, known.seen, *marks[1:])
            table.add_row(*(Text(text) for text in cells_of_row))
    console = Console(highlight=False, width=max(180, Console().width))
    console.print(table)
    for (name, place), expected, found in bad:
        console.print(
            f"{name} by {place}: expected {expected!r}, saw {found!r}", style="red", markup=False
        )
    for name in missing():
        console.print(f"{name} has no observation in tests/settings/observations.py", style="red")
    took_s = time.monotonic() - began_s
    console.print(
        f"{len(OBSERVATIONS)} settings, {len(seen)} cells, {len(bad)} wrong, in {took_s:.0f} s."
        " no: not taken from there, on purpose; -: does not exist.",
        markup=False,
    )
    return 1 if bad or missing() else 0


def _played(name, place):
    try:
        return play_cell(name, place)
    except Exception as error:  # noqa: BLE001 -- the other cells count, too
        return "an observation", f"{type(error).__name__}: {error}"


def _mark(row, place, seen):
    if not accepts(place, row):
        return "-"
    expected, found = seen[row.name, place]
    if expected != found:
        return "WRONG"
    is_used = place == "default" or expected == OBSERVATIONS[row.name].seen
    return "yes" if is_used else "no"


if __name__ == "__main__":
    sys.exit(main())
