"""``z4j-otel version``: what a bug report should say."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import click

from z4j_otel.wire.frames import PROTOCOL_VERSION

__all__ = ["command", "versions"]

_PACKAGES = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-instrumentation-celery",
    "celery",
    "kombu",
    "redis",
    "websockets",
    "msgspec",
)


def versions() -> dict[str, str | None]:
    """Return the versions that matter by name; None for a package that is not installed."""
    found: dict[str, str | None] = {
        "z4j-otel": _installed("z4j-otel"),
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return found | {name: _installed(name) for name in _PACKAGES}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> None:
    """Print the versions that matter in a bug report.

    \b
    Examples:
      z4j-otel version
      z4j-otel version --json

    Exit codes: 0 printed.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    found = versions()
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(len(name) for name in found)
    for name, text in found.items():
        click.echo(f"{name:<{width}}  {text or 'not installed'}")
