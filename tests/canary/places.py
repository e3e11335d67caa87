"""Secrets that no task takes along: names, headers, settings, the environment, schedules."""

from __future__ import annotations

from .plants import Plant
from .project import DJANGO_KEY
from .secret import made_up
from .shapes import SHAPES

__all__ = [
    "COMMANDS",
    "CONF",
    "DEAD",
    "ENVIRONMENT",
    "NAMES",
    "PLACES",
    "QUEUE",
    "READY",
    "SCHEDULES",
    "SENT",
    "SETTINGS",
    "plant",
]

QUEUE, DEAD = "orders", "orders.dead"
READY, SENT = "the worker is ready", "beat has sent a task"
"""What the processes print for whoever waits for it."""


def _named(name: str, shape: str, put: str, shown: str | None = None, way: str = "place") -> Plant:
    make = SHAPES[shape].make if shape else made_up
    # A vendor's prefix may be written in a name; its body must fit there, too.
    return Plant(name, way, make, put.format, shown)


NAMES = (
    _named("task name", "Stripe key", "shop.charge {}", "shop.charge [REDACTED]"),
    _named("queue name", "GitHub token", "orders.{}", "orders.[REDACTED]"),
    _named("worker's host name", "GitLab token", "shop@{}", "shop@[REDACTED]"),
    _named("shadow name", "Stripe key", "charge {}", "charge [REDACTED]"),
    _named("group id", "Stripe key", "group-{}", "group-[REDACTED]"),
    _named("message header", "", "{}"),
    _named("stamp", "", "{}"),
    _named("task id", "GitHub token", "charge-{}", "charge-[REDACTED]"),
    _named("name of a task that is rejected", "Stripe key", "shop.deny {}", "shop.deny [REDACTED]"),
    _named("name of a task that dies", "AWS key", "shop.die {}", "shop.die [REDACTED]"),
    _named("name of a task that runs", "Slack token", "shop.sync {}", "shop.sync [REDACTED]"),
)
"""Names and headers of tasks and workers."""

CONF = (
    _named("broker's password", "", "{}"),
    _named("result backend's password", "", "{}"),
    _named("value of the configuration", "", "{}"),
    _named("key of the configuration", "", "{}"),
    _named("transport option", "", "{}"),
    _named("security key", "", "{}"),
)
"""Values of Celery's configuration."""

ENVIRONMENT = (
    _named("environment", "", "{}"),
    _named("resource attribute", "", "deploy.token={},service.version=7"),
    _named("tag", "", "team=north,password={}"),
    _named("agent's name", "GitHub token", "web-{}", "web-[REDACTED]"),
    _named("name of the deployment", "Stripe key", "prod {}", "prod [REDACTED]"),
    _named("name of the service", "Stripe key", "shop {}"),
    _named("worker's role", "AWS key", "{}"),
)
"""What the process finds in its environment."""

COMMANDS = (
    _named("override argument", "", "login with password={} again", way="typed"),
    _named("override keyword", "", "{}", way="typed"),
    _named(
        "unknown task of a rate limit",
        "Stripe key",
        "shop.none {}",
        "shop.none [REDACTED]",
        "typed",
    ),
    _named("unknown queue of a purge", "GitHub token", "none.{}", "none.[REDACTED]", "typed"),
    _named(
        "submitted argument",
        "",
        "pay with token={}, order 7",
        "pay with token=[REDACTED], order 7",
        "typed",
    ),
    _named("submitted keyword", "", "{}", way="typed"),
    _named("unknown worker", "GitLab token", "none@{}", "none@[REDACTED]", "typed"),
    _named(
        "result of a retry",
        "",
        "paid with token={}, order 7",
        "paid with token=[REDACTED], order 7",
    ),
    _named("error of a retry", "", "cannot pay with token={}, order 7"),
)
"""What an operator types, and what comes of it."""

_LOGIN, _LOGIN_SHOWN = "login with password={} again", "login with password=[REDACTED] again"

SCHEDULES = (
    _named("argument of a schedule", "", _LOGIN, _LOGIN_SHOWN),
    _named("keyword of a schedule", "", "{}"),
    _named("name of a schedule", "Stripe key", "nightly {}", "nightly [REDACTED]"),
    _named("header of a schedule", "", "{}"),
    _named("argument of a schedule in the database", "AWS key", "copy {} to", "copy [REDACTED] to"),
    _named("keyword of a schedule in the database", "", "{}"),
    _named("name of a schedule in the database", "Slack token", "hourly {}", "hourly [REDACTED]"),
    _named("header of a schedule in the database", "", "{}"),
    _named("text of a schedule in the database", "e-mail address", "tell {} of it"),
    _named(DJANGO_KEY, "", "{}"),
)
"""What beat sends."""

SETTINGS = tuple(
    _named(f"pasted into {name}", "", put)
    for name, put in {
        "Z4J_BRAIN_URL": "ftp://z4j:{}@brain.example.com",
        "Z4J_HMAC_SECRET": "{} is no key",
        "Z4J_TOKEN": "{} with\nbreak",
        "Z4J_PROJECT_ID": "{}-" + 80 * "x",
        "Z4J_AGENT_ID": "{}",
        "Z4J_TAGS": "{}",
        "Z4J_TRANSPORT": "{}",
        "Z4J_COMMANDS": "{}",
        "Z4J_HEARTBEAT_SECONDS": "{}",
        "Z4J_BUFFER_MAX_EVENTS": "{}",
        "Z4J_DEV_MODE": "{}",
        "Z4J_LOG_LEVEL": "{}",
        "Z4J_AGENT_HOST": "{}",
        "Z4J_REDACTION_EXTRA_KEY_PATTERNS": "{}(",
        "Z4J_REDACTION_EXTRA_VALUE_PATTERNS": "({}",
        "Z4J_TOKN": "{}",
    }.items()
)
"""A secret in the wrong setting."""

PLACES = (*NAMES, *CONF, *ENVIRONMENT, *COMMANDS, *SCHEDULES, *SETTINGS)
"""Every plant that no task takes along."""


def plant(name: str) -> Plant:
    """Return the plant of this name."""
    return next(each for each in PLACES if each.name == name)
