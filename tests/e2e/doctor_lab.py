"""The troubles that the doctor is to name: servers that fail, and the command beside them."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import trustme

from z4j_otel.clock import SystemClock
from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import Role, Session

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
NOBODY = 65534
WRONG_SECRET = "d3JvbmctLXdyb25nLS13cm9uZy0td3JvbmctLXdyb25n"
WRONG_TOKEN = "nobody-has-this-token-0123456789-abcdefghij"
APP = """
from celery import Celery
app = Celery("shop", broker={broker!r}, backend={backend!r})
app.conf.result_extended = {extended}
@app.task(name="shop.pay")
def pay(): ...
"""


class Doctor:
    """The command, its environment and its directory."""

    def __init__(self, folder, env, *, user=None, launcher=()):
        self.folder = folder
        self.user = user
        self.launcher = launcher
        own = {name: text for name, text in os.environ.items() if not name.startswith("Z4J_")}
        self.env = {**own, "HOME": str(folder), "Z4J_HOME": str(folder / "home"), **env}

    def run(self, *options):
        """Run it; return what it printed and its exit code."""
        command = [*self._as_user(), *self.launcher, sys.executable, "-m", "z4j_otel", "doctor"]
        done = subprocess.run(
            [*command, *options],
            env=self.env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return done.stdout, done.returncode

    def probes(self, *options):
        """Return what each probe found first, by name, as JSON has it, and the exit code."""
        printed, code = self.run("--json", *options)
        found = reversed(json.loads(printed)["probes"])
        return {each["name"]: each for each in found}, code

    def _as_user(self):
        """Give up all rights but reading: the interpreter may lie in root's home."""
        if self.user is None:
            return []
        keep = "-all,+dac_read_search"
        return [
            "setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups",
            f"--inh-caps={keep}", f"--ambient-caps={keep}",
        ]  # fmt: skip


def can_change_user():
    """Tell whether a command can be run as somebody without rights."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


def write_app(folder, *, broker="memory://", backend="cache+memory://", extended=True):
    """Write the module ``shop_app`` with a Celery app."""
    text = APP.format(broker=broker, backend=backend, extended=extended)
    (folder / "shop_app.py").write_text(text)


def free_port():
    """Return a port that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextlib.contextmanager
def full_backlog():
    """Yield a port whose listener answers no further connection, as behind a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def plain_http():
    """Yield the port of a web server that is no brain."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Forwarder:
    """Accepts connections, does something first, then moves bytes to a port and back."""

    def __init__(self, to_port, first=lambda sock: sock):
        self._to_port = to_port
        self._first = first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _start(self, work, *args):
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, accepted):
        self._open.append(accepted)
        with contextlib.suppress(OSError):
            near = self._first(accepted)
            if near is None:
                accepted.close()
                return
            far = socket.create_connection(("127.0.0.1", self._to_port))
            self._open += [near, far]
            self._start(self._move, near, far)
            self._move(far, near)

    @staticmethod
    def _move(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def tls_server(authority, name, to_port, **options):
    """Return a server that speaks TLS with a certificate for a name, before a port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return Forwarder(to_port, lambda sock: context.wrap_socket(sock, server_side=True))


def proxy_server(to_port, *, status=200):
    """Return a proxy that leads every CONNECT to one port, or refuses it."""

    def answer(sock):
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        sock.sendall(f"HTTP/1.1 {status} x\r\n\r\n".encode())
        return sock if head.startswith(b"CONNECT") and status == 200 else None

    return Forwarder(to_port, answer)


def trust_in(authority, folder):
    """Write an authority's certificate to a file; return its path."""
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


class SkewedClock(SystemClock):
    """A brain's clock that differs from this machine's."""

    def __init__(self, seconds):
        self._skew_ns = int(seconds * 1e9)

    def now_ns(self):
        """Return the time there."""
        return SystemClock.now_ns() + self._skew_ns


def brain(*, clock=None, **settings):
    """Return an embedded brain, to be entered."""
    return BrainThread(DevBrain(clock, BrainSettings(**settings)))


def occupy(thread):
    """Take a place at a brain, as a worker does."""
    connection = thread.brain.open(thread.credentials.token)
    session = Session(Role.AGENT, b"k" * 32)
    hello = Hello(agent_version="1", framework="bare", worker_id="a-worker")
    connection.receive(session.send_hello(hello, frame_id="hello-1"))
    return connection


def authority():
    """Return a certificate authority that nobody knows."""
    return trustme.CA()
