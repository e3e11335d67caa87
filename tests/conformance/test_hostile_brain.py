"""A brain that means harm can do no more than the local command policy allows.

It has the token's connection and, except where a test says otherwise, the signing secret.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace

import pytest
from celery import Celery

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.commands import BRAIN_ACTIONS, Action, CommandStatus
from z4j_otel.config import AgentConfig, Secret
from z4j_otel.errors import ConnectionLost
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.testing.scripted import ScriptedBrain
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import CommandPayload, HelloAck
from z4j_otel.wire.session import CommandFinished, HelloReceived, Role, Session

KEY = bytes(range(32))
CONFIG = AgentConfig(
    brain_url="http://localhost:1",
    token=Secret("token-of-the-test"),
    hmac_secret=Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
)
STRANGE = (
    "os.system",
    "__import__",
    "retry_task\n",
    "RETRY_TASK",
    "../retry_task",
    "*",
)
ACTIONS = (*sorted(BRAIN_ACTIONS), *STRANGE)
# The brain asks these by itself, they change nothing, and a list of actions need not name them.
QUESTIONS = {
    Action.RECONCILE_TASK.value,
    Action.SCHEDULE_ACTIVATE.value,
    Action.SCHEDULE_RESYNC.value,
}
MINUTE_NS = 60 * 10**9
WAIT_S = 30


class Nothing:
    """A journal in which nothing is written."""

    def import_pending(self, now_ns):
        """Import nothing."""
        return 0

    def close(self):
        """Close nothing."""


class Willing:
    """An engine that would do anything."""

    name = "celery"

    def __init__(self):
        self.did = []

    def capabilities(self):
        """Offer everything."""
        return sorted(BRAIN_ACTIONS)

    def execute(self, command):
        """Note that it was asked."""
        self.did.append(command.action)
        return {}

    def queue_depths(self):
        """Know of none."""
        return {}

    def worker_details(self):
        """Know of none."""
        return {}


def play(*scripts, engine, **settings):
    """Have an agent meet a brain that follows the scripts, one for each connection."""
    is_over = threading.Event()
    failures = []

    async def last(peer):
        try:
            await scripts[-1](peer)
        except BaseException as error:  # noqa: BLE001 -- raised in the test's thread
            failures.append(error)
        finally:
            is_over.set()

    brain = ScriptedBrain(*scripts[:-1], last, key=KEY)
    agent = AgentRuntime(
        replace(CONFIG, **settings),
        [engine],
        transport=brain,
        buffer=MemoryBuffer(),
        importer=Nothing(),
        redactor=Redactor(),
        # 0.3 of a pause, times this, is added to it: next to nothing is left.
        random=lambda: -3.3,
    )
    agent.start()
    try:
        assert is_over.wait(WAIT_S), "the brain waits for something that never comes"
    finally:
        agent.shutdown(0)
    if failures:
        raise failures[0]
    return brain


async def ask(peer, payloads):
    """Send commands, and return the answers in the same order."""
    for number, payload in enumerate(payloads):
        await peer.command(f"c-{number}", payload)
    answers = {}
    while len(answers) < len(payloads):
        received = await peer.receive()
        if isinstance(received, CommandFinished):
            answers[received.command_id] = received.result
    return [answers[f"c-{number}"] for number in range(len(payloads))]


def test_where_nothing_is_allowed_nothing_is_done():
    """Z4J_COMMANDS=none: every action is offered nowhere, refused in words, and done by nobody."""
    engine, seen = Willing(), []

    async def script(peer):
        seen.append(await peer.accept())
        seen.append(await ask(peer, [CommandPayload(action=action) for action in ACTIONS]))

    play(script, engine=engine, commands=("none",))
    hello, answers = seen
    assert engine.did == []
    assert hello.capabilities["celery"] == []
    for action, answer in zip(ACTIONS, answers, strict=True):
        assert answer.status is CommandStatus.FAILED, action
        assert "denied here by Z4J_COMMANDS" in answer.error, action


def test_only_what_is_named_is_done():
    """A list of one action allows that action, by its whole name."""
    engine, answers = Willing(), []

    async def script(peer):
        await peer.accept()
        answers.extend(await ask(peer, [CommandPayload(action=action) for action in ACTIONS]))

    play(script, engine=engine, commands=("retry_task",))
    assert set(engine.did) <= {"retry_task"} | QUESTIONS
    assert "retry_task" in engine.did
    allowed = {a for a, got in zip(ACTIONS, answers, strict=True) if "denied" not in str(got.error)}
    assert allowed == {"retry_task"} | QUESTIONS


def test_the_policy_cannot_be_talked_away():
    """Nothing in a command reaches the settings: not its parameters, not its target."""
    engine = Willing()
    persuasion = {
        "commands": [],
        "policy": "allow",
        "Z4J_COMMANDS": "",
        "force": True,
        "as": "root",
    }

    async def script(peer):
        await peer.accept()
        payload = CommandPayload(action="purge_queue", parameters=persuasion, issued_by="admin")
        await ask(peer, [payload, payload])

    play(script, engine=engine, commands=("-purge_queue",))
    assert engine.did == []


def forged(peer, *, session=None, now_ns=None, change=None, number=1, action="retry_task"):
    """Return a command that a brain should not get through."""
    made = session or peer.session
    payload = CommandPayload(action=action)
    data = made.send_command(f"c-{number}", payload, now_ns=now_ns or peer._clock.now_ns())
    if change is None:
        return data
    frame = json.loads(data)
    change(frame)
    return json.dumps(frame).encode()


def stranger(peer, *, key=KEY, session_id="44444444-4444-4444-8444-444444444444"):
    """Return a session of the brain's side with another key, or bound to another session."""
    session = Session(Role.BRAIN, key)
    session.receive(peer.hello_bytes, now_ns=peer._clock.now_ns())
    ack = replace_ids(session_id)
    session.send_hello_ack(ack, frame_id="hack", now_ns=peer._clock.now_ns())
    return session


