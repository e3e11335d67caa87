"""An event loop that never waits: its time passes only while everything waits."""

from __future__ import annotations

import asyncio
import contextlib
import selectors

__all__ = ["EPOCH_NS", "LoopClock", "VirtualTimeLoop", "virtual_loop"]

EPOCH_NS = 1_700_000_000_000_000_000
"""When virtual time begins, nanoseconds since the Unix epoch."""


class _JumpingSelector:
    """Instead of waiting, moves the loop's clock to the moment waited for."""

    def __init__(self, loop):
        self._inner = selectors.DefaultSelector()
        self._loop = loop

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def select(self, timeout=None):
        events = self._inner.select(0)
        if events or timeout == 0:
            return events
        assert timeout is not None, "everything waits for something that never comes"
        # A wait too short to move the clock would be repeated for ever.
        self._loop.now_s += max(timeout, 1e-6)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everything waits."""

    def __init__(self):
        self.now_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self):
        """Return the virtual time, seconds."""
        return self.now_s

    def run_in_executor(self, _executor, func, *args):
        """Run it in place: time would run away while a thread works."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- the caller's to handle
            done.set_exception(error)
        return done


class LoopClock:
    """The wall clock and the monotonic clock of a virtual loop."""

    def __init__(self, loop):
        self._loop = loop

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return EPOCH_NS + int(self._loop.now_s * 1e9)

    def monotonic_s(self):
        """Return the monotonic clock, seconds."""
        return self._loop.now_s


@contextlib.contextmanager
def virtual_loop():
    """Yield the current loop of a test, who may close it; tasks left over are cancelled."""
    loop = VirtualTimeLoop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    if left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
    if not loop.is_closed():
        # As asyncio.run ends: generators that nobody read to their end are closed.
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
