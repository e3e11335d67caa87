"""Commands on engines, in spans, with every end a result."""

from __future__ import annotations

import pytest
from opentelemetry import context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from z4j_otel.agent.execution import CommandRunner, select_engine
from z4j_otel.commands import Command, CommandStatus, Target
from z4j_otel.errors import AdapterError, CommandRefused, CommandUnsupported
from z4j_otel.redaction import Redactor

TRACEPARENT = f"00-{5:032x}-{6:016x}-01"


@pytest.fixture(scope="module")
def provider():
    """Return a provider of our own: the process's belongs to all tests."""
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture
def spans(provider):
    """Return what collects the provider's spans."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def runner(provider):
    """Return what makes a runner for one engine."""

    def make(engine, **options):
        return CommandRunner(
            {engine.name: engine}, redactor=Redactor(), tracer_provider=provider, **options
        )

    return make


def command(action="retry_task", **members):
    """Return a command to the engine celery."""
    members.setdefault("parameters", {"engine": "celery", "task_id": "t-1"})
    return Command("c-1", action, **members)


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"filter": {"engine": "rq"}}, None),
        ({"engine": "rq"}, None),
        ({}, "rq"),
        ({"engine": "rq", "filter": {"engine": "rq"}}, "rq"),
    ],
)
def test_engine_is_found_by_every_way_to_name_it(kit, parameters, target):
    """Filter, parameter and target may name the engine, in agreement."""
    engines = {name: kit.FakeEngine(name) for name in ("celery", "rq")}
    found = select_engine(command(parameters=parameters, target=Target(engine=target)), engines)
    assert found.name == "rq"


def test_only_engine_is_the_default(kit):
    """A command without an engine goes to the only one there is."""
    assert select_engine(command(parameters={}), {"rq": kit.FakeEngine("rq")}).name == "rq"


@pytest.mark.parametrize(
    ("parameters", "target", "error"),
    [
        ({"engine": "rq"}, "celery", CommandRefused),
        ({"filter": {"engine": "rq"}, "engine": "celery"}, None, CommandRefused),
        ({}, None, CommandRefused),
        ({"engine": "huey"}, None, CommandUnsupported),
        ({"engine": 3}, None, CommandRefused),
    ],
)
def test_engine_is_never_a_substitute(kit, parameters, target, error):
    """A mismatch, an unknown engine and a missing name among several all fail."""
    engines = {name: kit.FakeEngine(name) for name in ("celery", "rq")}
    with pytest.raises(error):
        select_engine(command(parameters=parameters, target=Target(engine=target)), engines)


def test_success_carries_result_and_trace(kit, runner, spans):
    """The adapter's values come back with the trace of the command's span."""
    result = runner(kit.FakeEngine()).run(command(issued_by="u-1"))
    (span,) = spans.get_finished_spans()
    assert result.status is CommandStatus.SUCCESS
    assert result.result == {
        "new_task_id": "t-2",
        "trace_id": f"{span.context.trace_id:032x}",
    }
    assert span.name == "z4j.command retry_task"
    assert span.attributes == {
        "z4j.command.id": "c-1",
        "z4j.command.action": "retry_task",
        "z4j.command.issued_by": "u-1",
        "z4j.command.status": "success",
        "z4j.captured": True,
        "messaging.message.id": "t-1",
    }


def test_closed_result_has_no_trace(kit, runner, spans):
    """The brain refuses a page of dead letters with anything more; a failure has room."""
    page = {"entries": [], "next_cursor": None, "total": 0, "engine": "celery"}
    engine = kit.FakeEngine(result=page, capabilities=["list_dead_letters"])
    assert runner(engine).run(command("dlq.list")).result == page
    failed = runner(kit.FakeEngine(capabilities=())).run(command("dlq.list"))
    assert set(failed.result) == {"trace_id"}


def test_span_links_to_the_runs(kit, runner, spans):
    """The spans of the runs that the command is about are linked."""
    runner(kit.FakeEngine()).run(command(traces=(TRACEPARENT, TRACEPARENT.replace("6-", "7-"))))
    (span,) = spans.get_finished_spans()
    assert [link.context.span_id for link in span.links] == [6, 7]
    assert [link.context.trace_id for link in span.links] == [5, 5]
    assert span.parent is None


@pytest.mark.parametrize("traces", [(), ("",), ("nonsense",), (f"00-{0:032x}-{6:016x}-01",)])
def test_missing_link_costs_nothing(kit, runner, spans, traces):
    """Without a usable link the command runs all the same."""
    result = runner(kit.FakeEngine()).run(command(traces=traces))
    assert result.is_success
    assert spans.get_finished_spans()[0].links == ()


def test_publishes_are_children_even_under_suppression(kit, runner, spans, provider):
    """What the adapter does is not suppressed, and its spans belong to the command's."""
    engine = kit.FakeEngine()

    def publish(command):
        assert is_instrumentation_enabled()
        with provider.get_tracer("t").start_as_current_span("publish"):
            return {}

    engine.execute = publish
    with suppress_instrumentation():
        before = context.get_current()
        runner(engine).run(command())
        assert context.get_current() == before
    publish_span, command_span = spans.get_finished_spans()
    assert publish_span.parent.span_id == command_span.context.span_id


@pytest.mark.parametrize(
    ("error", "text", "uncertain"),
    [
        (AdapterError("broker away"), "engine_error: broker away", False),
        (AdapterError("lost", indeterminate=True), "engine_error: lost", True),
        (CommandRefused("no such task"), "refused: no such task", False),
        (ZeroDivisionError("token=hunter2"), "internal: ZeroDivisionError", True),
    ],
)
def test_every_error_is_a_failed_result(kit, runner, spans, caplog, error, text, uncertain):
    """Errors become texts; uncertain outcomes are told; foreign messages never leak."""
    result = runner(kit.FakeEngine(result=error)).run(command())
    assert (result.status, result.error) == (CommandStatus.FAILED, text)
    assert result.result.get("indeterminate", False) is uncertain
    assert result.result.get("operation") == ("retry_task" if uncertain else None)
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == text.partition(":")[0]
    assert "hunter2" not in caplog.text.replace("ZeroDivisionError: token=hunter2", "")


def test_policy_refuses_before_the_engine_is_asked(kit, runner):
    """What the policy forbids never reaches the adapter."""
    engine = kit.FakeEngine()

    def policy(command):
        raise CommandRefused("read-only")

    result = runner(engine, policy=policy).run(command())
    assert result.error == "refused: read-only"
    assert engine.commands == []


def test_action_must_be_a_capability(kit, runner):
    """Unknown and unlisted actions are unsupported and never reach the adapter."""
    engine = kit.FakeEngine()
    result = runner(engine).run(command("pool_grow"))
    assert result.error.startswith("unsupported:")
    assert engine.commands == []


def test_reconciliation_needs_no_capability(kit, runner):
    """The brain sends it whatever an engine lists, so it is always tried."""
    assert runner(kit.FakeEngine(capabilities=())).run(command("reconcile_task")).is_success


def test_results_are_redacted_objects(kit, runner):
    """Secrets in results and errors are removed, and a result is always an object."""
    redacted = runner(kit.FakeEngine(result={"password": "hunter2"})).run(command())
    assert "hunter2" not in str(redacted)
    assert runner(kit.FakeEngine(result=["x"])).run(command()).result["value"] == ["x"]


def test_long_errors_are_cut(kit, runner):
    """An error has at most 1024 characters."""
    assert len(runner(kit.FakeEngine(result=AdapterError("x" * 5000))).run(command()).error) == 1024
