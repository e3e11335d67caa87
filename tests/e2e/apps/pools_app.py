"""The workload's application, for the ways in which a worker can be started.

``POOLS_HOOK`` makes the module hook itself, without ``opentelemetry-instrument``:
``instrument`` with the instrumentor, ``install`` with ``install_agent``. ``POOLS_BEAT`` is
how often the scheduler publishes a task, seconds.
"""

import os

from z4j_otel.cli.workload.app import app

__all__ = ["app"]

hook = os.environ.get("POOLS_HOOK")
if hook == "instrument":
    from z4j_otel.instrumentors.celery import Z4JCeleryInstrumentor

    Z4JCeleryInstrumentor().instrument()
elif hook == "install":
    from z4j_otel import install_agent

    install_agent()

if every := os.environ.get("POOLS_BEAT"):
    app.conf.beat_schedule = {
        "tick": {"task": "shop.add", "schedule": float(every), "args": (1, 1)},
    }
