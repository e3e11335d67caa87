"""Pages of dead letters, as the brain takes them."""

from __future__ import annotations

import pytest

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.dead_letters import (
    DeadLetter,
    PageRequest,
    build_page,
    read_page_request,
)
from z4j_otel.redaction import Redactor
from z4j_otel.wire import canonical

NS = 10**9


def letter(number, at_s=None, **changes):
    """Return a letter."""
    values = {
        "task_id": f"t{number}",
        "task_name": "shop.pay",
        "queue": "work",
        "failed_at_ns": None if at_s is None else at_s * NS,
        "error_excerpt": "rejected",
        "attempts": 1,
    }
    return DeadLetter(**{**values, **changes})


def pages(letters, limit):
    """Turn all pages and return the ids on each."""
    cursor, found = None, []
    while True:
        request = read_page_request({"limit": limit, "cursor": cursor})
        page = build_page(letters, request, engine="celery", is_complete=True)
        found.append([entry["task_id"] for entry in page["entries"]])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_entry_has_the_form_of_the_wire():
    """All members are there, and within their bounds."""
    page = build_page(
        [letter(1, 5, task_name="n" * 999, queue="q" * 255, error_excerpt="x" * 999 + "end")],
        PageRequest(None, 10, None),
        engine="celery",
        is_complete=True,
    )
    (entry,) = page["entries"]
    assert (len(entry["task_name"]), len(entry["queue"])) == (500, 200)
    assert (len(entry["error_excerpt"]), entry["error_excerpt"][-3:]) == (512, "end")
    assert (entry["failed_at"], entry["attempts"]) == ("1970-01-01T00:00:05.000000+00:00", 1)
    assert set(page) == {"entries", "next_cursor", "total", "engine"}
    assert (page["next_cursor"], page["total"], page["engine"]) == (None, 1, "celery")


def test_newest_come_first_and_each_once():
    """Also where many died in the same second, and one of them twice."""
    letters = [letter(n, 7) for n in range(5)] + [letter(0, 7), letter(8, 9), letter(9)]
    found = pages(letters, 2)
    assert [len(page) for page in found] == [2, 2, 2, 2]
    flat = [task_id for page in found for task_id in page]
    assert (flat[0], flat[-1]) == ("t8", "t9")
    assert sorted(flat) == ["t0", "t0", "t1", "t2", "t3", "t4", "t8", "t9"]
    assert pages(letters[::-1], 2) == found


def test_page_goes_on_where_a_letter_has_gone():
    """The cursor is a place, not a letter."""
    letters = [letter(n, n) for n in range(4)]
    page = build_page(letters, PageRequest(None, 2, None), engine="e", is_complete=True)
    request = read_page_request({"cursor": page["next_cursor"]})
    rest = build_page([letters[0], letters[3]], request, engine="e", is_complete=True)
    assert [entry["task_id"] for entry in rest["entries"]] == ["t0"]


def test_total_is_told_where_it_is_known():
    """Of a queue that was not read to its end nobody knows how many there are."""
    page = build_page([letter(1)], PageRequest(None, 1, None), engine="e", is_complete=False)
    assert page["total"] is None
    empty = build_page([], PageRequest(None, 1, None), engine="e", is_complete=True)
    assert (empty["entries"], empty["next_cursor"], empty["total"]) == ([], None, 0)


def test_page_survives_the_redactor():
    """A full page of long names is cut by us, so that nothing else cuts it; none is lost."""
    letters = [letter(f"-{n:03}" * 40, n, task_name=f"shop.pay{n}" * 30) for n in range(300)]
    request = PageRequest(None, 200, None)
    page = build_page(letters, request, engine="celery", is_complete=True)
    assert 0 < len(page["entries"]) < 200
    assert len(canonical.encode(page)) < 24_000
    assert Redactor().redact(page) == page
    assert sum(map(len, pages(letters, 200))) == 300


def test_biggest_letters_are_shown():
    """Each alone fits into a page, whatever its texts are made of."""
    texts = {"task_id": "\1" * 200, "task_name": "\1" * 999, "queue": "\1" * 255}
    letters = [letter(0, n, error_excerpt="\1" * 999, **texts) for n in range(5)]
    assert [len(page) for page in pages(letters, 200)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"limit": 0}, "limit must be"),
        ({"limit": 201}, "limit must be"),
        ({"limit": True}, "limit must be"),
        ({"limit": "10"}, "limit must be"),
        ({"queue": 5}, "queue must be a text"),
        ({"cursor": 5}, "invalid dead-letter cursor"),
        ({"cursor": ""}, "invalid dead-letter cursor"),
        ({"cursor": "x" * 300}, "invalid dead-letter cursor"),
        ({"cursor": "5-xyz"}, "invalid dead-letter cursor"),
        ({"cursor": "5-0123456789ab\n"}, "invalid dead-letter cursor"),
    ],
)
def test_wrong_parameters_are_refused(parameters, text):
    """The brain tells a wrong cursor by these very words."""
    with pytest.raises(CommandRefused, match=text):
        read_page_request(parameters)


def test_nothing_asked_is_the_first_hundred():
    """As the brain sends it, with null for what was not chosen."""
    asked = {"engine": "celery", "queue": None, "limit": None, "cursor": None}
    assert read_page_request(asked) == read_page_request({}) == PageRequest(None, 100, None)
    assert read_page_request({"cursor": "12-0123456789ab"}).after == (12, "0123456789ab")
