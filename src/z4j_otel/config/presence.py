"""Whether z4j-otel has anything to do in this process, answered without reading settings.

``opentelemetry-instrument`` asks at the start of every interpreter, so this module imports
next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["is_configured"]


def is_configured(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names a brain and a token, and does not say disabled.

    A configuration file (``Z4J_CONFIG``) counts as both: only reading it would tell. A
    value that is malformed counts as set; ``load_config`` will say what is wrong with it.
    """
    if environ.get("Z4J_DISABLED", "").strip().lower() in {"1", "true", "yes", "on"}:
        return False
    if environ.get("Z4J_CONFIG"):
        return True
    has_token = environ.get("Z4J_TOKEN") or environ.get("Z4J_TOKEN_FILE")
    return bool(environ.get("Z4J_BRAIN_URL") and has_token)
