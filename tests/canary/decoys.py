"""What looks like a secret and is none: it must arrive as it was sent."""

from __future__ import annotations

from typing import Any

__all__ = ["DECOYS"]

DECOYS: tuple[Any, ...] = (
    {"token_count": 4711, "max_tokens": 512, "tokens": 33, "token_type": "subword"},
    {"author": "ann", "secretary": "bob", "keyboard": "qwertz", "passenger": "carol"},
    {"primary_key": 7, "key": "orders", "keys": ["a", "b"], "foreign_key": "shop_id"},
    {"card": "king of hearts", "order_number": "4711 0815 4711 0815", "session": 3},
    "the password was wrong, the token had expired and no key was given",
    "order 4512345678901235 at 2026-11-22T02:54:11.123456+00:00",
    "call 555-12-34 about order 123-45-67890",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301 took 12.5 s at 10.0.0.17:5432",
    "see https://docs.example.com:8443/orders?page=2&key=name#top",
    "mail to the postmaster @ example, or @ann on the chat",
    "commit 9c56b4e6b81ab6f72bc8acc45d51ff6f8f7ab0d9 of z4j-otel==1.13.0",
    "sk-learn, pypi-simple, npm_config and key-value are names",
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUZ\n-----END CERTIFICATE-----",
    "Traceback (most recent call last):\n  File \"shop.py\", line 7, in pay\nKeyError: 'password'",
    "SELECT count(*) FROM tokens WHERE secret IS NOT NULL",
    "basic tests of bearer bonds and of the authorization of ann",
)
"""Values of tasks."""
