"""``z4j-otel doctor`` against each trouble: the right line, the right cure, and no secret."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.demo.stage import Stage

from . import doctor_lab as lab

pytestmark = pytest.mark.timeout(180)


class Case:
    """One trouble: how to make it, and the line and the cure it must have."""

    def __init__(self, name, probe, line, cure, *, status="fail", options=()):
        self.name = name
        self.probe = probe
        self.line = line
        self.cure = cure
        self.status = status
        self.options = options


CASES = []
NAMED = ("-A", "shop_app")


def trouble(probe, line, cure, **more):
    """Register a trouble: a context manager that gets a folder and yields an environment."""

    def register(make):
        case = Case(make.__name__, probe, line, cure, **more)
        case.make = contextlib.contextmanager(make)
        CASES.append(case)
        return make

    return register


def at_port(port, scheme="http", host="127.0.0.1"):
    """Return settings that lead to a port."""
    return {
        "Z4J_BRAIN_URL": f"{scheme}://{host}:{port}",
        "Z4J_TOKEN": lab.WRONG_TOKEN,
        "Z4J_HMAC_SECRET": lab.WRONG_SECRET,
    }


@trouble("tcp", "refuses connections: nobody listens there", "start the brain")
def nothing_listens(folder):
    """Nobody is there."""
    yield at_port(lab.free_port())


@trouble("websocket", "a web server answers there with HTTP 404", "where the dashboard opens")
def plain_http_server(folder):
    """A web server, but no brain."""
    with lab.plain_http() as port:
        yield at_port(port)


@contextlib.contextmanager
def tls(folder, name, *, is_trusted, **options):
    """Have a brain behind TLS."""
    authority = lab.authority()
    with lab.brain() as thread, contextlib.ExitStack() as stack:
        port = int(thread.url.rpartition(":")[2])
        server = stack.enter_context(lab.tls_server(authority, name, port, **options))
        trust = {"SSL_CERT_FILE": str(lab.trust_in(authority, folder))} if is_trusted else {}
        yield {**thread.env(), "Z4J_BRAIN_URL": f"https://localhost:{server.port}", **trust}


@trouble("tls", "has expired or is not valid yet", "renew the certificate of localhost")
def tls_expired(folder):
    """A certificate of long ago."""
    with tls(folder, "localhost", is_trusted=True, not_after=lab.LONG_AGO) as env:
        yield env


@trouble("tls", "is for another host", "export Z4J_BRAIN_URL=https://z4j.shop.test:")
def tls_wrong_host(folder):
    """A certificate for somebody else."""
    with tls(folder, "z4j.shop.test", is_trusted=True) as env:
        yield env


@trouble("tls", "is not signed by anyone trusted here", "_FILE=/path/to/")
def tls_unknown_authority(folder):
    """A certificate that nobody we know has signed."""
    with tls(folder, "localhost", is_trusted=False) as env:
        yield env


@trouble("dns", "z4j.nowhere.invalid", "Z4J_BRAIN_URL")
def dns_failure(folder):
    """A name without an address."""
    yield at_port(443, "https", "z4j.nowhere.invalid")


@trouble("tcp", "no answer from 127.0.0.1:", "restart what listens at port")
def blocked_port(folder):
    """What is sent gets no answer."""
    with lab.full_backlog() as port:
        yield at_port(port)


@trouble("hello", "the brain does not accept the token", "export Z4J_TOKEN=")
def wrong_token(folder):
    """Nobody's token."""
    with lab.brain() as thread:
        yield {**thread.env(), "Z4J_TOKEN": lab.WRONG_TOKEN}


@trouble("hello", "is no agent's token, for those have 43 letters", "export Z4J_TOKEN=")
def half_a_token(folder):
    """A token that was not copied whole."""
    with lab.brain() as thread:
        yield {**thread.env(), "Z4J_TOKEN": thread.credentials.token[:20]}


@trouble("signed_frame", "Z4J_HMAC_SECRET does not belong", "export Z4J_HMAC_SECRET=")
def wrong_secret(folder):
    """Another project's secret."""
    with lab.brain() as thread:
        yield {**thread.env(), "Z4J_HMAC_SECRET": lab.WRONG_SECRET}


@trouble("hello", "is wrong or was revoked", "make a new agent in the dashboard")
def revoked_agent(folder):
    """A token that was good once."""
    with lab.brain() as thread:
        thread.brain.operator.revoke(thread.credentials.agent_id)
        yield thread.env()


