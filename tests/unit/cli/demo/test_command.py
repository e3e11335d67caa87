"""``z4j-otel demo``, before it starts anything."""

from __future__ import annotations

import pytest

from z4j_otel.cli.demo.command import check_installed
from z4j_otel.cli.failure import Failure


def test_what_the_demo_needs_and_is_not_installed_is_told_with_the_command():
    """Instead of a worker's traceback."""
    with pytest.raises(Failure, match="the demo needs sqlalchemy") as caught:
        check_installed(lambda module: None if module == "sqlalchemy" else module)
    assert (caught.value.then, caught.value.exit_code) == ("pip install sqlalchemy", 2)


def test_with_all_installed_the_demo_starts():
    """Nothing is refused."""
    check_installed(lambda module: module)
