"""The observation of each setting; see :mod:`tests.settings.observation`."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import json
import logging
import sys
from pathlib import Path

from z4j_otel.agent.engines import adapters_in_use
from z4j_otel.agent.placement import runs_beside
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import find_abandoned
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.commands import Command, Target
from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.restarts import allow_exit
from z4j_otel.instrumentors.purging import check_purge
from z4j_otel.wire.received import AgentStatusReceived, HeartbeatReceived
from z4j_otel.wire.signing import purge_token

from .lab import Engine
from .observation import REFUSED, observe

OTHER_KEY = "HxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4="
EVENT = json.dumps(
    {
        "data": {},
        "engine": "celery",
        "id": "11111111-1111-4111-8111-111111111111",
        "kind": "task.received",
        "occurred_at": "2026-01-02T03:04:05Z",
        "task_id": "t-1",
    },
    separators=(",", ":"),
).encode()
OTHER_ID = "99999999-9999-4999-8999-999999999999"


# Where the brain is, and who speaks to it.


@observe(
    "brain_url",
    lambda lab: f"http://127.0.0.1:{lab.listener.port}/behind/a/proxy",
    seen="GET /behind/a/proxy/ws/agent HTTP/1.1",
    default=REFUSED,
)
def _brain_url(lab):
    """Where the first request arrives."""
    return lab.request()[0]


@observe(
    "token",
    "t0ken-of-another",
    seen="Authorization: Bearer t0ken-of-another",
    default=REFUSED,
)
def _token(lab):
    """What the first request is authorised with."""
    lab.patch.setenv("Z4J_BRAIN_URL", f"http://127.0.0.1:{lab.listener.port}")
    return next(line for line in lab.request() if line.startswith("Authorization"))


@observe("hmac_secret", OTHER_KEY, seen="its brain reads us", default=REFUSED)
def _hmac_secret(lab):
    """Whether a brain with this secret takes our signatures."""
    is_read = bool(lab.talk(key=OTHER_KEY).of(HeartbeatReceived))
    return "its brain reads us" if is_read else "its brain refuses us"


@observe("project_id", "shop", seen="shop's agents adopt", default="left alone")
def _project_id(lab):
    """Whether another agent of the project finds what this one leaves."""
    seat = lab.seat()
    seat.files.close()
    heir = dataclasses.replace(lab.config, project_id="shop").deployment
    found = list(find_abandoned(seat.files.lock_path.parent, heir))
    for files in found:
        files.close()
    return "shop's agents adopt" if found else "left alone"


@observe("agent_name", "till 3", seen="till 3", default="the machine's")
def _agent_name(lab):
    """The name that the brain is told."""
    host = lab.talk().hello.host
    return "the machine's" if host["name"] == host["hostname"] else host["name"]


@observe("agent_id", OTHER_ID, seen="another one is told", default="nothing is told")
def _agent_id(lab):
    """What is logged when the brain knows the token as another agent's."""
    lab.talk()
    is_told = any(getattr(record, "action", "") == "agent_id_differs" for record in lab.logged)
    return "another one is told" if is_told else "nothing is told"


@observe("worker_role", "beat", seen="beat", default="other")
def _worker_role(lab):
    """The role that the brain is told."""
    return lab.talk().hello.worker_role


@observe("transport", "longpoll", seen="long-poll", default="WebSocket")
def _transport(lab):
    """What the first request asks for."""
    lab.patch.setenv("Z4J_BRAIN_URL", f"http://127.0.0.1:{lab.listener.port}")
    is_upgrade = "GET /ws/agent HTTP/1.1" in lab.request()
    return "WebSocket" if is_upgrade else "long-poll"


@observe(
    "dev_mode",
    True,
    seen="http:// allowed, files watched",
    default=REFUSED,
    brain_url="http://z4j.example",
)
def _dev_mode(lab):
    """Whether plain text to another host is taken, and task files are watched."""
    engine = Engine()
    adapters_in_use(lab.config, [engine], {})
    lab.agent()
    return f"http:// allowed, files {'watched' if engine.is_watching else 'left alone'}"


