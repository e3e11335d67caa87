"""What a check found out."""

from __future__ import annotations

import pytest

from z4j_otel.findings import Verdict, failed, fine, skipped, warned


@pytest.mark.parametrize(
    ("finding", "verdict", "is_ok"),
    [
        (fine("dns", "found", host="a"), Verdict.OK, True),
        (skipped("dns", "no host", host="a"), Verdict.SKIP, True),
        (warned("dns", "slow", "wait", "sleep 1", host="a"), Verdict.WARN, True),
        (failed("dns", "gone", "look", "getent hosts a", host="a"), Verdict.FAIL, False),
    ],
)
def test_only_a_failure_is_not_ok(finding, verdict, is_ok):
    """A warning breaks nothing; details are for programs."""
    assert (finding.name, finding.verdict, finding.is_ok) == ("dns", verdict, is_ok)
    assert finding.details == {"host": "a"}
    assert bool(finding.cure) == (verdict in {Verdict.WARN, Verdict.FAIL})
