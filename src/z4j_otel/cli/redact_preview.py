"""What would leave of a document, a call of a task or a stored event, and why not the rest.

Values in, values out: what ``z4j-otel redact`` shows. Nothing here prints, and no preview
keeps a value that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.exporter.obedience import obey
from z4j_otel.exporter.sink import EXCEPTION_BYTES
from z4j_otel.redaction import Redactor
from z4j_otel.redaction.findings import Finding
from z4j_otel.redaction.policy import MARKER
from z4j_otel.task_policies import BoundPolicy, TaskPolicy

__all__ = [
    "AS_WRITTEN",
    "Preview",
    "preview_call",
    "preview_document",
    "preview_stored",
    "preview_text",
]

AS_WRITTEN: Final = "taken before it was written"
"""In the place of a rule's name: which one it was is not stored."""
_REPEATED: Final = "task:repeated"
_TAKEN_NOW: Final = "would be taken now: "
_MARKERS: Final = ("[...", "[cycle]", "[nested too deeply]", "[truncated]")
"""How markers begin that stand for what had no room."""


@dataclass(frozen=True, slots=True)
class Preview:
    """One value as it would leave, or as it waits."""

    title: str
    redacted: Any
    """JSON value; None where nothing leaves."""
    findings: list[Finding]
    notes: list[str] = field(default_factory=list)
    """What is not seen in the value: tags, a share of the runs."""
    is_clean: bool = True
    """Whether no rule of today would take more of what is stored already."""

    def describe(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "title": self.title,
            "redacted": self.redacted,
            "findings": [
                {"path": each.path, "rule": each.rule, "count": each.count}
                for each in self.findings
            ],
            "notes": self.notes,
            "clean": self.is_clean,
        }


def preview_document(redactor: Redactor, document: Any) -> Preview:
    """Return what the common rules make of a JSON value."""
    redacted, findings = redactor.explain(document)
    return Preview("document", redacted, findings)


def preview_text(redactor: Redactor, text: str) -> Preview:
    """Return what the common rules make of a text, as of a message or a traceback."""
    redacted, findings = redactor.explain_text(text, keep="tail")
    return Preview("text", redacted, findings)


def preview_call(
    redactor: Redactor, bound: BoundPolicy | None, name: str, details: Mapping[str, Any]
) -> Preview:
    """Return what would be told of a call of a task.

    Args:
        redactor: The common rules.
        bound: The task's policy; None for none.
        name: The task's name.
        details: ``args`` and ``kwargs``, perhaps ``result`` and ``exception``.
    """
    if bound is None:
        shown, findings = _explain(redactor, details)
        return Preview(name, shown, findings, ["the task has no policy of its own"])
    policy = bound.policy
    notes = _notes_on(policy)
    if policy.skip:
        return Preview(name, None, [], notes)
    # What one option leaves is what the next one is given.
    steps = {
        "task:redact": TaskPolicy(redact=policy.redact),
        "task:keep": TaskPolicy(keep=policy.keep),
        "task:redact_result": TaskPolicy(redact_result=policy.redact_result),
    }
    before: Mapping[str, Any] = dict(details)
    taken: list[Finding] = []
    for rule, step in steps.items():
        after = _obeyed(replace(bound, policy=step), name, before)
        for path in _changes(before, after, redactor.redact_name):
            is_repeated = rule != "task:redact_result" and not path.startswith(("args", "kwargs"))
            taken.append(Finding(path, _REPEATED if is_repeated else rule, 1))
        before = after
    shown, findings = _explain(redactor, before)
    whole = {each.path for each in taken if each.rule != _REPEATED}
    others = [each for each in findings if each.path not in whole]
    return Preview(name, shown, taken + others, notes)


def preview_stored(redactor: Redactor, title: str, event: Any) -> Preview:
    """Return an event that waits, with the places of its markers.

    What it holds was redacted before it was written. If the rules of today would take more,
    it was written by others, and the preview is not clean.
    """
    findings = [Finding(path, AS_WRITTEN, count) for path, count in _markers(event)]
    again, would = redactor.explain(event)
    changed = set(_changes(event, again, redactor.redact_name))
    findings += [
        replace(each, rule=_TAKEN_NOW + each.rule) for each in would if each.path in changed
    ]
    return Preview(title, again, findings, is_clean=not changed)


def _explain(redactor: Redactor, details: Mapping[str, Any]) -> tuple[Any, list[Finding]]:
    shown: dict[str, Any] = {}
    findings: list[Finding] = []
    for key, value in details.items():
        if key == "exception" and isinstance(value, str):
            shown[key], found = redactor.explain_text(value, max_bytes=EXCEPTION_BYTES, path=key)
        else:
            shown[key], found = redactor.explain(value, path=key)
        findings += found
    return shown, findings


def _obeyed(bound: BoundPolicy, name: str, details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the details as the gate lets them through."""
    facts = TaskFacts("preview", "preview", name)
    record = LifecycleRecord(EventKind.TASK_SUCCEEDED, facts, 0, dict(details))
    told = obey(bound, record, {})
    return {} if told is None else told.details


def _notes_on(policy: TaskPolicy) -> list[str]:
    notes = []
    if policy.skip:
        notes.append("skip: nothing of this task's runs leaves")
    if policy.sample_rate < 1:
        notes.append(
            f"sample_rate: {policy.sample_rate:g} of the runs leave, the others not at all"
        )
    notes += [f"tag: {key}={value}" for key, value in policy.tags.items()]
    for name in ("priority", "expected_duration_ms", "deadline_ms"):
        value = getattr(policy, name)
        if value is not None:
            notes.append(f"{name}: {value}")
    return notes


def _changes(before: Any, after: Any, safe: Callable[[str], str], path: str = "") -> Iterator[str]:
    """Yield where two values of the same shape differ, as paths of safe names."""
    if isinstance(before, (list, tuple)) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, safe, f"{path}[{place}]")
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key, old in before.items():
            name = safe(str(key))
            yield from _changes(old, after.get(key), safe, f"{path}.{name}" if path else name)
    elif before != after or type(before) is not type(after):
        yield path


def _markers(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Yield where markers stand, and how many."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _markers(item, f"{path}[{place}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _markers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str):
        count = len(MARKER.findall(value)) + sum(value.count(each) for each in _MARKERS)
        if count:
            yield path, count
