"""The Django project of the canaries; its database is in ``CANARY_FOLDER``."""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.conf import settings

from .secret import made_up
from .shapes import SHAPES

__all__ = ["DJANGO_KEY", "check_reprs", "set_up"]

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


def check_reprs() -> None:
    """See that what Django's objects say of themselves is what the table of shapes says."""
    secret = made_up("any")
    for name, write in (
        ("repr of a Django model", _model),
        ("repr of a Django request", _request),
        ("repr of a QueryDict", _query),
    ):
        assert write(secret) == SHAPES[name].write(secret), write(secret)


def _model(secret: str) -> str:
    """Return the repr of a model that tells its columns, as many define ``__str__``."""
    from django.db import models  # noqa: PLC0415 -- Django is set up now

    class Subscriber(models.Model):
        id = models.IntegerField(primary_key=True)
        auth_token = models.CharField(max_length=64)
        shop = models.CharField(max_length=64)

        class Meta:
            app_label = "shop"

        def __str__(self) -> str:
            columns = (field.name for field in self._meta.fields)
            return ", ".join(f"{name}={getattr(self, name)!r}" for name in columns)

    return repr(Subscriber(id=7, auth_token=secret, shop="north"))


def _request(secret: str) -> str:
    from django.test import RequestFactory  # noqa: PLC0415 -- Django is set up now

    return repr(RequestFactory().get("/pay", {"order": "7", "session_token": secret, "page": "2"}))


def _query(secret: str) -> str:
    from django.http import QueryDict  # noqa: PLC0415 -- Django is set up now

    return repr(QueryDict(f"order=7&passphrase={secret}&page=2"))
