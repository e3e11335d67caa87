"""A Django project in one file, with django-celery-beat and schedules in the configuration."""

import json
import os
from urllib.parse import unquote, urlsplit

import django
from celery import Celery
from celery.schedules import crontab
from django.conf import settings

DATABASE = urlsplit(os.environ.get("SCHEDULES_DATABASE", ""))
STATIC = json.loads(os.environ.get("SCHEDULES_STATIC", "{}"))


def _database():
    if DATABASE.scheme == "postgresql":
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": DATABASE.path[1:],
            "HOST": DATABASE.hostname,
            "PORT": DATABASE.port,
            "USER": DATABASE.username,
            "PASSWORD": unquote(DATABASE.password or ""),
        }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE.path}


if DATABASE.scheme:
    settings.configure(
        INSTALLED_APPS=["django_celery_beat"],
        DATABASES={"default": _database()},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY="for-tests",
        USE_TZ=True,
        TIME_ZONE="UTC",
    )
    django.setup()

app = Celery("schedules", broker=os.environ["SCHEDULES_BROKER"])
app.conf.update(task_default_queue=os.environ["SCHEDULES_QUEUE"], timezone="UTC")
app.conf.beat_schedule = {
    name: {**entry, "schedule": crontab(*entry["cron"].split()) if "cron" in entry else entry["s"]}
    for name, entry in STATIC.items()
}
for entry in app.conf.beat_schedule.values():
    entry.pop("cron", None)
    entry.pop("s", None)


@app.task(name="schedules.add")
def add(a, b):
    """Add."""
    return a + b


@app.task(name="schedules.mail")
def mail(to=None, password=None):
    """Take what must not be seen."""
    return "sent"
