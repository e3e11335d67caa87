"""The pytest plugin: the ``stub_brain`` fixture, and nothing imported until it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from z4j_otel.testing.stub import StubBrain

__all__ = ["stub_brain"]


@pytest.fixture
def stub_brain() -> Iterator[StubBrain]:
    """A brain in this process, which sees every task that the test sends or runs.

    The installed engines are hooked for the time of the test. Nothing opens a socket,
    starts a thread or touches the disk.
    """
    from z4j_otel.testing.stub import StubBrain  # noqa: PLC0415 -- see the module

    with StubBrain() as brain:
        yield brain
