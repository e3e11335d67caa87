"""The plants: every secret, the way it takes, and what is to be left of its surroundings."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from z4j_otel.redaction import REDACTED

from .secret import forms_of, made_up
from .shapes import SHAPES
from .values import VALUES
from .vendors import VENDORS

__all__ = ["LINES", "PLANTS", "WAYS", "Plant", "Way"]


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """How a task takes a secret along."""

    kind: str
    """The event that tells of it."""
    field: str
    """Where in that event the surroundings are to be found."""
    task: str
    """The task that does it."""

    @property
    def is_foreign(self) -> bool:
        """Whether a span of another program tells of it, and no task of ours does it."""
        return self.task == _FAR


_FAR = "store.far"
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "argument": Way("task.received", "args", "store.keep"),
        "keyword argument": Way("task.received", "kwargs", "store.keep"),
        "result": Way("task.succeeded", "result", "store.give"),
        "exception's message": Way("task.failed", "exception", "store.fail"),
        "exception's argument": Way("task.failed", "exception", "store.fail_with"),
        "chained exception": Way("task.failed", "traceback", "store.fail_from"),
        "context of an exception": Way("task.failed", "traceback", "store.fail_within"),
        "note of an exception": Way("task.failed", "traceback", "store.fail_noted"),
        "group of exceptions": Way("task.failed", "traceback", "store.fail_group"),
        "source line": Way("task.failed", "traceback", "store.line"),
        "local variable": Way("task.failed", "traceback", "store.local"),
        "reason of a retry": Way("task.retried", "reason", "store.again"),
        "reason of a rejection": Way("task.failed", "exception", "store.reject"),
        "exception on a span": Way("task.failed", "traceback", _FAR),
        "reason on a span": Way("task.retried", "reason", _FAR),
        "request's repr": Way("task.failed", "exception", "store.tell_request"),
        "task's repr": Way("task.failed", "exception", "store.tell_task"),
    }
)
"""By name, every way through a task."""
_NEEDS_311 = {"note of an exception", "group of exceptions"}


@dataclasses.dataclass(frozen=True, slots=True)
class Plant:
    """One secret."""

    name: str
    way: str
    """A key of :data:`WAYS`, or where else it is put."""
    make: Callable[[str], str]
    put: Callable[[str], Any] = str
    """Puts the secret into what is sent, raised, returned."""
    shown: Any = None
    """What is to be shown instead; None where nothing of it is to be shown."""

    @property
    def secret(self) -> str:
        """What nobody may see."""
        return self.make(self.name)

    @property
    def forms(self) -> set[bytes]:
        """What to look for; see :func:`forms_of`."""
        return forms_of(self.name, self.make)

    def content(self) -> Any:
        """Return what holds the secret."""
        return self.put(self.secret)


LINES: Mapping[str, str] = MappingProxyType(
    {
        "keyword": 'charge(host="db.internal", password="{}", port=5432)',
        "assignment": 'charge(token := "{}", "north")',
        "database URL": 'charge("postgresql://{}@db.internal:5432/shop")',
        "header": 'charge({{"X-Api-Key": "{}", "Accept": "text/html"}})',
        "comparison": 'charge(7) if made_up_password != "{}" else charge(8)',
        "Stripe key": 'charge("north", "{}", 7)',
        "e-mail address": 'charge("mail to {}, order 7")',
    }
)
"""Lines of source code, by name."""


def _texts(ways: tuple[str, ...], names: tuple[str, ...] = tuple(SHAPES)) -> Iterator[Plant]:
    for way in ways:
        for name in names:
            shape = _EVERY[name]
            title = f"{name}, {way}"
            shown = shape.shown(shape.make(title))
            yield Plant(title, way, shape.make, shape.write, shown)


def _values() -> Iterator[Plant]:
    for way in ("argument", "result"):
        for name, value in VALUES.items():
            yield Plant(f"{name}, {way}", way, value.make, value.build, value.shown)


def _lines() -> Iterator[Plant]:
    for name, line in LINES.items():
        make = SHAPES[name].make if name in SHAPES else made_up
        hidden = "app:{}" if name == "database URL" else "{}"
        put = line.replace("{}", hidden)
        shown = line.format(REDACTED)
        yield Plant(f"{name}, source line", "source line", make, put.format, shown)


_EVERY = {**SHAPES, **VENDORS}
_SOME = ("assignment", "repr of a dataclass", "web URL", "e-mail address", "GitHub token", "header")
_FEW = ("JSON", "database URL", "card number", "Stripe key")
_TASK = "<task of shop north, password={}, order 7>"

PLANTS: tuple[Plant, ...] = tuple(
    plant
    for plant in (
        *_texts(("argument", "result", "exception's message")),
        *_texts(("argument", "exception's message"), tuple(VENDORS)),
        *_texts(("chained exception", "reason of a retry", "exception on a span"), _SOME),
        *_texts(("reason on a span",), _FEW),
        *_texts(
            (
                "keyword argument",
                "exception's argument",
                "context of an exception",
                "note of an exception",
                "group of exceptions",
                "reason of a rejection",
            ),
            _FEW,
        ),
        Plant("password, local variable", "local variable", made_up),
        Plant(
            "client_secret, request's repr",
            "request's repr",
            made_up,
            lambda s: {"client_secret": s, "shop": "north"},
        ),
        Plant(
            "password, task's repr", "task's repr", made_up, _TASK.format, _TASK.format(REDACTED)
        ),
        *_values(),
        *_lines(),
    )
    if plant.way not in _NEEDS_311 or sys.version_info >= (3, 11)
)
"""Every plant that a task takes along."""
