"""The meaning of close codes."""

from __future__ import annotations

import pytest

from z4j_otel.transport.close_codes import FailureClass, classify_close


@pytest.mark.parametrize(
    ("code", "established", "expected"),
    [
        (1000, True, FailureClass.CONNECTION),
        (1001, True, FailureClass.CONNECTION),
        (1002, True, FailureClass.PROTOCOL),
        (1006, False, FailureClass.CONNECTION),
        (1009, True, FailureClass.PROTOCOL),
        (1011, True, FailureClass.CONNECTION),
        (1011, False, FailureClass.PROTOCOL),
        (1012, True, FailureClass.CONNECTION),
        (4002, True, FailureClass.SLOT),
        (4003, True, FailureClass.AUTH),
        (4400, False, FailureClass.PROTOCOL),
        (4401, False, FailureClass.AUTH),
        (4403, True, FailureClass.AUTH),
        (4408, True, FailureClass.CONNECTION),
        (4426, False, FailureClass.INCOMPATIBLE),
        (4427, False, FailureClass.INCOMPATIBLE),
        (4429, True, FailureClass.CAPACITY),
    ],
)
def test_close_codes_have_a_class(code, established, expected):
    """Every close code of the protocol leads to the pause that fits its cause."""
    assert classify_close(code, established=established) is expected
