"""The whole examination: its order, and what goes on when something is broken."""

from __future__ import annotations

import logging
import socket

import pytest

from z4j_otel.config import AgentConfig
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.doctor import Request, examination, examine
from z4j_otel.doctor.examination import Examination
from z4j_otel.doctor.route import find_route
from z4j_otel.findings import Verdict, failed, fine
from z4j_otel.instrumentors.registry import Engine

ORDER = [
    *("config", "buffer_path", "dns", "tcp", "proxy", "tls"),
    *("websocket", "hello", "signed_frame", "clock"),
]
LAST = ["other_agents", "fork_model", "orchestrator", "redaction"]
SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Adapter:
    """An engine's acting half that can do one thing."""

    name = "shop"

    def __init__(self, app=None):
        self.app = app

    def capabilities(self):
        """Return it."""
        return ["cancel_task"]


class Checkup:
    """What the doctor asks of the engine."""

    def find(self, where, given=None):
        """Find what was given or named."""
        app = given or where
        return app, fine("shop.app", f"found {app}")

    def examine(self, app):
        """Fail on the way."""
        yield fine("shop.broker", f"looked at {app}")
        raise KeyError("secret-of-the-engine")


def engine(name="shop", checkup=Checkup):
    """Return an engine whose package is installed."""
    return Engine(name, "json", instrumentor=object, adapter=Adapter, checkup=checkup)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Have the agents' files in a directory of the test."""
    monkeypatch.setenv("Z4J_HOME", str(tmp_path))


def settings_of(thread):
    """Return arguments that lead to an embedded brain."""
    agent = thread.credentials
    return {"brain_url": thread.url, "token": agent.token, "hmac_secret": agent.hmac_secret}


def run(*, engines=None, **request):
    """Run all checks; return the report and the findings by name."""
    subject = Examination(Request(**request), engines=engines or {})
    found = {each.name: each for each in subject.run()}
    return subject.report, found


def test_everything_is_looked_at_in_its_order():
    """Settings, files, network, brain, engines, the rest."""
    with BrainThread() as thread:
        report, found = run(settings=settings_of(thread))
        (agent,) = thread.brain.agents()

    names = [each.name for each in report.findings]
    assert names[: len(ORDER)] == ORDER
    assert names[-4:] == LAST
    assert report.ok
    assert found["signed_frame"].verdict is Verdict.OK
    assert found["hello"].verdict is Verdict.SKIP
    assert agent.last_connect_at is None


def test_an_engine_is_found_examined_and_listed_in_hello():
    """Its own failure is a finding, and the others go on."""
    with BrainThread() as thread:
        report, found = run(
            settings=settings_of(thread), app_name="market", engines={"shop": engine()}
        )
        (agent,) = thread.brain.agents()

    assert agent.capabilities == {"shop": ["cancel_task"]}
    assert found["shop.broker"].message == "looked at market"
    assert found["shop"].verdict is Verdict.FAIL
    assert "secret-of-the-engine" not in str(report.as_json())
    assert found["redaction"].verdict is Verdict.OK
    assert report.engines == ["shop"]


def test_only_engines_in_use_are_looked_at():
    """The setting names them; what is not installed is not there."""
    away = Engine("away", "no_such_package", instrumentor=object, adapter=Adapter)
    plain = engine("plain", checkup=None)
    engines = {"shop": engine(), "plain": plain, "away": away}
    report, found = run(settings={"engines": "plain"}, engines=engines)
    assert "shop.app" not in found
    assert report.engines == ["plain", "shop"]


def test_an_application_that_the_caller_has_needs_no_name():
    """As a framework's command has it."""
    _, found = run(apps={"shop": "the app"}, engines={"shop": engine()})
    assert found["shop.app"].message == "found the app"


def test_without_an_address_the_rest_is_looked_at():
    """Every network check says why it was not made."""
    report, found = run()
    assert not report.ok
    assert report.problems
    assert all(found[name].verdict is Verdict.SKIP for name in ORDER[2:])
    assert found["orchestrator"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("changes", "talks", "why"),
    [
        ({}, False, "--no-websocket"),
        ({"hmac_secret": ""}, True, "no usable token and signing secret"),
    ],
)
def test_the_brain_is_not_spoken_to_in_vain(changes, talks, why):
    """And that is said."""
    with BrainThread() as thread:
        _, found = run(settings={**settings_of(thread), **changes}, talks=talks)
        assert thread.brain.counts["connections"] == 0
    assert why in found["hello"].message
    assert found["tcp"].verdict is Verdict.OK


def test_a_port_where_nobody_listens_ends_the_way():
    """What lies behind it is skipped."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        _, found = run(settings={"brain_url": url, "token": "t" * 43, "hmac_secret": SECRET})
    assert found["tcp"].verdict is Verdict.FAIL
    assert found["hello"].message == "tcp failed"


def test_a_web_server_in_the_brains_place_is_described(monkeypatch):
    """By what it says of itself."""
    monkeypatch.setattr(examination, "describe_stranger", lambda _: "nginx answers")
    with BrainThread() as thread:
        settings = {**settings_of(thread), "brain_url": f"{thread.url}/elsewhere"}
        _, found = run(settings=settings)
    assert found["websocket"].message.endswith("; nginx answers")


@pytest.mark.parametrize(
    ("cause", "who", "line", "cure"),
    [
        ("not_http", "nginx answers", "ws://127.0.0.1:9/ws/agent is no brain: nginx", "dashboard"),
        ("not_http", "", "no HTTP", "look"),
        ("http", "nginx answers", "no HTTP; nginx answers", "look"),
        ("closed", "nginx answers", "no HTTP", "look"),
    ],
)
def test_who_answers_is_said_where_it_helps(monkeypatch, cause, who, line, cure):
    """An old server speaks an HTTP that our library does not know."""
    monkeypatch.setattr(examination, "describe_stranger", lambda _: who)
    route = find_route(AgentConfig(brain_url="http://127.0.0.1:9"))
    found = examination._explained(failed("websocket", "no HTTP", "look", cause=cause), route)
    assert line in found.message
    assert cure in found.cure


def test_hello_repeats_what_a_running_agent_says(monkeypatch):
    """No button of a dashboard disappears."""
    status = {"capabilities": {"celery": ["restart_worker"]}, "schedulers": {}}
    monkeypatch.setattr(examination, "find_living", lambda *_: status)
    with BrainThread() as thread:
        run(settings=settings_of(thread))
        (agent,) = thread.brain.agents()
    assert agent.capabilities == {"celery": ["restart_worker"]}


def test_the_log_is_still_meanwhile_and_speaks_again():
    """Everything it would say is among the findings."""
    subject = Examination(Request(), engines={})
    findings = subject.run()
    next(findings)
    assert logging.root.manager.disable == logging.CRITICAL
    list(findings)
    assert logging.root.manager.disable == logging.NOTSET


def test_one_call_does_it_all():
    """For frameworks that print the report."""
    report = examine(Request(framework="django", host_settings={"project_id": "picker"}))
    assert report.framework == "django"
    assert report.config["project_id"] == "picker"
    assert report.findings[-1].name == "redaction"


def test_nobody_in_particular_may_ask():
    """All from the environment."""
    assert examine().framework == "bare"
