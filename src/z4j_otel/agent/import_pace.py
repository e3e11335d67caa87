"""How often the importer looks into the journal, learned from what it finds.

Each look has a price of its own, whatever it finds: a directory listed, a transaction, a
batch and its ack, and a processor whose caches hold other things by now. Paid for a
handful of records, twenty times a second, that was the larger half of the agent's cost per
task. So the first look after a pause is a quick one, and as long as every look finds
something the next one waits longer, for more to come together.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ImportPace"]

_FIRST_S: Final = 0.05
_STEADY_S: Final = 0.25
"""The longest that an event of a busy worker waits to be seen."""
_IDLE_S: Final = 2.0
"""The longest that the first task after a quiet time waits to be seen. With heartbeats
every 10 s it keeps an idle agent below one wake-up a second."""


class ImportPace:
    """The pauses between the looks of one importer."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_S
        self._has_found = False

    def pause_s(self, found: int) -> float:
        """Return how long to wait after a look that found so many records, seconds."""
        if found and not self._has_found:
            self._pause_s = _FIRST_S
        else:
            self._pause_s = min(self._pause_s * 2, _STEADY_S if found else _IDLE_S)
        self._has_found = bool(found)
        return self._pause_s
