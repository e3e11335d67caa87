"""Makes an event or a result fit a brain, or a way to it, that takes little at a time.

What is cut is the largest first, and it says so: a cut text ends (a traceback begins) with
``[cut]``, anything else becomes a text that tells its size, and the event's data names the
fields in ``reduced``. Names, ids and times stay whole; content is only ever removed, so what was
redacted stays redacted.
"""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.errors import FrameMalformed
from z4j_otel.wire import canonical

__all__ = ["reduce_event", "reduce_result"]

_REDUCED: Final = "reduced"
_KEPT: Final = frozenset({_REDUCED, "task_name", "queue", "worker", "trace_id", "span_id"})
_MARK: Final = "[cut]"
_LEAST_BYTES: Final = 48
"""Cutting what is shorter would save next to nothing."""
_MOST_CUTS: Final = 64
_MAX_ERROR_CHARS: Final = 150


def reduce_event(body: bytes, max_bytes: int) -> bytes | None:
    """Return an event's canonical bytes with its largest fields cut.

    Args:
        body: Canonical bytes of the event.
        max_bytes: Most bytes of what is returned.

    Returns:
        The shorter event, or None when even without its content it is too large.
    """
    try:
        event: dict[str, Any] = canonical.decode(body)
        data: dict[str, Any] = dict(event["data"])
    except (FrameMalformed, KeyError, TypeError, ValueError):
        return None
    reduced: list[str] = []
    event["data"] = data
    for _ in range(_MOST_CUTS):
        shorter = canonical.encode(event)
        excess = len(shorter) - max_bytes
        if excess <= 0:
            return shorter
        sizes = {
            name: len(canonical.encode(value))
            for name, value in data.items()
            if name not in _KEPT and isinstance(value, (str, list, dict))
        }
        largest = max(sizes, key=lambda name: sizes[name], default=None)
        if largest is None or sizes[largest] < _LEAST_BYTES:
            return None
        reduced += [] if largest in reduced else [largest]
        data[_REDUCED] = reduced
        data[largest] = _cut(largest, data[largest], sizes[largest], excess)
    return None


def _cut(name: str, value: Any, size_bytes: int, excess_bytes: int) -> Any:
    if not isinstance(value, str):
        return f"[cut: {size_bytes} bytes]"
    text = value.removeprefix(_MARK).removesuffix(_MARK)
    # Escapes and other alphabets make a character several bytes: cut by share, not by count.
    share = max(size_bytes - excess_bytes - 2 * _LEAST_BYTES, size_bytes // 2)
    keep = len(text) * share // size_bytes
    if keep < _LEAST_BYTES:
        return f"[cut: {size_bytes} bytes]"
    return _MARK + text[-keep:] if name == "traceback" else text[:keep] + _MARK


def reduce_result(payload: bytes) -> bytes:
    """Return a result's payload without what it returned; status and claim stay.

    Args:
        payload: Canonical bytes of a result frame's payload.
    """
    value: dict[str, Any] = canonical.decode(payload)
    error = value.get("error")
    value["error"] = error[:_MAX_ERROR_CHARS] if isinstance(error, str) else None
    value["result"] = {"truncated": True, "size_bytes": len(payload)}
    return canonical.encode(value)