@trouble(
    "signed_frame", "no room for another connection", "ws_per_agent_concurrency_cap", options=NAMED
)
def worker_cap(folder):
    """A brain that is full."""
    lab.write_app(folder)
    with lab.brain(worker_cap=1) as thread:
        lab.occupy(thread)
        yield thread.env()


@trouble(
    "hello", "does not speak protocol version 2", "pip install --upgrade z4j-otel", options=NAMED
)
def unsupported_version(folder):
    """A brain of another time."""
    lab.write_app(folder)
    with lab.brain() as thread:
        thread.brain.faults.close_at_hello(4426)
        yield thread.env()


@trouble("clock", "300 s behind the brain's", "set the clock", status="warn", options=NAMED)
def clock_off(folder):
    """Five minutes late."""
    lab.write_app(folder)
    with lab.brain(clock=lab.SkewedClock(300)) as thread:
        yield thread.env()


@trouble("dns", "z4j.inside.invalid", "HTTPS_PROXY")
def proxy_needed(folder):
    """Only the proxy knows the brain's name, and none is set."""
    yield at_port(443, "https", "z4j.inside.invalid")


@trouble("proxy", "does not let us through", "export HTTPS_PROXY=http://<user>:<password>@")
def proxy_wants_a_login(folder):
    """The proxy does not know us."""
    with lab.proxy_server(0, status=407) as proxy:
        used = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        yield {**at_port(443, "https", "z4j.inside.invalid"), **used}


@trouble("buffer_path", "cannot be used by user", "sudo install -d -m 0700", status="warn")
def unwritable_home(folder):
    """A home in which even root makes no directory."""
    with lab.brain() as thread:
        yield {**thread.env(), "Z4J_HOME": "/proc/z4j", "TMPDIR": str(folder)}


@trouble(
    "celery.app",
    "'nowhere.app' cannot be imported",
    "import nowhere",
    options=("-A", "nowhere.app"),
)
def missing_celery_app(folder):
    """A module that is not there."""
    with lab.brain() as thread:
        yield thread.env()


@trouble("celery.app", "shop_app looks like one", "z4j-otel doctor -A shop_app", status="warn")
def unnamed_celery_app(folder):
    """Nobody said which app."""
    lab.write_app(folder)
    with lab.brain() as thread:
        yield thread.env()


@trouble(
    "celery.broker", "the broker cannot be reached", "start the broker", options=("-A", "shop_app")
)
def broker_down(folder):
    """Nobody at the broker's port."""
    lab.write_app(folder, broker=f"redis://:broker-password@127.0.0.1:{lab.free_port()}/0")
    with lab.brain() as thread:
        yield thread.env()


@trouble(
    "celery.results",
    "without result_extended",
    "app.conf.result_extended = True",
    status="warn",
    options=("-A", "shop_app"),
)
def results_without_arguments(folder):
    """A result backend that keeps no arguments."""
    lab.write_app(folder, extended=False)
    with lab.brain() as thread:
        yield thread.env()


