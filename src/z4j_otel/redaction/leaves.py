"""Reads values of any type without running code of the application.

A value is looked at only through its exact type and the C methods of the built-ins it
derives from. ``isinstance``, ``repr``, ``str`` and plain attribute access could all run the
application's code, so none is used on a type that is not one of ours to trust.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import sys
import uuid
import zoneinfo
from collections.abc import Iterable
from typing import Any, Final

__all__ = [
    "MAX_INT_DIGITS",
    "describe_type",
    "field_names",
    "read_items",
    "read_leaf",
    "read_pairs",
    "read_text",
]

MAX_INT_DIGITS: Final = 4000
"""Longer integers become a note; JSON parsers refuse them from 4300 (PROTOCOL §3.2)."""

_MAX_INT_BITS: Final = MAX_INT_DIGITS * 3321928 // 1_000_000
_MAX_DECIMAL_BYTES: Final = 2048
_BYTES_OVERLAP: Final = 512
_MAX_ENUM_HOPS: Final = 4
_TRUSTED_ZONES: Final = (type(None), dt.timezone, zoneinfo.ZoneInfo)
_WITH_SAFE_TEXT: Final = (uuid.UUID, decimal.Decimal, dt.timedelta)
_TYPE_MODULE: Final = type.__dict__["__module__"]
_TYPE_QUALNAME: Final = type.__dict__["__qualname__"]
_TYPE_FIELDS: Final = type.__dict__["__dict__"]
_SEQUENCES: Final = (list, tuple, set, frozenset)
_ENUM_FIELDS: Final = enum.Enum.__dict__["__dict__"]


def describe_type(value: object) -> str:
    """Return ``<module.QualifiedName>`` of the value's type, at most 200 characters."""
    kind = type(value)
    module = _TYPE_MODULE.__get__(kind)
    name = _TYPE_QUALNAME.__get__(kind)
    prefix = f"{module}." if type(module) is str else ""
    return f"<{prefix[:120]}{name[:78]}>"


def read_text(value: object) -> str:
    """Return a string, also of a subclass of ``str``, as an exact ``str``."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else describe_type(value)


def read_leaf(value: Any, max_bytes: int) -> tuple[Any, int]:
    """Read a value that is no container.

    Args:
        value: Anything; only exact or inherited built-in types are read.
        max_bytes: How much of a bytes-like value will be needed.

    Returns:
        An exact ``str``, ``int``, finite ``float``, ``bool`` or None, not yet redacted; and
        the bytes left unread at its end.
    """
    kind = type(value)
    for _ in range(_MAX_ENUM_HOPS):
        if type(kind) is not enum.EnumMeta or issubclass(kind, (str, int, float)):
            break
        value = _ENUM_FIELDS.__get__(value).get("_value_")
        kind = type(value)
    if value is None or kind is bool:
        return value, 0
    if issubclass(kind, str):
        return str.__str__(value), 0
    if issubclass(kind, int):
        return _read_int(int.__add__(value, 0)), 0
    if issubclass(kind, float):
        number = float.__float__(value)
        return (number if math.isfinite(number) else float.__repr__(number)), 0
    if issubclass(kind, (bytes, bytearray)):
        return _read_bytes(value, bytes if issubclass(kind, bytes) else bytearray, max_bytes)
    return _read_exact(value, kind), 0


def read_pairs(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the keys and values of a dict or a named tuple; None for anything else."""
    kind = type(value)
    if issubclass(kind, dict):
        return dict.items(value)
    if issubclass(kind, tuple):
        names = field_names(kind, tuple.__len__(value))
        return None if names is None else zip(names, tuple.__iter__(value), strict=True)
    return None


def read_items(value: Any) -> list[Any] | None:
    """Return the items of a list, a tuple or a set; None for anything else."""
    kind = type(value)
    base: Any = next((each for each in _SEQUENCES if issubclass(kind, each)), None)
    return None if base is None else list(base.__iter__(value))


def field_names(kind: type, size: int) -> tuple[str, ...] | None:
    """Return the names of a named tuple's fields; None for another tuple."""
    if kind is tuple:
        return None
    names = _TYPE_FIELDS.__get__(kind).get("_fields")
    if type(names) is tuple and len(names) == size and all(type(name) is str for name in names):
        return names
    return None


def _read_int(value: int) -> int | str:
    bits = value.bit_length()
    return value if bits <= _MAX_INT_BITS else f"[integer of {bits} bits]"


def _read_bytes(value: Any, kind: Any, max_bytes: int) -> tuple[str, int]:
    size = kind.__len__(value)
    window = kind.__getitem__(value, slice(0, max_bytes + _BYTES_OVERLAP))
    text = kind.decode(window, "utf-8", "replace")
    return f"<{kind.__name__} of {size}> {text}", size - kind.__len__(window)


def _read_exact(value: Any, kind: type) -> str:
    if issubclass(kind, dt.datetime):
        return _read_datetime(value)
    if issubclass(kind, dt.date):
        return dt.date.isoformat(value)
    if kind is dt.time:
        trusted = type(value.tzinfo) in _TRUSTED_ZONES
        return dt.time.isoformat(value if trusted else value.replace(tzinfo=None))
    # A decimal's text takes time in proportion to its size.
    if kind is decimal.Decimal and sys.getsizeof(value) > _MAX_DECIMAL_BYTES:
        return describe_type(value)
    return str(value) if kind in _WITH_SAFE_TEXT else describe_type(value)


def _read_datetime(value: dt.datetime) -> str:
    zone = dt.datetime.tzinfo.__get__(value)
    if type(zone) in _TRUSTED_ZONES:
        return dt.datetime.isoformat(value)
    # Asking a foreign zone for its offset would run its code.
    clock = dt.time.isoformat(dt.datetime.time(value))
    return f"{dt.date.isoformat(value)}T{clock} {describe_type(zone)}"
