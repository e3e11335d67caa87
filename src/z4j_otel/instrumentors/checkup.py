"""The port between the doctor and an engine: find its application, and look at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from z4j_otel.findings import Finding

__all__ = ["Checkup"]


class Checkup(Protocol):
    """What the doctor asks of an engine. Nothing here changes anything."""

    def find(self, where: str | None, given: Any = None) -> tuple[Any, Finding]:
        """Find the application.

        Args:
            where: How a user names it on the command line; None when nobody did.
            given: The application itself, where somebody has it.

        Returns:
            The application, None when there is none, and how it was found.
        """
        ...

    def examine(self, app: Any) -> Iterator[Finding]:
        """Look at an application and what it depends on, each step bounded in time."""
        ...
