"""What the brain learns of a task when a connection ends while something is being sent."""

from __future__ import annotations

import pytest

from z4j_otel.buffer.base import EntryKind
from z4j_otel.errors import FrameMalformed

from .test_connection import Scene


@pytest.fixture
def scene(loop, clock, brain, buffer, ledger, kit):
    """Return a connection that has not begun."""
    return Scene(loop, clock, brain, buffer, ledger, kit)


def tell(buffer, number):
    """Store a task's next event."""
    body = b'{"engine":"celery","id":"%d","kind":"k","task_id":"t"}' % number
    buffer.append([(EntryKind.EVENT, body)], now_ns=1)


@pytest.mark.parametrize("turns", range(12))
def test_what_is_being_sent_when_the_brain_breaks_the_protocol_is_not_overtaken(
    scene, loop, brain, buffer, turns
):
    """The sender may be some turns of the loop ahead of the frame that closes the session."""

    def break_after(turns):
        if turns:
            loop.call_soon(break_after, turns - 1)
        else:
            brain.link.say(b"no json")

    def begin():
        tell(buffer, 0)
        scene.connection.wake()
        break_after(turns)

    ended = scene.run(5, (1, begin))
    assert isinstance(ended.error, FrameMalformed)
    tell(buffer, 1)
    scene.connection = scene.make()
    scene.run(5)
    assert list(dict.fromkeys(event["id"] for event in brain.events)) == ["0", "1"]
    assert buffer.stats().entries == 0
