"""What is learned of the brain's limit for requests."""

from __future__ import annotations

import logging

import pytest

from z4j_otel.transport.request_limit import RequestLimit


@pytest.mark.parametrize("actual", [8192, 10_000, 65_536, 300_000])
def test_limit_is_found_from_above(actual):
    """The largest power of two that the brain takes is found in a few refused requests."""
    limit = RequestLimit()
    refused = 0
    while limit.request_bytes > actual:
        assert limit.refused(limit.request_bytes)
        refused += 1
    assert actual // 2 < limit.request_bytes <= actual
    assert refused <= 7


def test_refused_request_lowers_the_limit_below_its_own_size():
    """A small request that is refused says more than a halved limit."""
    limit = RequestLimit()
    limit.refused(9_000)
    assert limit.request_bytes == 8192
    limit.refused(8_192)
    assert limit.request_bytes == 4096


def test_new_session_tries_one_step_more():
    """A limit that was raised meanwhile is noticed; the start is not exceeded."""
    limit = RequestLimit()
    limit.begin()
    assert limit.request_bytes == 1_048_576
    limit.refused(9_000)
    limit.begin()
    assert limit.request_bytes == 16_384


def test_tiny_requests_cannot_be_made_smaller():
    """A brain that refuses even those is given up."""
    assert not RequestLimit().refused(2_048)


def test_frames_leave_room_for_their_quotes():
    """A frame is smaller than its body; one with many quotes is told a size of its own."""
    limit = RequestLimit()
    limit.refused(9_000)
    assert limit.frame_bytes == 6144
    assert 3_700 < limit.frame_bytes_like(6_000, 12_000) < 4_096
    assert limit.frame_bytes_like(8_000, 8_193) < 8_000


def test_operator_is_told_once(caplog):
    """One line says what to raise on the brain."""
    limit = RequestLimit()
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            limit.refused(limit.request_bytes)
    assert [record.message.count("Z4J_MAX_PAYLOAD_SIZE_BYTES") for record in caplog.records] == [1]
