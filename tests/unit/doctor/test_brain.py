"""What the brain's words mean to an operator."""

from __future__ import annotations

import dataclasses

import pytest
from celery import Celery

from z4j_otel.agent.connection_failures import Phase, diagnose
from z4j_otel.clock import SystemClock
from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.doctor import brain as doctor_brain
from z4j_otel.doctor import verdicts
from z4j_otel.doctor.brain import build_hello, examine_brain, skip_brain
from z4j_otel.doctor.conversation import Conversation
from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.findings import Verdict
from z4j_otel.instrumentors.celery import CeleryAdapter
from z4j_otel.testing import ManualClock, ScriptedBrain
from z4j_otel.wire.frames import CommandPayload, Hello, HelloAck

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CONFIG = AgentConfig(
    brain_url="http://127.0.0.1:9",
    token=Secret("t" * 43),
    hmac_secret=Secret(SECRET),
    sources={"token": "environment Z4J_TOKEN", "hmac_secret": "environment Z4J_HMAC_SECRET"},
)
HELLO = Hello(agent_version="1", framework="bare", worker_id="doctor-x")


ACK = HelloAck(agent_id="a", project_id="p", session_id="s")


class Refusing:
    """A way that never opens."""

    def __init__(self, error):
        self.error = error

    async def connect(self):
        """Raise."""
        raise self.error


def examine(transport, config=CONFIG, *, longpoll=None, monkeypatch=None, hello=HELLO):
    """Examine a brain; return its findings by name."""
    if monkeypatch is not None:
        monkeypatch.setattr(doctor_brain, "_longpoll", lambda _: longpoll)
    found = examine_brain(config, hello, SystemClock(), sockets=transport)
    return {each.name: each for each in found}


def closing(code, *, after_hello):
    """Return a brain that closes."""

    async def script(peer):
        if after_hello:
            await peer.accept()
        await peer.receive()
        await peer.close(code)

    return ScriptedBrain(script, key=bytes(range(32)))


def accepting():
    """Return a brain that takes everything."""

    async def script(peer):
        await peer.accept(brain_version="")
        await peer.ack(await peer.receive())

    return ScriptedBrain(script, key=bytes(range(32)))


def test_a_brain_that_takes_everything_is_well():
    """Upgrade, hello, signature, clock."""
    found = examine(accepting())
    assert [each.verdict for each in found.values()] == [Verdict.OK] * 4
    assert "of unknown version" in found["hello"].message


@pytest.mark.parametrize(
    ("code", "after_hello", "probe", "line", "cure"),
    [
        (4401, False, "hello", "does not accept the token", "export Z4J_TOKEN="),
        (4403, False, "hello", "from this address", "agent_ip_allowlist"),
        (4400, False, "hello", "could not read our hello", "correct Z4J_BRAIN_URL"),
        (4426, False, "hello", "protocol version 2", "pip install --upgrade"),
        (4427, False, "hello", "too far apart", "pip install --upgrade"),
        (4429, False, "hello", "takes no more connections", "wait a minute"),
        (4003, True, "signed_frame", "revoked this agent's token", "export Z4J_TOKEN="),
        (4403, True, "signed_frame", "does not belong", "export Z4J_HMAC_SECRET="),
        (4429, True, "signed_frame", "no room", "ws_per_agent_concurrency_cap"),
        (4002, True, "signed_frame", "took this worker's place", "one doctor at a time"),
        (1011, True, "signed_frame", "failed over something", "see that the brain is up"),
    ],
)
def test_each_close_code_has_its_line_and_cure(code, after_hello, probe, line, cure):
    """At the step at which it came."""
    found = examine(closing(code, after_hello=after_hello))
    assert found[probe].verdict is Verdict.FAIL
    assert line in found[probe].message
    assert f"(close code {code})" in found[probe].message
    assert cure in found[probe].cure
    assert found["websocket"].verdict is Verdict.OK


def test_a_refused_token_is_told_with_its_source():
    """And when it cannot be one."""
    whole = examine(closing(4401, after_hello=False))["hello"]
    half = examine(
        closing(4401, after_hello=False), dataclasses.replace(CONFIG, token=Secret("abc"))
    )["hello"]
    assert "from environment Z4J_TOKEN, is wrong or was revoked" in whole.message
    assert "43 letters" in half.message
    assert "abc" not in half.message


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "access check"),
        (403, "let /ws/agent through"),
        (404, "where the dashboard opens"),
        (426, "where the dashboard opens"),
        (429, "z4j-otel status"),
        (301, "see that the brain runs behind this address"),
        (502, "see that the brain runs behind this address"),
    ],
)
def test_each_refused_upgrade_has_its_cure(monkeypatch, status, cure):
    """Long-poll does no better there."""
    error = ConnectFailed(f"HTTP {status}", http_status=status, cause="http")
    found = examine(Refusing(error), longpoll=Refusing(error), monkeypatch=monkeypatch)
    assert found["websocket"].verdict is Verdict.FAIL
    assert cure in found["websocket"].cure
    assert found["hello"].verdict is Verdict.SKIP


