"""Long-poll against the embedded brain's routes, in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest

from z4j_otel.errors import ConfigError, ConnectFailed, ConnectionLost
from z4j_otel.transport.base import Confirming
from z4j_otel.transport.longpoll import LongPollTransport
from z4j_otel.transport.proxies import proxy_for
from z4j_otel.wire.frames import Heartbeat, Hello
from z4j_otel.wire.received import CommandReceived, HelloAccepted
from z4j_otel.wire.session import FrameTooLarge, Role, Session
from z4j_otel.wire.signing import decode_secret

URL = "http://localhost:7"
HELLO = Hello(
    agent_version="1",
    framework="bare",
    engines=["celery", "rq"],
    capabilities={"celery": ["retry_task", "retry_by_reference_v1"], "rq": ["retry_task"]},
    runtime_features=["retry_by_reference"],
)


class Scene:
    """A transport, the brain behind it, and a session."""

    def __init__(self, loop, clock, brain, http):
        self.loop, self.clock, self.brain, self.http = loop, clock, brain, http
        self.credentials = brain.mint_agent()
        self.transport = LongPollTransport(URL, self.credentials.token, http=http)
        self.told = []

    def run(self, work):
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    async def connect(self, secret=None):
        """Open a connection and say hello; returns both."""
        session = Session(Role.AGENT, decode_secret(secret or self.credentials.hmac_secret))
        connection = await self.transport.connect()
        connection.on_delivered(self.told.append)
        await connection.send(session.send_hello(HELLO, frame_id="h"))
        received = session.receive(await connection.receive(), now_ns=self.clock.now_ns())
        assert isinstance(received, HelloAccepted)
        return connection, session

    def batch(self, session, *, size=0, frame_id="ev_1"):
        """Sign a batch of one event."""
        event = {"id": "i", "kind": "task.received", "engine": "celery", "task_id": "t"}
        body = json.dumps(
            {**event, "data": {"x": "y" * size}}, separators=(",", ":"), sort_keys=True
        ).encode()
        return session.send_event_batch([body], frame_id=frame_id, now_ns=self.clock.now_ns())

    def beat(self, session):
        """Sign a heartbeat."""
        return session.send_heartbeat(Heartbeat(), frame_id="hb", now_ns=self.clock.now_ns())


@pytest.fixture
def scene(loop, clock, brain, http):
    """Return a transport with a brain behind it."""
    return Scene(loop, clock, brain, http)


def fails(scene, *answers, errors=(), secret=None):
    """Connect and send a heartbeat, with these answers; return what was raised."""

    async def play():
        scene.http.answers = list(answers)
        scene.http.errors = list(errors)
        connection, session = await scene.connect(secret)
        await connection.send(scene.beat(session))

    with pytest.raises((ConnectFailed, ConnectionLost)) as caught:
        scene.run(play())
    return caught.value


def json_answer(status, content=None, **headers):
    """Return a canned answer."""
    return httpx.Response(status, json=content, headers=headers)


def test_hello_is_answered_from_the_first_poll(scene):
    """The ids come from the probe's headers, the session's id is the nonce, nothing is posted."""

    async def play():
        connection, session = await scene.connect()
        await connection.close()
        return connection, session

    connection, session = scene.run(play())
    (probe,) = scene.http.requests
    assert dict(probe.url.params) == {"wait": "0", "max_frames": "0"}
    assert session.binding.agent_id == scene.credentials.agent_id
    assert session.binding.project_id == scene.credentials.project_id
    assert session.binding.session_id == probe.headers["X-Z4J-Session-Nonce"]
    assert connection.server_time_ns == 1_795_266_000_000_000_000
    assert isinstance(connection, Confirming)
    assert scene.transport.way == "longpoll"


def test_every_connection_is_a_session_of_its_own(scene):
    """A nonce is never used again."""

    async def play():
        for _ in range(3):
            connection, _session = await scene.connect()
            await connection.close()

    scene.run(play())
    assert len({request.headers["X-Z4J-Session-Nonce"] for request in scene.http.requests}) == 3


def test_accepted_batch_counts_as_delivered(scene):
    """A batch is told as delivered once, a heartbeat is not; headers say what hello says."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))
        await connection.send(scene.batch(session))

    scene.run(play())
    assert scene.told == ["ev_1"]
    assert scene.brain.task("celery", "t").state == "received"
    post = scene.http.of("POST")[-1]
    assert post.headers["X-Z4J-Retry-Contracts"] == "celery=1"
    assert post.headers["X-Z4J-Runtime-Features"] == "retry_by_reference"
    assert post.headers["Authorization"] == f"Bearer {scene.credentials.token}"


