"""The texts in which secrets are met: written by people, by libraries, by ``repr``."""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs
import pydantic

from z4j_otel.redaction import REDACTED

from .secret import DIGITS, HEX, WORD, luhn, made_up

__all__ = ["SHAPES", "Shape"]


@dataclasses.dataclass
class Login:
    """An application's dataclass."""

    user: str
    password: str
    shop: str = "north"


@attrs.define
class Account:
    """An application's attrs class."""

    user: str
    api_key: str
    shop: str = "north"


class Customer(pydantic.BaseModel):
    """An application's pydantic model."""

    user: str
    access_token: str
    shop: str = "north"


Wallet = collections.namedtuple("Wallet", "user secret shop")  # noqa: PYI024 -- as users write it


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """A way to write a secret."""

    write: Callable[[str], str]
    """Puts a secret into its text."""
    make: Callable[[str], str] = made_up
    """Makes a secret of a plant's name."""
    hidden: Callable[[str], str] = str
    """What goes together with the secret: a scheme, a user's name."""

    def shown(self, secret: str) -> str:
        """Return what is to be left of the text."""
        return self.write(secret).replace(self.hidden(secret), REDACTED)


def _prefixed(prefix: str, length: int, alphabet: str = WORD) -> Callable[[str], str]:
    return lambda name: prefix + made_up(name, length, alphabet)


def _card(name: str) -> str:
    return luhn("4" + made_up(name, 14, DIGITS))


def _grouped(name: str) -> str:
    digits = luhn("51" + made_up(name, 13, DIGITS))
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def _social(name: str) -> str:
    digits = made_up(name, 9, "123456789")
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"


def _web_token(name: str) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.eyJ{made_up(name, 30)}.{made_up(name + ' signed', 43)}"


def _pem(name: str) -> str:
    body = "\n".join(made_up(f"{name} {line}", 64) for line in range(3))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


