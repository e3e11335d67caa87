"""The change to long-poll and back."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from z4j_otel.errors import ConfigError, ConnectFailed, ConnectionLost, ConnectionSuperseded
from z4j_otel.transport.fallback import FallbackTransport, build_transport
from z4j_otel.transport.longpoll import LongPollTransport
from z4j_otel.transport.proxies import ProxyChoice
from z4j_otel.transport.websocket import WebSocketTransport

REFUSED = ConnectFailed("refused with HTTP 403", http_status=403, cause="http")
BROKE = ConnectionLost(1006, "cut")


class Link:
    """A connection that does what its script says."""

    def __init__(self, name, script=()):
        self.name = name
        self.script = list(script)
        self.sent = []
        self.closed = False
        self.settled = False
        self.before_poll = None
        self.server_time_ns = 5

    async def send(self, data):
        """Remember what is sent."""
        self.sent.append(data)

    async def receive(self):
        """Return or raise what the script says; after it, poll for ever."""
        if not self.script:
            await asyncio.sleep(await self.before_poll())
            return await self.receive()
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    async def settle(self):
        """Note that nothing more is to be sent."""
        self.settled = True

    async def close(self, code=1000, reason=""):
        """Note the end."""
        self.closed = True


class Way:
    """A transport whose connects go as the script says; the last item repeats."""

    def __init__(self, name, *script):
        self.name = name
        self.script = list(script)
        self.links = []
        self.connects_at = []

    async def connect(self):
        """Open a connection, or fail."""
        self.connects_at.append(asyncio.get_running_loop().time())
        item = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(item, BaseException):
            raise item
        link = Link(self.name, item)
        self.links.append(link)
        return link


class Scene:
    """Two ways and what chooses between them."""

    def __init__(self, loop, socket, polling):
        self.loop = loop
        self.socket, self.polling = Way("ws", *socket), Way("longpoll", *polling)
        self.made = 0
        self.transport = FallbackTransport(self.socket, self._make)

    def _make(self):
        self.made += 1
        return self.polling

    def connect(self):
        """Open a connection; return it, or what was raised."""
        try:
            return self.loop.run_until_complete(self.transport.connect())
        except (ConnectFailed, ConnectionLost) as error:
            return error

    def converse(self, connection):
        """Receive one message and close; return it, or what was raised."""

        async def play():
            try:
                return await connection.receive()
            except (ConnectionLost, ConnectionSuperseded) as error:
                return error
            finally:
                await connection.close()

        return self.loop.run_until_complete(play())


@pytest.fixture
def scene(loop):
    """Return a function that makes scenes."""
    return lambda socket, polling=((),): Scene(loop, socket, polling)


def test_websocket_that_works_is_all_there_is(scene):
    """Nothing else is tried or even made; the server's clock is passed on."""
    play = scene([[b"hello_ack"]])
    for _ in range(5):
        connection = play.connect()
        assert connection.server_time_ns == 5
        assert play.converse(connection) == b"hello_ack"
    play.loop.run_until_complete(connection.send(b"x"))
    assert play.socket.links[-1].sent == [b"x"]
    assert (play.made, play.transport.way) == (0, "ws")


def test_second_refused_upgrade_leads_to_longpoll(scene, caplog):
    """The change is told once, and later connections keep to it."""
    play = scene([REFUSED])
    assert play.connect() is REFUSED
    with caplog.at_level(logging.INFO):
        assert play.connect().name == "longpoll"
        assert play.connect().name == "longpoll"
    assert [record.action for record in caplog.records] == ["fallback"]
    assert "HTTP 403" in caplog.text
    assert (play.made, play.transport.way) == (1, "longpoll")
    assert "is_polling=True" in repr(play.transport)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectFailed("login", http_status=401, cause="http"),
        ConnectFailed("too many", http_status=429, cause="http"),
        ConnectFailed("nobody listens", cause="refused"),
        ConnectFailed("expired", cause="tls_expired"),
        ConnectFailed("a certificate is wanted", cause="tls_client"),
        ConnectFailed("a login is wanted", cause="proxy_login"),
    ],
)
def test_what_meets_every_way_leads_nowhere(scene, failure):
    """Refused credentials and absent servers are no question of the way."""
    play = scene([failure])
    assert [play.connect() for _ in range(5)] == [failure] * 5
    assert play.made == 0


def test_brain_that_refuses_the_token_is_no_reason(scene):
    """A close code is the brain speaking: the socket works."""
    play = scene([[ConnectionLost(4401)]])
    for _ in range(5):
        assert play.converse(play.connect()).code == 4401
    assert play.made == 0


def test_sockets_that_say_nothing_lead_to_longpoll(scene):
    """An upgrade behind which nothing comes through counts as refused."""
    play = scene([[BROKE]])
    for _ in range(2):
        assert play.converse(play.connect()) is BROKE
    assert play.connect().name == "longpoll"
    assert len(play.socket.links) == 2