def test_command_comes_with_the_poll(scene):
    """Polls go on until a command is there, and it verifies."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))
        asked = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(70)
        await connection.send(scene.beat(session))
        order = scene.brain.issue("retry_task", engine="celery", task_id="t")
        received = session.receive(await asked, now_ns=scene.clock.now_ns())
        return order, received

    order, received = scene.run(play())
    assert isinstance(received, CommandReceived)
    assert received.command.id == order.id
    assert [request.url.params["wait"] for request in scene.http.of("GET")] == ["0", *["30"] * 3]


def test_poll_waits_as_long_as_the_hook_allows(scene):
    """What is asked before each poll limits it, and what it raises ends the connection."""
    waits = [5.0, 0.2, 90.0]

    async def before_poll():
        if not waits:
            raise ConnectionLost(1000)
        return waits.pop(0)

    async def play():
        connection, _session = await scene.connect()
        connection.before_poll = before_poll
        with pytest.raises(ConnectionLost):
            await connection.receive()

    scene.run(play())
    assert [request.url.params["wait"] for request in scene.http.of("GET")] == ["0", "5", "1", "30"]


def test_wrong_secret_is_told_as_a_refused_signature(scene):
    """The first signed frame shows it."""
    wrong = scene.brain.mint_agent(project="other").hmac_secret
    error = fails(scene, secret=wrong)
    assert (type(error), error.code) == (ConnectionLost, 4403)


def test_session_that_the_brain_forgot_is_begun_anew(scene):
    """After a frame was accepted, 409 is no question of the signature."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))
        scene.http.answers = [json_answer(409, {"detail": "x"})]
        await connection.send(scene.beat(session))

    with pytest.raises(ConnectionLost) as caught:
        scene.run(play())
    assert caught.value.code == 1006


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (json_answer(401, {"detail": "invalid agent token"}), 4401),
        (json_answer(403, {"error": "project_inactive"}), 4003),
        (json_answer(403, {"error": "ip_denied"}), 4403),
        (json_answer(409, {"detail": "x"}), 1006),
    ],
)
def test_brain_that_refuses_the_agent(scene, answer, code):
    """The brain's reasons become the close codes of a WebSocket."""
    error = fails(scene, answer)
    assert (type(error), error.code) == (ConnectionLost, code)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (httpx.Response(401, text="log in"), 401, "refused long-poll"),
        (httpx.Response(403, json=["x"]), 403, "refused long-poll"),
        (httpx.Response(404), 404, "refused long-poll"),
        (httpx.Response(302, headers={"Location": "https://evil.example"}), 302, "redirects"),
        (httpx.Response(200, text="<html>"), 200, "no brain with long-poll"),
        (httpx.Response(429, headers={"Retry-After": "41"}), 429, "refused long-poll"),
        (httpx.Response(422), 422, "refused long-poll"),
    ],
)
def test_server_that_is_no_brain(scene, answer, status, words):
    """What is not the brain's answer is told with its status; redirects are not followed."""
    error = fails(scene, answer)
    assert (type(error), error.http_status) == (ConnectFailed, status)
    assert words in str(error)
    assert len(scene.http.requests) == 1


def test_no_server(scene):
    """A refused connection is told as such."""
    refused = httpx.ConnectError("All connection attempts failed")
    refused.__cause__ = ConnectionRefusedError()
    error = fails(scene, errors=[refused])
    assert (type(error), error.cause) == (ConnectFailed, "refused")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "closed"),
        (httpx.RemoteProtocolError("illegal status line"), "not_http"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "proxy_login"),
        (httpx.ProxyError("502 Bad Gateway"), "proxy_no"),
        (httpx.ProxyError("something new"), "network"),
    ],
)
def test_answers_that_are_none(scene, error, cause):
    """What the library tells as text gets the word that every transport has for it."""
    assert fails(scene, errors=[error]).cause == cause


def test_proxy_that_is_not_there():
    """Nobody is asked but the proxy."""
    proxy = proxy_for("https://brain.example", "http://127.0.0.1:1")
    transport = LongPollTransport("https://brain.example", "t", proxy=proxy)
    with pytest.raises(ConnectFailed, match="nobody listens at the proxy") as told:
        asyncio.run(transport.connect())
    assert told.value.cause == "proxy"


