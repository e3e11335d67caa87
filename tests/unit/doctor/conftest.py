"""Short waits for the doctor's tests."""

from __future__ import annotations

import pytest

from z4j_otel.doctor import conversation


@pytest.fixture(autouse=True)
def short_knock(monkeypatch):
    """Wait for a refusal no longer than one needs on this machine."""
    monkeypatch.setattr(conversation, "_KNOCK_S", 0.2)
