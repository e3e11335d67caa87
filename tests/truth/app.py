"""The workload's application with more tasks, for brokers and pools the demo has not.

``TRUTH_BROKER`` names what the broker's URL does not say: ``quorum`` or ``priorities``.
``TRUTH_CONF`` is a JSON object of Celery settings. ``Z4J_OTEL_TEST_START`` names the start
method of pool children.
"""

import json
import os

from kombu import Queue

from z4j_otel.cli.workload.app import app

from . import tasks as _tasks  # noqa: F401 -- registers them

__all__ = ["app"]

app.conf.update(
    accept_content=["json", "pickle"],
    worker_pool_start_method=os.environ.get("Z4J_OTEL_TEST_START", "fork"),
)
kind = os.environ.get("TRUTH_BROKER")
if kind == "quorum":
    app.conf.update(
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        broker_transport_options={"confirm_publish": True},
        broker_native_delayed_delivery_queue_type="quorum",
    )
if kind == "priorities":
    queue = Queue(app.conf.task_default_queue, queue_arguments={"x-max-priority": 9})
    app.conf.update(task_queues=[queue], worker_prefetch_multiplier=1)
app.conf.update(json.loads(os.environ.get("TRUTH_CONF", "{}")))
