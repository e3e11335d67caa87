"""The line between a process and the agent process it started: theory of operation.

Constraints
    Both ends live in the same process tree and are of the same version. Either may be
    killed at any moment, and the other must notice at once. The owner's side may be under
    gevent or eventlet, so nothing here may block but what these libraries make cooperative:
    sockets, locks and threads of the standard library, made when they are needed.

Format
    A pair of connected sockets, one JSON object a line in either direction::

        {"tell": name, "value": ...}             no answer
        {"ask": number, "of": name, "value": ...}
        {"answer": number, "value": ...}         or "error" with a text

Operation
    One thread serves an end: it runs *tells* itself, in order, and gives each *ask* a
    thread of its own, so that a slow answer delays nothing. The end of the stream is the
    end of the other process; whoever still waits for an answer gets an error.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from z4j_otel.forks import call_in_child

__all__ = ["Link", "LinkBroken"]

_logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 65_536
_MOST_ASKS: Final = 64
"""Questions answered at a time; the agent asks for a few at once."""


class LinkBroken(Exception):
    """The other process is gone, does not answer in time, or could not do it."""


class _Waiting:
    """One question that has not been answered yet."""

    def __init__(self) -> None:
        self.is_answered = threading.Event()
        self.value: Any = None
        self.error: str | None = "the other process has ended"


class Link:
    """One end of the line.

    Args:
        sock: Connected; this object closes it. A forked child closes its copy.
        handlers: What the other end may tell and ask, by name. An asked one returns a JSON
            value; what it raises reaches the other end as the name of its class.
        quick: Names of what is answered without a thread: nothing that takes time. At the
            end of an interpreter no thread can be started any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        handlers: Mapping[str, Callable[[Any], Any]],
        *,
        quick: Collection[str] = (),
    ) -> None:
        self._sock = sock
        self._handlers = handlers
        self._quick = frozenset(quick)
        self._sending = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._free = threading.Semaphore(_MOST_ASKS)
        self._is_over = False
        call_in_child(self._let_go)

    def tell(self, name: str, value: Any = None) -> bool:
        """Send something that needs no answer; False when nobody is there."""
        return self._send({"tell": name, "value": value})

    def ask(self, name: str, value: Any = None, *, timeout_s: float) -> Any:
        """Ask the other end and wait for its answer.

        Raises:
            LinkBroken: It is gone, does not answer within ``timeout_s``, or failed.
        """
        waiting = _Waiting()
        with self._sending:
            self._last += 1
            number = self._last
        self._waiting[number] = waiting
        try:
            is_sent = self._send({"ask": number, "of": name, "value": value})
            if not is_sent or self._is_over:
                raise LinkBroken("the other process has ended")
            if not waiting.is_answered.wait(timeout_s):
                raise LinkBroken(f"no answer within {timeout_s:g} s")
        finally:
            self._waiting.pop(number, None)
        if waiting.error is not None:
            raise LinkBroken(waiting.error)
        return waiting.value

    def serve(self) -> None:
        """Handle what comes until the other process ends or :meth:`close` is called."""
        rest = b""
        try:
            while data := self._sock.recv(_CHUNK_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._handle(line)
        except (OSError, ValueError) as error:
            _logger.debug("the line broke: %s", error)
        finally:
            self._is_over = True
            for waiting in list(self._waiting.values()):
                waiting.is_answered.set()

    def hang_up(self) -> None:
        """End the conversation; the other end sees it at once, and :meth:`serve` returns."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            _logger.debug("the line was broken already: %s", error)

    def close(self) -> None:
        """Close the socket; call it when :meth:`serve` has returned."""
        self._is_over = True
        self._sock.close()

    def _let_go(self) -> None:
        """Close a forked child's copy: it would hide the end of its parent from the agent."""
        self._is_over = True
        number = self._sock.detach()
        if number >= 0:
            os.close(number)

    def _send(self, message: dict[str, Any]) -> bool:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._sending:
                self._sock.sendall(line)
        except OSError as error:
            _logger.debug("the line is broken: %s", error)
            return False
        return True

    def _handle(self, line: bytes) -> None:
        message = json.loads(line)
        if "answer" in message:
            waiting = self._waiting.get(message["answer"])
            if waiting is not None:
                waiting.value, waiting.error = message.get("value"), message.get("error")
                waiting.is_answered.set()
        elif "ask" in message:
            self._begin_answer(message)
        else:
            self._call(message["tell"], message["value"])

    def _begin_answer(self, message: dict[str, Any]) -> None:
        if not self._free.acquire(blocking=False):
            self._send({"answer": message["ask"], "error": "too busy"})
            return
        if message["of"] in self._quick:
            self._answer(message)
            return
        try:
            threading.Thread(
                target=self._answer, args=(message,), name="z4j-agent-answer", daemon=True
            ).start()
        except RuntimeError:
            self._free.release()
            self._send({"answer": message["ask"], "error": "the interpreter ends"})

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            value, error = self._call(message["of"], message["value"])
            self._send({"answer": message["ask"], "value": value, "error": error})
        finally:
            self._free.release()

    def _call(self, name: str, value: Any) -> tuple[Any, str | None]:
        try:
            return self._handlers[name](value), None
        except Exception as error:
            # The rim: the line outlives any one message.
            _logger.debug("%s failed", name, exc_info=error)
            return None, type(error).__name__