def _mail(name: str) -> str:
    return f"{made_up(name, 16).lower()}@mail.example.com"


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        # By the name that stands before the value.
        "assignment": Shape(lambda s: f"login of ann failed with password={s} at shop north"),
        "colon": Shape(lambda s: f"user: ann\npassword: {s}\nshop: north"),
        "JSON": Shape(lambda s: f'{{"user": "ann", "api_key": "{s}", "shop": "north"}}'),
        "JSON in JSON": Shape(
            lambda s: f'{{"body": "{{\\"user\\": \\"ann\\", \\"secret\\": \\"{s}\\"}}", "shop": 7}}'
        ),
        "repr of a dict": Shape(lambda s: repr({"user": "ann", "client_secret": s, "shop": 7})),
        "repr of bytes": Shape(lambda s: repr(f"user=ann&password={s}&shop=north".encode())),
        "repr of a dataclass": Shape(lambda s: repr(Login("ann", s))),
        "repr of attrs": Shape(lambda s: repr(Account("ann", s))),
        "repr of pydantic": Shape(lambda s: repr(Customer(user="ann", access_token=s))),
        "str of pydantic": Shape(lambda s: str(Customer(user="ann", access_token=s))),
        "repr of a Django model": Shape(
            lambda s: f"<Subscriber: id=7, auth_token='{s}', shop='north'>"
        ),
        "repr of a Django request": Shape(
            lambda s: f"<WSGIRequest: GET '/pay?order=7&session_token={s}&page=2'>"
        ),
        "repr of a QueryDict": Shape(
            lambda s: f"<QueryDict: {{'order': ['7'], 'passphrase': ['{s}'], 'page': ['2']}}>",
            hidden=lambda s: f"['{s}']",
        ),
        "repr of a named tuple": Shape(lambda s: repr(Wallet("ann", s, "north"))),
        "repr of a namespace": Shape(
            lambda s: repr(types.SimpleNamespace(user="ann", auth_token=s, shop=7))
        ),
        "repr of an ordered dict": Shape(
            lambda s: repr(collections.OrderedDict(user="ann", passwd=s, shop=7))
        ),
        "repr of an exception": Shape(lambda s: repr(ValueError(f"ann sent token='{s}' twice"))),
        "query of a URL": Shape(
            lambda s: f"GET https://pay.example.com/charge?order=7&access_token={s}&page=2"
        ),
        "header": Shape(lambda s: f"Host: pay.example.com\nX-Api-Key: {s}\nAccept: */*"),
        "authorization header": Shape(
            lambda s: f"Host: pay.example.com\nAuthorization: Basic {s}\nAccept: */*",
            hidden=lambda s: f"Basic {s}",
        ),
        "cookie": Shape(
            lambda s: f"GET /pay\nCookie: sessionid={s}; theme=dark\nAccept: */*",
            hidden=lambda s: f"sessionid={s}; theme=dark",
        ),
        "command line": Shape(lambda s: f"pg_dump --host db.internal --password {s} --format c"),
        "argument vector": Shape(
            lambda s: repr(["pg_dump", "--host", "db", "--password", s, "--format", "c"])
        ),
        "environment": Shape(lambda s: f"HOME=/srv PGPASSWORD={s} LANG=C"),
        "connection text": Shape(lambda s: f"host=db.internal password={s} dbname=shop"),
        "SQL": Shape(lambda s: f"UPDATE users SET password = '{s}' WHERE id = 7"),
        "XML": Shape(lambda s: f"<user>ann</user><password>{s}</password><shop>7</shop>"),
        "camel case": Shape(lambda s: f'{{"user": "ann", "userPassword": "{s}", "shop": 7}}'),
        # By where it stands.
        "database URL": Shape(
            lambda s: f"cannot reach postgresql://app:{s}@db.internal:5432/shop, gave up",
            hidden=lambda s: f"app:{s}",
        ),
        "web URL": Shape(
            lambda s: f"cannot reach https://robot:{s}@pay.example.com/charge, gave up",
            hidden=lambda s: f"robot:{s}",
        ),
        "Sentry DSN": Shape(
            lambda s: f"cannot reach https://{s}@errors.example.com/42, gave up",
            _prefixed("", 32, HEX),
        ),
        # By what it looks like.
        "e-mail address": Shape(lambda s: f"no receipt for {s}, order 7", _mail),
        "card number": Shape(lambda s: f"charged {s} for order 7", _card),
        "grouped card number": Shape(lambda s: f"charged {s} for order 7", _grouped),
        "social security number": Shape(lambda s: f"person {s} of shop north", _social),
        "bearer": Shape(lambda s: f"sent {s} to the bank", _prefixed("Bearer ", 32)),
        "web token": Shape(lambda s: f"sent {s} to the bank", _web_token),
        "private key": Shape(lambda s: f"loaded\n{s}\nfor the bank", _pem),
        "Stripe key": Shape(lambda s: f"charge by {s} refused", _prefixed("sk_live_", 24)),
        "AWS key": Shape(lambda s: f"upload as {s} refused", _prefixed("AKIA", 16, "ABCDEFGH2345")),
        "GitHub token": Shape(lambda s: f"clone with {s} refused", _prefixed("ghp_", 36)),
        "GitLab token": Shape(lambda s: f"clone with {s} refused", _prefixed("glpat-", 20)),
        "Slack token": Shape(lambda s: f"post with {s} refused", _prefixed("xoxb-", 24)),
        "Google key": Shape(lambda s: f"map with {s} refused", _prefixed("AIza", 35)),
        "OpenAI key": Shape(
            lambda s: f"prompt with {s} refused", lambda n: f"sk-proj-7{made_up(n, 40)}"
        ),
        "Slack webhook": Shape(
            lambda s: f"post to https://{s} refused",
            lambda n: f"hooks.slack.com/services/T{made_up(n, 8)}/B{made_up(n + '2', 24)}",
        ),
    }
)
"""By name, every text."""
