"""Run a program that never outlives whoever started it.

Run as a script: ``python brain_guard.py PROGRAM ARGUMENT…``. The guard starts the program
and reads its own standard input. When that ends, because the starter closed it or died in
whatever way, the guard ends the program: first politely, then by force. It imports
nothing but the standard library, so that any interpreter can run it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

__all__ = ["main"]

_PATIENCE_S = 15.0


def main(command: Sequence[str]) -> int:
    """Run ``command`` until it ends by itself or standard input does.

    Returns:
        The program's exit status; negative when a signal ended it.
    """
    # The polite signal is meant for the program: it decides when both of them end.
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 -- its only purpose
    threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
    return program.wait()


def _end_with_stdin(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    program.terminate()
    try:
        program.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
