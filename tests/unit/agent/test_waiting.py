"""Waiting with a limit, and cancellations that are never lost."""

from __future__ import annotations

import asyncio

import pytest

from z4j_otel.agent.waiting import wait_set, within


async def nap(seconds, result=None):
    """Sleep, then return or raise the result."""
    await asyncio.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


def test_event_is_waited_for(loop):
    """A set event is seen at once, one that comes in time too, another one not."""

    async def scene():
        event = asyncio.Event()
        loop.call_later(3, event.set)
        return [await wait_set(event, 2), await wait_set(event, 2), await wait_set(event, None)]

    assert loop.run_until_complete(scene()) == [False, True, True]
    assert loop.now_s == 3


def test_result_and_error_pass(loop):
    """Work that ends in time has its own result or error."""
    assert loop.run_until_complete(within(nap(1, "x"), 2)) == "x"
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(within(nap(1, ZeroDivisionError()), 2))


def test_late_work_is_cancelled(loop):
    """At the limit the work is given up, whatever it does then."""

    async def stubborn():
        try:
            await asyncio.sleep(100)
        finally:
            raise ZeroDivisionError

    async def scene():
        with pytest.raises(asyncio.TimeoutError):
            await within(stubborn(), 2)
        await asyncio.sleep(1)

    loop.run_until_complete(scene())
    assert loop.now_s == 3


@pytest.mark.parametrize("wait", [wait_set, within])
def test_cancellation_in_the_turn_of_the_result_is_kept(loop, wait):
    """A task that is cancelled just as its wait ends, ends."""

    async def scene():
        event = asyncio.Event()
        work = event if wait is wait_set else event.wait()
        task = asyncio.ensure_future(wait(work, 100))
        await asyncio.sleep(1)
        event.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(scene())
