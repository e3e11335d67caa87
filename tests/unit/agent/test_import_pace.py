"""When the importer looks next."""

from __future__ import annotations

import asyncio

from z4j_otel.agent.import_pace import ImportPace


def pauses(pace, *finds):
    """Return the pauses behind looks that found so many records."""
    lengths = []
    for found in finds:
        pace.note(found)
        lengths.append(pace.pause_s)
    return lengths


def test_first_look_after_a_find_is_a_quick_one():
    """Whoever watches a single task sees its end soon after its start."""
    assert pauses(ImportPace(), *[0] * 10, 1)[-1] == 0.05


def test_looks_that_all_find_something_become_rarer():
    """A busy worker's records are taken in good portions, four times a second."""
    assert pauses(ImportPace(), *[30] * 5) == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_looks_that_find_nothing_become_rare():
    """An idle agent looks every two seconds."""
    assert pauses(ImportPace(), 30, *[0] * 7)[1:] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_looks_become_rarer_still_where_a_record_calls(loop):
    """With a call at the next record, an idle agent looks every five seconds."""

    async def look():
        return pauses(ImportPace(lambda call: None), 30, *[0] * 8)[-3:]

    assert loop.run_until_complete(look()) == [3.2, 5.0, 5.0]


def test_a_record_ends_a_long_pause(loop):
    """The first task after a quiet time is seen at once."""
    calls = []

    async def look():
        pace = ImportPace(calls.append)
        pauses(pace, *[0] * 10)
        began_s = loop.now_s
        loop.call_later(1, calls[-1])
        await pace.rest()
        return loop.now_s - began_s

    assert loop.run_until_complete(look()) == 1


def test_a_record_behind_the_end_of_the_loop_is_harmless():
    """A process may capture when its agent has ended."""
    calls = []

    async def look():
        pauses(ImportPace(calls.append), *[0] * 10)

    asyncio.run(look())
    calls[-1]()
