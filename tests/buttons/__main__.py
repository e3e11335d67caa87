"""``make buttons``: the real dashboard's buttons, clicked in a browser, on real workers.

One row per button. A cell is good when the click led to the one command it names, that
command was completed, and the engine itself shows the effect. Exit status 0 means that
every cell is good. Not part of ``make test``: that needs no browser.
"""

from __future__ import annotations

import sys

from click import echo

from z4j_otel.cli.real_brain import RealBrain

from ..browser import Browser, BrowserNotFound, sign_in  # noqa: TID252 -- as make screenshots
from ..commands.table import play_table, read_options  # noqa: TID252 -- as make commands
from .cells import ROWS
from .operator import Operator


def main() -> int:
    """Print the table.

    Returns:
        0 when every cell is good, 1 otherwise, also when there is no browser.
    """
    options = read_options("make buttons", __doc__)
    try:
        browser = Browser(1400, 1200)
    except BrowserNotFound:
        echo("NOT RUN: the dashboard's buttons; install chromium and chromium-driver", err=True)
        return 1
    with browser, RealBrain() as brain:
        sign_in(browser, brain.base_url, email=brain.email, password=brain.password)
        is_good = play_table(
            options, "Buttons", ROWS, brain, lambda scene: Operator(browser, brain.base_url, scene)
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
