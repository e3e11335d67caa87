r"""Canonical JSON: the one byte form of a value that both sides sign (PROTOCOL §3.2).

Theory of operation
-------------------
*Constraints.* The receiver parses a frame, writes it anew and compares signatures, so our
bytes must be exactly what it writes: keys sorted by code point, no white space, UTF-8
unescaped except ``"``, ``\`` and C0 controls, floats as Python's ``repr`` has them,
integers of any size.

*Encoding.* msgspec's sorted encoder writes these bytes for everything but floats that
``repr`` puts in exponent form (``1e+16``, ``1e-05``), and accepts types that JSON does not
have (sets, bytes, dates). One flat walk over the value finds both; such a value takes the
slow path, which checks each member and lets ``json`` write it. Floats that are not finite
become ``null``, as the brain's own agents send them.

*Decoding.* msgspec first. What it refuses gets a second opinion from ``json``, because the
brain's parser tolerates more: a byte-order mark, UTF-16. Numbers and strings without a
canonical form are refused in both cases.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import msgspec

from z4j_otel.errors import FrameMalformed, LocalWireError

__all__ = ["decode", "encode", "encode_plain"]

_encode_fast: Final = msgspec.json.Encoder(order="sorted").encode
encode_plain: Final = _encode_fast
"""Writes a value of nothing but None, booleans, integers of 64 bits, and valid text, lists and
dicts with text keys of these: what :func:`encode` does, without a walk over it."""
_decode_fast: Final = msgspec.json.Decoder().decode

_NOT_SAID: Final = object()
_EXACT: Final = frozenset({str, int, bool, type(None)})
# Positional from the first, inclusive, to the second, exclusive; the same below zero.
_SMALLEST: Final = 1e-4
_LARGEST: Final = 1e16
_MAX_INT_DIGITS: Final = 4300
"""The limit of the brain's parser, whatever limit this interpreter is set to."""


def encode(value: Any, *, doubtful: Any = _NOT_SAID) -> bytes:
    """Write a JSON value as canonical bytes.

    Tuples are written as lists and floats that are not finite as ``null``.

    Args:
        value: None, bool, int, float, str, and lists, tuples and str-keyed dicts of these.
        doubtful: The part of it that may hold floats or types that JSON does not have,
            where the caller knows that the rest does not; spares a walk over the rest.

    Raises:
        LocalWireError: A key is no string, a string holds a lone surrogate, an integer has
            more than 4300 digits, a type is none of JSON's, or the nesting is too deep.
    """
    try:
        data = _encode_fast(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encode_slowly(value)
    is_exact = _is_exact(value if doubtful is _NOT_SAID else doubtful)
    return data if is_exact else _encode_slowly(value)


def decode(data: bytes | str) -> Any:
    """Read JSON as strictly as the brain does.

    The last of several equal keys wins; ``-0`` is the integer 0.

    Raises:
        FrameMalformed: The text is no JSON, is nested too deeply, or holds a number or a
            string that has no canonical form (NaN, 1e400, a lone surrogate).
    """
    try:
        return _decode_fast(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _decode_slowly(data)


def _is_exact(value: Any) -> bool:
    """Whether msgspec writes this value, which it has accepted, in canonical form."""
    pending: list[Any] = [(value,)]
    # Appending while iterating keeps the walk flat: no call per container.
    for container in pending:
        for item in container:
            kind = type(item)
            if kind in _EXACT:
                continue
            if kind is dict:
                pending.append(item.values())
            elif kind is list or kind is tuple:
                pending.append(item)
            elif kind is not float or not _is_positional(item):
                return False
    return True


def _is_positional(number: float) -> bool:
    """Whether ``repr`` writes a float without an exponent."""
    return _SMALLEST <= number < _LARGEST or -_LARGEST < number <= -_SMALLEST or number == 0


def _encode_slowly(value: Any) -> bytes:
    try:
        text = json.dumps(
            _checked(value),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
        return text.encode()
    except UnicodeEncodeError:
        # Neither chained nor quoted: the error's object is the whole payload.
        raise LocalWireError("a string holds a lone surrogate") from None
    except ValueError:
        raise LocalWireError("an integer has too many digits") from None
    except RecursionError:
        raise LocalWireError("the value is nested too deeply") from None


def _checked(value: Any) -> Any:
    """Copy a value of nothing but JSON's types, floats that are not finite as None."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise LocalWireError("a key is not a string")
        return {key: _checked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item) for item in value]
    raise LocalWireError(f"JSON has no {type(value).__name__}")


def _decode_slowly(data: bytes | str) -> Any:
    try:
        value = json.loads(
            data, parse_int=_read_int, parse_float=_read_float, parse_constant=_refuse_constant
        )
        # json lets lone surrogates through, and encoding is what fails on them.
        encode(value)
    except (ValueError, RecursionError, LocalWireError):
        raise FrameMalformed("not JSON with a canonical form") from None
    return value


def _read_int(text: str) -> int:
    if len(text) > _MAX_INT_DIGITS + text.startswith("-"):
        raise ValueError("integer out of range")
    return int(text)


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("number out of range")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)
