"""The search: every form of every secret, in every byte that came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from .places import COMMANDS, PLACES
from .plants import PLANTS, Plant
from .secret import forms_of_text

__all__ = ["ALL", "Leak", "Secret", "find_leaks", "own_secrets"]

_CONTEXT_BYTES = 60
_TYPED = frozenset(each.name for each in COMMANDS if each.way == "typed")
_WHAT_WAS_ASKED = ("frames from the brain", "real brain: commands", "real brain: audit")


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """What to look for."""

    name: str
    forms: frozenset[bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """A secret that was found."""

    plant: str
    path: str
    excerpt: str
    """What stands around it, with the secret itself cut out."""


ALL: tuple[Plant, ...] = (*PLANTS, *PLACES)
"""Every plant."""


def own_secrets(environment: Mapping[str, str]) -> list[Secret]:
    """Return the agent's token and signing secret, which are secrets like any other."""
    return [
        Secret(name, frozenset(forms_of_text(environment[name])))
        for name in ("Z4J_TOKEN", "Z4J_HMAC_SECRET")
    ]


def find_leaks(
    surfaces: Mapping[str, Sequence[bytes]],
    more: Iterable[Secret] = (),
    *,
    say: Callable[[str], None] = lambda _: None,
) -> list[Leak]:
    """Look for every form of every secret on every path; each is told once a path.

    What an operator typed into the brain is looked for everywhere but where the brain says
    what was asked of it: the agent has no part in that.
    """
    secrets = [*(Secret(each.name, frozenset(each.forms)) for each in ALL), *more]
    leaks = []
    for path, found in surfaces.items():
        say(path)
        text = b"\0".join(found).lower()
        for secret in secrets:
            if path in _WHAT_WAS_ASKED and secret.name in _TYPED:
                continue
            for form in secret.forms:
                at = text.find(form)
                if at >= 0:
                    leaks.append(Leak(secret.name, path, _around(text, at, len(form))))
                    break
    return leaks


def _around(text: bytes, at: int, size: int) -> str:
    before = text[max(0, at - _CONTEXT_BYTES) : at]
    after = text[at + size : at + size + _CONTEXT_BYTES // 2]
    return f"{before.decode('utf-8', 'replace')}<HERE>{after.decode('utf-8', 'replace')}"
