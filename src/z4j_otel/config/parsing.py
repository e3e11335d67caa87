"""From what a user wrote to a setting's value: one strict parser for each kind of setting.

Parsers take a text (environment, command line) or a value of the right type already (an
argument, TOML). They raise ``ValueError`` with the form they expect. No text of theirs
repeats what they were given: it may be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from z4j_otel.commands import BRAIN_ACTIONS
from z4j_otel.config.presence import FALSE, TRUE
from z4j_otel.config.secret import Secret

__all__ = ["Kind", "Setting", "parse", "without_credentials"]

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_ITEMS: Final = 64
_MOST_ITEM_CHARACTERS: Final = 512
_MOST_TAG_CHARACTERS: Final = 256


class Kind(Enum):
    """What a setting's value is; the value of each member is how help texts call it."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 -- the name of a kind
    URL = "URL"
    UUID = "UUID"
    PATH = "path"
    CHOICE = "choice"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    SECONDS = "seconds"
    NAMES = "list of names"
    PATTERNS = "list of regular expressions"
    RULES = "list of rules"
    TAGS = "tags"
    COMMANDS = "list of commands"


_EXAMPLES: Final[Mapping[Kind, str]] = {
    Kind.TEXT: "checkout",
    Kind.SECRET: "...",
    Kind.URL: "https://z4j.example.com",
    Kind.UUID: "11111111-1111-4111-8111-111111111111",
    Kind.PATH: "/var/lib/z4j",
    Kind.BOOLEAN: "true",
    Kind.NAMES: "celery",
    Kind.PATTERNS: "(?i)^iban$",
    Kind.RULES: "value:email",
    Kind.TAGS: "team=payments",
    Kind.COMMANDS: "-purge_queue",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    name: str
    kind: Kind
    default: Any
    help: str
    """What the setting does, in one line."""
    minimum: float | None = None
    """Least number, or fewest characters of a text."""
    maximum: float | None = None
    """Greatest number, or most characters of a text."""
    choices: tuple[str, ...] = ()
    decides_trust: bool = False
    """Whether it decides who gets to see what: such a value is not taken from a project
    file that merely lies in the working directory."""

    @property
    def env_name(self) -> str:
        """Name of the environment variable."""
        return f"Z4J_{self.name.upper()}"

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.kind is Kind.SECRET

    @property
    def example(self) -> str:
        """A text that is a value of this setting."""
        return self.choices[-1] if self.choices else _EXAMPLES.get(self.kind) or str(self.default)

    def show(self, value: object) -> str:
        """Write a value for people to read; of a secret only whether it is set."""
        if self.is_secret:
            return "set" if value else "unset"
        if value is None or value in ("", ()) or value == {}:
            return "unset"
        if isinstance(value, Mapping):
            return ",".join(f"{key}={item}" for key, item in value.items())
        if isinstance(value, tuple):
            return ",".join(value)
        if self.kind is Kind.URL:
            return without_credentials(str(value))
        return str(value).lower() if isinstance(value, bool) else str(value)


def without_credentials(url: str) -> str:
    """Return a URL without the user name and password that it may carry."""
    before, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{before}{mark}{host.rpartition('@')[2]}{slash}{path}"


def parse(setting: Setting, value: object) -> Any:
    """Turn what a user gave into the setting's value.

    Raises:
        ValueError: It has another form; the text says which form is expected.
    """
    if isinstance(value, str):
        value = value.strip()
    return _PARSERS[setting.kind](setting, value)


def _text(setting: Setting, value: object) -> str:
    least, most = int(setting.minimum or 1), int(setting.maximum or 4096)
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        raise ValueError(f"expected a text of {least} to {most} printable characters")
    return value


def _secret(_setting: Setting, value: object) -> Secret:
    text = value.reveal().strip() if isinstance(value, Secret) else value
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected printable ASCII characters without spaces")
    return Secret(text)


def _url(_setting: Setting, value: object) -> str:
    expected = "expected http://, https://, ws:// or wss://, then a host and at most a port"
    try:
        parts = urlsplit(str(value))
        # Reading the port is what checks it.
        is_url = parts.scheme in {"http", "https", "ws", "wss"} and parts.port != 0
        host = parts.hostname
    except ValueError:
        raise ValueError(expected) from None
    if not is_url or not host or not str(value).isprintable() or " " in str(value):
        raise ValueError(expected)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected no user name, query or fragment; the token has its own setting")
    return str(value)


def _uuid(_setting: Setting, value: object) -> str:
    text = str(value).lower()
    if not _UUID.fullmatch(text):
        raise ValueError("expected a UUID")
    return text


def _path(_setting: Setting, value: object) -> Path:
    if not isinstance(value, (str, Path)) or "\0" in str(value):
        raise ValueError("expected a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("expected a path; the home directory in it is not known") from None


def _choice(setting: Setting, value: object) -> str:
    by_name = {choice.lower(): choice for choice in setting.choices}
    if not isinstance(value, str) or value.lower() not in by_name:
        raise ValueError(f"expected one of {', '.join(setting.choices)}")
    return by_name[value.lower()]


def _boolean(_setting: Setting, value: object) -> bool:
    word = str(value).lower() if isinstance(value, (str, bool, int)) else ""
    if word not in (*TRUE, *FALSE):
        raise ValueError("expected 1/true/yes/on or 0/false/no/off")
    return word in TRUE


def _number(setting: Setting, value: object, convert: Callable[[Any], float]) -> float:
    low, high = setting.minimum, setting.maximum
    expected = f"expected {_article(setting.kind)} of {low:.15g} to {high:.15g}"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(expected)  # noqa: TRY004 -- one kind of error for all forms
    try:
        number = convert(value)
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    assert low is not None
    assert high is not None
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(expected)
    return number


def _article(kind: Kind) -> str:
    return "a whole number" if kind is Kind.INTEGER else "a number of seconds"


def _integer(setting: Setting, value: object) -> float:
    # int(1.5) would round in silence.
    return _number(setting, str(value) if isinstance(value, float) else value, int)


def _seconds(setting: Setting, value: object) -> float:
    return _number(setting, value, float)


def _items(value: object, separator: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(separator)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError("expected a list")  # noqa: TRY004 -- one kind of error for all forms
    items = tuple(_item(each) for each in value)
    if len(items) > _MOST_ITEMS:
        raise ValueError(f"expected at most {_MOST_ITEMS} items")
    return tuple(item for item in items if item)


def _item(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_ITEM_CHARACTERS:
        raise ValueError(f"expected texts of at most {_MOST_ITEM_CHARACTERS} characters")
    return value.strip()


def _names(_setting: Setting, value: object) -> tuple[str, ...]:
    names = _items(value, ",")
    if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name) for name in names):
        raise ValueError("expected names separated by commas, for example celery,rq")
    return names


def _commands(_setting: Setting, value: object) -> tuple[str, ...]:
    items = _items(value, ",")
    families = {f"{name.rpartition('.')[0]}.*" for name in BRAIN_ACTIONS if "." in name}
    known = BRAIN_ACTIONS | families
    # A name that means nothing is a hole in somebody's fence: better no agent at all.
    is_clear = all(item.removeprefix("-") in known for item in items) or items == ("none",)
    if not is_clear:
        raise ValueError(
            "expected none, or names of commands separated by commas, each with - before it"
            f" to deny it, of: {', '.join(sorted(known))}"
        )
    return items


def _patterns(setting: Setting, value: object) -> tuple[str, ...]:
    # Importing config is cheap, and few have patterns of their own.
    from z4j_otel.redaction.pattern_safety import why_refused  # noqa: PLC0415

    # A pattern may hold a comma itself; with several lines, each line is one pattern.
    separator = "\n" if isinstance(value, str) and "\n" in value else ","
    patterns = _items(value, separator)
    for number, pattern in enumerate(patterns, 1):
        reason = why_refused(pattern, is_key=setting.name == "redaction_extra_key_patterns")
        if reason:
            raise ValueError(
                f"expected regular expressions separated by commas, or one on each line;"
                f" pattern {number} {reason}"
            )
    return patterns


def _rules(_setting: Setting, value: object) -> tuple[str, ...]:
    from z4j_otel.redaction.policy import why_no_rule  # noqa: PLC0415 -- as above

    rules = _items(value, ",")
    for rule in rules:
        reason = why_no_rule(rule)
        if reason:
            raise ValueError(reason)
    return rules


def _tags(_setting: Setting, value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        pairs = [(str(key), "=", str(item)) for key, item in value.items()]
    else:
        pairs = [item.partition("=") for item in _items(value, ",")]
    tags = {key.strip(): item.strip() for key, _, item in pairs}
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise ValueError("expected key=value,key=value")
    if len(tags) > _MOST_ITEMS or any(
        len(text) > _MOST_TAG_CHARACTERS for pair in tags.items() for text in pair
    ):
        raise ValueError(
            f"expected at most {_MOST_ITEMS} tags of at most {_MOST_TAG_CHARACTERS} characters"
        )
    return tags


_PARSERS: Final[Mapping[Kind, Callable[[Setting, object], object]]] = {
    Kind.TEXT: _text,
    Kind.SECRET: _secret,
    Kind.URL: _url,
    Kind.UUID: _uuid,
    Kind.PATH: _path,
    Kind.CHOICE: _choice,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.SECONDS: _seconds,
    Kind.NAMES: _names,
    Kind.PATTERNS: _patterns,
    Kind.RULES: _rules,
    Kind.TAGS: _tags,
    Kind.COMMANDS: _commands,
}
