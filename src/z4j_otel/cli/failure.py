"""How a command of ``z4j-otel`` fails: what is wrong, what to type next, and a number.

Exit codes are the same for every command: 0 all is well, 1 something failed or is not
healthy, 2 the command line or the configuration is wrong.
"""

from __future__ import annotations

from typing import IO, Any

import click

__all__ = ["EXIT_FAILED", "EXIT_USAGE", "Failure"]

EXIT_FAILED = 1
EXIT_USAGE = 2


class Failure(click.ClickException):
    """Ends the command with a message and the command to type next."""

    def __init__(self, message: str, *, then: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.then = then
        """What to type next, as a whole command line."""
        self.exit_code = exit_code  # type: ignore[misc] # click declares it for the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message and, on a line of its own, the command to type."""
        super().show(file)
        click.echo(f"  {self.then}", file=file, err=file is None)
