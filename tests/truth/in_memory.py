"""A worker and its publisher in one process: the memory broker goes no further.

Run as ``python -m truth.in_memory WORKER-OPTION ...``. Files in the folder of
``Z4J_OTEL_DEMO_DIR`` are orders to the publisher: a JSON list of a method and its arguments in
``order-N.json``, answered in ``answer-N.json``.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from .app import app
from .client import send_each

_FOLDER = Path(os.environ.get("Z4J_OTEL_DEMO_DIR", "."))


def _obey():
    """Carry out orders until the process ends."""
    number = 0
    while True:
        order = _FOLDER / f"order-{number}.json"
        if not order.exists():
            time.sleep(0.05)
            continue
        method, *arguments = json.loads(order.read_text("utf-8"))
        answer = _FOLDER / f"answer-{number}.json"
        answer.with_suffix(".part").write_text(json.dumps(_done(method, arguments)), "utf-8")
        answer.with_suffix(".part").rename(answer)
        number += 1


def _done(method, arguments):
    if method == "publish":
        return send_each(_FOLDER, arguments)
    if method == "revoke":
        app.control.revoke(*arguments)
    if method == "revoke_by_stamp":
        app.control.revoke_by_stamped_headers({"customer": ["c-17"]})
    return None


if __name__ == "__main__":
    threading.Thread(target=_obey, daemon=True).start()
    app.worker_main(["worker", *sys.argv[1:]])
