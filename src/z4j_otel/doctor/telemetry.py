"""OpenTelemetry as it is in this process: provider, sampler, exporters, instrumentations.

Events of z4j do not depend on any of it; their trace ids do. What the doctor sees is what a
process started in the same way would see: with ``opentelemetry-instrument`` before it, or
with the application's own set-up when an app is imported.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Final

from z4j_otel.findings import Finding, fine, warned

__all__ = ["Instrumentation", "examine_telemetry", "installed_instrumentations"]

_NAME: Final = "opentelemetry"
_GROUP: Final = "opentelemetry_instrumentor"
_EXPORTERS: Final = "opentelemetry_traces_exporter"
_INSTALL_OTLP: Final = "pip install opentelemetry-exporter-otlp"
_RIVALS: Final = {
    "ddtrace": "DD_TRACE_CELERY_ENABLED=false",
    "newrelic": "NEW_RELIC_ENABLED=false",
    "elasticapm": "ELASTIC_APM_INSTRUMENT=false",
}
_OURS: Final = ("Z4JExporter", "Z4JSpanProcessor")


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """One package that patches a library for OpenTelemetry."""

    name: str
    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a tracer provider does with spans."""

    provider: str
    sampler: str = ""
    processors: list[str] = field(default_factory=list)
    exporters: list[str] = field(default_factory=list)


def examine_telemetry(
    provider: Any,
    *,
    environ: Mapping[str, str] = os.environ,
    start_environ: Mapping[str, str] | None = None,
    installed: Iterable[Instrumentation] | None = None,
    loaded: Iterable[str] | None = None,
    has_django: bool | None = None,
    exporters: Iterable[str] | None = None,
) -> Iterator[Finding]:
    """Describe OpenTelemetry, then what is wrong with it.

    Args:
        provider: The tracer provider in force.
        environ: The environment now.
        start_environ: The environment before an application was imported.
        installed: The instrumentations; those of the installed packages when None.
        loaded: Names of loaded modules; this process's when None.
        has_django: Whether Django is installed; the import system is asked when None.
        exporters: Names that ``OTEL_TRACES_EXPORTER`` may hold; those of the installed
            packages when None.
    """
    pipeline = _pipeline(provider)
    found = list(installed_instrumentations() if installed is None else installed)
    yield _describe(pipeline, found, environ)
    yield from _disabled(environ)
    yield from _absent(environ, _exporters() if exporters is None else exporters)
    yield from _doubled(pipeline, found)
    yield from _rivals(sys.modules if loaded is None else loaded)
    knows_django = find_spec("django") is not None if has_django is None else has_django
    if knows_django:
        yield from _django_trap(found, environ, environ if start_environ is None else start_environ)


def installed_instrumentations(
    entries: Iterable[EntryPoint] | None = None,
) -> Iterator[Instrumentation]:
    """Return the instrumentations of the installed packages, by their entry points."""
    for entry in entry_points(group=_GROUP) if entries is None else entries:
        package = entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
        version = entry.dist.version if entry.dist is not None else ""
        yield Instrumentation(entry.name, package, version)


def _pipeline(provider: Any) -> Pipeline:
    kind = type(provider).__name__
    sampler = getattr(provider, "sampler", None)
    if sampler is None:
        return Pipeline(kind)
    active = getattr(provider, "_active_span_processor", None)
    processors = list(getattr(active, "_span_processors", ()))
    exporters = [exporter for each in processors if (exporter := _exporter_of(each)) is not None]
    describe: Callable[[], str] = getattr(
        sampler, "get_description", lambda: type(sampler).__name__
    )
    return Pipeline(
        kind,
        describe(),
        [type(each).__name__ for each in processors],
        [type(each).__name__ for each in exporters],
    )


def _exporter_of(processor: Any) -> Any:
    inner = getattr(processor, "_batch_processor", processor)
    return getattr(inner, "_exporter", None) or getattr(processor, "span_exporter", None)


def _describe(
    pipeline: Pipeline, found: list[Instrumentation], environ: Mapping[str, str]
) -> Finding:
    names = [f"{each.name} {each.version}" for each in found if not each.name.startswith("z4j")]
    listed = ", ".join(names) or "none"
    details = {
        "provider": pipeline.provider,
        "sampler": pipeline.sampler,
        "processors": pipeline.processors,
        "exporters": pipeline.exporters,
        "instrumentations": names,
        "service_name": environ.get("OTEL_SERVICE_NAME", ""),
    }
    if not pipeline.sampler:
        wanted = environ.get("OTEL_TRACES_EXPORTER", "")
        said = f" (OTEL_TRACES_EXPORTER={wanted})" if wanted else ""
        text = (
            f"no tracer provider is set up in this process{said}; to see your worker's, type:"
            " opentelemetry-instrument z4j-otel doctor"
        )
    else:
        chain = ", ".join(pipeline.processors) or "no processor"
        to = f" to {', '.join(pipeline.exporters)}" if pipeline.exporters else ""
        text = f"{pipeline.provider}, sampler {pipeline.sampler}, {chain}{to}"
    return fine(_NAME, f"{text}; instrumentations: {listed}", **details)


