"""What holds for every value: nothing planted survives, nothing changes afterwards.

The brain's rules are modelled twice: as the protocol states them (``brain_rules``), and by
the reference's own package, where it is installed.
"""

import dataclasses
import json
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from z4j_otel.devbrain.brain_rules import BrainRules
from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.redaction.tokens import derive_key

from .examples import BODY, KEY_EXAMPLES, TEXT_EXAMPLES, written

PLAIN = Redactor()
TOKENS = Redactor(RedactionPolicy(token_key=derive_key(b"k" * 32)))
NAMES = [name for names, _ in KEY_EXAMPLES.values() for name in names if len(name) < 99]
TEXTS = [text for texts, _ in TEXT_EXAMPLES.values() for text in texts if "get_token" not in text]
BRAIN_NAMES = ["password", "Set-Cookie", "apikey", "x-api-key", "cvc", "auth", "idtoken", "secrets"]
MARKER = re.compile(r"\[REDACTED(:[0-9a-f]{4})?\]")


def chained(text: str) -> str:
    """Return a traceback in which a text stands twice."""
    error = RuntimeError(f"failed: {text}")
    error.__cause__ = KeyError(text)
    return "".join(traceback.format_exception(error))


@dataclasses.dataclass
class Order:
    """What applications hand to tasks."""

    note: str
    count: int = 1


WRAPPINGS: dict[str, Callable[[str], Any]] = {
    "as it is": str,
    "in a list": lambda text: [1, {"x": (text, True)}],
    "as a key": lambda text: {text: 1},
    "as bytes": str.encode,
    "in a sentence": lambda text: f"INFO 2024-01-01 order 17: {text} (done)",
    "in JSON": lambda text: json.dumps({"a": text, "b": 1}),
    "in JSON in JSON": lambda text: json.dumps({"a": json.dumps({"b": text})}),
    "in a repr": lambda text: repr({"a": text, "b": 1}),
    "in a repr of bytes": lambda text: repr(text.encode()),
    "in the repr of a dataclass": lambda text: repr(Order(text)),
    "in a repr in a repr": lambda text: repr([repr({"a": text})]),
    "in a chained traceback": chained,
}


def secrets_in(example: str) -> list[str]:
    """Return the lines of an example's secret that say something."""
    secret = example.partition("«")[2].partition("»")[0].replace("\\n", "\n")
    lines = [line for line in secret.split("\n") if len(line) > 5 and "PRIVATE" not in line]
    return lines or [secret]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("example", TEXTS)
def test_no_secret_survives_in_any_wrapping(example: str, wrapping: str) -> None:
    """Whatever the notation around it, a planted secret is gone, and is gone for good."""
    for redactor in (PLAIN, TOKENS):
        shown = redactor.redact(WRAPPINGS[wrapping](written(example)))
        for secret in secrets_in(example):
            assert secret not in str(shown)
            assert repr(secret)[1:-1] not in str(shown)
        assert redactor.redact(shown) == shown


@pytest.mark.parametrize("name", NAMES)
def test_no_value_survives_under_a_sensitive_name(name: str) -> None:
    """As a member, a pair, an item that follows an option, an entry, a dataclass, JSON, bytes."""
    values = [
        {name: "plum-7"}, {"a": [(name, "plum-7")]}, [f"--{name}", "plum-7", "x"],
        {"name": name, "value": "plum-7"}, f"User({name}='plum-7', id=1)", f"{name}: plum-7",
        json.dumps({name: "plum-7"}), json.dumps({"a": json.dumps({name: "plum-7"})}),
        repr([(name, "plum-7")]), f"{name}=plum-7".encode(), {name: {"deep": ["plum-7"]}},
        f"<{name}>plum-7</{name}>", f"?a=1&{name}=plum-7&b=2", f"os.environ['{name}'] = 'plum-7'",
    ]  # fmt: skip
    for value in values:
        shown = PLAIN.redact(value)
        assert "plum" not in str(shown), value
        assert PLAIN.redact(shown) == shown


PIECES = (
    st.sampled_from([*map(written, TEXTS), *NAMES, *BRAIN_NAMES, "a@b.co", "name", "value"])
    | st.sampled_from(["[REDACTED:3f2a]", REDACTED, "://", "eyJ", "Bearer ", "\n", '"', "\\", BODY])
    | st.text(max_size=8)
)
LONG_TEXTS = st.lists(PIECES, max_size=30).map(" ".join) | st.lists(PIECES, max_size=9).map("".join)
LEAVES = (
    LONG_TEXTS | st.integers() | st.floats() | st.none() | st.booleans() | st.binary(max_size=9)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(PIECES, inner)
        | st.dictionaries(PIECES | st.integers(), inner, max_size=5)
    ),
    max_leaves=12,
)
REDACTORS = st.sampled_from([PLAIN, TOKENS])


def reference() -> Callable[[Any], Any]:
    """Return the rules of the reference's own package."""
    core = pytest.importorskip("z4j_core.redaction")
    engine: Callable[[Any], Any] = core.RedactionEngine(core.RedactionConfig()).scrub
    return engine


@pytest.mark.parametrize("rules", [lambda: BrainRules().apply, reference], ids=["model", "package"])
@given(data=st.data())
@settings(max_examples=250)
def test_the_dashboard_shows_what_was_sent(
    rules: Callable[[], Callable[[Any], Any]], data: st.DataObject
) -> None:
    """The brain's own redaction changes nothing in what left the process."""
    value, redactor = data.draw(VALUES), data.draw(REDACTORS)
    shown = redactor.redact({"kwargs": value}, budget_bytes=data.draw(st.integers(256, 30_000)))
    assert rules()(shown) == shown


@given(VALUES, REDACTORS, st.integers(256, 4000))
@settings(max_examples=250)
def test_any_value_keeps_to_its_bounds_and_settles(
    value: Any, redactor: Redactor, budget: int
) -> None:
    """The result is JSON within the budget, and redacting it again changes nothing."""
    once = redactor.redact(value, budget_bytes=budget)
    assert len(json.dumps(once, ensure_ascii=False, separators=(",", ":")).encode()) <= budget
    assert redactor.redact(once, budget_bytes=budget) == once


@given(VALUES, REDACTORS)
@settings(max_examples=150)
def test_explaining_any_value_gives_what_redaction_gives(value: Any, redactor: Redactor) -> None:
    """A preview shows what will leave, and names a rule wherever a marker is new."""
    shown, findings = redactor.explain(value)
    assert shown == redactor.redact(value)
    assert findings or len(MARKER.findall(str(shown))) <= len(MARKER.findall(str(value)))


@pytest.mark.parametrize("keep", ["head", "tail"])
@pytest.mark.parametrize("piece", ["a", "a@", "eyJ.", "password=", "\\", "ä", "://a:b@"])
def test_no_rule_sees_more_than_the_window(
    keep: Any, piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a text is, the rules run a bounded number of times over a bounded part."""
    redactor = Redactor()
    sizes: list[int] = []
    search = redactor._rules.texts._replace
    monkeypatch.setattr(
        redactor._rules.texts, "_replace", lambda text: (sizes.append(len(text)), search(text))[1]
    )
    redactor.redact_text(piece * 1_000_000, keep=keep)
    assert max(sizes) <= redactor.policy.max_string_bytes + 512
    assert len(sizes) <= 8