@observe("heartbeat_seconds", 7.0, seen="every 7 s", default="every 30 s")
def _heartbeat_seconds(lab):
    """The time between the heartbeats that the brain gets."""
    *_, before, last = lab.talk(100).times_of(HeartbeatReceived)
    return f"every {last - before:.0f} s"


@observe("heartbeat", False, seen="only that it lives", default="celery.queue_depths")
def _heartbeat(lab):
    """What the second heartbeat tells of the engine."""

    async def prepare(_agent, work):
        work._reports._probe._spawn = lambda question: question()

    beats = lab.talk(70, Engine(), prepare=prepare).of(HeartbeatReceived)
    return min(beats[-1].payload["adapter_health"], default="only that it lives")


@observe("agent_status_disabled", True, seen="0 in 90 s", default="2 in 90 s")
def _agent_status_disabled(lab):
    """How many times the brain is told how the agent does."""
    return f"{len(lab.talk(90).of(AgentStatusReceived))} in 90 s"


# What is captured.


@observe("environment", "staging", seen="staging", default="production")
def _environment(lab):
    """What stands on an event."""
    return lab.event()["environment"]


@observe("tags", {"team": "pay", "tier": "1"}, seen="team=pay,tier=1", default="none")
def _tags(lab):
    """What stands on an event."""
    tags = lab.event().get("tags", {})
    return ",".join(f"{key}={value}" for key, value in tags.items()) or "none"


@observe("max_event_bytes", 4096, seen="at most 4096 bytes", default="as it is")
def _max_event_bytes(lab):
    """The size of an event with many arguments."""
    size = lab.event(**{f"k{number}": "some words " * 30 for number in range(40)})["bytes"]
    return "at most 4096 bytes" if size <= 4096 else "as it is"


@observe("max_payload_bytes", 256, seen="cut", default="as it is")
def _max_payload_bytes(lab):
    """An argument of 3300 characters."""
    text = str(lab.event(text="some words " * 300)["kwargs"])
    return "cut" if len(text) < 400 else "as it is"


@observe("redaction_extra_key_patterns", ("^shoe_size$",), seen="[REDACTED]", default="44")
def _extra_keys(lab):
    """The value of a key that nobody else takes for a secret."""
    return _argument(lab, "shoe_size", "44")


@observe("redaction_extra_value_patterns", ("AB-[0-9]+",), seen="[REDACTED]", default="AB-12")
def _extra_values(lab):
    """A text that nobody else takes for a secret."""
    return _argument(lab, "order", "AB-12")


def _argument(lab, name, value):
    kwargs = lab.event(**{name: value})["kwargs"]
    found = (json.loads(kwargs) if isinstance(kwargs, str) else kwargs)[name]
    return "[REDACTED]" if "REDACTED" in found and value not in found else found


@observe("redaction_defaults_enabled", False, seen="hunter-2", default="[REDACTED]")
def _redaction_defaults_enabled(lab):
    """The value of a key that everybody takes for a secret."""
    return _argument(lab, "password", "hunter-2")


@observe(
    "redaction_disabled_rules",
    ("value:email",),
    seen="jane@example.com",
    default="[REDACTED]",
)
def _redaction_disabled_rules(lab):
    """An e-mail address."""
    return _argument(lab, "who", "jane@example.com")


@observe("redaction_tokens", True, seen="with a token", default="without")
def _redaction_tokens(lab):
    """What stands for a secret."""
    text = str(lab.event(who="jane@example.com")["kwargs"])
    return "with a token" if "[REDACTED:" in text else "without"


@observe("redactors", ("tests.settings.observations.mask",), seen="4-", default="44")
def _redactors(lab):
    """A value that a function of the application's looks at."""
    return _argument(lab, "shoe_size", "44")


def mask(path, value):
    """Stand for an application's own redactor."""
    return "4-" if path.endswith("shoe_size") else value


