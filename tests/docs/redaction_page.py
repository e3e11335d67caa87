"""The page about redaction: the rules from the code, with the examples their tests use."""

from __future__ import annotations

from z4j_otel.redaction import RULES, RedactionPolicy

from ..unit.redaction.examples import (  # noqa: TID252 -- the table of the tests
    BODY,
    HEX,
    KEY_EXAMPLES,
    TEXT_EXAMPLES,
    redacted,
    written,
)

__all__ = ["redaction_page"]

_SHOWN = 3
_MOST_CHARS = 70


def redaction_page() -> str:
    """Return the page."""
    bounds = RedactionPolicy()
    names = _table("name", [(rule, *_of_names(rule)) for rule in KEY_EXAMPLES])
    texts, values = (
        _table(what, [(rule, *_of_texts(rule)) for rule in TEXT_EXAMPLES if rule.startswith(kind)])
        for kind, what in (("text:", "becomes"), ("value:", "for example"))
    )
    return f"""<!-- Written by `make docs`; change the code instead. -->
# Redaction

Everything that leaves a process, to the brain or to the disk, is redacted first: arguments,
results, exceptions, tracebacks, names, details of workers and queues, schedules, results of
commands. Where something was taken stands `[REDACTED]`, and what stood around it stays. In code,
`Redactor().explain(value)` tells what would leave of a value and which rule took what.

The rules include those of the brain, which blanks a whole text for one match: what is sent is
what the dashboard shows. Redaction knows names and patterns, not meaning. A customer's name in an
argument called `customer` is sent, unless a pattern or a function of yours takes it.

## Names

The value under a sensitive name goes, whatever it is: in objects and named tuples, in pairs
(`("password", x)`), behind options (`["--password", x]`), beside a `name` (`{{"name": "token",
"value": x}}`), and in texts, as the next section says. Names are read in parts: `userPassword`,
`user-password` and `USER_PASSWORD` are the same.

{names}

Names that speak about a secret and do not hold it are left: `has_…`, `is_…`, `…_count`, `…_at`,
`…_sent`, `…_expires`, `…_name`, `…_path` and the like.

## Texts

A text may be a message, a repr, JSON (also inside JSON), a query string, a header, a command line
or a line of source code in a traceback. Only the value goes.

{texts}

An unquoted `None`, `True` or type is no secret, and neither is code that computes one
(`token = get_token(user)`).

## Values

What has the look of a secret goes wherever it stands, also in keys.

{values}

## Sizes

| what | at most | else |
| --- | --- | --- |
| one text | `Z4J_MAX_PAYLOAD_BYTES`, 8192 | head or tail, and `[...N more bytes truncated]` |
| entries of one container | {bounds.max_items} | `[...N more items dropped]` |
| containers inside each other | {bounds.max_depth} | `[nested too deeply]`, `[cycle]` |
| one value | {bounds.max_total_bytes:,} bytes of JSON | `[...N more items dropped]` |
| a key | 256 characters | `[REDACTED]`, with its value |

An object of a class of yours is not looked into: `<shop.models.Order>` is all that is said of it.

## Rules of your own

- `Z4J_REDACTION_EXTRA_KEY_PATTERNS`: regular expressions; a name that one of them matches in
  full, as written or in snake case, is sensitive. `Z4J_REDACTION_EXTRA_VALUE_PATTERNS`: what they
  match inside a text goes. Both ignore case.
- A pattern is refused when it is loaded if it can match the empty text, matches everything,
  refers back to a group, or backtracks without end: `(a+)+`; in texts also two unbounded repeats
  that can match the same text, as in `.*x.*y`. Bound them, as in `.{{0,40}}x.{{0,40}}y`. The
  check reads the pattern and runs nothing.
- `Z4J_REDACTORS=shop.privacy.mask`: functions that are asked about each text, number and truth
  value before the built-in rules:

  ```python
  from z4j_otel.redaction import REDACT


  def mask(path: str, value: object) -> object:
      if path.endswith("customer.name"):  # kwargs.order.customer.name
          return REDACT
      return value
  ```

  They run in the task's process, so keep them quick. What one answers passes the built-in rules.
  Where it raises, or cannot be imported, the value is redacted, and the log tells so once a
  minute at most.
- `Z4J_REDACTION_DISABLED_RULES=value:email` switches built-in rules off by their names. The brain
  has some of them, too, and then blanks the whole text: `key:password`, `key:token`,
  `value:email`, `value:jwt` and others.
- `Z4J_REDACTION_DEFAULTS_ENABLED=0` switches all of them off; a warning says so, and sizes still
  hold.

## Tokens

With `Z4J_REDACTION_TOKENS=1` markers read `[REDACTED:3f2a]`, and equal secrets of a deployment
have equal tokens: 16 bits of an HMAC-SHA256 under a key that is derived from the signing secret
and stored nowhere. Whoever lacks that key learns only which secrets are equal, and by chance one
of 65,536 others is, too. Whoever holds the signing secret, as the brain's operator does, can try
candidates: a password out of a million stays one of about sixteen, but a value of few
possibilities, such as a PIN of four digits, is as good as known. Truth values, None and
containers have no token, and neither have values under names that the brain would blank anyway
(`password`, `token`, `api_key`, …)."""


def _table(what: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"| rule | takes | {what} | leaves |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{rule}` | {RULES[rule]} | {taken} | {untouched} |" for rule, taken, untouched in rows
    ]
    return "\n".join(lines)


def _of_names(rule: str) -> tuple[str, str]:
    taken, left = KEY_EXAMPLES[rule]
    if rule == "key:too-long":
        return "", ""
    return _codes(taken), _codes(left)


def _of_texts(rule: str) -> tuple[str, str]:
    taken, left = TEXT_EXAMPLES[rule]
    return _codes([_shown(example) for example in taken]), _codes(left)


def _shown(example: str) -> str:
    after = redacted(example)
    if after != "[REDACTED]":
        return after
    before = written(example)
    for body in (BODY, BODY[:20], HEX):
        before = before.replace(body, "…")
    return before


def _codes(texts: list[str]) -> str:
    fitting = [text for text in texts if len(text) <= _MOST_CHARS and "\n" not in text]
    chosen = fitting[:_SHOWN] or [text.replace("\n", " ") for text in texts[:1]]
    return ", ".join(f"`{_cell(text)}`" for text in chosen)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
