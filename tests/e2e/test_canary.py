"""Secrets planted everywhere, pushed through a real worker, and looked for in all that came out."""

from __future__ import annotations

import pytest

from ..canary.brains import Embedded  # noqa: TID252 -- shared with make canary
from ..canary.judge import (  # noqa: TID252 -- as above
    find_changed,
    find_lost,
    find_lost_elsewhere,
    find_merged,
)
from ..canary.run import play  # noqa: TID252 -- as above
from ..canary.search import find_leaks, own_secrets  # noqa: TID252 -- as above
from ..truth.brokers import BrokerMissing  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Return what came out of a run on Redis, and the agent's own secrets."""
    with Embedded() as brain:
        own = own_secrets(brain.environment())
        folder = tmp_path_factory.mktemp("canary")
        try:
            return play(brain, folder, broker="redis", without=None, say=print), own
        except BrokerMissing as error:
            return str(error), own


@pytest.fixture
def run(outcome, service_missing):
    """Return the run, where there is a Redis."""
    if isinstance(outcome[0], str):
        service_missing(outcome[0])
    return outcome[0]


def test_no_secret_is_on_disk_on_the_wire_or_in_a_log(run, outcome):
    """Every byte that an agent made is searched for every form of every secret."""
    assert find_leaks(run.surfaces, outcome[1]) == []
    assert sum(len(each) for found in run.surfaces.values() for each in found) > 1_000_000


def test_what_stands_around_each_secret_is_shown(run):
    """Nothing but the secret went, and what was sent is what the brain shows."""
    assert list(find_lost(run, run.events)) == []
    assert list(find_lost(run, run.shown)) == []
    assert list(find_lost_elsewhere(run)) == []
    assert list(find_changed(run)) == []


def test_different_failures_stay_different(run):
    """Redaction makes no two failures one."""
    assert list(find_merged(run)) == []
    assert len(run.issues) > 60
