"""The search: every form of every secret, in every byte that came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from .places import COMMANDS, PLACES
from .plants import PLANTS, Plant
from .secret import forms_of_text

__all__ = ["ALL", "Index", "Leak", "Secret", "find_leaks", "own_secrets"]

_CONTEXT_BYTES = 60
_WINDOW, _STRIDE = 8, 4
_TYPED = frozenset(each.name for each in COMMANDS if each.way == "typed")
_WHAT_WAS_ASKED = (
    "frames from the brain",
    "real brain: commands",
    "real brain: audit",
    "real brain: schedules",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """What to look for."""

    name: str
    forms: frozenset[bytes]


class Index:
    """All forms of all secrets, ready to be found in one pass over a text.

    Theory of operation. Every form has 11 bytes or more, so wherever one stands, a window of 8
    bytes that begins at a multiple of 4 lies within it. All windows of all forms are in one
    table; of the text only every fourth window is looked up, and a hit is compared in full.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._windows: dict[bytes, list[tuple[int, bytes, str]]] = {}
        for secret in secrets:
            for form in secret.forms:
                assert len(form) >= _WINDOW + _STRIDE - 1, (secret.name, form)
                for offset in range(len(form) - _WINDOW + 1):
                    entry = (offset, form, secret.name)
                    self._windows.setdefault(form[offset : offset + _WINDOW], []).append(entry)

    def find(self, text: bytes) -> dict[str, tuple[int, int]]:
        """Return where each secret stands first, start and end, by its name."""
        found: dict[str, tuple[int, int]] = {}
        windows = self._windows
        for at in range(0, len(text) - _WINDOW + 1, _STRIDE):
            for offset, form, name in windows.get(text[at : at + _WINDOW], ()):
                start = at - offset
                if name not in found and start >= 0 and text.startswith(form, start):
                    found[name] = start, start + len(form)
        return found


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
) -> list[Leak]:
    """Look for every form of every secret on every path; each is told once a path.

    What an operator typed into the brain is looked for everywhere but where the brain says
    what was asked of it: the agent has no part in that.
    """
    index = Index([*(Secret(each.name, frozenset(each.forms)) for each in ALL), *more])
    leaks = []
    for path, found in surfaces.items():
        text = b"\0".join(found).lower()
        for name, place in index.find(text).items():
            if path not in _WHAT_WAS_ASKED or name not in _TYPED:
                leaks.append(Leak(name, path, _around(text, *place)))
    return leaks


def _around(text: bytes, start: int, end: int) -> str:
    before, after = text[max(0, start - _CONTEXT_BYTES) : start], text[end : end + _CONTEXT_BYTES]
    return f"{before.decode('utf-8', 'replace')}<HERE>{after.decode('utf-8', 'replace')}"
