"""Every way in, with a real prefork worker: what the brain and the user's collector get."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from z4j_otel.cli.workload.scenarios import SCENARIOS

from .otlp_receiver import STATUS_ERROR, OtlpReceiver
from .ways import Play, Told
from .ways_lab import BASICS, Outcome, Plays

pytestmark = pytest.mark.timeout(300)

BASIC_SPANS = {"shop.add": 1, "shop.fail": 1, "shop.flaky": 3}
LIVE = (*BASICS, "chain", "parent")
LIVE_SPANS = 20
"""Two for each run: returns, raises, retries (3 runs), chain (2), parent with its two."""
CAUSES = {"killed": "worker_lost", "hard_limited": "time_limit", "terminated": "revoked"}
play = Plays()


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """Run every play that a chosen test asks for."""
    with play.running(request, tmp_path_factory) as running:
        yield running


def scenario_of(name):
    """Return what is true of one of the workload's scenarios."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def play_killers(play, is_over):
    """Publish the tasks whose process does not survive, and wait until all is over."""
    play.publish(*CAUSES)
    play.terminate_task("terminated")
    play.wait(is_over, "end of the killed tasks")


@play
def untouched(lab):
    """Play everything for a user who has the package installed and no more."""
    with OtlpReceiver() as receiver:
        play = Play(lab.folder, {"OTEL_TRACES_EXPORTER": "otlp", **receiver.env()})
        try:
            play.start_and_publish(*LIVE)
            play.wait(lambda: len(receiver.spans()) >= LIVE_SPANS, "spans")
            log = play.threads()
            words = ("WorkerLostError", "Hard time limit", "Terminating")
            play_killers(play, lambda: all(word in play.log() for word in words))
        finally:
            play.stop()
        return Outcome(play, Told(lab.brain, play), receiver.spans(), log)


@play
def beside_otlp(lab):
    """Play everything with ``OTEL_TRACES_EXPORTER=otlp,z4j``."""
    with OtlpReceiver() as receiver:
        play, told = lab.make({"OTEL_TRACES_EXPORTER": "otlp,z4j", **receiver.env()})
        try:
            play.start_and_publish(*LIVE)
            play.wait(lambda: len(receiver.spans()) >= LIVE_SPANS, "spans")
            log = play.threads()
            play_killers(play, lambda: told.has_ended(*CAUSES))
        finally:
            play.stop()
        return Outcome(play, told, receiver.spans(), log)


@play
def exporter_alone(lab):
    """``OTEL_TRACES_EXPORTER=z4j``."""
    return lab.basics({"OTEL_TRACES_EXPORTER": "z4j"})


@play
def own_provider(lab):
    """The application's own provider with Z4JExporter, and our instrumentor."""
    variables = {"WAYS_PROVIDER": "otlp,z4j", "WAYS_ACTIVATE": "z4j"}
    return lab.traced_basics(variables, is_instrumented=False)


@play
def own_provider_with_arguments(lab):
    """The same, with settings as arguments of Z4JExporter; there are no variables."""
    variables = {
        "WAYS_PROVIDER": "z4j",
        "WAYS_ACTIVATE": "z4j",
        "WAYS_ARGUMENTS": json.dumps(_as_arguments(lab.brain.env())),
    }
    return lab.basics(_without(lab.brain.env()) | variables, is_instrumented=False)


@play
def upstream_before(lab):
    """The application activates upstream's instrumentor, then ours."""
    variables = {"WAYS_PROVIDER": "otlp,z4j", "WAYS_ACTIVATE": "celery,z4j"}
    return lab.traced_basics(variables, is_instrumented=False)


@play
def upstream_after(lab):
    """The application activates our instrumentor, then upstream's."""
    variables = {"WAYS_PROVIDER": "otlp,z4j", "WAYS_ACTIVATE": "z4j,celery"}
    return lab.traced_basics(variables, is_instrumented=False)


@play
def upstream_again(lab):
    """The application activates upstream's under opentelemetry-instrument, which did so."""
    return lab.traced_basics({"OTEL_TRACES_EXPORTER": "otlp,z4j", "WAYS_ACTIVATE": "celery"})


@play
def upstream_by_hand(lab):
    """The application activates upstream's, which is disabled in opentelemetry-instrument."""
    return lab.traced_basics(
        {
            "OTEL_TRACES_EXPORTER": "otlp,z4j",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery",
            "WAYS_ACTIVATE": "celery",
        }
    )


