"""Identifiers are unique, also in forked children, and have the forms the brain expects."""

from __future__ import annotations

import os
import uuid

from z4j_otel.ids import new_event_id, new_uuid


def test_an_events_id_is_a_version_4_uuid() -> None:
    """The brain replaces anything else, and duplicates are then not recognised."""
    for text in (new_event_id(), new_uuid()):
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_no_two_events_have_one_id() -> None:
    """They count on from random bits."""
    assert len({new_event_id() for _ in range(2000)}) == 2000


def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    """It draws random bits of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_event_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert theirs[:24] != new_event_id()[:24]
