"""``opentelemetry-instrument`` finds the exporter, and an application runs with no brain at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("opentelemetry-instrument")
DEADLINE_S = 60
"""A run that takes longer hangs; it should need a few seconds."""

# Makes one span as the Celery instrumentation does, and says which exporters it met.
APPLICATION = """
import gc
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter

tracer = trace.get_tracer("opentelemetry.instrumentation.celery")
with tracer.start_as_current_span("run/tasks.add", kind=trace.SpanKind.CONSUMER) as span:
    span.set_attributes({"messaging.message.id": "id-1", "celery.state": "SUCCESS"})
exporters = [type(found).__name__ for found in gc.get_objects() if isinstance(found, SpanExporter)]
print("EXPORTERS", *sorted(exporters))
flush = getattr(trace.get_tracer_provider(), "force_flush", None)
print("FLUSHED", flush and flush())
"""

CONFIGURATION = """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          z4j: {settings}
"""


@pytest.fixture
def unreachable():
    """URL of a port that refuses connections for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def settings(unreachable):
    """Settings of an agent whose brain is away."""
    return {
        "brain_url": unreachable,
        "token": "token-for-nobody",
        "hmac_secret": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I",
        "project_id": "default",
        "flush_timeout_seconds": "1",
    }


@pytest.fixture
def home(tmp_path):
    """An agent's home directory, empty."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def run_application(tmp_path, home):
    """Run the application under ``opentelemetry-instrument`` with this environment."""

    def run(**variables):
        script = tmp_path / "application.py"
        script.write_text(APPLICATION)
        environment = os.environ | {
            "Z4J_HOME": str(home),
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        return subprocess.run(
            [str(PROGRAM), sys.executable, str(script)],
            env=environment | variables,
            capture_output=True,
            check=False,
            text=True,
            timeout=DEADLINE_S,
            cwd=tmp_path,
        )

    return run


def as_environment(settings):
    """Write settings as variables."""
    return {f"Z4J_{name.upper()}": value for name, value in settings.items()}


def journalled(home):
    """Return the kinds of the events that wait below an agent's home directory."""
    found = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    kinds = (b"task.received", b"task.started", b"task.succeeded")
    return [kind.decode() for kind in kinds if kind in found and b"id-1" in found]


@pytest.mark.parametrize(
    ("chosen", "exporters"),
    [("z4j", "Z4JExporter"), ("console, z4j", "ConsoleSpanExporter Z4JExporter")],
)
def test_the_environment_chooses_the_exporter(run_application, settings, home, chosen, exporters):
    """The name z4j loads the class; the span's task waits on disk when the brain is away."""
    done = run_application(OTEL_TRACES_EXPORTER=chosen, **as_environment(settings))
    assert done.returncode == 0, done.stderr
    assert f"EXPORTERS {exporters}\n" in done.stdout
    assert "Failed to auto initialize" not in done.stderr
    assert journalled(home) == ["task.received", "task.started", "task.succeeded"]


def test_another_exporter_still_gets_its_spans(run_application, settings):
    """Beside z4j, the console exporter prints the span."""
    done = run_application(OTEL_TRACES_EXPORTER="console,z4j", **as_environment(settings))
    assert '"name": "run/tasks.add"' in done.stdout


def test_a_configuration_file_gives_settings(run_application, settings, home, tmp_path):
    """With OTEL_CONFIG_FILE the mapping's entries are the exporter's arguments."""
    configuration = tmp_path / "otel.yaml"
    configuration.write_text(CONFIGURATION.replace("{settings}", json.dumps(settings)))
    done = run_application(OTEL_CONFIG_FILE=str(configuration))
    assert done.returncode == 0, done.stderr
    assert "EXPORTERS Z4JExporter\n" in done.stdout
    assert journalled(home) == ["task.received", "task.started", "task.succeeded"]


def test_a_misspelt_setting_in_the_file_is_named(run_application, settings, tmp_path):
    """An unknown entry is told with the nearest known name, and the application runs."""
    configuration = tmp_path / "otel.yaml"
    misspelt = {"brain_ulr": settings.pop("brain_url"), **settings}
    configuration.write_text(CONFIGURATION.replace("{settings}", json.dumps(misspelt)))
    done = run_application(OTEL_CONFIG_FILE=str(configuration))
    assert done.returncode == 0, done.stderr
    assert "did you mean brain_url?" in done.stderr
    assert settings["token"] not in done.stderr


def test_without_configuration_nothing_is_made(run_application, home):
    """The exporter without settings warns once, writes nothing, and stops nobody."""
    done = run_application(OTEL_TRACES_EXPORTER="z4j")
    assert done.returncode == 0, done.stderr
    assert "EXPORTERS Z4JExporter\n" in done.stdout
    assert done.stderr.count("z4j is not configured") == 1
    assert list(home.iterdir()) == []


def test_a_disabled_sdk_is_left_alone(run_application, settings, home):
    """With OTEL_SDK_DISABLED the class is built and does nothing."""
    done = run_application(
        OTEL_TRACES_EXPORTER="z4j", OTEL_SDK_DISABLED="true", **as_environment(settings)
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
