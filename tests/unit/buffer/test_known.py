"""A set of keys that forgets old ones and never denies a new one."""

from __future__ import annotations

import uuid

from z4j_otel.buffer.known import KnownKeys


def keys(count: int) -> list[str]:
    """Return so many task ids."""
    return [f"celery/{uuid.uuid4()}" for _ in range(count)]


def test_every_key_of_the_last_generation_is_known() -> None:
    """However many came before, and however often one was added again."""
    known = KnownKeys(100)
    for _ in range(7):
        latest = keys(90)
        for _ in range(5):
            known.add(latest)
        assert all(key in known for key in latest)


def test_key_is_known_until_a_generation_of_others_was_added() -> None:
    """What was added again and again in between does not push others out."""
    known = KnownKeys(100)
    (old,), again = keys(1), keys(10)
    known.add([old])
    for _ in range(50):
        known.add(again)
    known.add(keys(89))
    assert old in known


def test_most_keys_that_were_never_added_are_not_known() -> None:
    """That is what it is for; long forgotten ones count as never added."""
    known = KnownKeys(1_000)
    old = keys(1_000)
    known.add(old)
    known.add(keys(2_500))
    assert sum(key in known for key in old + keys(1_000)) < 20
