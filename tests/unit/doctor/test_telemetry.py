"""OpenTelemetry as a process has it."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import ProxyTracerProvider

from z4j_otel.doctor.telemetry import (
    Instrumentation,
    examine_telemetry,
    installed_instrumentations,
)
from z4j_otel.findings import Verdict

CELERY = Instrumentation("celery", "opentelemetry-instrumentation-celery", "0.66b2")
DJANGO = Instrumentation("django", "opentelemetry-instrumentation-django", "0.66b2")


def examine(provider=None, **given):
    """Examine, without what this machine has installed."""
    nothing = {"environ": {}, "installed": [], "loaded": (), "has_django": False}
    nothing["exporters"] = ["otlp_proto_grpc", "z4j"]
    return list(examine_telemetry(provider or ProxyTracerProvider(), **{**nothing, **given}))


def test_without_a_provider_the_way_to_see_one_is_told():
    """The doctor's own process need not be set up as the worker is."""
    (found,) = examine(installed=[CELERY], environ={"OTEL_TRACES_EXPORTER": "otlp"})
    assert found.verdict is Verdict.OK
    assert "opentelemetry-instrument z4j-otel doctor" in found.message
    assert "OTEL_TRACES_EXPORTER=otlp" in found.message
    assert "celery 0.66b2" in found.message


def test_a_pipeline_is_described():
    """Provider, sampler, processors and exporters."""
    provider = TracerProvider()
    try:
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        (found,) = examine(provider)
    finally:
        provider.shutdown()
    assert found.details["provider"] == "TracerProvider"
    assert found.details["sampler"].startswith("ParentBased")
    assert found.details["processors"] == ["BatchSpanProcessor"]
    assert found.details["exporters"] == ["ConsoleSpanExporter"]
    assert "BatchSpanProcessor to ConsoleSpanExporter" in found.message


def test_a_provider_without_processors_says_so():
    """Spans go nowhere."""
    (found,) = examine(TracerProvider())
    assert "no processor" in found.message


def test_a_switched_off_sdk_is_a_warning():
    """Events have no trace ids then; no other word than true switches it off."""
    assert len(examine(environ={"OTEL_SDK_DISABLED": "1"})) == 1
    _, found = examine(environ={"OTEL_SDK_DISABLED": "true"})
    assert found.cure == "unset OTEL_SDK_DISABLED"


def test_a_disabled_celery_instrumentation_is_a_warning():
    """Others may be disabled as one likes."""
    names = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    assert len(examine(environ={names: "redis, flask"})) == 1
    _, found = examine(environ={names: "redis, celery"})
    assert "switches off celery" in found.message


def test_spans_that_reach_z4j_twice_are_told():
    """Once by the environment, once by the user's own code."""

    class Z4JSpanProcessor:
        pass

    class Z4JExporter:
        pass

    class Simple:
        span_exporter = Z4JExporter()

    class Chain:
        _span_processors = (Z4JSpanProcessor(), Simple())

    class Provider:
        sampler = object()
        _active_span_processor = Chain()

    _, found = examine(Provider())
    assert "2 times" in found.message


def test_two_packages_for_one_library_are_told():
    """Each makes its spans."""
    other = Instrumentation("celery", "somebody-elses-celery", "1")
    _, found = examine(installed=[CELERY, other])
    assert "2 packages instrument celery" in found.message
    assert found.cure == "pip uninstall somebody-elses-celery"


def test_another_vendors_tracer_is_told():
    """With the switch for its half."""
    _, found = examine(loaded=("ddtrace", "json"))
    assert found.cure == "export DD_TRACE_CELERY_ENABLED=false"


def test_the_django_trap_is_told_with_the_very_settings_module():
    """The application names it too late for opentelemetry-instrument."""
    _, found = examine(
        installed=[DJANGO],
        has_django=True,
        start_environ={},
        environ={"DJANGO_SETTINGS_MODULE": "shop.settings"},
    )
    assert found.verdict is Verdict.WARN
    assert found.cure == "export DJANGO_SETTINGS_MODULE=shop.settings"


def test_the_django_trap_is_closed_where_the_variable_is_set_or_django_is_not_instrumented():
    """No warning without a danger."""
    trap = {"installed": [DJANGO], "has_django": True}
    safe = [
        {**trap, "environ": {"DJANGO_SETTINGS_MODULE": "shop.settings"}},
        {**trap, "environ": {"OTEL_PYTHON_DJANGO_INSTRUMENT": "False"}},
        {**trap, "environ": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "django"}, "loaded": ()},
        {**trap, "installed": [CELERY]},
        {**trap, "has_django": False},
    ]
    for given in safe:
        assert len(examine(**given)) == 1, given


def test_a_settings_module_that_nobody_named_is_left_to_the_reader():
    """The cure has a gap."""
    _, found = examine(installed=[DJANGO], has_django=True)
    assert found.cure == "export DJANGO_SETTINGS_MODULE=<project>.settings"


def test_installed_instrumentations_come_from_entry_points():
    """With package and version."""
    names = {each.name: each for each in installed_instrumentations()}
    assert names["celery"].package == "opentelemetry-instrumentation-celery"
    assert names["celery"].version
    assert "z4j_celery" in names


@pytest.mark.parametrize("wanted", ["otlp", "z4j", "console,z4j", "none", ""])
def test_an_exporter_that_is_installed_is_no_trouble(wanted):
    """Neither is none at all."""
    known = ["otlp_proto_grpc", "z4j", "console"]
    environ = {"OTEL_TRACES_EXPORTER": wanted}
    assert len(examine(environ=environ, exporters=known)) == 1


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
)
def test_otlp_stands_for_the_exporter_of_its_protocol(name):
    """Which is gRPC where nobody said another."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp"}
    known = ["otlp_proto_http"]
    assert len(examine(environ=environ, exporters=known)) == 2
    assert len(examine(environ={**environ, name: "http/protobuf"}, exporters=known)) == 1


@pytest.mark.parametrize(
    ("wanted", "absent", "cure"),
    [
        ("otlp", "otlp", "export OTEL_TRACES_EXPORTER=z4j"),
        ("z4j, otlp", "otlp", "pip install opentelemetry-exporter-otlp"),
        ("zipkin", "zipkin", "export OTEL_TRACES_EXPORTER=z4j"),
    ],
)
def test_an_exporter_that_is_not_installed_is_told(wanted, absent, cure):
    """Whoever named z4j beside it wants both."""
    _, found = examine(environ={"OTEL_TRACES_EXPORTER": wanted}, exporters=["z4j"])
    assert found.verdict is Verdict.WARN
    assert f"OTEL_TRACES_EXPORTER={absent} is not installed" in found.message
    assert found.cure == cure
