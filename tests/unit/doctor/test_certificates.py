"""TLS, against real handshakes on this machine."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading

import pytest
import trustme

from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret
from z4j_otel.doctor import certificates
from z4j_otel.doctor.certificates import examine_tls, read_certificate
from z4j_otel.doctor.route import find_route
from z4j_otel.findings import Verdict

HERE = ["127.0.0.1"]
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def authority():
    """Return an authority that only these tests know."""
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path):
    """Return a file with the authority's certificate."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def route_to(url, **settings):
    """Return the way to an address."""
    return find_route(AgentConfig(brain_url=url, **settings))


def serve(authority, name="localhost", *, trusted=None, wants_client=False, **options):
    """Shake hands with whoever comes; return the way there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    if wants_client:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return route_to(f"https://localhost:{_serve(context)}", ca_file=trusted)


def _serve(context):
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        with listener:
            for _ in range(3):
                near, _ = listener.accept()
                try:
                    with context.wrap_socket(near, server_side=True) as inner:
                        inner.recv(1)
                except OSError:
                    near.close()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def test_a_good_certificate_is_described(authority, trusted):
    """Version, name, issuer, and how long it lasts."""
    found = examine_tls(serve(authority, trusted=trusted), HERE)
    assert found.verdict is Verdict.OK
    assert found.details["version"] == "TLSv1.3"
    assert found.details["names"] == ["localhost"]
    assert "days left" in found.message


def test_one_that_ends_soon_is_a_warning(authority, trusted):
    """There is time to renew it."""
    soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=3)
    found = examine_tls(serve(authority, not_after=soon, trusted=trusted), HERE)
    assert found.verdict is Verdict.WARN
    assert found.cure == "renew the certificate of localhost before it expires"


def test_an_expired_one_tells_since_when(authority, trusted):
    """Or this machine's clock is wrong."""
    route = serve(authority, not_after=LONG_AGO, trusted=trusted)
    ended_s = dt.datetime(2020, 1, 11, tzinfo=dt.timezone.utc).timestamp()
    found = examine_tls(route, HERE, now_s=ended_s)
    assert found.verdict is Verdict.FAIL
    assert "it ended 10 days ago" in found.message
    assert found.details["cause"] == "tls_expired"


def test_one_of_the_future_tells_until_when(authority, trusted):
    """Then the clock is wrong for sure."""
    route = serve(authority, not_after=LONG_AGO, trusted=trusted)
    found = examine_tls(route, HERE, now_s=0)
    assert "it ends in 1826" in found.message


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("z4j.shop.test", "export Z4J_BRAIN_URL=https://z4j.shop.test:"),
        ("*.shop.test", "export Z4J_BRAIN_URL=https://<name in the certificate>:"),
    ],
)
def test_one_for_another_host_tells_whose_it_is(authority, trusted, name, cure):
    """That may be the name to use."""
    found = examine_tls(serve(authority, name, trusted=trusted), HERE)
    assert name in found.message
    assert found.cure.startswith(cure)


def test_one_by_an_unknown_authority_tells_who_signed_it(authority):
    """That is whom to trust, if one does."""
    found = examine_tls(serve(authority), HERE)
    assert found.details["cause"] == "tls_issuer"
    assert "trustme" in found.message
    assert "Z4J_CA_FILE=/path/to/" in found.cure


def test_a_server_that_wants_a_client_certificate_is_told(authority, trusted):
    """Until TLS 1.2 it says no more than that; later versions say it at the upgrade."""
    found = examine_tls(serve(authority, trusted=trusted, wants_client=True), HERE)
    assert found.verdict is Verdict.FAIL
    assert "handshake" in found.message.lower()
    assert found.cure.startswith("see what the server")


def test_a_file_of_ours_that_cannot_be_used_is_told(authority, tmp_path):
    """It is no fault of the server's."""
    found = examine_tls(serve(authority, trusted=tmp_path / "missing.pem"), HERE)
    assert found.details["cause"] == "tls_files"
    assert "Z4J_CA_FILE" in found.cure


def test_an_https_proxy_leaves_it_to_the_upgrade(monkeypatch):
    """TLS within TLS is more than a look; Python 3.10 has none at all."""
    monkeypatch.setattr("z4j_otel.transport.proxies._HAS_TLS_IN_TLS", True)
    proxy = Secret("https://proxy.test:3128")
    found = examine_tls(route_to("https://z4j.test", proxy=proxy), HERE)
    assert found.verdict is Verdict.SKIP


def test_a_port_without_tls_is_told():
    """The scheme is wrong, or the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        with listener, listener.accept()[0] as near:
            near.recv(1024)
            near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=run, daemon=True).start()
    route = route_to(f"https://localhost:{listener.getsockname()[1]}")
    found = examine_tls(route, HERE)
    assert found.details["cause"] == "no_tls"
    assert found.cure.startswith("export Z4J_BRAIN_URL=http://localhost:")


def test_a_server_that_hangs_up_is_told():
    """Nothing is known of its certificate."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        listener.accept()[0].close()

    threading.Thread(target=run, daemon=True).start()
    route = route_to(f"https://localhost:{listener.getsockname()[1]}")
    found = examine_tls(route, HERE)
    listener.close()
    assert found.verdict is Verdict.FAIL
    assert found.cure.startswith("see what the server at localhost:")


def test_a_certificate_that_cannot_be_seen_again_is_told_without_its_names(
    monkeypatch, authority, trusted
):
    """The second look is a courtesy."""
    monkeypatch.setattr(certificates, "_trusting_all", _unusable)
    found = examine_tls(serve(authority, "z4j.shop.test", trusted=trusted), HERE)
    assert found.cure.startswith("export Z4J_BRAIN_URL=https://<name in the certificate>")


@pytest.mark.parametrize("url", ["http://localhost:1", "https://localhost:1"])
def test_without_tls_or_a_way_nothing_is_looked_at(url):
    """And that is said."""
    assert examine_tls(route_to(url), []).verdict is Verdict.SKIP


def test_nothing_known_of_a_certificate_is_no_error():
    """A server may have sent fields we do not read."""
    found = read_certificate({"issuer": ((("organizationName", "Shop"),),)}, 0)
    assert (found.common_name, found.issuer, found.days_left) == ("", "Shop", 0)


def _unusable():
    raise OSError("no second look")


def test_behind_a_proxy_the_handshake_goes_through_it(monkeypatch, authority, trusted):
    """The certificate is still the brain's own."""
    server = serve(authority, "z4j.test", trusted=trusted)
    monkeypatch.setattr(certificates, "open_tunnel", lambda *_: None)
    proxy = Secret(f"http://127.0.0.1:{server.port}")
    route = route_to("https://z4j.test", ca_file=trusted, proxy=proxy)
    found = examine_tls(route, HERE)
    assert found.verdict is Verdict.OK
    assert found.details["names"] == ["z4j.test"]