@play
def foreign(lab):
    """Only upstream's instrumentor, and Z4JExporter on the application's provider."""
    variables = {"WAYS_PROVIDER": "z4j", "WAYS_ACTIVATE": "celery"}
    play, told = lab.make(variables, is_instrumented=False)
    kinds = {name: {"sent", *scenario_of(name).events.split()} for name in BASICS}
    try:
        # A span of the publisher ends with it: its events wait for the worker's agents.
        play.publish(*BASICS)
        play.start()
        play.wait(lambda: all(kinds[name] <= set(told.kinds(name)) for name in BASICS), "ends")
    finally:
        play.stop()
    return Outcome(play, told)


def _as_arguments(variables):
    return {name.removeprefix("Z4J_").lower(): value for name, value in variables.items()}


def _without(variables):
    return dict.fromkeys(variables, "")


CONFIGURATION = """
file_format: "1.0"
propagator:
  composite: [{tracecontext: }]
tracer_provider:
  processors:
    - batch:
        schedule_delay: 200
        exporter:
          z4j: {settings}
"""


@play
def config_file(lab):
    """``OTEL_CONFIG_FILE`` names the exporter, the environment has its settings."""
    path = lab.folder / "otel.yaml"
    path.write_text(CONFIGURATION.replace("{settings}", ""))
    return lab.basics({"OTEL_CONFIG_FILE": str(path)})


@play
def config_file_with_settings(lab):
    """``OTEL_CONFIG_FILE`` names the exporter and its settings; there are no variables."""
    settings = {name.removeprefix("Z4J_").lower(): value for name, value in lab.brain.env().items()}
    path = lab.folder / "otel.yaml"
    path.write_text(CONFIGURATION.replace("{settings}", json.dumps(settings)))
    return lab.basics(dict.fromkeys(lab.brain.env(), "") | {"OTEL_CONFIG_FILE": str(path)})


@play
def sampled(lab):
    """One trace in a hundred is sampled."""
    return lab.traced_basics(
        {
            "OTEL_TRACES_EXPORTER": "otlp,z4j",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        },
        names=(*BASICS, "sigkill"),
    )


@play
def sdk_disabled(lab):
    """``OTEL_SDK_DISABLED=true``."""
    return lab.basics({"OTEL_TRACES_EXPORTER": "z4j", "OTEL_SDK_DISABLED": "true"})


@play
def no_exporter(lab):
    """``OTEL_TRACES_EXPORTER=none``."""
    return lab.basics({"OTEL_TRACES_EXPORTER": "none"})


