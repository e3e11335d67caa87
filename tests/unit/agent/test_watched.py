"""Which engines are watched."""

from __future__ import annotations

import pytest

from z4j_otel.agent.watched import is_watched


@pytest.mark.parametrize(
    ("named", "expected"), [("", True), ("celery", True), ("rq,celery", True), ("rq", False)]
)
def test_an_engine_is_watched_when_named_or_when_none_is(monkeypatch, tmp_path, named, expected):
    """Whoever names one engine does not want the others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("Z4J_ENGINES", named)

    assert is_watched("celery", {}) is expected


def test_what_code_has_given_counts(monkeypatch, tmp_path):
    """An argument beats the environment here as everywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("Z4J_ENGINES", "celery")

    assert not is_watched("celery", {"engines": "rq"})
