"""Bytes read as decisions: the same bytes always make the same value."""

from __future__ import annotations

import math
import struct

__all__ = ["Drawing", "HostileError"]

_SECRETS = ("hunter2", "ada@example.com", "postgres://u:p4ss@db/x", "Bearer abc.def.ghi")
_KEYS = ("a", "password", "api_key", "task_id", "queue", "args", "kwargs", "", "\ud800", "k" * 300)


class HostileError(Exception):
    """Raised by what a hostile object does when it is looked at."""


class Hostile:
    """An object that misbehaves wherever Python lets it."""

    def __init__(self, way: int) -> None:
        self.way = way

    def __repr__(self) -> str:
        if self.way % 3 == 0:
            raise HostileError("repr")
        return "<hostile \ud800>" if self.way % 3 == 1 else "x" * 100_000

    __str__ = __repr__

    def __len__(self) -> int:
        raise HostileError("len")

    def __iter__(self):
        raise HostileError("iter")

    def __bool__(self) -> bool:
        raise HostileError("bool")

    def __eq__(self, other: object) -> bool:
        raise HostileError("eq")

    def __hash__(self) -> int:
        return id(self)  # equal ones would be compared while a dict is made

    def __getattr__(self, name: str) -> object:
        raise HostileError(name)


class HostileDict(dict):
    """A dict whose views misbehave."""

    def items(self):
        raise HostileError("items")

    def __iter__(self):
        raise HostileError("iter")


class HostileText(str):
    """A text whose methods misbehave."""

    __slots__ = ()

    def encode(self, *_args, **_more):
        raise HostileError("encode")

    def __str__(self) -> str:
        raise HostileError("str")


class Drawing:
    """Takes decisions from bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether every byte was used."""
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, most: int) -> int:
        """Return a number from 0 to ``most``."""
        size = max(1, (most.bit_length() + 7) // 8)
        return int.from_bytes(self.take(size), "big") % (most + 1)

    def pick(self, choices):
        """Return one of the choices."""
        return choices[self.number(len(choices) - 1)]

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self._data))

    def text(self) -> str:
        """Return a text, well-formed or not."""
        way = self.number(5)
        if way == 0:
            return self.pick(_SECRETS)
        if way == 1:
            return self.pick(("\ud800", "\0", "\n\r\x1b[31m", "é" * 50, "\u202e", "[REDACTED]"))
        if way == 2:
            return self.pick((" ", "=", "a", "/", "@", ".", "-", '"')) * (1 << self.number(14))
        return self.take(self.number(40)).decode("utf-8", "replace")

    def value(self, depth: int = 0):  # noqa: PLR0911 -- one for each kind
        """Return a value as tasks are given: of any type, nested, hostile, circular."""
        way = self.number(15 if depth < 6 else 8)
        if way < 2:
            return self.text()
        if way == 2:
            return int.from_bytes(self.take(self.number(9)), "big", signed=True)
        if way == 3:
            return struct.unpack(">d", self.take(8).ljust(8, b"\0"))[0]
        if way == 4:
            return self.pick((None, True, False, math.nan, math.inf, 10**5000, -(10**4301)))
        if way == 5:
            return self.pick((bytes, bytearray, memoryview))(self.take(self.number(60)))
        if way == 6:
            return Hostile(self.number(255))
        if way == 7:
            return HostileText(self.text())
        if way == 8:
            return self.pick((object(), type, print, ..., range(10**9), 1j, Exception(self.text())))
        return self._container(way, depth + 1)

    def _container(self, way: int, depth: int):
        size = self.number(8)
        if way in (9, 10):
            return {
                self.pick(_KEYS) if self.number(1) else self._key(): self.value(depth)
                for _ in range(size)
            }
        if way == 11:
            return HostileDict({self.text(): self.value(depth)})
        if way == 12:
            nested: object = self.text()
            for _ in range(1 << self.number(11)):
                nested = [nested] if way % 2 else {"k": nested}
            return nested
        items = [self.value(depth) for _ in range(size)]
        if way == 13:
            items.append(items)
            return items
        if way == 14:
            return tuple(items)
        return {id(item) for item in items}

    def _key(self):
        return self.pick((1, None, 2.5, (1, 2), b"k", Hostile(1), True, HostileText("secret")))

    def json(self, depth: int = 0):
        """Return a JSON value."""
        way = self.number(9 if depth < 5 else 5)
        if way < 2:
            return self.text().encode("utf-8", "replace").decode()
        if way == 2:
            return int.from_bytes(self.take(self.number(9)), "big", signed=True)
        if way == 3:
            return self.number(65535) / 7
        if way in (4, 5):
            return self.pick((None, True, False, 0, -1, 2**63, 1e300, 1e-7, "", [], {}))
        if way < 8:
            return {
                self.text().encode("utf-8", "replace").decode(): self.json(depth + 1)
                for _ in range(self.number(6))
            }
        return [self.json(depth + 1) for _ in range(self.number(6))]