@observe("engines", ("rq",), seen="none", default="celery")
def _engines(lab):
    """The engines that are served."""
    return ",".join(each.name for each in adapters_in_use(lab.config, (), {})) or "none"


# Where it is kept.


@observe("home", lambda lab: lab.folder / "elsewhere", seen="elsewhere", default=".z4j")
def _home(lab):
    """The directory of the files."""
    return lab.seat().files.buffer_path.parent.name


@observe("buffer_path", Path("own.sqlite"), seen="own.sqlite", default="buffer-{pid}.sqlite")
def _buffer_path(lab):
    """The name of the buffer's file."""
    files = lab.seat().files
    return files.buffer_path.name.replace(str(files.pid), "{pid}")


@observe("buffer_max_events", 1000, seen="1000 at most", default="all of 1200")
def _buffer_max_events(lab):
    """How many of 1200 events are kept."""
    kept = _kept(lab, [b"{}"] * 1200)
    return "1000 at most" if kept.entries <= 1000 else f"all of {kept.entries}"


@observe("buffer_max_bytes", 1024**2, seen="1 MiB at most", default="all of 3 MiB")
def _buffer_max_bytes(lab):
    """How much of 3 MiB is kept."""
    kept = _kept(lab, [b"x" * 65_536] * 48)
    return "1 MiB at most" if kept.bytes <= 1024**2 else f"all of {kept.bytes >> 20} MiB"


def _kept(lab, bodies):
    buffer = SqliteBuffer(
        lab.seat().files.buffer_path,
        max_events=lab.config.buffer_max_events,
        max_bytes=lab.config.buffer_max_bytes,
    )
    for start in range(0, len(bodies), 12):
        batch = [(EntryKind.EVENT, body) for body in bodies[start : start + 12]]
        buffer.append(batch, now_ns=start + 1)
    kept = buffer.stats()
    buffer.close()
    return kept


# What the brain may have done.


@observe("commands", ("-purge_queue",), seen=REFUSED, default="success")
def _commands(lab):
    """How a command ends."""
    engine = Engine()
    run = lab.agent(engine)._parts.run_command
    result = run(Command("c-1", "purge_queue", Target(engine="celery"), {}))
    return REFUSED if (result.error or "").startswith("refused") else result.status.value


class _Scheduler:
    """A scheduler of which only the name counts."""

    def __init__(self, name):
        self.name = name

    def capabilities(self):
        """Return what it can do."""
        return ["list", "read"]

    def version(self):
        """Never change."""
        return "1"

    def read(self):
        """Have no schedules."""
        return []


@observe("schedulers", ("own",), seen="own", default="other,own")
def _schedulers(lab):
    """The schedulers that the brain is told of."""
    engine = Engine((_Scheduler("own"), _Scheduler("other")))
    return ",".join(lab.talk(1, engine).hello.schedulers)


class _Mirror:
    """Notes when all schedules are compared."""

    owners = ("own",)

    def __init__(self):
        self.thorough = []

    def is_active(self, _owner):
        """The brain has asked for them."""
        return True

    def fence(self):
        """Nothing to close."""

    def look(self, _owner, *, is_thorough):
        """Compare."""
        if is_thorough:
            self.thorough.append(asyncio.get_running_loop().time())


class _InPlace:
    """A pool whose jobs are done at once."""

    def submit(self, job):
        """Do it."""
        job()

    def close(self):
        """Nothing runs."""


@observe("schedule_resync_interval_seconds", 20.0, seen="every 20 s", default="every 60 s")
def _schedule_resync(lab):
    """The time between comparisons of all schedules."""
    mirror = _Mirror()

    async def prepare(_agent, work):
        work._schedules._mirror = mirror
        work._schedules._pool.close()
        work._schedules._pool = _InPlace()

    lab.talk(150, Engine((_Scheduler("own"),)), prepare=prepare)
    first, second, *_ = mirror.thorough
    return f"every {second - first:.0f} s"


def _rules(lab):
    engine = Engine()
    adapters_in_use(lab.config, [engine], {})
    return engine.rules


