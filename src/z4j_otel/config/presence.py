"""Whether z4j-otel has anything to do in this process, answered without reading settings.

``opentelemetry-instrument`` asks at the start of every interpreter, so this module imports
next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FALSE", "TRUE", "half_configured", "is_configured", "is_strict_mode"]

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
"""How to say yes and no, in lower case."""


def is_configured(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names a brain and a token, and does not say disabled.

    A configuration file (``Z4J_CONFIG``) counts as both: only reading it would tell. A
    value that is malformed counts as set; ``load_config`` will say what is wrong with it.
    """
    if environ.get("Z4J_DISABLED", "").strip().lower() in TRUE:
        return False
    if environ.get("Z4J_CONFIG"):
        return True
    has_token = environ.get("Z4J_TOKEN") or environ.get("Z4J_TOKEN_FILE")
    return bool(environ.get("Z4J_BRAIN_URL") and has_token)


def half_configured(environ: Mapping[str, str]) -> str | None:
    """Return the variable that is missing where only one of brain and token is set.

    Somebody meant to switch z4j-otel on, and would wonder why nothing happens.
    """
    has_token = environ.get("Z4J_TOKEN") or environ.get("Z4J_TOKEN_FILE")
    has_url = environ.get("Z4J_BRAIN_URL")
    if environ.get("Z4J_CONFIG") or bool(has_token) == bool(has_url):
        return None
    return "Z4J_TOKEN" if has_url else "Z4J_BRAIN_URL"


def is_strict_mode(environ: Mapping[str, str]) -> bool:
    """Tell whether a wrong setting ends the process."""
    return environ.get("Z4J_STRICT_MODE", "").strip().lower() in TRUE
