"""Every setting takes effect from every place that it can come from."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from pathlib import Path

import pytest
from tests.settings.lab import play
from tests.settings.observation import OBSERVATIONS
from tests.settings.table import cells, missing, play_cell

from z4j_otel.errors import ConnectFailed


def test_every_setting_has_an_observation():
    """A row of the settings' table whose effect nobody looks at may have none."""
    assert not missing(), (
        f"{', '.join(missing())}: write an observation into tests/settings/observations.py"
        " (how is told in tests/settings/observation.py), or remove the one of a setting that"
        " is gone"
    )


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_an_observation_tells_set_from_unset(name):
    """What is seen by default is not what is seen when the setting is set."""
    assert OBSERVATIONS[name].seen != OBSERVATIONS[name].default


@pytest.mark.parametrize(("name", "place"), list(cells()))
def test_a_setting_takes_effect(name, place):
    """Its effect is seen where it is; the default's where a place may not decide it."""
    expected, seen = play_cell(name, place)

    assert seen == expected


def test_a_rotated_token_is_used_for_the_next_connection(tmp_path):
    """No restart is needed where whoever mounts a secret replaces its file."""
    first = dataclasses.replace(OBSERVATIONS["token"], look=_after_rotation, seen="second")
    assert play(first, "Z4J_*_FILE", tmp_path) == ("second", "second")


def _after_rotation(lab):
    lab.patch.setenv("Z4J_BRAIN_URL", f"http://127.0.0.1:{lab.listener.port}")
    transport = lab.agent()._parts.transport
    Path(os.environ["Z4J_TOKEN_FILE"]).write_text("second\n")
    with pytest.raises(ConnectFailed):
        asyncio.run(transport.connect())
    (head,) = lab.listener.heads
    return re.search("Authorization: Bearer (.*)\r\n", head)[1]
