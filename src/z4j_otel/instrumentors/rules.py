"""What the owner of a process decided about commands: the values that adapters need of it.

Adapters know neither settings nor environment; the agent hands them these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LocalRules"]


@dataclass(frozen=True, slots=True)
class LocalRules:
    """Local rules for what the brain may have done; the defaults are the strictest."""

    purge_secret: bytes = field(default=b"", repr=False)
    """The project's signing secret, which confirmations of purges are made with; empty
    where there is none, and then only forced purges are carried out."""
    purge_threshold: int = 1000
    """Most messages that are purged without force."""
    accepts_legacy_purge_token: bool = False
    """Whether a confirmation without a key, as brains before 1.7 make it, counts."""
    restart_by_exit: str = "auto"
    """Whether a worker may exit to be started again: ``auto`` (under a supervisor),
    ``always`` or ``never``."""
