"""Whether an engine is one of those that the settings name; imports next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_watched"]


def is_watched(engine: str, settings: Mapping[str, Any]) -> bool:
    """Tell whether an engine is to be watched: it is named, or none is.

    Args:
        engine: Its name.
        settings: What the application's code has given; the rest is looked up.
    """
    from z4j_otel.config import examine  # noqa: PLC0415 -- most processes have no use for it

    names = examine(settings).config.engines
    return not names or engine in names
