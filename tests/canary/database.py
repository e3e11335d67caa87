"""The schedules in the project's database."""

from __future__ import annotations

import json

from . import project
from .places import plant

__all__ = ["SCHEDULER"]

SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
_NAME = "schedule in the database"


def fill() -> None:
    """Make the tables and plant a row."""
    from django.core.management import call_command  # noqa: PLC0415 -- Django is set up now
    from django_celery_beat.models import IntervalSchedule, PeriodicTask  # noqa: PLC0415 -- as above

    call_command("migrate", verbosity=0)
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    PeriodicTask.objects.create(
        name=plant(f"name of a {_NAME}").content(),
        task="store.keep",
        interval=every,
        args=json.dumps([plant(f"argument of a {_NAME}").content()]),
        kwargs=json.dumps({"password": plant(f"keyword of a {_NAME}").content(), "shop": "north"}),
        headers=json.dumps({"x-api-key": plant(f"header of a {_NAME}").content()}),
        description=plant(f"text of a {_NAME}").content(),
        queue=plant("queue name").content(),
    )


if __name__ == "__main__":
    project.set_up()
    fill()
