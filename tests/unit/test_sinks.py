"""The slot for the process's host."""

from __future__ import annotations

import subprocess
import sys

from z4j_otel import sinks


def test_a_given_host_answers_instead_of_the_agent() -> None:
    """Tests and frameworks may host the process themselves."""

    class Hosting:
        def sink(self, _settings: object = None) -> str:
            return "mine"

    sinks.set_opener(Hosting)  # type: ignore[arg-type]
    try:
        assert sinks.current_sink() == "mine"
    finally:
        sinks.set_opener(None)


def test_the_agent_is_found_by_name_when_nobody_was_given() -> None:
    """An exporter that OpenTelemetry built by class name finds the agent."""
    code = (
        "import sys; from z4j_otel import sinks\n"
        "assert 'z4j_otel.agent.host' not in sys.modules\n"
        "assert sinks.current_sink() is None\n"
        "assert 'z4j_otel.agent.host' in sys.modules\n"
        "assert 'z4j_otel.agent.seat' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_leaving_child_is_told_to_its_host() -> None:
    """One that keeps nothing back need not know the call."""

    class Keeping:
        left = 0

        def child_leaving(self) -> None:
            Keeping.left += 1

    try:
        for host in (Keeping, object):
            sinks.set_opener(host)  # type: ignore[arg-type]
            sinks.child_leaving()
    finally:
        sinks.set_opener(None)
    assert Keeping.left == 1
