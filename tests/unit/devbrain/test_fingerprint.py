"""How failures are grouped into issues."""

from __future__ import annotations

from z4j_otel.devbrain.fingerprint import failure_fingerprint

FRAMES = "".join(f'  File "/srv/v1/mod{n}.py", line {n}, in f{n}\n' for n in range(7))


def test_nothing_has_no_fingerprint():
    """Without exception and traceback there is none."""
    assert failure_fingerprint(None, "") is None


def test_noise_does_not_count():
    """Long numbers, addresses and UUIDs do not tell two failures apart."""
    first = failure_fingerprint("Boom: order 12345 at 0xdeadbeef", None)
    assert first == failure_fingerprint("Boom: order 99999 at 0xcafe", None)
    assert first != failure_fingerprint("Bang: order 12345 at 0xdeadbeef", None)
    assert len(first) == 32


def test_only_the_deepest_frames_count():
    """Frames above the five deepest, and directories, make no difference."""
    moved = FRAMES.replace("/srv/v1/", "C:\\app\\").replace("mod0", "other")
    assert failure_fingerprint("E", FRAMES) == failure_fingerprint("E", moved)


def test_text_without_frames_counts_as_it_is():
    """A traceback in another layout is compared by its text."""
    assert failure_fingerprint("E", "at line 3") != failure_fingerprint("E", "at line 4")