def _purge(lab, token):
    try:
        check_purge(_rules(lab), "celery", 5, token)
    except CommandRefused:
        return REFUSED
    return "purged"


@observe("purge_threshold", 4, seen=REFUSED, default="purged")
def _purge_threshold(lab):
    """A confirmed purge of five messages."""
    return _purge(lab, purge_token(lab.config.signing_key(), "celery", 5))


@observe("accept_legacy_purge_token", True, seen="purged", default=REFUSED)
def _accept_legacy_purge_token(lab):
    """A purge that is confirmed without a key."""
    return _purge(lab, hashlib.sha256(b"purge|celery|5").hexdigest())


@observe("restart_by_exit", "always", seen="exits", default="stays")
def _restart_by_exit(lab):
    """Whether a process that nobody watches over would exit."""
    lab.patch.setattr(
        "z4j_otel.instrumentors.celery.restarts.find_supervisor",
        lambda _facts: allow_exit("never"),
    )
    is_allowed = allow_exit(_rules(lab).restart_by_exit).name is not None
    return "exits" if is_allowed else "stays"


# How the process lives.


@observe("agent_host", "process", seen="process", default="thread")
def _agent_host(lab):
    """Where the agent would run."""
    beside = runs_beside(lab.config, green=lambda: None, is_possible=lambda: True)
    return "process" if beside else "thread"


@observe(
    "strict_mode", True, seen="the process ends", default="runs without", heartbeat_seconds="soon"
)
def _strict_mode(lab):
    """What a process does whose settings are wrong."""
    try:
        sink = lab.host().sink(lab.given.arguments)
    except SystemExit:
        return "the process ends"
    return "runs without" if sink is None else "runs"


@observe("autostart", False, seen="made, not started", default="started")
def _autostart(lab):
    """What becomes of an agent that is asked for."""
    calls = []

    class Agent:
        is_connected = False

        def start(self):
            calls.append("started")

        def shutdown(self, _timeout_s=None):
            return True

    lab.patch.setattr("z4j_otel.agent.start.make_agent", lambda *_given, **_more: Agent())
    host = lab.host()
    host.configure(lab.given.arguments)
    assert host.start_agent() is not None
    return ",".join(calls) or "made, not started"


@observe("disabled", True, seen="nothing is captured", default="captures")
def _disabled(lab):
    """Whether a process has a place to put what it captures."""
    sink = lab.host().sink(lab.given.arguments)
    return "nothing is captured" if sink is None else "captures"


@observe("log_level", "DEBUG", seen="DEBUG", default="WARNING")
def _log_level(lab):
    """The least severity that comes to the application's handlers."""
    lab.host().configure(lab.given.arguments)
    lab.logged.clear()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("z4j_otel.somewhere").log(level, "said")
    return lab.logged[0].levelname


@observe("log_format", "json", seen="JSON on stderr", default="the application's handlers")
def _log_format(lab):
    """Where a record is written."""
    lab.host().configure(lab.given.arguments)
    lab.logged.clear()
    stream = io.StringIO()
    lab.patch.setattr(sys, "__stderr__", stream)
    logging.getLogger("z4j_otel.somewhere").warning("said")
    written = stream.getvalue()
    if lab.logged:
        return "the application's handlers" if not written else "twice"
    return "JSON on stderr" if json.loads(written)["message"] == "said" else "text on stderr"


@observe("flush_timeout_seconds", 2.5, seen="2.5 s", default="5.0 s")
def _flush_timeout_seconds(lab):
    """How long a flush tries whose brain acknowledges nothing."""
    took = []

    async def prepare(agent, work):
        agent._parts.buffer.append([(EntryKind.EVENT, EVENT)], now_ns=1)
        questions = []
        agent._ask = lambda question, _timeout_s: questions.append(question)
        agent.flush()
        began = asyncio.get_running_loop().time()
        await questions[0](work)
        took.append(asyncio.get_running_loop().time() - began)

    lab.talk(1, acks=False, prepare=prepare)
    return f"{took[0]:.1f} s"
