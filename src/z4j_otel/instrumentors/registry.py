"""Which engines exist: the folders of this package, and the entry points of others.

A folder below this package that offers ``ENGINE`` is an engine; nothing else has to be
written down. Other distributions offer theirs through the entry point group
``z4j_otel_engine``, whose entries name an :class:`Engine`. Finding engines imports their
``__init__`` only, which must work where the engine's own package is not installed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from z4j_otel.errors import ConfigError, EngineUnavailable
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.checkup import Checkup

__all__ = ["ENTRY_POINT_GROUP", "Engine", "find_engines", "load_engine"]

ENTRY_POINT_GROUP: Final = "z4j_otel_engine"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """One task library, with its sensing and its acting half."""

    name: str
    """As in ``hello`` and in commands: ``celery``."""
    package: str
    """Top-level module that has to be installed: ``celery``."""
    instrumentor: Callable[[], Any]
    """Builds the sensing half, an OpenTelemetry instrumentor; imports it on call."""
    adapter: Callable[..., EngineAdapter]
    """Builds the acting half from the engine's own handle; imports it on call."""
    checkup: Callable[[], Checkup] | None = None
    """Builds what the doctor asks; imports it on call. None where there is nothing to ask."""

    @property
    def is_installed(self) -> bool:
        """Whether the engine's package can be imported here."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except (ImportError, ValueError):
            return False


def find_engines(entries: Iterable[EntryPoint] | None = None) -> dict[str, Engine]:
    """Return every engine known here by its name, installed or not.

    An engine that cannot be imported is logged and left out. Of two engines with one name
    the first stays; this package's own come first.

    Args:
        entries: Entry points to read; those of the installed distributions by default.
    """
    if entries is None:
        entries = entry_points(group=ENTRY_POINT_GROUP)
    offered = ((entry.value, entry.load) for entry in entries)
    found: dict[str, Engine] = {}
    for where, load in (*_own_engines(), *offered):
        engine = _read_engine(where, load)
        if engine is None:
            continue
        if found.setdefault(engine.name, engine) is not engine:
            _logger.warning(
                "engine %s is offered twice; the second is not used",
                engine.name,
                extra={"action": "engine_ignored"},
            )
    return found


def load_engine(name: str, engines: dict[str, Engine] | None = None) -> Engine:
    """Return one engine, ready to build its halves.

    Args:
        name: The engine's name.
        engines: Where to look; everything :func:`find_engines` finds by default.

    Raises:
        ConfigError: No such engine is known.
        EngineUnavailable: Its package is not installed.
    """
    known = find_engines() if engines is None else engines
    if name not in known:
        expected = f"there is no engine {name!r}; this version knows: {', '.join(sorted(known))}"
        raise ConfigError("engines", "argument", expected)
    if not known[name].is_installed:
        raise EngineUnavailable(name)
    return known[name]


def _own_engines() -> Iterator[tuple[str, Callable[[], Any]]]:
    assert __package__
    folder = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(folder.__path__):
        if module.ispkg:
            where = f"{__package__}.{module.name}:ENGINE"
            yield where, functools.partial(pkgutil.resolve_name, where)


def _read_engine(where: str, load: Callable[[], Any]) -> Engine | None:
    try:
        engine = load()
    except Exception:  # another distribution's import may raise anything
        _logger.warning(
            "engine %s cannot be imported", where, exc_info=True, extra={"action": "engine_broken"}
        )
        return None
    if not isinstance(engine, Engine):
        _logger.warning("%s is no Engine", where, extra={"action": "engine_broken"})
        return None
    return engine
