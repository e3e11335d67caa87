"""The Django project of the canaries; its database is in ``CANARY_FOLDER``."""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.conf import settings

from .secret import made_up

__all__ = ["DJANGO_KEY", "set_up"]

DJANGO_KEY = "Django's secret key"


def set_up() -> None:
    """Make this process one of the project's."""
    if settings.configured:
        return
    database = Path(os.environ.get("CANARY_FOLDER", "."), "schedules.db")
    settings.configure(
        INSTALLED_APPS=["django_celery_beat"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY=made_up(DJANGO_KEY),
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        TIME_ZONE="UTC",
    )
    django.setup()