@pytest.mark.parametrize(
    ("cause", "cure"),
    [
        ("not_http", "speaks no HTTP"),
        ("refused", "start the brain"),
        ("closed", "is up"),
        ("tls_client", "Z4J_CLIENT_CERTIFICATE_FILE"),
        ("proxy_login", "export Z4J_PROXY="),
    ],
)
def test_each_cause_without_a_status_has_its_cure(monkeypatch, cause, cure):
    """Nothing HTTP came back."""
    error = ConnectFailed("it did not open", cause=cause)
    found = examine(Refusing(error), longpoll=Refusing(error), monkeypatch=monkeypatch)
    assert cure in found["websocket"].cure


def test_an_error_of_another_kind_is_told_all_the_same():
    """Whatever a library raises."""
    found = examine(Refusing(RuntimeError("boom")))
    assert found["websocket"].verdict is Verdict.FAIL
    assert found["websocket"].cure


def test_long_poll_is_found_where_no_websocket_comes_through(monkeypatch):
    """Then the agent works, only slower."""
    error = ConnectFailed("HTTP 502", http_status=502, cause="http")
    found = examine(Refusing(error), longpoll=accepting(), monkeypatch=monkeypatch)
    assert found["websocket"].verdict is Verdict.WARN
    assert found["longpoll"].verdict is Verdict.OK
    assert found["signed_frame"].verdict is Verdict.OK


def test_a_setting_for_websockets_asks_for_nothing_else(monkeypatch):
    """The agent would not use long-poll."""
    error = ConnectFailed("HTTP 502", http_status=502, cause="http")
    config = dataclasses.replace(CONFIG, transport="ws")
    found = examine(Refusing(error), config, longpoll=accepting(), monkeypatch=monkeypatch)
    assert "longpoll" not in found
    assert found["websocket"].verdict is Verdict.FAIL


def test_a_token_that_long_poll_refuses_is_hellos_failure(monkeypatch):
    """There is no hello on that way, and the same words."""
    config = dataclasses.replace(CONFIG, transport="longpoll")
    refusing = Refusing(ConnectionLost(4401))
    found = examine(None, config, longpoll=refusing, monkeypatch=monkeypatch)
    assert found["hello"].verdict is Verdict.FAIL
    assert "export Z4J_TOKEN=" in found["hello"].cure


def test_long_poll_that_does_not_open_is_told(monkeypatch):
    """As the setting asks for it."""
    config = dataclasses.replace(CONFIG, transport="longpoll")
    refusing = Refusing(ConnectFailed("HTTP 404", http_status=404, cause="http"))
    found = examine(None, config, longpoll=refusing, monkeypatch=monkeypatch)
    assert found["longpoll"].verdict is Verdict.FAIL


@pytest.mark.parametrize("way", ["auto", "longpoll"])
def test_the_agents_own_ways_are_taken(way):
    """Against an embedded brain at a real port."""
    with BrainThread() as thread:
        config = AgentConfig(
            brain_url=thread.url,
            token=Secret(thread.credentials.token),
            hmac_secret=Secret(thread.credentials.hmac_secret),
            transport=way,
        )
        found = examine(None, config)
    assert found["signed_frame"].verdict is Verdict.OK


@pytest.mark.parametrize(("skew_s", "words"), [(300, "300 s behind"), (-90, "90 s ahead of")])
def test_a_clock_that_differs_is_a_warning(skew_s, words):
    """The agent corrects its signatures; the times of events stay wrong."""
    clock = ManualClock(SystemClock.now_ns() + skew_s * 10**9)

    async def script(peer):
        await peer.accept()
        await peer.ack(await peer.receive())

    found = examine(ScriptedBrain(script, key=bytes(range(32)), clock=clock))
    assert found["clock"].verdict is Verdict.WARN
    assert words in found["clock"].message
    assert found["signed_frame"].verdict is Verdict.OK


def test_hello_is_the_agents_own_but_for_the_place():
    """Engines with what they may do here, and the role other."""
    config = dataclasses.replace(CONFIG, agent_name="web-1", commands=("-purge_queue",))
    hello = build_hello(config, [CeleryAdapter()], framework="django", clock=SystemClock())
    assert hello.engines == ["celery"]
    assert "retry_task" in hello.capabilities["celery"]
    assert "purge_queue" not in hello.capabilities["celery"]
    assert hello.host["name"] == "web-1"
    assert (hello.framework, hello.worker_role) == ("django", "other")
    assert hello.worker_id.startswith("doctor-")


def silent():
    """Return a brain that waits for hello."""

    async def script(peer):
        await peer.receive()

    return ScriptedBrain(script, key=bytes(range(32)))


