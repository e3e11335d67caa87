"""Ending a command that runs until somebody stops it."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["StopRequest", "stop_signals"]

_SIGNALS = tuple(
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
)


class StopRequest:
    """Whether somebody asked for the end.

    A socket carries it, since the interpreter writes there the moment that a signal comes
    (``signal.set_wakeup_fd``). A handler written in Python runs between two of the main
    thread's instructions, and not at all if the signal came just before that thread went to
    wait: nothing would wake it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._is_set = False

    def fileno(self) -> int:
        """Return the descriptor that takes the numbers of signals, a byte each."""
        return self._writer.fileno()

    def set(self) -> None:
        """Ask for the end."""
        self._writer.send(bytes([signal.SIGTERM]))

    def is_set(self) -> bool:
        """Tell whether the end was asked for."""
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the end is asked for.

        Args:
            timeout: How long to wait, seconds; for ever by default.

        Returns:
            Whether it was asked for.
        """
        while not self._is_set and select.select([self._reader], [], [], timeout)[0]:
            self._is_set = not {*_SIGNALS}.isdisjoint(self._reader.recv(64))
        return self._is_set

    def close(self) -> None:
        """Let go of the socket."""
        self._reader.close()
        self._writer.close()


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request, and give the signals back at the end.

    A signal that is ignored stays so: ``nohup`` means that the end of a terminal is no reason.
    """
    asked = StopRequest()
    heard = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    # Python notes only signals that have a handler.
    before = [signal.signal(number, lambda *_: None) for number in heard]
    fd = signal.set_wakeup_fd(asked.fileno(), warn_on_full_buffer=False)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)
        asked.close()
