"""The complaints about size tell their numbers."""

from __future__ import annotations

from z4j_otel.errors import FrameMalformed, LocalWireError
from z4j_otel.wire.states import FrameOversize, FrameTooLarge


def test_a_frame_too_large_tells_its_size() -> None:
    """The uploader splits by these numbers."""
    error = FrameTooLarge(2000, 1024)
    assert (error.size_bytes, error.max_bytes) == (2000, 1024)
    assert str(error) == "frame of 2000 bytes, 1024 are allowed"


def test_each_side_has_its_own_complaint() -> None:
    """Ours leaves the session open, the peer's closes it."""
    assert issubclass(FrameTooLarge, LocalWireError)
    assert issubclass(FrameOversize, FrameMalformed)
