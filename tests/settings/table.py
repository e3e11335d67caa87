"""The cells of the table settings x places, and what is missing from it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from z4j_otel.config import SETTINGS

from . import network_observations, observations  # noqa: F401 -- they fill the table
from .lab import play
from .observation import OBSERVATIONS
from .places import PLACES, accepts

__all__ = ["cells", "missing", "play_cell"]


def missing() -> list[str]:
    """Return the settings without an observation, and observations without a setting."""
    return sorted({row.name for row in SETTINGS} ^ set(OBSERVATIONS))


def cells() -> Iterator[tuple[str, str]]:
    """Return every setting with every place that it can stand in."""
    for row in SETTINGS:
        if row.name in OBSERVATIONS:
            for place in PLACES:
                if accepts(place, row):
                    yield row.name, place


def play_cell(name: str, place: str) -> tuple[str, str]:
    """Return what should be seen of a setting in a place, and what was."""
    with tempfile.TemporaryDirectory(prefix="z4j-settings-") as folder:
        return play(OBSERVATIONS[name], place, Path(folder).resolve())
