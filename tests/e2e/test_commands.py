"""Every action through the real brain's REST API, with its effect on real workers."""

from __future__ import annotations

import pytest

from ..commands import dead_letters, refusals  # noqa: F401, TID252 -- further rows
from ..commands.cells import ROWS  # noqa: TID252 -- shared with make commands
from ..commands.places import PLACES, scene_on  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(240)

NEEDS = {"Redis": "redis_url", "RabbitMQ": "rabbitmq_url"}


@pytest.fixture(scope="module", params=PLACES)
def scene(request, real_brain):
    """Two workers of one agent token on a broker, and an operator at the real brain."""
    request.getfixturevalue(NEEDS[request.param])
    with scene_on(request.param, real_brain) as scene:
        yield scene


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_action_does_what_it_says(scene, row):
    """The command ends as it must, is audited, and the engine itself shows its effect."""
    assert row.play(scene)
