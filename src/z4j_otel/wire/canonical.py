"""Canonical JSON: the one byte form of a value that both sides sign."""

from __future__ import annotations

from typing import Any

__all__ = ["decode", "encode"]


def encode(value: Any) -> bytes:
    """Write a JSON value as canonical bytes.

    Raises:
        LocalWireError: The value has no canonical form.
    """
    raise NotImplementedError


def decode(data: bytes | str) -> Any:
    """Read JSON as strictly as the brain does.

    Raises:
        FrameMalformed: The text is no JSON, or holds a number or string without canonical form.
    """
    raise NotImplementedError
