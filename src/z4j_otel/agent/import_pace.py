"""How often the importer looks into the journal, learned from what it finds.

Each look has a price of its own, whatever it finds: a directory listed, a transaction, a
batch and its ack, and a processor whose caches hold other things by now. Paid for a
handful of records, twenty times a second, that was the larger half of the agent's cost per
task. So the first look after a pause is a quick one, and as long as every look finds
something the next one waits longer, for more to come together.

While nothing comes the looks become rare. The next record of the agent's own process then
calls: a worker's main process receives a task before anybody runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from z4j_otel.agent.waiting import call_soon, wait_set

__all__ = ["ImportPace"]

_FIRST_S: Final = 0.05
_STEADY_S: Final = 0.25
"""The longest that an event of a busy worker waits to be seen."""
_IDLE_S: Final = 2.0
"""The longest that the first task after a quiet time waits to be seen."""
_CALLED_S: Final = 5.0
"""The same for what other processes capture, where a record of this one calls. It keeps an
idle agent below one wake-up a second, with its heartbeats, probes and pings."""


class ImportPace:
    """The pauses between the looks of one importer.

    Args:
        on_idle: Given, before a long pause, what the next record is to call, once and from
            any thread; None where all records come from other processes.
    """

    def __init__(self, on_idle: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._on_idle = on_idle
        self._idle_s = _IDLE_S if on_idle is None else _CALLED_S
        self._called = asyncio.Event()
        self._has_found = False
        self.pause_s = _FIRST_S
        """How long to wait before the next look, seconds."""

    @property
    def is_idle(self) -> bool:
        """Whether the pause is the longest one, which a record may end."""
        return self.pause_s == self._idle_s

    def note(self, found: int) -> bool:
        """Note how many records a look found.

        Returns:
            Whether to look once more: for what came before the next record was to call.
        """
        if found and not self._has_found:
            self.pause_s = _FIRST_S
        else:
            self.pause_s = min(self.pause_s * 2, _STEADY_S if found else self._idle_s)
        self._has_found = bool(found)
        if self.is_idle and self._on_idle is not None:
            self._called.clear()
            loop = asyncio.get_running_loop()
            self._on_idle(lambda: call_soon(loop, self._called.set))
            return True
        return False

    async def rest(self) -> None:
        """Wait for the pause, or for a record that ends it."""
        if self.is_idle:
            await wait_set(self._called, self.pause_s)
        else:
            await asyncio.sleep(self.pause_s)