@play
def upstream_disabled(lab):
    """``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=celery``."""
    return lab.traced_basics(
        {"OTEL_TRACES_EXPORTER": "otlp,z4j", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery"}
    )


@pytest.mark.parametrize(
    "way",
    [
        "exporter_alone", "beside_otlp", "own_provider",
        "own_provider_with_arguments", "upstream_before", "upstream_after",
        "upstream_again", "upstream_by_hand", "config_file", "config_file_with_settings",
        "sampled", "no_exporter",
    ],
)  # fmt: skip
def test_every_task_is_told_whole(request, way):
    """Each step of each task is told once, in order, in one trace; the worker ends well."""
    outcome = request.getfixturevalue(way)
    assert outcome.told.problems(*BASICS) == []
    assert outcome.told.trace_problems(*BASICS) == []
    assert outcome.play.status == 0


@pytest.mark.parametrize("way", ["sdk_disabled", "upstream_disabled"])
def test_every_task_is_told_without_spans(request, way):
    """Where there are no spans each step is told all the same, without a trace."""
    outcome = request.getfixturevalue(way)
    assert outcome.told.problems(*BASICS) == []
    assert [outcome.told.traces(name) for name in BASICS] == [set()] * len(BASICS)
    assert outcome.play.status == 0


# What the user's collector gets.


def paths(spans):
    """Count spans by the names from themselves up to their root, kind and status."""
    by_id = {span.span_id: span for span in spans}

    def path(span):
        parent = by_id[span.parent_span_id] if span.parent_span_id else None
        return (span.name, *(path(parent) if parent else ()))

    return Counter((path(span), span.kind, span.status) for span in spans)


def test_the_users_spans_are_unchanged(untouched, beside_otlp):
    """With z4j, a collector gets the spans it got before, and those of killed runs."""
    before, after = paths(untouched.spans), paths(beside_otlp.spans)
    assert before - after == Counter()
    assert {name: count for (path, *_), count in (after - before).items() for name in path[:1]} == {
        f"run/ways.{name}": 1 for name in CAUSES
    }


def test_the_users_attributes_are_kept(untouched, beside_otlp):
    """With z4j, spans have the attributes they had before, and more."""
    before, after = ({}, {})
    for kept, spans in ((before, untouched.spans), (after, beside_otlp.spans)):
        for span in spans:
            key = (span.name, span.attributes.get("celery.retries"))
            kept[key] = set(span.attributes) | kept.get(key, set())
    assert {key: names - after[key] for key, names in before.items() if names - after[key]} == {}
    assert beside_otlp.play.worker_name in {
        span.attributes.get("celery.hostname") for span in beside_otlp.spans
    }


@pytest.mark.parametrize("name", CAUSES)
def test_a_killed_run_has_its_span(beside_otlp, name):
    """It is there once, with status, cause, parent, true times and the ids the brain has."""
    spans, told = beside_otlp.spans, beside_otlp.told
    (run,) = [span for span in spans if span.name == f"run/ways.{name}"]
    (publish,) = [span for span in spans if span.name == f"apply_async/ways.{name}"]
    started = told.event(name, "task.started")
    running_ns = beside_otlp.play.started_ns(name)
    assert (run.trace_id, run.parent_span_id) == (publish.trace_id, publish.span_id)
    assert (run.trace_id, run.span_id) == tuple(
        started["data"][key] for key in ("trace_id", "span_id")
    )
    assert run.status == STATUS_ERROR
    assert run.attributes["error.type"] in {"WorkerLostError", "TimeLimitExceeded", "Terminated"}
    assert run.attributes["z4j.task.cause"] == CAUSES[name]
    assert publish.start_ns < run.start_ns < running_ns < run.end_ns
    assert run.start_ns // 10**9 == started["occurred_at_ns"] // 10**9


@pytest.mark.parametrize("name", CAUSES)
def test_a_killed_run_is_told_once(beside_otlp, name):
    """The brain gets one end of it, with its cause."""
    end = "revoked" if name == "terminated" else "failed"
    assert beside_otlp.told.kinds(name) == Counter(["sent", "received", "started", end])
    data = beside_otlp.told.event(name, f"task.{end}")["data"]
    assert data.get("cause", "revoked") == CAUSES[name]
    assert beside_otlp.told.trace_problems(name) == []


@pytest.mark.parametrize(
    "way",
    ["own_provider", "upstream_before", "upstream_after", "upstream_again", "upstream_by_hand"],
)
def test_no_span_is_doubled(request, way):
    """However upstream is activated, each publish and each run has one span."""
    outcome = request.getfixturevalue(way)
    names = Counter(span.name for span in outcome.spans)
    assert names == {
        f"{step}/{task}": count
        for task, count in BASIC_SPANS.items()
        for step in ("apply_async", "run")
    }


def test_sampling_does_not_concern_the_brain(sampled):
    """The collector gets the sampled traces, the brain every task and which are sampled."""
    assert sampled.told.problems("sigkill") == []
    names = (*BASICS, "sigkill")
    starts = [
        each["data"]
        for name in names
        for each in sampled.told.events(name)
        if each["kind"] == "task.started"
    ]
    sampled_traces = {data["trace_id"] for data in starts if data["trace_sampled"]}
    assert {span.trace_id for span in sampled.spans} == sampled_traces
    assert len(sampled_traces) < len(names)


def test_disabled_upstream_makes_no_spans(upstream_disabled):
    """Where the user switched Celery's spans off, z4j does not bring them back."""
    assert upstream_disabled.spans == []


# What a span alone can tell.


@pytest.mark.parametrize("name", ["returns", "raises"])
def test_upstream_alone_tells_starts_and_ends(foreign, name):
    """Without our instrumentor each step comes from a span, once."""
    told, scenario = foreign.told, scenario_of(name)
    row = told.row(name)
    assert told.kinds(name) == Counter(["sent", *scenario.events.split()])
    assert (row["state"], row["name"]) == (scenario.state, scenario.task)
    assert row["runtime_ms"] is not None
    assert (row["exception"] or "").startswith(scenario.row.get("exception", ""))
    assert told.trace_problems(name) == []


def test_upstream_alone_tells_of_retries(foreign):
    """Every kind of step is told; of several in a second, the brain may keep only one."""
    told, scenario = foreign.told, scenario_of("retries")
    expected = Counter(["sent"] * 3 + scenario.events.split())
    assert set(told.kinds("retries")) == set(expected)
    assert told.kinds("retries") <= expected
    assert told.row("retries")["state"] == scenario.state
    assert told.trace_problems("retries") == []


def test_without_settings_nothing_happens(untouched, beside_otlp):
    """There is no thread, no file and no log line of z4j; where it is set up, there are."""
    said = untouched.log.replace("z4j_otel/cli/workload", "").replace("z4j_otel.cli.workload", "")
    assert "z4j" not in said.lower()
    assert untouched.play.files() == []
    assert "z4j" not in untouched.play.publisher_log
    assert "z4j-agent" in beside_otlp.log
    assert beside_otlp.play.files() != []
    assert untouched.play.status == 0
