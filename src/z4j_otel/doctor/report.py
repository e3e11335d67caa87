"""What the doctor says in the end: as text for people, as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from z4j_otel.findings import Finding, Verdict
from z4j_otel.redaction import Redactor

__all__ = ["Report"]

_REDACTOR: Final = Redactor()
_INDENT: Final = "       "
_SHOWN: Final = ("brain_url", "project_id", "agent_name", "buffer_path", "transport")


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they are to be read."""

    framework: str
    """Who asked: ``bare``, ``django`` …"""
    config: dict[str, Any]
    """Settings worth showing, no secret among them."""
    engines: list[str]
    """Engines whose package is installed."""
    findings: list[Finding]
    problems: list[str] = field(default_factory=list)
    """Why no agent would start with these settings; empty when it would."""

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; warnings break nothing."""
        return all(finding.is_ok for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; for wrong settings also ``stage`` and ``error``."""
        wrong = {"stage": "config", "error": "; ".join(self.problems)} if self.problems else {}
        return {
            "ok": self.ok,
            **wrong,
            "config": _safe(self.config),
            "engines": self.engines,
            "probes": [
                {
                    "name": each.name,
                    "ok": each.is_ok,
                    "message": _safe(each.message),
                    "details": _safe(each.details),
                    "status": each.verdict.value.lower(),
                    "cure": each.cure,
                    "hints": list(each.steps),
                }
                for each in self.findings
            ],
        }

    def heading(self) -> Iterator[str]:
        """Return the title and the settings worth showing, line by line."""
        title = f"z4j-doctor ({self.framework})"
        yield title
        yield "=" * len(title)
        for name in _SHOWN:
            yield f"{name + ':':<13}{_safe(self.config.get(name)) or 'unset'}"
        yield ""

    @staticmethod
    def about(finding: Finding) -> Iterator[str]:
        """Return one finding, and its cure on a line of its own."""
        mark = finding.verdict.value
        yield f"[{mark}] {finding.name} {mark}: {_safe(finding.message)}"
        if finding.cure:
            yield f"{_INDENT}cure: {finding.cure}"

    def ending(self, *, fix_hints: bool = False) -> Iterator[str]:
        """Return what comes after the findings.

        Args:
            fix_hints: End with what to type for each problem, at length.
        """
        yield ""
        yield f"engines auto-detected: {', '.join(self.engines) or 'none'}"
        yield from self._summary()
        if fix_hints:
            yield from self._hints()

    def lines(self, *, fix_hints: bool = False) -> Iterator[str]:
        """Return the whole text; the arguments are those of :meth:`ending`."""
        yield from self.heading()
        for finding in self.findings:
            yield from self.about(finding)
        yield from self.ending(fix_hints=fix_hints)

    def _summary(self) -> Iterator[str]:
        broken = [each for each in self.findings if each.verdict is Verdict.FAIL]
        warnings = sum(each.verdict is Verdict.WARN for each in self.findings)
        yield ""
        said = f", {_count(warnings, 'warning')}" if warnings else ""
        if not broken:
            yield f"Nothing is broken{said}."
            return
        yield f"{_count(len(broken), 'problem')}{said}. Begin with {broken[0].name}:"
        yield f"  {_safe(broken[0].message)}"
        yield f"  cure: {broken[0].cure}"

    def _hints(self) -> Iterator[str]:
        yield ""
        yield "What to type:"
        for each in self.findings:
            if each.verdict in {Verdict.OK, Verdict.SKIP}:
                continue
            yield ""
            yield f"# {each.name}: {_safe(each.message)}"
            yield from each.steps or (f"# {each.cure}",)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _safe(value: Any) -> Any:
    """Return a value without the secrets in its texts: one may stand in the wrong setting."""
    if isinstance(value, str):
        return _REDACTOR.redact_text(value)
    if isinstance(value, Mapping):
        return {_safe(name): _safe(item) for name, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, (list, tuple)) else value
