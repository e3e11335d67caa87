"""Redis' own record of a run: every command that moved a message, and what they add up to.

kombu takes a message in two steps: a ``BRPOP`` removes it from its queue, and only when the
reply has been read does a worker enter it in the book of messages taken (``unacked``). While
its prefetch is full, a worker leaves such a reply unread for as long as it takes. One that
ends in between takes the message with it: it is in no queue, in no book, and nobody can hand
it out again (kombu #305, celery #7950).

``MONITOR`` shows commands in the order in which Redis carried them out, and no replies. So the
queues are played again from the pushes and pops. A message counts as lost by the broker when
all of this is so: the last command that names it put it into a queue, the pop of one
connection took it from there, that connection was the only one to pop and said nothing more,
and a worker was ended next. Nothing that an agent does can stand between these two steps.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import secrets
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Final

import redis

from z4j_otel.cli.drill.judge import Fate

__all__ = ["Command", "RedisRecord", "commands_of", "fates_of"]

_LINE: Final = re.compile(rb"(\d+\.\d+) \[(\d+) ([^\]]*)\] (.*)", re.DOTALL)
_WORD: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BOOK: Final = b"unacked"
_END_S: Final = 60.0
_LATE_S: Final = 0.2
"""How much later than asked Redis may give up a pop that waits."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command that Redis carried out."""

    at_s: float
    client: str
    """Address of the connection."""
    words: tuple[bytes, ...]


def commands_of(lines: Iterable[bytes], database: int) -> Iterator[Command]:
    """Return the commands in what ``MONITOR`` said of one database, in order."""
    for line in lines:
        match = _LINE.match(line)
        if match is not None and int(match[2]) == database:
            # Redis escapes as Python does in bytes.
            words = [
                ast.literal_eval(f"b{word.decode('ascii')}") for word in _WORD.findall(match[4])
            ]
            yield Command(float(match[1]), match[3].decode("ascii"), tuple(words))


def fates_of(commands: Iterable[Command], ended_s: Sequence[float]) -> Mapping[str, Fate]:
    """Say what became of the last message of each task.

    Args:
        commands: All commands of the run, in order.
        ended_s: When workers had ended, seconds since the epoch, in order.
    """
    replay, ends = _Replay(), deque(ended_s)
    for command in commands:
        while ends and ends[0] <= command.at_s:
            replay.end_worker(ends.popleft())
        replay.play(command)
    for end_s in ends:
        replay.end_worker(end_s)
    return {each.task_id: each.fate() for each in replay.messages.values()}


@dataclass(slots=True)
class _Pop:
    """A ``BRPOP`` of a worker."""

    client: str
    at_s: float
    keys: tuple[bytes, ...]
    ended_s: float | None = None
    """When a worker had ended, if neither this connection said more nor another one popped."""


@dataclass(slots=True)
class _Message:
    """The way of one message."""

    task_id: str
    steps: list[str] = field(default_factory=list)
    pop: _Pop | None = None
    """What took it out of its queue, until it is entered in the book."""

    def fate(self) -> Fate:
        """Say what Redis saw."""
        steps = list(self.steps)
        is_lost = False
        if self.pop is not None:
            steps.append(f"taken {_clock(self.pop.at_s)} by BRPOP of {self.pop.client}")
            if self.pop.ended_s is not None:
                is_lost = True
                ended = _clock(self.pop.ended_s)
                steps.append(f"which said no more until its worker was gone {ended}; never booked")
        return Fate(", ".join(steps), is_lost)