def replace_ids(session_id):
    """Return an answer to hello for another session."""
    return HelloAck(
        agent_id="11111111-1111-4111-8111-111111111111",
        project_id="22222222-2222-4222-8222-222222222222",
        session_id=session_id,
        brain_version="1.13.0",
    )


def drop(name):
    """Return what takes a member from a frame."""
    return lambda frame: frame.pop(name)


def put(name, value):
    """Return what changes a member of a frame."""
    return lambda frame: frame.update({name: value})


THREE = "33333333-3333-4333-8333-333333333333"
HARMFUL = {
    "no JSON": lambda peer: b"\xff\x00 not a frame",
    "an empty message": lambda peer: b"",
    "a list": lambda peer: b"[]",
    "nested 100 000 deep": lambda peer: b"[" * 100_000,
    "an object nested 50 000 deep": lambda peer: b'{"v":2,"type":"command","payload":' * 50_000,
    "a frame above the cap": lambda peer: b'{"x":"%b"}' % (b"y" * 1_100_000),
    "a number of 5000 digits": lambda peer: b'{"v":' + b"9" * 5000 + b"}",
    "an unknown type": lambda peer: forged(peer, change=put("type", "shell")),
    "another version": lambda peer: forged(peer, change=put("v", 3)),
    "no signature": lambda peer: forged(peer, change=drop("hmac")),
    "an empty signature": lambda peer: forged(peer, change=put("hmac", "")),
    "a signature that is no text": lambda peer: forged(peer, change=put("hmac", ["x"])),
    "another action under the signature": lambda peer: forged(
        peer, change=lambda frame: frame["payload"].update(action="purge_queue")
    ),
    "an action of 9999 letters": lambda peer: forged(peer, action="x" * 9999),
    "another id under the signature": lambda peer: forged(peer, change=put("id", "c-9")),
    "another secret": lambda peer: forged(
        peer, session=stranger(peer, key=bytes(32), session_id=THREE)
    ),
    "another session": lambda peer: forged(peer, session=stranger(peer)),
    "a time an hour ago": lambda peer: forged(peer, now_ns=peer._clock.now_ns() - 60 * MINUTE_NS),
    "a time to come": lambda peer: forged(peer, now_ns=peer._clock.now_ns() + 60 * MINUTE_NS),
}


async def listening(peer):
    """Accept the agent; keep what it said first, for a stranger to answer it."""
    connection, receive = peer._connection, peer._connection.receive

    async def keeping():
        data = await receive()
        peer.hello_bytes = data
        connection.receive = receive
        return data

    connection.receive = keeping
    await peer.accept()


