"""Values with secrets in them: nested, in keys, in bytes, in objects of any class."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from z4j_otel.redaction import REDACTED

from .secret import made_up
from .shapes import SHAPES, Account, Customer, Login, Wallet

__all__ = ["VALUES", "Value"]


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A way to hold a secret."""

    build: Callable[[str], Any]
    """Puts a secret into its value."""
    shown: Any
    """What the brain is to show of it."""
    make: Callable[[str], str] = made_up
    """Makes a secret of a plant's name."""


class Chatty:
    """Tells all it has to whoever asks."""

    def __init__(self, secret: str) -> None:
        self.password = secret

    def __repr__(self) -> str:
        return f"Chatty({self.password})"

    __str__ = __repr__


class Level(enum.Enum):
    """A member whose value a plant decides."""

    HIGH = "high"


class Tight(dict):
    """A mapping of the application's own."""


def _nested(secret: str) -> Any:
    value: Any = {"shop": "north", "private_key": secret}
    for _ in range(8):
        value = {"order": [1, value]}
    return value


def _nested_shown() -> Any:
    value: Any = {"shop": "north", "private_key": REDACTED}
    for _ in range(8):
        value = {"order": [1, value]}
    return value


_HERE = __name__
_MAIL, _STRIPE = SHAPES["e-mail address"].make, SHAPES["Stripe key"].make

VALUES: Mapping[str, Value] = MappingProxyType(
    {
        "sensitive key": Value(
            lambda s: {"user": "ann", "password": s, "shop": "north"},
            {"user": "ann", "password": REDACTED, "shop": "north"},
        ),
        "deep inside": Value(_nested, _nested_shown()),
        "list below a sensitive key": Value(
            lambda s: {"user": "ann", "api_keys": [s, s[::-1]], "shop": "north"},
            {"user": "ann", "api_keys": REDACTED, "shop": "north"},
        ),
        "the key itself": Value(
            lambda s: {s: 7, "shop": "north"}, {REDACTED: 7, "shop": "north"}, _MAIL
        ),
        "name and value": Value(
            lambda s: [{"name": "DB_PASSWORD", "value": s}, {"name": "LANG", "value": "C"}],
            [{"name": "DB_PASSWORD", "value": REDACTED}, {"name": "LANG", "value": "C"}],
        ),
        "pairs": Value(
            lambda s: [["X-Api-Key", s], ["Accept", "text/html"]],
            [["X-Api-Key", REDACTED], ["Accept", "text/html"]],
        ),
        "options": Value(
            lambda s: ["pg_dump", "--host", "db", "--password", s, "--format", "c"],
            ["pg_dump", "--host", "db", "--password", REDACTED, "--format", "c"],
        ),
        "bytes": Value(
            lambda s: f'{{"token": "{s}", "shop": 7}}'.encode(),
            '<bytes of 48> {"token": "[REDACTED]", "shop": 7}',
        ),
        "bytearray": Value(
            lambda s: bytearray(f"charge by {s} refused", "ascii"),
            "<bytearray of 50> charge by [REDACTED] refused",
            _STRIPE,
        ),
        "bytes below a sensitive key": Value(
            lambda s: {"secret": s.encode(), "shop": 7}, {"secret": REDACTED, "shop": 7}
        ),
        "set": Value(
            lambda s: {f"charge by {s} refused"}, ["charge by [REDACTED] refused"], _STRIPE
        ),
        "tuple": Value(
            lambda s: ("north", f"to {s}, twice"), ["north", "to [REDACTED], twice"], _MAIL
        ),
        "named tuple": Value(
            lambda s: Wallet("ann", s, "north"),
            {"user": "ann", "secret": REDACTED, "shop": "north"},
        ),
        "mapping of a class": Value(
            lambda s: Tight(auth_token=s, shop=7), {"auth_token": REDACTED, "shop": 7}
        ),
        "card number as a number": Value(
            lambda s: {"paid_with": int(s), "order": 7},
            {"paid_with": REDACTED, "order": 7},
            SHAPES["card number"].make,
        ),
        "text across the cut": Value(lambda s: f"{'x' * 7930} password={s} {'y' * 400}", None),
        "dataclass": Value(lambda s: Login("ann", s), f"<{Login.__module__}.Login>"),
        "attrs": Value(lambda s: Account("ann", s), f"<{Account.__module__}.Account>"),
        "pydantic": Value(
            lambda s: Customer(user="ann", access_token=s), f"<{Customer.__module__}.Customer>"
        ),
        "object that tells all": Value(Chatty, f"<{_HERE}.Chatty>"),
        "exception as a value": Value(
            lambda s: ValueError(f"password={s}"), "<builtins.ValueError>"
        ),
        **{
            f"under {key}": Value(
                lambda s, key=key: {"user": "ann", key: s, "shop": "north"},
                {"user": "ann", key: REDACTED, "shop": "north"},
            )
            for key in (
                *("authorization", "cookies", "session_id", "xsrf", "tokens", "card_number"),
                *("ssn", "connection_string", "client_secret"),
            )
        },
        "under a key too long": Value(
            lambda s: {"k" * 300: s, "shop": "north"}, {REDACTED: REDACTED, "shop": "north"}
        ),
        "URL inside": Value(
            lambda s: {"queue": f"amqp://shop:{s}@mq.internal:5672/orders", "shop": 7},
            {"queue": "amqp://[REDACTED]@mq.internal:5672/orders", "shop": 7},
        ),
    }
)
"""By name, every value; None where what is shown is cut off."""
