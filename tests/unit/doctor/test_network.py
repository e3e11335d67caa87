"""Names, ports and proxies, against real sockets of this machine."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret
from z4j_otel.doctor import network
from z4j_otel.doctor.network import dial, examine_dns, examine_proxy, examine_tcp
from z4j_otel.doctor.route import find_route
from z4j_otel.findings import Verdict, failed, fine, skipped

REACHED = fine("tcp", "reached")
BLOCKED = failed("tcp", "blocked", "see the firewall")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    """Forget the proxies of the developer's shell."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def route_to(url, **settings):
    """Return the way to an address."""
    return find_route(AgentConfig(brain_url=url, **settings))


def listening(answer=None):
    """Return a port with a listener, which answers every connection's first message."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            near, _ = listener.accept()
            with near:
                if answer is not None:
                    near.recv(65536)
                    near.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def test_an_address_needs_no_name_server():
    """It is its own."""
    addresses, found = examine_dns(route_to("https://127.0.0.1"))
    assert (addresses, found.verdict) == (["127.0.0.1"], Verdict.OK)


def test_a_name_is_resolved():
    """All its addresses are kept."""
    addresses, found = examine_dns(route_to("http://localhost:1"))
    assert "127.0.0.1" in addresses
    assert found.message.startswith("localhost -> ")


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), UnicodeError()]
)
def test_a_name_without_an_address_is_told_with_both_cures(monkeypatch, error):
    """It may be wrong, or only a proxy may know it."""

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(network.socket, "getaddrinfo", refuse)
    addresses, found = examine_dns(route_to("https://z4j.test"))
    assert (addresses, found.verdict) == ([], Verdict.FAIL)
    assert "Z4J_BRAIN_URL" in found.cure
    assert "HTTPS_PROXY" in found.cure


def test_a_name_server_that_hangs_is_given_up(monkeypatch):
    """The resolver of the C library cannot be interrupted."""
    freed = threading.Event()
    monkeypatch.setattr(network.socket, "getaddrinfo", lambda *_, **__: freed.wait(30))
    addresses, found = examine_dns(route_to("https://z4j.test"), timeout_s=0)
    freed.set()
    assert (addresses, found.verdict) == ([], Verdict.FAIL)
    assert "did not answer within 0 s" in found.message


def test_behind_a_proxy_the_proxys_name_is_resolved(monkeypatch):
    """The brain's is resolved there."""
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:3128")
    addresses, found = examine_dns(route_to("https://z4j.test"))
    assert "127.0.0.1" in addresses
    assert "z4j.test" in found.message


def test_a_proxys_name_that_is_wrong_has_its_own_cure(monkeypatch):
    """The brain's address is not to blame."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")

    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(network.socket, "getaddrinfo", refuse)
    _, found = examine_dns(route_to("https://z4j.test"))
    assert "HTTPS_PROXY" in found.cure
    assert "Z4J_BRAIN_URL" not in found.cure


def test_a_full_queue_on_this_machine_is_no_firewall(monkeypatch):
    """Nor does a proxy help."""
    monkeypatch.setattr(network, "dial", _raising(TimeoutError()))
    found = examine_tcp(route_to("http://127.0.0.1:1"), ["127.0.0.1"])
    assert "its queue is full" in found.message
    assert "restart what listens at port 1" in found.cure
    assert examine_proxy(route_to("http://127.0.0.1:1"), found, []).verdict is Verdict.OK


def test_a_refusal_needs_no_proxy(monkeypatch):
    """The machine was reached."""
    monkeypatch.setattr(network, "dial", _raising(ConnectionRefusedError()))
    route = route_to("https://z4j.test")
    found = examine_tcp(route, ["192.0.2.1"])
    assert examine_proxy(route, found, []).verdict is Verdict.OK


def test_a_listener_is_reached():
    """And let go at once."""
    found = examine_tcp(route_to(f"http://127.0.0.1:{listening()}"), ["127.0.0.1"])
    assert found.verdict is Verdict.OK


def test_without_an_address_nobody_is_dialled():
    """The name was the trouble."""
    assert examine_tcp(route_to("https://z4j.test"), []).verdict is Verdict.SKIP


@pytest.mark.parametrize(
    ("error", "words", "cure"),
    [
        (TimeoutError(), "a firewall drops", "allow outgoing TCP to z4j.test:443"),
        (ConnectionRefusedError(), "nobody listens there", "start the brain"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is un", "allow outgoing"),
    ],
)
def test_each_way_of_not_being_reached_has_its_cure(monkeypatch, error, words, cure):
    """Refused, dropped, no way."""
    monkeypatch.setattr(network, "dial", _raising(error))
    found = examine_tcp(route_to("https://z4j.test"), ["192.0.2.1"])
    assert found.verdict is Verdict.FAIL
    assert words in found.message
    assert cure in found.cure


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionRefusedError()])
def test_a_proxy_that_is_not_reached_is_to_blame(monkeypatch, error):
    """Not the brain."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setattr(network, "dial", _raising(error))
    found = examine_tcp(route_to("https://z4j.test"), ["192.0.2.1"])
    assert "HTTPS_PROXY" in found.cure


