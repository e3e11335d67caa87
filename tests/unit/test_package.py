"""The public names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import z4j_otel

SOURCE = Path(z4j_otel.__file__).parent


def test_every_public_name_can_be_imported() -> None:
    """What `__all__` lists is there, and documented."""
    for name in z4j_otel.__all__:
        assert getattr(z4j_otel, name).__doc__
    assert dir(z4j_otel) == sorted(z4j_otel.__all__)


def test_there_are_few_public_names() -> None:
    """A user should not have to search."""
    assert len(z4j_otel.__all__) <= 12


def test_an_unknown_name_is_refused() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = z4j_otel.nothing


def test_importing_the_package_costs_nothing() -> None:
    """Neither OpenTelemetry's SDK nor anything else of weight is loaded."""
    code = (
        "import sys, z4j_otel\n"
        "heavy = {'opentelemetry', 'websockets', 'httpx', 'celery', 'msgspec', 'rich', 'asyncio'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_of_the_agent_touches_the_hosts_signals() -> None:
    """Handlers belong to the application; only commands and processes of our own have some."""
    own = {"cli", "process_main.py"}
    taking = re.compile(r"signal\.signal\(|set_wakeup_fd\(|add_signal_handler\(")
    found = [
        path.relative_to(SOURCE)
        for path in SOURCE.rglob("*.py")
        if taking.search(path.read_text("utf-8"))
    ]
    assert found
    assert [path for path in found if own.isdisjoint(path.parts)] == []