def test_proxy_that_asks_for_a_login(scene):
    """Without a tunnel, a proxy's 407 comes as an answer."""
    assert fails(scene, httpx.Response(407)).cause == "proxy_login"


def test_files_that_cannot_be_used(loop):
    """Trouble with a certificate's file is told as one more reason not to connect."""

    def broken():
        raise ConfigError("ca_file", "x", "the file is gone; set Z4J_CA_FILE")

    transport = LongPollTransport("https://brain.example", "t", tls=broken)
    with pytest.raises(ConnectFailed, match="set Z4J_CA_FILE") as told:
        loop.run_until_complete(transport.connect())
    assert told.value.cause == "tls_files"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (json_answer(200, {"accepted": 0, "errors": ["disk full"]}), 1006),
        (json_answer(200, {"accepted": 0, "error_code": "scheduler_upgrade_required"}), 1006),
        (httpx.Response(200, text="<html>"), 1006),
        (json_answer(422, {"detail": []}), 1011),
        (json_answer(403, {"error": "ip_denied"}), 4003),
    ],
)
def test_frame_that_is_not_taken(scene, answer, code):
    """Whatever is not stored ends the session; what was out is sent again in the next."""
    error = fails(scene, None, answer)
    assert (type(error), error.code) == (ConnectionLost, code)
    assert scene.told == []


def test_lost_answer_ends_the_session(scene):
    """A frame whose fate is unknown cannot be sent again in the same session."""
    error = fails(scene, errors=[None, httpx.ReadTimeout("slow")])
    assert (error.code, error.reason) == (1006, "a request failed: ReadTimeout")


def test_short_pause_is_waited_out(scene):
    """A brain that asks for a second gets the same frame a second later."""

    async def play():
        connection, session = await scene.connect()
        scene.brain.faults.answer_requests(503, count=2, retry_after_s=1)
        await connection.send(scene.batch(session))

    scene.run(play())
    assert scene.told == ["ev_1"]
    assert 2 <= scene.loop.now_s < 3


def test_long_pause_ends_the_session(scene):
    """A longer one is told to the caller, with its length."""
    error = fails(scene, None, httpx.Response(429, headers={"Retry-After": "41"}))
    assert (error.http_status, error.retry_after_s) == (429, 41.0)


def test_batches_keep_their_distance(scene):
    """A backlog does not use up what the brain takes from one address."""

    async def play():
        connection, session = await scene.connect()
        for number in range(40):
            await connection.send(scene.batch(session, frame_id=f"ev_{number}"))

    scene.run(play())
    assert len(scene.told) == 40
    assert 40 / scene.loop.now_s < 8


def test_request_too_large_is_refused_once(scene, caplog):
    """The first 413 teaches the limit; later frames are refused without a request."""

    async def play():
        connection, session = await scene.connect()
        for _ in range(3):
            with pytest.raises(FrameTooLarge) as caught:
                await connection.send(scene.batch(session, size=9_000))
            assert caught.value.max_bytes < 8_192
        await connection.send(scene.batch(session, size=5_000))

    with caplog.at_level(logging.WARNING):
        scene.run(play())
    assert len(scene.http.of("POST")) == 2
    assert scene.told == ["ev_1"]
    assert len(caplog.records) == 1


def test_limit_is_kept_for_the_next_session(scene):
    """One step more is tried, not all of them."""

    async def play():
        connection, session = await scene.connect()
        with pytest.raises(FrameTooLarge):
            await connection.send(scene.batch(session, size=100_000))
        while session.max_frame_bytes > 8_192:
            session.max_frame_bytes //= 2
        _, session = await scene.connect()
        return session.max_frame_bytes

    assert scene.run(play()) == 65_536 * 2 * 3 // 4


def test_brain_that_takes_nothing_is_given_up(scene):
    """A tiny request that is too large ends the session."""
    error = fails(scene, None, httpx.Response(413))
    assert (type(error), error.code) == (ConnectionLost, 1009)