def test_hello_that_nobody_knows_is_not_said(monkeypatch):
    """It would replace what workers have told; the secret is proven on the other way."""
    found = examine(silent(), hello=None, longpoll=accepting(), monkeypatch=monkeypatch)
    assert found["websocket"].verdict is Verdict.OK
    assert found["hello"].verdict is Verdict.SKIP
    assert "the brain takes the token" in found["hello"].message
    assert "z4j-otel doctor -A proj.celery" in found["hello"].message
    assert found["signed_frame"].verdict is Verdict.OK


def test_a_token_is_refused_without_hello(monkeypatch):
    """The brain looks at it first."""
    found = examine(Knocked(4401), hello=None, longpoll=None, monkeypatch=monkeypatch)
    assert found["hello"].verdict is Verdict.FAIL
    assert "export Z4J_TOKEN=" in found["hello"].cure


def test_a_secret_is_refused_without_hello(monkeypatch):
    """By the frame on the other way."""
    wrong = closing(4403, after_hello=True)
    found = examine(silent(), hello=None, longpoll=wrong, monkeypatch=monkeypatch)
    assert found["hello"].verdict is Verdict.SKIP
    assert "export Z4J_HMAC_SECRET=" in found["signed_frame"].cure


def test_a_stale_frame_is_thought_of_where_nobody_told_the_time(monkeypatch):
    """It is refused with the same code."""
    talk = Conversation(is_open=True, ack=ACK)
    talk.failure = diagnose(ConnectionLost(4403), Phase(established=True))
    line, cure, _ = verdicts.about_talk(CONFIG, talk)
    assert "or this machine's clock is more than a minute off" in cure.message
    assert line.verdict is Verdict.OK


def test_without_hello_and_long_poll_the_secret_stays_unproven(monkeypatch):
    """That is said, and how to prove it."""
    refusing = Refusing(ConnectFailed("HTTP 404", http_status=404, cause="http"))
    found = examine(silent(), hello=None, longpoll=refusing, monkeypatch=monkeypatch)
    assert {found[name].verdict for name in ("hello", "signed_frame", "clock")} == {Verdict.SKIP}
    assert "takes the token" not in found["hello"].message


def test_long_poll_refuses_a_token_that_the_socket_let_pass(monkeypatch):
    """Revoked in between."""
    refusing = Refusing(ConnectionLost(4401))
    found = examine(silent(), hello=None, longpoll=refusing, monkeypatch=monkeypatch)
    assert found["hello"].verdict is Verdict.FAIL


class Knocked:
    """A brain that closes before hello."""

    def __init__(self, code):
        self.code = code

    async def connect(self):
        """Be one's own connection."""
        return self

    async def receive(self):
        """Close."""
        raise ConnectionLost(self.code)

    async def close(self, code=1000, reason=""):
        """Hang up."""


@pytest.mark.parametrize(("setting", "is_listed"), [("auto", True), ("never", False)])
def test_hello_lists_restarts_unless_they_are_forbidden(setting, is_listed):
    """Nobody would start this process again, but a worker."""
    config = dataclasses.replace(CONFIG, restart_by_exit=setting)
    app = Celery("shop", broker="memory://", set_as_current=False)
    hello = build_hello(config, [CeleryAdapter(app)], framework="bare", clock=SystemClock())
    assert ("restart_worker" in hello.capabilities["celery"]) is is_listed


def test_what_is_not_asked_is_said_at_every_step():
    """With the reason."""
    assert {each.message for each in skip_brain("dns failed")} == {"dns failed"}
    assert len(skip_brain("dns failed")) == 4


def test_hello_lists_schedulers_as_the_agent_does():
    """With what may be done to them here."""

    class Scheduler:
        name = "shop-beat"

        def capabilities(self):
            return ["list", "read"]

    class Adapter:
        name = "shop"

        def capabilities(self):
            return ["cancel_task"]

        def schedulers(self):
            return [Scheduler()]

    hello = build_hello(CONFIG, [Adapter()], framework="bare", clock=SystemClock())
    assert hello.schedulers == ["shop-beat"]
    assert {"list", "read"} < set(hello.capabilities["shop-beat"])
    assert "external_schedule_protocol_v1" not in hello.runtime_features


def test_commands_that_were_answered_are_told():
    """Their operators have to send them again."""

    async def script(peer):
        await peer.accept()
        batch = await peer.receive()
        await peer.command("55555555-5555-4555-8555-555555555555", CommandPayload(action="x"))
        await peer.receive()
        await peer.ack(batch)

    found = examine(ScriptedBrain(script, key=bytes(range(32))))
    assert "1 waiting command was answered: send it again" in found["signed_frame"].message


def test_several_commands_are_several():
    """As words go."""
    assert verdicts._commands(2) == "2 waiting commands were answered: send them again"
