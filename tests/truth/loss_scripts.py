"""Short programs that publish and end, each in its own way.

What they publish is printed at once, so that it is known whatever happens to them. The
programs run under ``opentelemetry-instrument``, as a user's would.
"""

from __future__ import annotations

__all__ = ["ADOPTED", "SCRIPTS"]

_HEAD = """
import atexit, os, signal, sys, threading, time
from tests.truth.loss_app import app
def send():
    os.write(1, app.tasks["z4j.drill.quick"].delay().id.encode() + b"\\n")
"""
_PROGRAMS = {
    "ends": "send()",
    "raises": "send(); raise ValueError('at the end')",
    "sys.exit": "send(); sys.exit(3)",
    "KeyboardInterrupt": "send(); os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
    "in a daemon thread": (
        "thread = threading.Thread(target=send, daemon=True); thread.start(); thread.join()"
    ),
    "in a thread that outlives main": (
        "threading.Thread(target=lambda: (time.sleep(0.5), send())).start()"
    ),
    "in a forked child": (
        "import multiprocessing; send();"
        " child = multiprocessing.get_context('fork').Process(target=send);"
        " child.start(); child.join()"
    ),
    "in a spawned child": (
        "import subprocess; send();"
        " subprocess.run([sys.executable, '-c', os.environ['LOSS_CHILD']], check=True)"
    ),
    "at exit": "atexit.register(send)",
    "before and at exit": "atexit.register(send); send()",
    "in a daemon thread, at the very end": (
        "send(); threading.Thread(target=lambda: [send() for _ in range(50)], daemon=True).start()"
    ),
    "os._exit": "send(); os._exit(0)",
    "os._exit in a forked child": (
        "import multiprocessing; send(); fork = multiprocessing.get_context('fork');"
        " child = fork.Process(target=lambda: (send(), os._exit(7)));"
        " child.start(); child.join()"
    ),
    "SIGTERM": "send(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
    "SIGKILL": "send(); os.kill(os.getpid(), signal.SIGKILL)",
}
SCRIPTS = {name: _HEAD + code for name, code in _PROGRAMS.items()}
"""Programs by what happens at their end."""
ADOPTED = frozenset(
    {
        "at exit",
        "in a daemon thread, at the very end",
        "os._exit",
        "SIGTERM",
        "SIGKILL",
    }
)
"""Those that may leave some to the next agent: they die, or publish while all ends or is over."""
