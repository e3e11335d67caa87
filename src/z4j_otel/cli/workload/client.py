"""Publishes the workload and prints the task ids as one JSON object.

A program of its own, so that it can run under ``opentelemetry-instrument`` as a user's
publisher would: ``python -m z4j_otel.cli.workload.client FOLDER [SCENARIO ...]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from z4j_otel.cli.workload.app import app
from z4j_otel.cli.workload.scenarios import send_all


def main() -> None:
    """Publish the scenarios named, or all, then say what was published."""
    folder, *names = sys.argv[1:]
    json.dump(send_all(app, Path(folder), names), sys.stdout)


if __name__ == "__main__":
    main()
