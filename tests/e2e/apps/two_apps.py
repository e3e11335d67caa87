"""One code base with two Celery apps, each an engine instance of its own.

The orders' tasks publish to the analytics' queue.
"""

import os
from pathlib import Path

from celery import Celery

from z4j_otel import install_agent
from z4j_otel.instrumentors.celery import CeleryAdapter

FOLDER = Path(os.environ["Z4J_OTEL_DEMO_DIR"])


def make(name):
    """Make an app with a broker and a result backend of its own."""
    made = Celery(name, broker="filesystem://", backend=f"db+sqlite:///{FOLDER / name}.db")
    folders = {"data_folder_in": "in", "data_folder_out": "in", "control_folder": "control"}
    paths = {key: FOLDER / name / folder for key, folder in folders.items()}
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    made.conf.broker_transport_options = {key: str(path) for key, path in paths.items()}
    made.conf.task_default_queue = name
    made.conf.result_extended = True
    made.conf.worker_hijack_root_logger = False
    return made


orders, analytics = make("orders"), make("analytics")
install_agent(
    engines=[CeleryAdapter(app=orders), CeleryAdapter(app=analytics, name="analytics")],
)


@analytics.task(name="analytics.count")
def count(number):
    """Run on the analytics' worker."""
    return number


@orders.task(name="orders.take")
def take(number):
    """Run on the orders' worker, and hand over to the other one."""
    return count.delay(number).id
