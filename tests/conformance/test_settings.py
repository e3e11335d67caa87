"""Every setting takes effect from every place that it can come from."""

from __future__ import annotations

import pytest
from tests.settings.observation import OBSERVATIONS
from tests.settings.table import cells, missing, play_cell


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
