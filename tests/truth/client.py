"""Publishes scenarios and prints the task ids as one JSON object.

Run as ``python -m truth.client FOLDER SCENARIO ...``, as the workload's own client is.
"""

import json
import sys
from pathlib import Path

from .app import app
from .scenarios import BY_NAME


def send_each(folder, names):
    """Publish scenarios, each once; return the ids of the tasks to look at."""
    return {name: str(BY_NAME[name].send(app, folder).id) for name in names}


if __name__ == "__main__":
    json.dump(send_each(Path(sys.argv[1]), sys.argv[2:]), sys.stdout)
