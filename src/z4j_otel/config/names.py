"""Names that are no rows of the settings' table: earlier ones, others', and misspelt ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from z4j_otel.config.presence import FALSE, TRUE
from z4j_otel.config.settings import SETTINGS

__all__ = ["ALIASES", "KNOWN", "OBSOLETE", "OTHER_VARIABLES", "Alias", "nearest"]


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a setting."""

    setting: str
    words: Mapping[str, str]
    """What its values mean, where they mean something else; in lower case."""


ALIASES: Final[Mapping[str, Alias]] = {
    "orchestrated": Alias(
        "restart_by_exit", {**dict.fromkeys(TRUE, "always"), **dict.fromkeys(FALSE, "never")}
    ),
    "redaction_default_patterns_enabled": Alias("redaction_defaults_enabled", {}),
}
"""Names that earlier agents know a setting by. A value that is not among the words of an
alias is what the setting itself takes."""

OBSOLETE: Final[Mapping[str, tuple[str, str]]] = {
    "runtime_dir": ("has been replaced by home", "set Z4J_HOME to this directory instead"),
    "buffer_dir": ("has been replaced by home", "set Z4J_HOME to this directory instead"),
    "celery_local_hostname": (
        "has no effect: each worker reports its own tasks only, under its own name",
        "unset it",
    ),
    "rq_redis_url": ("has no effect: this version watches Celery only", "unset it"),
}
"""Names that earlier agents read and this one does not: what is wrong, and the cure."""

OTHER_VARIABLES: Final = frozenset({"Z4J_CONFIG", "Z4J_BRAIN_BIN", "Z4J_REQUIRE_SERVICES"})
"""Variables that are read, but are no settings of an agent."""

KNOWN: Final = frozenset(
    name
    for row in SETTINGS
    for name in ((row.name, f"{row.name}_file") if row.is_secret else (row.name,))
)
"""Names of all settings, and of those that name a secret's file."""


def nearest(name: str, names: Iterable[str] = KNOWN) -> str | None:
    """Return the name that was probably meant, or None."""
    from difflib import get_close_matches  # noqa: PLC0415 -- importing config is cheap

    return next(iter(get_close_matches(name, names, n=1)), None)
