"""The fingerprint by which the brain groups failures into issues (PROTOCOL §5.8)."""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["failure_fingerprint"]

_NOISE: Final = re.compile(
    r"0x[0-9a-fA-F]+"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|<[\w.]+ object at [^>]*>"
    r"|\b\d{4,}\b"
)
_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_DEEPEST_FRAMES: Final = 5
_MAX_TEXT_CHARS: Final = 2000


def failure_fingerprint(exception: str | None, traceback: str | None) -> str | None:
    """Return 32 hexadecimal digits, or None when there is nothing to go by."""
    if not exception and not traceback:
        return None
    lines = [_NOISE.sub("#", exception or "")]
    frames = _FRAME.findall(traceback or "")
    if frames:
        lines += [
            f"{_basename(path)}:{line}:{function}"
            for path, line, function in frames[-_DEEPEST_FRAMES:]
        ]
    else:
        lines.append(_NOISE.sub("#", traceback or "")[:_MAX_TEXT_CHARS])
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:32]


def _basename(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]