def _disabled(environ: Mapping[str, str]) -> Iterator[Finding]:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        text = "OTEL_SDK_DISABLED is set: no spans are made; z4j's events have no trace ids"
        yield warned(_NAME, text, "unset OTEL_SDK_DISABLED", "unset OTEL_SDK_DISABLED")
    names = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    off = {name.strip() for name in names} & {"*", "celery", "z4j_celery"}
    if off:
        text = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS switches off {', '.join(sorted(off))}"
        cure = "take it out of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS to see task spans"
        yield warned(_NAME, text, cure)


def _exporters() -> list[str]:
    return [entry.name for entry in entry_points(group=_EXPORTERS)]


def _absent(environ: Mapping[str, str], known: Iterable[str]) -> Iterator[Finding]:
    """Tell of an exporter that is not there: opentelemetry-instrument then sets up nothing."""
    there = {"none", "", *known}
    wanted = [name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",")]
    for name in wanted:
        if (_otlp_of(environ) if name == "otlp" else name) in there:
            continue
        text = (
            f"OTEL_TRACES_EXPORTER={name} is not installed: opentelemetry-instrument fails with a"
            " traceback and sets up nothing, z4j-otel neither (with opentelemetry-distro, an unset"
            " variable means otlp)"
        )
        ours = "export OTEL_TRACES_EXPORTER=z4j"
        steps = (_INSTALL_OTLP, "# or, without it:", ours) if name.startswith("otlp") else (ours,)
        # Whoever names both has a collector.
        yield warned(_NAME, text, steps[0] if "z4j" in wanted else ours, *steps)


def _otlp_of(environ: Mapping[str, str]) -> str:
    """Return the exporter that ``otlp`` stands for."""
    named = map(environ.get, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"))
    protocol = next(filter(None, named), "grpc").strip()
    return f"otlp_proto_{protocol.partition('/')[0]}"


def _doubled(pipeline: Pipeline, found: list[Instrumentation]) -> Iterator[Finding]:
    ours = [name for name in (*pipeline.processors, *pipeline.exporters) if name in _OURS]
    if len(ours) > 1:
        text = f"spans reach z4j {len(ours)} times ({', '.join(ours)})"
        cure = "keep one: OTEL_TRACES_EXPORTER without z4j, or no Z4JSpanProcessor in your code"
        yield warned(_NAME, text, cure)
    for name, count in Counter(each.name for each in found).items():
        if count > 1:
            packages = sorted({each.package for each in found if each.name == name})
            text = f"{count} packages instrument {name} ({', '.join(packages)}): spans come twice"
            yield warned(
                _NAME, text, f"pip uninstall {packages[-1]}", f"pip uninstall {packages[-1]}"
            )


def _rivals(loaded: Iterable[str]) -> Iterator[Finding]:
    modules = set(loaded)
    for name, switch in _RIVALS.items():
        if name in modules:
            text = f"{name} is active in this process, too: each library may get two spans"
            yield warned(_NAME, text, f"export {switch}", f"export {switch}")


def _django_trap(
    found: list[Instrumentation], environ: Mapping[str, str], at_start: Mapping[str, str]
) -> Iterator[Finding]:
    """Tell of a process that would run with empty settings under opentelemetry-instrument."""
    is_there = any(each.name == "django" for each in found)
    disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    is_off = bool({"*", "django"} & {name.strip() for name in disabled.split(",")})
    is_off = is_off or environ.get("OTEL_PYTHON_DJANGO_INSTRUMENT", "").lower() == "false"
    if not is_there or is_off or at_start.get("DJANGO_SETTINGS_MODULE"):
        return
    module = environ.get("DJANGO_SETTINGS_MODULE") or "<project>.settings"
    export = f"export DJANGO_SETTINGS_MODULE={module}"
    yield warned(
        _NAME,
        "DJANGO_SETTINGS_MODULE is not in the environment: under opentelemetry-instrument, Django"
        " is set up with empty settings before your code can name them",
        export,
        export,
        "# or, without spans of Django:",
        "export OTEL_PYTHON_DJANGO_INSTRUMENT=False",
    )
