"""Options of a command for all settings, made from their table."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from z4j_otel.config import SETTINGS, Kind, Setting

__all__ = ["setting_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_METAVARS = {
    Kind.TAGS: "KEY=VALUE,...",
    Kind.NAMES: "NAME,...",
    Kind.COMMANDS: "ACTION,...",
    Kind.PATTERNS: "REGEX,...",
}


def setting_options(*, without: Collection[str] = ()) -> Callable[[_Function], _Function]:
    """Return a decorator that adds an option for each setting, unset by default.

    A setting that an option gives is an argument: it beats all other sources. The value is
    a text, which the settings' own parsers check.

    Args:
        without: Settings that make no sense for this command.
    """

    def add(function: _Function) -> _Function:
        for row in reversed(SETTINGS):
            if row.name not in without:
                for option in reversed(_options(row)):
                    function = option(function)
        return function

    return add


def _options(row: Setting) -> list[Callable[[_Function], _Function]]:
    flag = f"--{row.name.replace('_', '-')}"
    if row.kind is Kind.BOOLEAN:
        both = f"{flag}/--no-{flag[2:]}"
        return [click.option(both, row.name, default=None, help=row.help)]
    metavar = "|".join(row.choices) or _METAVARS.get(row.kind) or row.kind.name
    if not row.is_secret:
        return [click.option(flag, row.name, metavar=metavar, help=row.help)]
    # A command line is seen by all who may list processes.
    text = f"{row.help} Better in {row.env_name} or a file."
    file_help = f"File to read {flag} from."
    return [
        click.option(flag, row.name, metavar="TEXT", help=text),
        click.option(f"{flag}-file", f"{row.name}_file", metavar="PATH", help=file_help),
    ]
