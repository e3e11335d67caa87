"""Jobs on the same thing, one after the other."""

from __future__ import annotations

from z4j_otel.agent.lanes import Lanes


class Ran(list):
    """Jobs that were submitted, run at once."""

    def submit(self, job):
        """Run a job."""
        job()


def test_a_lane_runs_one_at_a_time_in_order():
    """The next job begins when the lane is left; other lanes and jobs without one do not wait."""
    ran = Ran()
    lanes = Lanes(ran)
    for lane, name in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("", "n1"), ("", "n2"), ("a", "a3")):
        lanes.enter(lane, lambda name=name: ran.append(name))
    assert ran == ["a1", "b1", "n1", "n2"]
    lanes.leave("a")
    lanes.leave("a")
    assert ran[4:] == ["a2", "a3"]


def test_an_empty_lane_is_free_again():
    """After its last job a lane takes the next one at once, and nothing is kept of it."""
    ran = Ran()
    lanes = Lanes(ran)
    for _ in range(2):
        lanes.enter("a", lambda: ran.append("a"))
        lanes.leave("a")
    lanes.leave("")
    assert ran == ["a", "a"]
    assert not lanes._waiting
