"""Time that passes only where a test waits, and policies that last as long as a test."""

from __future__ import annotations

import pytest
from tests.virtual_time import LoopClock, virtual_loop

from z4j_otel.task_policies import lookup


@pytest.fixture
def loop():
    """Return a loop that jumps over waiting."""
    with virtual_loop() as loop:
        yield loop


@pytest.fixture
def clock(loop):
    """Return the virtual loop's clock."""
    return LoopClock(loop)


@pytest.fixture
def policies():
    """Let a test declare policies; afterwards this process has none."""
    yield lookup
    lookup.in_use.clear()
    lookup._named.clear()
    lookup.forget_answers()
