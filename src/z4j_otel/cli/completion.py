"""``z4j-otel completion``: what makes a shell complete our commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

__all__ = ["SHELLS", "command"]

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_Z4J_OTEL_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, /, *, shell: str) -> None:
    """Print the script that makes a shell complete commands and options.

    Your shell reads it at its start; open a new one afterwards.

    \b
    Examples:
      z4j-otel completion bash >> ~/.bashrc
      z4j-otel completion zsh >> ~/.zshrc
      z4j-otel completion fish > ~/.config/fish/completions/z4j-otel.fish

    Exit codes: 0 printed, 2 there is no script for this shell.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all of SHELLS"
    click.echo(kind(context.find_root().command, {}, "z4j-otel", _VARIABLE).source())
