"""A supervisor as small as can be: starts a program again when its exit status asks for it.

Usage: ``python keeper.py PROGRAM ARGUMENTS…``
"""

import os
import signal
import subprocess
import sys

ENVIRONMENT = {"SUPERVISOR_ENABLED": "1", "SUPERVISOR_PROCESS_NAME": "worker"}


def main() -> int:
    """Run the program until it ends with 0, as supervisord does by default."""
    while True:
        child = subprocess.Popen(sys.argv[1:], env={**os.environ, **ENVIRONMENT})
        signal.signal(signal.SIGTERM, lambda *_, child=child: child.terminate())
        status = child.wait()
        sys.stdout.write(f"keeper: ended with {status}\n")
        sys.stdout.flush()
        if status <= 0:
            return status


if __name__ == "__main__":
    sys.exit(main())