class _Replay:
    """Queues and book, played again."""

    def __init__(self) -> None:
        self.messages: dict[str, _Message] = {}
        """By delivery tag, in the order in which they were published."""
        self._queues: defaultdict[bytes, deque[str]] = defaultdict(deque)
        self._waiting: list[tuple[float, _Pop]] = []
        self._pops: dict[str, _Pop] = {}
        self._acts: Mapping[bytes, Callable[[Command], None]] = {
            b"LPUSH": self._push,
            b"RPUSH": self._push,
            b"BRPOP": self._brpop,
            b"RPOP": self._rpop,
            b"HSET": self._enter,
            b"HDEL": self._leave,
        }

    def play(self, command: Command) -> None:
        """Carry out a command as Redis did."""
        # A connection has one command under way: what it asked before has been answered.
        self._forget(self._pops.pop(command.client, None))
        act = self._acts.get(command.words[0].upper())
        if act is not None:
            act(command)

    def end_worker(self, at_s: float) -> None:
        """Close the connections of a worker that has ended."""
        for pop in self._pops.values():
            pop.ended_s = at_s
        self._pops.clear()
        self._waiting.clear()

    def _forget(self, pop: _Pop | None) -> None:
        self._waiting = [each for each in self._waiting if each[1] is not pop]

    def _push(self, command: Command) -> None:
        verb, key, *texts = command.words
        queue = self._queues[key]
        for text in texts:
            if (found := _named_in(text)) is None:
                continue
            task_id, tag = found
            message = self.messages.setdefault(tag, _Message(task_id))
            message.pop = None
            message.steps.append(f"{verb.decode()} {_clock(command.at_s)} by {command.client}")
            (queue.appendleft if verb.upper() == b"LPUSH" else queue.append)(tag)
            self._serve(key, command.at_s)

    def _serve(self, key: bytes, at_s: float) -> None:
        for until_s, pop in self._waiting:
            if key in pop.keys and at_s <= until_s:
                self._forget(pop)
                self._take(key, pop)
                return

    def _brpop(self, command: Command) -> None:
        *keys, timeout = command.words[1:]
        # Whoever pops now is the worker: another connection that waits for nothing is not.
        self._pops = {command.client: (pop := _Pop(command.client, command.at_s, tuple(keys)))}
        for key in keys:
            if self._queues[key]:
                self._take(key, pop)
                return
        until_s = command.at_s + (float(timeout) or float("inf")) + _LATE_S
        self._waiting.append((until_s, pop))

    def _rpop(self, command: Command) -> None:
        if queue := self._queues[command.words[1]]:
            message = self.messages[queue.pop()]
            message.steps.append(f"RPOP {_clock(command.at_s)} by {command.client}")

    def _take(self, key: bytes, pop: _Pop) -> None:
        self.messages[self._queues[key].pop()].pop = pop

    def _enter(self, command: Command) -> None:
        _, key, tag = command.words[:3]
        message = self.messages.get(tag.decode())
        if message is None or not key.endswith(_BOOK):
            return
        for queue in self._queues.values():
            if tag.decode() in queue:
                queue.remove(tag.decode())
        message.pop = None
        message.steps.append(f"booked {_clock(command.at_s)}")

    def _leave(self, command: Command) -> None:
        for tag in command.words[2:]:
            if (message := self.messages.get(tag.decode())) is not None:
                message.steps.append(f"out of the book {_clock(command.at_s)}")


def _named_in(text: bytes) -> tuple[str, str] | None:
    """Return task id and delivery tag of a message."""
    try:
        message = json.loads(text)
        return message["headers"]["id"], message["properties"]["delivery_tag"]
    except (ValueError, TypeError, KeyError):
        return None


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%H:%M:%S.%f")[:-3]


class RedisRecord:
    """Redis' own record of one database while the context lasts, in a file."""

    def __init__(self, url: str, path: Path) -> None:
        """Prepare.

        Args:
            url: The database.
            path: Takes the record.
        """
        # A monitor may hear nothing for long.
        self._client = redis.Redis.from_url(url, socket_timeout=None)
        self._database = int(self._client.connection_pool.connection_kwargs.get("db", 0))
        self._path = path
        self._end = secrets.token_hex(16)
        self._is_whole = False
        self._monitor = self._client.monitor()
        self._thread = threading.Thread(target=self._write, name="redis-record", daemon=True)

    def __enter__(self) -> RedisRecord:  # noqa: PYI034 -- Self needs Python 3.11
        self._monitor.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()
        self._monitor.__exit__(kind, error, trace)
        self._client.close()

    def fates(self, ended_s: Sequence[float]) -> Mapping[str, Fate]:
        """End the record and say what became of each task's last message.

        Args:
            ended_s: When workers had ended, seconds since the epoch, in order.

        Returns:
            By task id; nothing at all when Redis broke the record off.
        """
        self._finish()
        if not self._is_whole:
            return {}
        with self._path.open("rb") as lines:
            return fates_of(commands_of(lines, self._database), ended_s)

    def _finish(self) -> None:
        if self._thread.is_alive():
            self._client.echo(self._end)
            self._thread.join(_END_S)

    def _write(self) -> None:
        mark, end = b" [%d " % self._database, self._end.encode()
        with self._path.open("wb") as file, contextlib.suppress(redis.RedisError, OSError):
            while end not in (line := self._monitor.connection.read_response()):
                if mark in line:
                    file.write(line + b"\n")
            self._is_whole = True
