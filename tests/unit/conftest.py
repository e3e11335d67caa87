"""Time that passes only where a test waits."""

from __future__ import annotations

import pytest
from tests.virtual_time import LoopClock, virtual_loop


@pytest.fixture
def loop():
    """Return a loop that jumps over waiting."""
    with virtual_loop() as loop:
        yield loop


@pytest.fixture
def clock(loop):
    """Return the virtual loop's clock."""
    return LoopClock(loop)
