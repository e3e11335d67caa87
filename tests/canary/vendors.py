"""Texts for the rules that the usual texts do not need: one for each vendor and notation."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

from .secret import DIGITS, HEX, WORD, made_up
from .shapes import Shape

__all__ = ["VENDORS"]

_LETTERS = "".join(each for each in WORD if each.isalpha())


def _key(text: str, prefix: str, length: int, alphabet: str = WORD, suffix: str = "") -> Shape:
    return Shape(text.format, lambda name: prefix + made_up(name, length, alphabet) + suffix)


def _word(name: str) -> str:
    """Return a secret that looks like one wherever it stands."""
    return f"x7{made_up(name, 20)}"


def _login(name: str) -> str:
    return base64.b64encode(f"ann:{made_up(name, 21)}".encode()).decode()


def _telegram(name: str) -> str:
    return f"AA{made_up(name, 33)}"


def _discord(name: str) -> str:
    return f"api/webhooks/{made_up(name + ' id', 18, DIGITS)}/{made_up(name, 40)}"


VENDORS: Mapping[str, Shape] = MappingProxyType(
    {
        "age key": _key("opened with {} today", "AGE-SECRET-KEY-1", 58),
        "Anthropic key": _key("prompt with {} refused", "sk-ant-", 40, _LETTERS),
        "Databricks token": _key("query with {} refused", "dapi", 32, HEX),
        "DigitalOcean token": _key("deploy with {} refused", "dop_v1_", 64, HEX),
        "Discord webhook": Shape("post to https://discord.example.com/{} refused".format, _discord),
        "Django key": _key("started with {} by ann", "django-insecure-", 50),
        "Hugging Face token": _key("load with {} refused", "hf_", 34),
        "Mailgun key": _key("mail with {} refused", "key-", 32, HEX),
        "npm token": _key("install with {} refused", "npm_", 36),
        "PyPI token": _key("upload with {} refused", "pypi-", 60),
        "SendGrid key": Shape(
            "mail with {} refused".format, lambda n: f"SG.{made_up(n, 22)}.{made_up(n + '2', 43)}"
        ),
        "Shopify token": _key("order with {} refused", "shpat_", 32, HEX),
        "Square token": _key("charge with {} refused", "sq0atp-", 22),
        "Telegram token": Shape("bot 1234567890:{} refused".format, _telegram, ":{}".format),
        "Twilio key": _key("call with {} refused", "SK", 32, HEX),
        "Vault token": _key("read with {} refused", "hvs.", 30),
        "login header": Shape("sent Basic {} to the bank".format, _login),
        "login without a scheme": Shape(
            "cannot reach app:{}@db.internal:5432, gave up".format, _word
        ),
        "other authorization header": Shape(
            "Host: pay.example.com\nAuthorization: Own {}\nAccept: */*".format,
            _word,
            "Own {}".format,
        ),
        "session id": Shape("visit with session_id={} of ann".format, _word),
        "CSRF token": Shape("form with xsrf={} of ann".format, _word),
        "name and value in a text": Shape(
            '[{{"name": "DB_PASSWORD", "value": "{}"}}, {{"name": "LANG", "value": "C"}}]'.format,
            _word,
        ),
        "prose": Shape("the password is {} and ann knows it".format, _word),
        "netrc": Shape("machine db.internal login ann password {} account shop".format, _word),
        "mysql's option": Shape("mysql --host db.internal -p{} shop".format, _word),
        "signed URL": Shape(
            "GET https://files.example.com/a.pdf?X-Amz-Date=20261122&X-Amz-Signature={}&page=2".format,
            lambda name: made_up(name, 64, HEX),
        ),
        "signature of a URL": Shape(
            "GET https://files.example.com/a.pdf?page=2&sig={}&order=7".format, _word
        ),
        "SQL of a user": Shape("CREATE USER ann IDENTIFIED BY '{}' ACCOUNT LOCK".format, _word),
    }
)
"""By name, every text."""
