"""How large a request the brain takes, learned from those it refuses.

The limit is an operator's setting on the brain, 8 KiB by default, and nothing tells it. It is
looked for from above, in powers of two: the first requests are as large as they are, and one
that is refused lowers the limit below its own size. Each new session tries one step more, so
that a limit that was raised is noticed.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["RequestLimit"]

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 1_048_576
_LEAST_BYTES: Final = 2_048
_ROOMY_BYTES: Final = 262_144
"""A brain that takes so much needs no advice."""


class RequestLimit:
    """The greatest body of a request, as far as is known.

    A frame travels as a JSON text inside JSON, so its quotes and backslashes count twice.
    """

    def __init__(self) -> None:
        self.request_bytes = _MOST_BYTES
        """Most bytes of a body at present."""
        self._is_told = False

    @property
    def frame_bytes(self) -> int:
        """The greatest frame that fits a body as a rule."""
        return self.request_bytes * 3 // 4

    def begin(self) -> None:
        """Try one step more in a new session."""
        self.request_bytes = min(_MOST_BYTES, self.request_bytes * 2)

    def frame_bytes_like(self, frame_bytes: int, body_bytes: int) -> int:
        """Return how large a frame like one that made too large a body may be."""
        return min(frame_bytes - 1, frame_bytes * self.request_bytes // body_bytes * 19 // 20)

    def refused(self, body_bytes: int) -> bool:
        """Learn from a request that was refused for its size.

        Returns:
            False when nothing can be made much smaller than it was.
        """
        if body_bytes <= _LEAST_BYTES:
            return False
        below = 1 << (body_bytes - 1).bit_length() - 1
        self.request_bytes = max(_LEAST_BYTES, min(self.request_bytes, below))
        if not self._is_told and self.request_bytes < _ROOMY_BYTES:
            self._is_told = True
            _logger.warning(
                "[z4j] the brain takes only small requests, so events go in small batches and"
                " large ones are cut: set Z4J_MAX_PAYLOAD_SIZE_BYTES=%d on the brain, or let"
                " WebSockets through",
                _MOST_BYTES,
                extra={"action": "requests_small"},
            )
        return True
