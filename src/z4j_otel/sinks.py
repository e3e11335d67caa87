"""The process's record sink: one slot, filled by the agent, used by every way in.

OpenTelemetry builds exporters and instrumentors by class name and without arguments, so
they cannot be given their sink. They ask here. The agent layer fills the slot; where it
has not been imported yet, the slot imports it by name. This is the only reference in the
code base that points up the layers.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

from z4j_otel.events import RecordSink

__all__ = ["current_sink", "set_opener"]

_DEFAULT_OPENER = "z4j_otel.agent.host:open_sink"

_opener: Callable[[], RecordSink | None] | None = None


def set_opener(opener: Callable[[], RecordSink | None] | None) -> None:
    """Say who provides this process's sink; None restores the default, the agent."""
    global _opener  # noqa: PLW0603 -- the slot is the module's purpose
    _opener = opener


def current_sink() -> RecordSink | None:
    """Return the sink of this process, or None when z4j is not configured here.

    The provider answers anew on every call, because a forked child needs another sink
    than its parent; it must be cheap.
    """
    opener = _opener
    if opener is None:
        opener = pkgutil.resolve_name(_DEFAULT_OPENER)
        set_opener(opener)
    assert opener is not None
    return opener()
