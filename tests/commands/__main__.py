"""``make commands``: every action through the real brain's REST API, on real workers.

One row per action and one column per broker. A cell is good when the command ended as it
must, its result has the right shape, the audit log has it, and the engine itself shows the
effect. Exit status 0 means that every cell is good.
"""

from __future__ import annotations

import sys

from z4j_otel.cli.real_brain import RealBrain

from . import dead_letters, refusals  # noqa: F401 -- further rows
from .cells import ROWS
from .table import play_table, read_options


def main() -> int:
    """Print the table.

    Returns:
        0 when every cell is good, 1 otherwise.
    """
    options = read_options("make commands", __doc__)
    with RealBrain() as brain:
        return 0 if play_table(options, "Commands", ROWS, brain) else 1


if __name__ == "__main__":
    sys.exit(main())
