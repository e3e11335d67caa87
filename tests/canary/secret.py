"""Secrets made up for this run's plants, and the forms in which one could be found again."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote, quote_plus

__all__ = ["DIGITS", "HEX", "WORD", "forms_of", "forms_of_text", "luhn", "made_up"]

WORD = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"
HEX = "0123456789abcdef"
DIGITS = "0123456789"
_PIECE_CHARS = 12
_OTHERS = 5


def made_up(name: str, length: int = 24, alphabet: str = WORD) -> str:
    """Return a secret that only this name has; the same in every process."""
    number = int.from_bytes(hashlib.sha512(f"canary {name}".encode()).digest(), "big")
    characters = []
    for _ in range(length):
        number, place = divmod(number, len(alphabet))
        characters.append(alphabet[place])
    return "".join(characters)


def luhn(digits: str) -> str:
    """Return the digits with the check digit that makes them a card number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 - place % 2)
        total += number - 9 if number > 9 else number
    return digits + str(-total % 10)


def forms_of(name: str, make: Callable[[str], str]) -> set[bytes]:
    """Return what to look for, in lower case: pieces of a secret in every usual writing.

    A piece that leaks is a leak, so both ends of what is its own are looked for apart.
    Whoever searches must put what he searches in lower case first.

    Args:
        name: The plant's name.
        make: What made its secret.
    """
    others = (make(f"{name}, another {number}") for number in range(_OTHERS))
    return forms_of_text(_own_part([make(name), *others]))


def forms_of_text(own: str) -> set[bytes]:
    """Return what to look for of a secret no part of which is known beforehand."""
    every = {
        form for piece in (own[:_PIECE_CHARS], own[-_PIECE_CHARS:]) for form in _writings(piece)
    }
    # What holds another form is found by the other one.
    return {form for form in every if not any(o != form and o in form for o in every)}


def _own_part(secrets: Sequence[str]) -> str:
    """Return the first secret without what every secret of its kind begins and ends with."""
    begin = _common(secrets)
    end = _common([secret[::-1] for secret in secrets])
    return secrets[0][begin : len(secrets[0]) - end]


def _common(texts: Sequence[str]) -> int:
    """Return with how many equal characters all texts begin."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _writings(text: str) -> Iterator[bytes]:
    plain = text.encode()
    once = json.dumps(text)[1:-1]
    yield plain.lower()
    for written in (
        once,
        json.dumps(once)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        repr(plain)[2:-1],
        quote(text, safe=""),
        quote_plus(text),
    ):
        yield written.encode().lower()
    yield plain.hex().encode()
    yield "".join(f"\\x{byte:02x}" for byte in plain).encode()
    yield plain[::-1].lower()
    yield text.encode("utf-16-le").lower()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Of a text inside a longer one, only the groups that are wholly its own are known.
            whole = encode(b"\0" * shift + plain)
            skipped = (shift * 8 + 5) // 6
            known = (shift + len(plain)) * 8 // 6
            yield whole[skipped:known].lower()