@pytest.mark.parametrize("what", HARMFUL)
def test_a_harmful_message_ends_the_connection_and_nothing_else(what):
    """It is refused with the close code for it; the next connection works as ever."""
    engine, ends = Willing(), []

    async def harm(peer):
        await listening(peer)
        await peer.send_bytes(HARMFUL[what](peer))
        try:
            while True:
                await peer.receive()
        except ConnectionLost as end:
            ends.append((end.code, list(engine.did)))

    async def behave(peer):
        await peer.accept()
        (answer,) = await ask(peer, [CommandPayload(action="retry_task")])
        assert answer.is_success

    play(harm, behave, engine=engine)
    assert ends == [(1002, [])]
    assert engine.did == ["retry_task"]


def test_a_command_that_is_sent_again_is_not_done_again():
    """The same bytes a second time end the connection; the same id in another gets its answer."""
    engine, ends = Willing(), []

    async def replaying(peer):
        await peer.accept()
        data = forged(peer, number=0)
        await peer.send_bytes(data)
        await peer.receive_until(CommandFinished)
        await peer.send_bytes(data)
        try:
            while True:
                await peer.receive()
        except ConnectionLost as end:
            ends.append(end.code)

    async def again(peer):
        await peer.accept()
        (answer,) = await ask(peer, [CommandPayload(action="retry_task")])
        assert answer.is_success

    play(replaying, again, engine=engine)
    assert ends == [1002]
    assert engine.did == ["retry_task"]


GREETINGS = {
    "no time between heartbeats": {"heartbeat_interval_seconds": 0},
    "a negative cap": {"max_frame_size_bytes": -1},
    "an id of a megabyte": {"session_id": "x" * 1_000_000},
    "a member of another type": {"agent_id": {"$ne": None}},
    "another protocol": {"protocol_version": "3"},
}


@pytest.mark.parametrize("what", GREETINGS)
def test_a_harmful_answer_to_hello_is_refused(what):
    """No bound that it tells can make the agent spin, or hold what it should not."""
    ends = []

    async def harm(peer):
        assert isinstance(await peer.receive(), HelloReceived)
        payload = {
            "protocol_version": "2",
            "agent_id": "11111111-1111-4111-8111-111111111111",
            "project_id": "22222222-2222-4222-8222-222222222222",
            "session_id": THREE,
            **GREETINGS[what],
        }
        frame = {"v": 2, "type": "hello_ack", "id": "hack", "payload": payload}
        await peer.send_bytes(canonical.encode(frame))
        try:
            while True:
                await peer.receive()
        except ConnectionLost as end:
            ends.append(end.code)

    play(harm, engine=Willing())
    assert ends == [1002]


def test_texts_that_look_like_code_stay_texts(tmp_path):
    """Names and arguments are never imported, evaluated, formatted or taken for a path."""
    canary = tmp_path / "canary"
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    texts = [code, f"$(touch {canary})", f"`touch {canary}`", "{0.__class__}", "antigravity.x"]
    texts += ["antigravity:x", f"!!python/object/apply:os.system ['touch {canary}']", "%s%n"]
    app = Celery("hostile", broker="memory://", backend="cache+memory://", set_as_current=False)
    engine = CeleryEngineAdapter(app=app, reply_timeout_s=0.01)
    payloads = [
        CommandPayload(action=action, parameters=dict.fromkeys(names, text) | more)
        for text in texts
        for action, names, more in (
            ("submit_task", ["task_name", "queue"], {"args": [text], "kwargs": {text: text}}),
            (
                "retry_task",
                ["task_id", "task_name"],
                {"override_args": [text], "override_kwargs": {}},
            ),
            ("schedule.fire", ["task_name", "fire_id", "schedule_id"], {"args": [text]}),
            ("restart_worker", ["worker_name"], {}),
            ("cancel_task", ["task_id", "signal"], {"terminate": True}),
        )
    ]

    async def script(peer):
        await peer.accept()
        await ask(peer, payloads)

    play(script, engine=engine)
    app.close()
    assert not canary.exists()
    assert "antigravity" not in sys.modules