def test_polls_that_are_cut_become_shorter(scene):
    """A proxy that allows ten seconds gets polls of less."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))

        async def cut(request):
            await asyncio.sleep(10)
            return httpx.Response(504)

        real = scene.http.handle_async_request

        async def handle(request):
            if int(request.url.params.get("wait", 0)) > 9:
                scene.http.requests.append(request)
                return await cut(request)
            return await real(request)

        scene.http.handle_async_request = handle
        asked = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(30)
        scene.brain.issue("cancel_task", engine="celery", task_id="t")
        await asked

    scene.run(play())
    assert [request.url.params["wait"] for request in scene.http.of("GET")][:3] == ["0", "30", "8"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(httpx.Response(502), None), (None, httpx.ReadError("reset")), (None, OSError("x"))],
)
def test_poll_that_fails_at_once_ends_the_session(scene, answer, error):
    """A brain that has gone is not asked again and again."""

    async def play():
        connection, _session = await scene.connect()
        scene.http.answers, scene.http.errors = [answer], [error]
        await connection.receive()

    with pytest.raises((ConnectFailed, ConnectionLost)):
        scene.run(play())


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(409), httpx.Response(401)]
)
def test_poll_that_is_refused_ends_the_session(scene, answer):
    """Answers that are no commands end the session."""

    async def play():
        connection, _session = await scene.connect()
        scene.http.answers = [answer]
        await connection.receive()

    with pytest.raises((ConnectFailed, ConnectionLost)):
        scene.run(play())


def test_throttled_poll_goes_on(scene):
    """A short pause in polling costs nothing."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))
        scene.brain.faults.answer_requests(503, retry_after_s=1)
        scene.brain.issue("cancel_task", engine="celery", task_id="t")
        return session.receive(await connection.receive(), now_ns=scene.clock.now_ns())

    assert isinstance(scene.run(play()), CommandReceived)


def test_settled_connection_sends_no_more(scene):
    """What is being posted is waited for, and nothing follows it."""

    async def play():
        connection, session = await scene.connect()
        first = asyncio.ensure_future(connection.send(scene.batch(session)))
        await asyncio.sleep(0)
        await connection.settle()
        second = asyncio.ensure_future(connection.send(scene.batch(session, frame_id="ev_2")))
        await asyncio.sleep(100)
        assert first.done()
        assert not second.done()
        second.cancel()

    scene.run(play())
    assert scene.told == ["ev_1"]


def test_token_may_change_between_connects(scene):
    """A token that comes from a function is asked for at every connect."""
    tokens = iter(["wrong", scene.credentials.token])
    scene.transport = LongPollTransport(URL, lambda: next(tokens), http=scene.http)
    assert fails(scene).code == 4401
    assert scene.run(scene.connect())


def test_plain_text_to_another_machine_is_refused():
    """The token does not travel readable, unless somebody says that it may."""
    with pytest.raises(ConfigError, match="plain"):
        LongPollTransport("http://brain.example", "t")
    shown = repr(LongPollTransport("http://brain.example/z/", "secret", dev_mode=True))
    assert shown == "LongPollTransport('http://brain.example/z/api/v1/agent')"


def test_requests_stay_out_of_the_log(scene, caplog):
    """The HTTP library's line for each request is for the application's requests only."""

    async def play():
        connection, session = await scene.connect()
        await connection.send(scene.beat(session))

    with caplog.at_level(logging.INFO):
        scene.run(play())
        assert not [record for record in caplog.records if record.name == "httpx"]
        with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
            client.get("http://x")
    assert [record.name for record in caplog.records] == ["httpx"]


def test_tls_is_checked_as_the_platform_does(loop):
    """An https address gets a context that checks names and certificates."""
    transport = LongPollTransport("https://localhost:1", "t")
    with pytest.raises(ConnectFailed):
        loop.run_until_complete(transport.connect())


@pytest.mark.parametrize("body", [b'{"frames":["\xff"]}', b'{"x":' + b"[" * 100_000])
def test_an_answer_that_is_no_text_is_not_the_brains(loop, body):
    """Bytes that are not UTF-8, or nested without end, end the connection as others do."""
    ids = {"X-Z4J-Agent-Id": "a", "X-Z4J-Project-Id": "p"}
    http = httpx.MockTransport(lambda _: httpx.Response(200, headers=ids, content=body))

    async def poll():
        connection = await LongPollTransport(URL, "token", http=http).connect()
        await connection.receive()

    with pytest.raises(ConnectionLost, match="in the brain's place"):
        loop.run_until_complete(poll())


def test_an_answer_without_end_is_cut_off(loop, monkeypatch):
    """Whoever answers cannot fill our memory."""
    monkeypatch.setattr("z4j_otel.transport.routes._MAX_ANSWER_BYTES", 1_000_000)
    sent = []

    async def endless():
        while True:
            sent.append(1)
            yield b"x" * 65_536

    http = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    with pytest.raises(ConnectFailed):
        loop.run_until_complete(LongPollTransport(URL, "token", http=http).connect())
    assert len(sent) < 20
