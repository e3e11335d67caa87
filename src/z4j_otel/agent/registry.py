"""What the brain has not been told yet of the engines' tasks (PROTOCOL §4.8).

Theory of operation
    Every answer of an engine is kept whole. A connection begins with nothing told, so its
    first news name all tasks as added; later ones name what became different since. The
    answers come from the threads of the health probe, the news are taken on the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from z4j_otel.redaction import Redactor
from z4j_otel.wire.frames import RegistryDelta

__all__ = ["RegistryNews", "halves"]

_MAX_TASKS: Final = 10_000
_A_FRAME: Final = 200
"""Names and options of so many tasks fit a frame of the usual size."""
_ENTRY_BYTES: Final = 2_000
_KINDS: Final = ("added", "removed", "updated")

Registry = Mapping[str, Mapping[str, Any]]


class RegistryNews:
    """Compares what engines tell with what the brain was told.

    Args:
        redactor: Every name and option passes it.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._raw: dict[str, Registry] = {}
        self._known: dict[str, Registry] = {}
        self._told: dict[str, Registry] = {}

    def note(self, engine: str, tasks: Registry) -> None:
        """Take an engine's answer."""
        if self._raw.get(engine) == tasks:
            return
        self._raw[engine] = tasks
        self._known[engine] = {
            self._redactor.redact_name(str(name)): self._clean(str(name), entry)
            for name, entry in islice(tasks.items(), _MAX_TASKS)
        }

    def begin(self) -> None:
        """Tell everything anew: the next news go to another connection."""
        self._told = {}

    def take(self) -> list[RegistryDelta]:
        """Return what has not been told, in pieces of at most 200 tasks; told from now on."""
        news: list[RegistryDelta] = []
        for engine, now in list(self._known.items()):
            before = self._told.get(engine, {})
            if before is not now:
                self._told[engine] = now
                news += _differences(engine, before, now)
        return news

    def _clean(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        cleaned = self._redactor.redact(dict(entry), budget_bytes=_ENTRY_BYTES)
        return {**cleaned, "name": self._redactor.redact_name(name)}


def halves(delta: RegistryDelta) -> list[RegistryDelta]:
    """Return two deltas that say the same, or nothing where it cannot be divided."""
    changes = len(delta.added) + len(delta.removed) + len(delta.updated)
    return list(_pieces(delta, (changes + 1) // 2)) if changes > 1 else []


def _differences(engine: str, before: Registry, now: Registry) -> Iterator[RegistryDelta]:
    changed = [
        dict(entry) for name, entry in now.items() if name in before and before[name] != entry
    ]
    whole = RegistryDelta(
        engine=engine[:40],
        added=[dict(entry) for name, entry in now.items() if name not in before],
        removed=[name for name in before if name not in now],
        updated=changed,
    )
    return _pieces(whole, _A_FRAME)


def _pieces(delta: RegistryDelta, size: int) -> Iterator[RegistryDelta]:
    changes = [(kind, item) for kind in _KINDS for item in getattr(delta, kind)]
    for start in range(0, len(changes), size):
        part = changes[start : start + size]
        members = {kind: [item for of, item in part if of == kind] for kind in _KINDS}
        yield RegistryDelta(engine=delta.engine, **members)