@trouble("config", "brain_url is required", "export Z4J_BRAIN_URL=")
def nothing_is_set(folder):
    """No settings at all."""
    yield {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_trouble_has_its_line_and_its_cure(case, tmp_path):
    """The probe that can tell says what is wrong and what to type; later ones go on."""
    with case.make(tmp_path) as env:
        probes, code = lab.Doctor(tmp_path, env).probes(*case.options)

    found = probes[case.probe]
    assert not secrets_in(str(probes), env)
    assert found["status"] == case.status, probes
    assert case.line in found["message"]
    assert case.cure in found["cure"]
    assert code == (case.status == "fail")
    assert {"opentelemetry", "orchestrator", "redaction"} <= set(probes)


TELLING = ("wrong_token", "wrong_secret", "broker_down", "proxy_wants_a_login")


@pytest.mark.parametrize("name", TELLING)
def test_the_text_with_all_hints_holds_no_secret(name, tmp_path):
    """Neither token nor signing secret nor a broker's password."""
    case = next(case for case in CASES if case.name == name)
    with case.make(tmp_path) as env:
        printed, _ = lab.Doctor(tmp_path, env).run("--fix-hints", *case.options)

    assert case.line in printed
    assert not secrets_in(printed, env)


def secrets_in(printed, env):
    """Return what must not be there."""
    secrets = [env.get("Z4J_TOKEN"), env.get("Z4J_HMAC_SECRET"), "broker-password"]
    return [secret for secret in secrets if secret and secret in printed]


def test_a_sound_installation_has_nothing_to_say(tmp_path):
    """All that was asked for is OK, in the order and form that scripts know."""
    lab.write_app(tmp_path)
    with lab.brain() as thread:
        printed, code = lab.Doctor(tmp_path, thread.env()).run("-A", "shop_app")
        slots = thread.brain.operator.agent_workers()
        events = thread.brain.counts

    lines = printed.splitlines()
    assert code == 0
    assert lines[:2] == ["z4j-doctor (bare)", "================="]
    assert lines[2].startswith("brain_url:")
    assert "engines auto-detected: celery" in lines
    names = [line.split()[1] for line in lines if line.startswith("[")]
    assert names[:10] == [
        *("config", "buffer_path", "dns", "tcp", "proxy", "tls"),
        *("websocket", "hello", "signed_frame", "clock"),
    ]
    assert [slot.worker_id.startswith("doctor-") for slot in slots] == [True]
    assert events["events"] == 0
    assert not list((tmp_path / "home").iterdir())


def test_under_opentelemetry_instrument_no_agent_starts(tmp_path):
    """The pipeline is described; the brain sees the doctor, and no file stays."""
    lab.write_app(tmp_path)
    launcher = (str(Path(sys.executable).with_name("opentelemetry-instrument")),)
    exporters = {"OTEL_TRACES_EXPORTER": "z4j", "OTEL_METRICS_EXPORTER": "none"}
    with lab.brain() as thread:
        env = {**thread.env(), **exporters, "OTEL_LOGS_EXPORTER": "none"}
        doctor = lab.Doctor(tmp_path, env, launcher=launcher)
        probes, code = doctor.probes("-A", "shop_app")
        assert thread.brain.counts["connections"] == 1

    assert code == 0, probes
    assert "BatchSpanProcessor to Z4JExporter" in probes["opentelemetry"]["message"]
    assert not list((tmp_path / "home").iterdir())


def test_behind_tls_and_a_proxy_all_is_well(tmp_path):
    """Name and certificate are the brain's, whoever stands between."""
    authority = lab.authority()
    name = "z4j.inside.invalid"
    with (
        lab.brain() as thread,
        lab.tls_server(authority, name, int(thread.url.rpartition(":")[2])) as server,
        lab.proxy_server(server.port) as proxy,
    ):
        env = {
            **thread.env(),
            "Z4J_BRAIN_URL": f"https://{name}",
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
            "SSL_CERT_FILE": str(lab.trust_in(authority, tmp_path)),
        }
        probes, code = lab.Doctor(tmp_path, env).probes()

    assert code == 0, probes
    assert "lets us through" in probes["proxy"]["message"]
    assert probes["tls"]["details"]["names"] == [name]
    assert probes["signed_frame"]["status"] == "ok"


def test_without_the_websocket_the_brain_hears_nothing(tmp_path):
    """The ports are looked at, the token is not sent."""
    with lab.brain() as thread:
        probes, code = lab.Doctor(tmp_path, thread.env()).probes("--no-websocket")
        assert thread.brain.counts["connections"] == 0

    assert code == 0
    assert probes["tcp"]["status"] == "ok"
    assert probes["hello"]["status"] == "skip"


def test_malformed_settings_are_all_told_at_once(tmp_path):
    """With the stage and the error that scripts know, and everything else beside them."""
    env = {"Z4J_BRAIN_URL": "ftp://x", "Z4J_TOKEN": "a b", "Z4J_BUFFER_MAX_EVENTS": "many"}
    printed, code = lab.Doctor(tmp_path, env).run("--json")

    told = json.loads(printed)
    wrong = {each["details"]["setting"] for each in told["probes"] if each["name"] == "config"}
    assert (code, told["ok"], told["stage"]) == (1, False, "config")
    assert {"brain_url", "token", "hmac_secret", "buffer_max_events"} == wrong
    assert "brain_url" in told["error"]


def test_an_unprivileged_user_is_told_of_a_home_that_is_not_theirs(tmp_path, service_missing):
    """A service user without a home of its own gets the stand-in, its path and the cure."""
    if not lab.can_change_user():
        service_missing("no right to change the user; run as root, with setpriv")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    with lab.brain() as thread:
        env = {**thread.env(), "TMPDIR": str(temporary)}
        probes, code = lab.Doctor(tmp_path, env, user=lab.NOBODY).probes()

    assert code == 0, probes
    assert probes["buffer_path"]["status"] == "warn"
    assert str(temporary / f"z4j-{lab.NOBODY}") in probes["buffer_path"]["message"]
    assert "sudo install -d -m 0700 -o nobody" in probes["buffer_path"]["cure"]
    assert probes["buffer_path"]["details"]["mode"] == "0700"
    assert probes["signed_frame"]["status"] == "ok"


REAL = {
    "good": ({}, "signed_frame", "ok", "the brain takes our signature"),
    "wrong token": ({"Z4J_TOKEN": lab.WRONG_TOKEN}, "hello", "fail", "does not accept the token"),
    "wrong secret": (
        {"Z4J_HMAC_SECRET": lab.WRONG_SECRET},
        "signed_frame",
        "fail",
        "Z4J_HMAC_SECRET does not belong",
    ),
}


@pytest.mark.parametrize("options", [(), NAMED], ids=["knocking", "with hello"])
@pytest.mark.parametrize("name", REAL)
def test_the_real_brain_says_the_same(name, options, real_brain, tmp_path):
    """What is told of the embedded brain is true of the real one."""
    changed, probe, status, line = REAL[name]
    env = {**real_brain.mint_agent(f"doctor-{name}-{len(options)}").environment(), **changed}
    lab.write_app(tmp_path)

    probes, code = lab.Doctor(tmp_path, env).probes(*options)

    assert probes[probe]["status"] == status, probes
    assert line in probes[probe]["message"]
    assert code == (status == "fail")


def test_the_real_brain_refuses_a_revoked_agent(real_brain, tmp_path):
    """Its token was good, and is no longer."""
    agent = real_brain.mint_agent("doctor-revoked")
    real_brain.api.request("DELETE", f"agents/{agent.agent_id}")

    probes, code = lab.Doctor(tmp_path, agent.environment()).probes()

    assert (code, probes["hello"]["status"]) == (1, "fail")
    assert "make a new agent in the dashboard" in probes["hello"]["cure"]


def test_the_real_brain_shows_one_line_for_all_doctors_of_a_machine(real_brain, tmp_path):
    """Two visits leave one worker, of the role other, and no event."""
    agent = real_brain.mint_agent("doctor-twice")
    lab.write_app(tmp_path)
    doctor = lab.Doctor(tmp_path, agent.environment())
    before = {worker["id"] for worker in real_brain.api.request("GET", "workers")}
    assert doctor.run(*NAMED)[1] == doctor.run(*NAMED)[1] == 0

    lines = real_brain.api.request("GET", "agent-workers")
    own = [line for line in lines if line["agent_id"] == agent.agent_id]

    assert [(line["role"], line["state"]) for line in own] == [("other", "offline")]
    assert {worker["id"] for worker in real_brain.api.request("GET", "workers")} == before
    assert real_brain.api.request("GET", f"agents/{agent.agent_id}/health") == []


def test_the_real_brain_learns_nothing_from_a_knock(real_brain, tmp_path):
    """Token and secret are proven, and the agent is as if nobody had been there."""
    agent = real_brain.mint_agent("doctor-knocks")

    probes, code = lab.Doctor(tmp_path, agent.environment()).probes()

    (row,) = [
        each for each in real_brain.api.request("GET", "agents") if each["id"] == agent.agent_id
    ]
    lines = real_brain.api.request("GET", "agent-workers")
    assert (code, probes["signed_frame"]["status"]) == (0, "ok")
    assert "the brain takes the token" in probes["hello"]["message"]
    assert (row["capabilities"], row["last_connect_at"]) == ({}, None)
    assert not [line for line in lines if line["agent_id"] == agent.agent_id]


def test_beside_a_worker_nothing_changes(tmp_path):
    """Its place, its lists and its files stay, whatever the doctor was told of the app."""
    with lab.brain() as thread, Stage(tmp_path, thread.env()) as stage:
        wait_until(stage.is_ready, "start of the worker", timeout_s=40)
        told = wait_until(lambda: lists_in(tmp_path), "its status", timeout_s=30)
        files = files_in(tmp_path)

        probes, code = lab.Doctor(tmp_path, thread.env()).probes()

        slots = thread.brain.operator.agent_workers()
        assert code == 0, probes
        assert probes["signed_frame"]["status"] == "ok"
        assert lists_at(thread) == told
        assert files_in(tmp_path) == files
        assert sorted(slot.state for slot in slots) == ["offline", "online"]


def lists_in(folder):
    """Return what the one agent here can do, once it has told so."""
    for path in (folder / "home").glob("*.status"):
        status = json.loads(path.read_text())
        if status["state"] == "connected":
            return {**status["capabilities"], **status["schedulers"]}
    return None


def lists_at(thread):
    """Return what the brain believes that its one agent can do."""
    (agent,) = thread.brain.agents()
    return {name: list(can) for name, can in agent.capabilities.items()}


def files_in(folder):
    """Return the files in the home, but those that are made for a moment."""
    return {path.name for path in (folder / "home").iterdir() if "-" in path.name}
