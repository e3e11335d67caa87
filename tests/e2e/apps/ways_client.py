"""Publishes what it is told to, and prints the task ids as one JSON object.

Each argument is the name of one of the workload's scenarios, or of a task of ``ways_app``
that takes the path of its mark.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ways_app import app

from z4j_otel.cli.workload.scenarios import SCENARIOS


def send(name: str) -> str:
    """Publish one thing and return the id of the task to look at."""
    folder = Path.cwd()
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario.send(app, folder).id
    task = app.tasks[f"ways.{name}"]
    return (task.delay() if name == "parent" else task.delay(str(folder / f"{name}.mark"))).id


if __name__ == "__main__":
    json.dump({name: send(name) for name in sys.argv[1:]}, sys.stdout)