def test_one_failure_between_successes_is_forgotten(scene):
    """Only failures in a row count."""
    play = scene([REFUSED, [b"hello_ack"], REFUSED, [b"hello_ack"]])
    assert play.connect() is REFUSED
    assert play.converse(play.connect()) == b"hello_ack"
    assert play.connect() is REFUSED
    assert play.made == 0


def test_longpoll_that_fails_too_changes_nothing(scene):
    """Where neither works, what is told is why the preferred one does not."""
    play = scene([REFUSED], [ConnectFailed("no routes", http_status=404)])
    assert [play.connect() for _ in range(4)] == [REFUSED] * 4
    assert len(play.polling.connects_at) == 3
    assert play.transport.way == "ws"


def test_longpoll_that_knows_more_is_believed(scene):
    """A brain that answers there and refuses the token has the last word."""
    play = scene([REFUSED], [ConnectionLost(4401)])
    play.connect()
    assert play.connect().code == 4401
    assert play.transport.way == "ws"


def test_brain_that_came_back_meanwhile_gets_its_socket(scene):
    """Long-poll is not taken when a socket, tried once more, opens."""
    play = scene([REFUSED, REFUSED, [b"hello_ack"]])
    play.connect()
    assert play.converse(play.connect()) == b"hello_ack"
    assert play.polling.links[0].closed
    assert play.transport.way == "ws"


def test_cancelled_while_looking_around(scene):
    """An agent that stops leaves no connection behind."""
    play = scene([REFUSED, REFUSED, asyncio.CancelledError()])
    play.connect()
    with pytest.raises(asyncio.CancelledError):
        play.connect()
    assert play.polling.links[0].closed


def test_websocket_is_resumed_when_it_works(scene, caplog):
    """The socket found between two polls is the next connection, at once."""
    play = scene([REFUSED, REFUSED, REFUSED, REFUSED, [b"hello_ack"]])
    play.connect()
    with caplog.at_level(logging.INFO):
        end = play.converse(play.connect())
    assert isinstance(end, ConnectionSuperseded)
    assert play.polling.links[0].settled
    assert play.socket.connects_at == [0, 0, 0, 30, 90]
    assert play.converse(play.connect()) == b"hello_ack"
    assert len(play.socket.connects_at) == 5
    assert [record.action for record in caplog.records] == ["fallback", "fallback_ended"]


def test_probes_become_rare(scene):
    """A socket that never works is tried at distances that double up to ten minutes."""
    play = scene([REFUSED])
    play.connect()
    connection = play.connect()

    async def wait():
        task = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(3000)
        task.cancel()

    play.loop.run_until_complete(wait())
    probes = play.socket.connects_at[3:]
    gaps = [round(b - a) for a, b in itertools.pairwise(probes)]
    assert (probes[0], gaps) == (30, [60, 120, 240, 480, 600, 600, 600])


def test_socket_that_says_nothing_after_a_probe_is_left_at_once(scene):
    """One silent socket is enough to go back to long-poll, and probes stay rare."""
    play = scene([REFUSED, REFUSED, REFUSED, [BROKE]])
    play.connect()
    assert isinstance(play.converse(play.connect()), ConnectionSuperseded)
    assert play.converse(play.connect()) is BROKE
    assert play.connect().name == "longpoll"
    assert play.transport._probe_s == 240


def test_cancelled_during_the_change(scene, loop):
    """An agent that stops while the last request is out closes the socket it had found."""
    play = scene([REFUSED, REFUSED, REFUSED, [b"hello_ack"]])
    play.connect()
    connection = play.connect()

    async def settle():
        await asyncio.sleep(1000)

    connection.settle = settle

    async def stop():
        task = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(40)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(stop())
    assert play.socket.links[0].closed
    assert play.connect().name == "longpoll"


def test_longpoll_that_stops_working_lets_the_socket_try(scene):
    """Where long-poll is blocked now, a socket may work again; else long-poll's reason is told."""
    gone = ConnectFailed("no routes", http_status=404)
    play = scene([REFUSED, REFUSED, REFUSED, REFUSED, [b"hello_ack"]], [(), gone])
    play.connect()
    assert play.connect().name == "longpoll"
    assert play.connect() is gone
    assert play.converse(play.connect()) == b"hello_ack"
    assert play.transport.way == "ws"


@pytest.mark.parametrize(
    ("way", "kind"),
    [("ws", WebSocketTransport), ("longpoll", LongPollTransport), ("auto", FallbackTransport)],
)
def test_setting_decides(way, kind):
    """Each value of the setting has its transport, and none takes a bad address."""
    assert type(build_transport(way, "http://localhost:1", "t")) is kind
    with pytest.raises(ConfigError):
        build_transport(way, "http://elsewhere.example", "t")


def test_fallback_makes_longpoll_of_the_same_settings(loop):
    """The other way is made with the same address, proxy and TLS."""
    proxy = ProxyChoice(None, "Z4J_PROXY=none")
    transport = build_transport("auto", "http://localhost:1/z", "t", proxy=proxy, tls=list)
    other = transport._make_longpoll()
    assert other.url == "http://localhost:1/z/api/v1/agent"
    assert (other._proxy, other._tls) == (proxy, list)
