"""The agent process: what it does from its start to its end.

The theory of operation is in :mod:`z4j_otel.agent.process`, the owner's side of it.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.assembly import build_agent, leave
from z4j_otel.agent.handover import Handover, unpack_settings
from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.link import Link, LinkBroken
from z4j_otel.agent.remote import RemoteEngine, RemoteSchedules, run_remotely
from z4j_otel.agent.seat import Seat
from z4j_otel.agent.spawning import LOCK_FD
from z4j_otel.buffer.files import AgentFiles

__all__ = ["Delivery", "deliver"]

_logger = logging.getLogger(__name__)

_LOOK_S: Final = 5.0
_GRACE_S: Final = 5.0
_RELEASE_S: Final = 2.0
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU)
"""Sent to a whole group or container when its worker is to end; the worker's end is what
this process ends with."""


def deliver() -> None:
    """Be the agent process of the parent; returns when it may end.

    Expects a connected socket on descriptor 0 and the lock of the agent's files on 3.

    Raises:
        OSError: There is no such socket, or no such lock: nobody started us.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    owner = os.getppid()
    line = _take_line()
    delivery = Delivery(line, lock_fd=LOCK_FD)
    threading.Thread(target=_watch, args=(owner, line), name="z4j-owner-watch", daemon=True).start()
    delivery.run()


class Delivery:
    """Serves one owner.

    Args:
        line: The line to it.
        lock_fd: The lock of its files.
    """

    def __init__(self, line: socket.socket, *, lock_fd: int) -> None:
        self._lock_fd = lock_fd
        self._link = Link(
            line,
            {
                "begin": self._begin,
                "end": self._begin_end,
                "is_connected": lambda _: self._running.is_connected,
                "wait_connected": self._wait_connected,
                "flush": self._flush,
                "status": lambda _: self._running.status(),
            },
        )
        self._seat: Seat | None = None
        self._agent: AgentRuntime | None = None
        self._ending: threading.Thread | None = None
        self._limit: threading.Timer | None = None

    @property
    def _running(self) -> AgentRuntime:
        assert self._agent is not None
        return self._agent

    def _wait_connected(self, limit_s: float) -> bool:
        return self._running.wait_connected(limit_s)

    def _flush(self, limit_s: float) -> bool:
        return self._running.flush(limit_s)

    def run(self) -> None:
        """Deliver until the owner says so, or is gone; then deliver what is left."""
        self._link.serve()
        if self._ending is None:
            # The owner was killed. Whoever it started may still append for a moment; what
            # comes too late waits for the next agent.
            self._end(is_leaving=True)
        else:
            self._ending.join()
        if self._limit is not None:
            self._limit.cancel()

    def _begin(self, value: dict[str, Any]) -> None:
        try:
            self._start(msgspec.convert(value, Handover))
        except Exception as error:
            _logger.exception("[z4j] the agent process cannot start")
            print(f"z4j-otel: {type(error).__name__}", file=sys.stderr)  # noqa: T201 -- its last words
            os._exit(1)

    def _start(self, given: Handover) -> None:
        config = unpack_settings(given.settings)
        _log_over(self._link, given.log_level)
        files = AgentFiles.handed_over(Path(given.lock), self._lock_fd)
        self._seat = Seat.of_files(config, files)
        link = self._link
        self._agent = build_agent(
            self._seat,
            [RemoteEngine(name, can, link) for name, can in given.engines.items()],
            hello=HelloBuilder(**given.hello),
            run_command=functools.partial(run_remotely, link),
            schedules=RemoteSchedules(given.schedulers, link),
            on_lost_span=lambda lost: _tell_lost(link, lost),
        )
        self._agent.start()

    def _begin_end(self, value: dict[str, Any]) -> None:
        """End on a thread of its own: the line has still to carry answers meanwhile."""
        self._ending = threading.Thread(target=self._end_as_told, args=(value,), name="z4j-end")
        self._ending.start()

    def _end_as_told(self, value: dict[str, Any]) -> None:
        try:
            self._end(timeout_s=value["timeout_s"], is_leaving=value["is_leaving"])
        finally:
            self._link.hang_up()

    def _end(self, *, timeout_s: float | None = None, is_leaving: bool) -> None:
        agent, seat = self._agent, self._seat
        if agent is None or seat is None or seat.files is None:
            return
        limit_s = seat.config.flush_timeout_seconds if timeout_s is None else timeout_s
        self._limit = _end_after(limit_s + _GRACE_S)
        is_delivered = agent.shutdown(limit_s)
        if is_leaving:
            self._release()
            leave(seat, agent.ledger)
        self._link.tell("ended", {"is_delivered": is_delivered, "has_left": is_leaving})

    def _release(self) -> None:
        """Have the owner let go of the journal: a segment with a writer cannot be removed."""
        try:
            self._link.ask("release", timeout_s=_RELEASE_S)
        except LinkBroken as error:
            _logger.debug("the owner cannot let go of the journal: %s", error)


def _tell_lost(link: Link, lost: Any) -> None:
    link.tell("lost_span", msgspec.to_builtins(lost))


def _take_line() -> socket.socket:
    """Take the line from descriptor 0, and close what else came by accident."""
    number = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.set_inheritable(LOCK_FD, False)
    for fd in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if fd > LOCK_FD and fd != number:
            with suppress(OSError):  # the listing's own
                os.close(fd)
    line = socket.socket(fileno=number)
    # Both ends share the flag, and gevent sets it on every socket.
    line.setblocking(True)
    return line


def _watch(owner: int, line: socket.socket) -> None:
    """End the line when the owner is gone, should anybody else hold its end of it."""
    try:
        watched = os.pidfd_open(owner) if hasattr(os, "pidfd_open") else None
    except OSError:
        watched = None
    if watched is not None and os.getppid() == owner:
        select.select([watched], [], [])
    else:
        while os.getppid() == owner:
            time.sleep(_LOOK_S)
    with suppress(OSError):
        # What it sent is read to its end before the line ends.
        line.shutdown(socket.SHUT_RDWR)


def _end_after(limit_s: float) -> threading.Timer:
    """Make sure that this process ends, whatever hangs."""
    timer = threading.Timer(limit_s, os._exit, (1,))
    timer.daemon = True
    timer.start()
    return timer


class _OverTheLine(logging.Handler):
    """Has the owner write what this process logs."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a line that is broken loses it."""
        if record.name != Link.__module__:
            text, action = record.getMessage(), getattr(record, "action", "")
            self._link.tell("log", [record.levelno, record.name, text, str(action)])


def _log_over(link: Link, level: int) -> None:
    logging.getLogger().addHandler(_OverTheLine(link))
    logging.getLogger("z4j_otel").setLevel(level)


if __name__ == "__main__":
    deliver()
