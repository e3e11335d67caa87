"""Every kind of setting has one strict parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.config import SETTINGS, Kind, Secret, Setting
from z4j_otel.config.parsing import parse


def row(kind, **bounds):
    """Make a row of the table."""
    return Setting(name="some_name", kind=kind, default=None, help="Help.", **bounds)


BOUNDS = {"minimum": 1, "maximum": 10}
GOOD = [
    (row(Kind.TEXT), " abc ", "abc"),
    (row(Kind.SECRET), " t0ken\n", Secret("t0ken")),
    (row(Kind.SECRET), Secret("t0ken"), Secret("t0ken")),
    (row(Kind.URL), "wss://host:8000/ws", "wss://host:8000/ws"),
    (
        row(Kind.UUID),
        "AAAAAAAA-0000-4000-8000-000000000000",
        "aaaaaaaa-0000-4000-8000-000000000000",
    ),
    (row(Kind.PATH), "~/x", Path("~/x").expanduser()),
    (row(Kind.PATH), Path("x"), Path("x")),
    (row(Kind.CHOICE, choices=("INFO", "DEBUG")), "info", "INFO"),
    (row(Kind.BOOLEAN), "Yes", True),
    (row(Kind.BOOLEAN), "off", False),
    (row(Kind.BOOLEAN), True, True),
    (row(Kind.BOOLEAN), 0, False),
    (row(Kind.INTEGER, **BOUNDS), "10", 10),
    (row(Kind.INTEGER, **BOUNDS), 1, 1),
    (row(Kind.SECONDS, **BOUNDS), "2.5", 2.5),
    (row(Kind.NAMES), " celery, rq ,", ("celery", "rq")),
    (row(Kind.NAMES), ["celery"], ("celery",)),
    (row(Kind.PATTERNS), "a.c,b+", ("a.c", "b+")),
    (row(Kind.PATTERNS), "a{1,2}\nb+\n", ("a{1,2}", "b+")),
    (row(Kind.PATTERNS), ["a{1,2}"], ("a{1,2}",)),
    (row(Kind.RULES), "value:email, key:csrf", ("value:email", "key:csrf")),
    (row(Kind.TAGS), "team=pay, zone=a=b", {"team": "pay", "zone": "a=b"}),
    (row(Kind.TAGS), {"n": 1}, {"n": "1"}),
    (row(Kind.COMMANDS), "retry_task, -schedule.*", ("retry_task", "-schedule.*")),
    (row(Kind.COMMANDS), "none", ("none",)),
    (row(Kind.COMMANDS), ["-schedule.external.mutate"], ("-schedule.external.mutate",)),
]
BAD = [
    (row(Kind.TEXT, maximum=3), "abcd", "1 to 3 printable"),
    (row(Kind.TEXT), "a\x00b", "printable"),
    (row(Kind.TEXT), 5, "printable"),
    (row(Kind.SECRET), "two words", "without spaces"),
    (row(Kind.SECRET), "käse", "ASCII"),
    (row(Kind.SECRET), 5, "ASCII"),
    (row(Kind.URL), "host:8000", "https://"),
    (row(Kind.URL), "ftp://host", "https://"),
    (row(Kind.URL), "http://", "https://"),
    (row(Kind.URL), "http://host:99999", "at most a port"),
    (row(Kind.URL), "http://[::1", "https://"),
    (row(Kind.URL), "http://ho st", "https://"),
    (row(Kind.URL), "http://user:pw@host", "no user name"),
    (row(Kind.URL), "http://host/?token=1", "no user name, query"),
    (row(Kind.UUID), "nope", "a UUID"),
    (row(Kind.PATH), 5, "a path"),
    (row(Kind.PATH), "a\0b", "a path"),
    (row(Kind.PATH), "~no-such-user-here/x", "home directory"),
    (row(Kind.CHOICE, choices=("a", "b")), "c", "one of a, b"),
    (row(Kind.CHOICE, choices=("a", "b")), 1, "one of a, b"),
    (row(Kind.BOOLEAN), "maybe", "1/true/yes/on or 0/false/no/off"),
    (row(Kind.BOOLEAN), 2, "1/true"),
    (row(Kind.BOOLEAN), None, "1/true"),
    (row(Kind.INTEGER, **BOUNDS), "11", "a whole number of 1 to 10"),
    (row(Kind.INTEGER, **BOUNDS), "0", "a whole number of 1 to 10"),
    (row(Kind.INTEGER, **BOUNDS), 1.5, "a whole number"),
    (row(Kind.INTEGER, **BOUNDS), True, "a whole number"),
    (row(Kind.SECONDS, **BOUNDS), "nan", "a number of seconds of 1 to 10"),
    (row(Kind.SECONDS, **BOUNDS), "soon", "a number of seconds"),
    (row(Kind.NAMES), "a b", "separated by commas"),
    (row(Kind.NAMES), {"a": 1}, "a list"),
    (row(Kind.NAMES), 5, "a list"),
    (row(Kind.NAMES), ["x"] * 65, "at most 64"),
    (row(Kind.NAMES), [5], "texts of at most 512"),
    (row(Kind.PATTERNS), "(", "regular expressions"),
    (row(Kind.PATTERNS), "fine,(a+)+b", "pattern 2 can match the same text in endlessly many ways"),
    (row(Kind.PATTERNS), "x*", "pattern 1 can match the empty text"),
    (row(Kind.RULES), "value:mail", "did you mean value:email?"),
    (row(Kind.RULES), "key:too-long", "names of rules"),
    (row(Kind.COMMANDS), "-purge_que", "purge_queue"),
    (row(Kind.COMMANDS), "none,retry_task", "expected none, or"),
    (row(Kind.TAGS), "team", "key=value"),
    (row(Kind.TAGS), "=x", "key=value"),
    (row(Kind.TAGS), {"k": "v" * 257}, "at most 256"),
]


@pytest.mark.parametrize(("setting", "given_value", "expected"), GOOD)
def test_a_well_formed_value_is_read(setting, given_value, expected):
    """Texts are trimmed and converted, values of the right type are taken as they are."""
    assert parse(setting, given_value) == expected


@pytest.mark.parametrize(("setting", "given_value", "expected"), BAD)
def test_a_malformed_value_is_refused_with_the_form_expected(setting, given_value, expected):
    """The error names the form expected."""
    with pytest.raises(ValueError, match=expected):
        parse(setting, given_value)


@given(st.sampled_from(SETTINGS), st.text(min_size=24).filter(lambda text: text.strip()))
def test_an_error_never_repeats_what_was_given(setting, text):
    """Whatever the setting and the text, the text is not part of the error, or is accepted."""
    message, cause = "", None
    try:
        parse(setting, text)
    except ValueError as error:
        message, cause = str(error), error.__cause__
    assert text.strip() not in message
    assert cause is None


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.SECRET, Secret("x"), "set"),
        (Kind.SECRET, Secret(), "unset"),
        (Kind.TEXT, "", "unset"),
        (Kind.PATH, None, "unset"),
        (Kind.BOOLEAN, False, "false"),
        (Kind.NAMES, ("a", "b"), "a,b"),
        (Kind.TAGS, {"a": "1"}, "a=1"),
        (Kind.TAGS, {}, "unset"),
        (Kind.INTEGER, 5, "5"),
    ],
)
def test_a_value_is_shown_as_it_could_be_written(kind, value, expected):
    """Values are shown in the form of the environment; secrets only as set or unset."""
    assert row(kind).show(value) == expected


def test_a_large_bound_is_written_with_all_its_digits():
    """Nobody types 1e+08."""
    with pytest.raises(ValueError, match=r"of 1000 to 100000000$"):
        parse(row(Kind.INTEGER, minimum=1000, maximum=100_000_000), "-3")


def test_the_environment_name_follows_from_the_name():
    """Every setting has one variable, by one rule."""
    assert row(Kind.TEXT).env_name == "Z4J_SOME_NAME"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://jane:hush@host:8000/x@y", "https://host:8000/x@y"),
        ("https://host", "https://host"),
        ("jane@host", "jane@host"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url, shown):
    """Whatever passed the parser, a display tells no password."""
    assert row(Kind.URL).show(url) == shown


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.name)
def test_the_example_of_a_setting_is_a_value_of_it(setting):
    """What a message tells people to type is accepted."""
    assert parse(setting, setting.example) is not None
