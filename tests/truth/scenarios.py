"""Every scenario there is: the demo's, and what only the truth table plays."""

from __future__ import annotations

from z4j_otel.cli.workload.scenarios import SCENARIOS, Scenario

from .more import MORE
from .values import VALUES

__all__ = ["ALL", "BY_NAME"]

ALL: tuple[Scenario, ...] = (*SCENARIOS, *MORE, *VALUES)
BY_NAME = {scenario.name: scenario for scenario in ALL}
