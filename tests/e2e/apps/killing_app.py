"""The workload's application, whose worker is killed while its agent carries out a command.

``Z4J_OTEL_TEST_KILL`` names the moment: ``before`` or ``after`` the message is published.
It happens once in a folder.
"""

import os
import signal
import threading
from pathlib import Path

from celery.signals import after_task_publish, before_task_publish

from z4j_otel.cli.workload.app import app

__all__ = ["app"]

_MARK = Path(os.environ["Z4J_OTEL_DEMO_DIR"], "killed")


def _die(**_kwargs):
    is_command = threading.current_thread().name.startswith("z4j-command")
    if is_command and not _MARK.exists():
        _MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)


_SIGNALS = {"before": before_task_publish, "after": after_task_publish}
_SIGNALS[os.environ["Z4J_OTEL_TEST_KILL"]].connect(_die)