def test_the_second_address_is_tried_when_the_first_refuses():
    """As libraries do."""
    port = listening()
    dial(route_to(f"http://127.0.0.1:{port}"), ["127.0.0.2", "127.0.0.1"], 5).close()


@pytest.mark.parametrize("addresses", [[], ["127.0.0.1"]])
def test_nobody_who_answers_is_an_error(addresses):
    """That of the last address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        route = route_to(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(OSError):  # noqa: PT011 -- which one is the system's business
            dial(route, addresses, 1)


def test_no_proxy_on_this_machine_and_none_needed():
    """Said with the reason."""
    found = examine_proxy(route_to("http://127.0.0.1:1"), REACHED, [])
    assert "the brain is on this machine" in found.message


def test_a_blocked_way_without_a_proxy_may_need_one():
    """Many networks are like that."""
    found = examine_proxy(route_to("https://z4j.test"), BLOCKED, [])
    assert found.verdict is Verdict.WARN
    assert found.cure.startswith("export HTTPS_PROXY=")


def test_an_exempted_host_is_said(monkeypatch):
    """NO_PROXY is easily forgotten."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", ".test")
    found = examine_proxy(route_to("https://z4j.test"), REACHED, [])
    assert "no_proxy" in found.message.lower()


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Verdict.OK, "lets us through"),
        (b"HTTP/1.1 407 x\r\n\r\n", Verdict.FAIL, "<user>:<password>"),
        (b"HTTP/1.1 403 x\r\n\r\n", Verdict.FAIL, "allow CONNECT to z4j.test:443"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Verdict.FAIL, "correct HTTPS_PROXY"),
        (b"", Verdict.FAIL, "correct HTTPS_PROXY"),
    ],
)
def test_a_proxy_is_asked_for_the_way(monkeypatch, answer, verdict, words):
    """Its answer decides, and its password is not shown."""
    port = listening(answer)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:proxy-password@127.0.0.1:{port}")
    found = examine_proxy(route_to("https://z4j.test"), REACHED, ["127.0.0.1"])
    assert found.verdict is verdict
    assert words in found.message + found.cure
    assert "proxy-password" not in repr(found)


def test_a_proxy_that_cannot_be_reached_is_told(monkeypatch):
    """With the variable that names it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    found = examine_proxy(route_to("https://z4j.test"), BLOCKED, [])
    assert found.verdict is Verdict.FAIL
    assert "HTTPS_PROXY" in found.cure


def _raising(error):
    def dial(*_):
        raise error

    return dial


def test_a_proxy_that_is_spoken_to_over_tls_is_left_to_the_upgrade(monkeypatch):
    """TLS within TLS is more than a look; Python 3.10 has none at all."""
    monkeypatch.setattr("z4j_otel.transport.proxies._HAS_TLS_IN_TLS", True)
    monkeypatch.setenv("HTTPS_PROXY", "https://proxy.test:3128")
    assert examine_proxy(route_to("https://z4j.test"), REACHED, []).verdict is Verdict.SKIP


def test_a_proxy_without_a_login_is_sent_none(monkeypatch):
    """It would not know what to do with it."""
    port = listening(b"HTTP/1.1 200 OK\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    assert examine_proxy(route_to("https://[::2]"), REACHED, ["127.0.0.1"]).is_ok


@pytest.mark.parametrize(
    ("variable", "without"),
    [("Z4J_PROXY", "export Z4J_PROXY=none"), ("HTTPS_PROXY", "export NO_PROXY=z4j.test")],
)
def test_the_way_around_a_dead_proxy_fits_the_setting_that_named_it(monkeypatch, variable, without):
    """NO_PROXY says nothing about Z4J_PROXY."""
    given = {"proxy": Secret("http://proxy.test:1")} if variable == "Z4J_PROXY" else {}
    if not given:
        monkeypatch.setenv(variable, "http://proxy.test:1")
    found = examine_proxy(route_to("https://z4j.test", **given), skipped("tcp", "no address"), [])
    assert (found.verdict, found.cure) == (
        Verdict.FAIL,
        f"correct {variable}, or go without: {without}",
    )
