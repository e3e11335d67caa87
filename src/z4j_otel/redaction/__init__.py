"""Removal of sensitive content from everything that leaves the process.

Pure rules: values in, bounded JSON values out. What becomes of an event before and after
belongs to translation and wire.
"""

from __future__ import annotations

from z4j_otel.redaction.catalogue import RULES
from z4j_otel.redaction.custom import REDACT, CustomRedactor
from z4j_otel.redaction.findings import Finding
from z4j_otel.redaction.policy import REDACTED, RedactionPolicy
from z4j_otel.redaction.redactor import Redactor

__all__ = [
    "REDACT",
    "REDACTED",
    "RULES",
    "CustomRedactor",
    "Finding",
    "RedactionPolicy",
    "Redactor",
]
