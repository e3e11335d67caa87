"""A real worker whose brain asks for a client certificate, behind a proxy that asks for a login."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter

import pytest
import trustme

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.devbrain.server import BrainThread

from ..conformance.network_lab import Proxy, front, server_context  # noqa: TID252 -- shared

pytestmark = pytest.mark.timeout(180)

NAME = "brain.example"
PASSWORD = "hush-hush"
RAN = {"task.sent": 1, "task.received": 1, "task.started": 1, "task.succeeded": 1}


class Street:
    """A proxy with a login before a server that wants client certificates, in a thread."""

    def __init__(self, port, context):
        self._port, self._context = port, context
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with (
            front(self._port, self._context) as port,
            Proxy(port, login=f"anna:{PASSWORD}") as self.proxy,
        ):
            self._started.set()
            await self._stop.wait()


@pytest.fixture
def brain():
    """Run an embedded brain."""
    with BrainThread() as brain:
        yield brain


@pytest.fixture
def files(tmp_path):
    """Write an authority and a client's certificate of it; returns it with the folder."""
    authority, folder = trustme.CA(), tmp_path / "files"
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    pem = authority.issue_cert("agent").private_key_and_cert_chain_pem
    pem.write_to_path(folder / "client.pem")
    return authority, folder


def told(brain, ids):
    """Count what was told of tasks, by kind."""
    return Counter(event.kind for event in brain.brain.events() if event.task_id in ids)


@pytest.mark.parametrize(("way", "host"), [("ws", "thread"), ("longpoll", "process")])
def test_every_setting_of_the_network_takes_effect(brain, files, tmp_path, way, host):
    """Over both ways, from the worker's process and from an agent's own, nothing is logged."""
    authority, folder = files
    context = server_context(authority, NAME)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with Street(int(brain.url.rpartition(":")[2]), context) as street:
        (folder / "proxy").write_text(f"http://anna:{PASSWORD}@localhost:{street.proxy.port}\n")
        variables = {
            "Z4J_BRAIN_URL": f"https://{NAME}",
            "Z4J_CA_FILE": str(folder / "ca.pem"),
            "Z4J_CLIENT_CERTIFICATE_FILE": str(folder / "client.pem"),
            "Z4J_PROXY_FILE": str(folder / "proxy"),
            "Z4J_TRANSPORT": way,
            "Z4J_AGENT_HOST": host,
        }
        options = ("--pool=prefork", "--concurrency=1", "--loglevel=DEBUG")
        agent = {**brain.env(), **variables}
        with Stage(tmp_path, agent, worker_options=options) as stage:
            wait_until(stage.is_ready, "start of the worker", timeout_s=40)
            task_id = stage.publish("returns")["returns"]
            wait_until(lambda: told(brain, {task_id}) == RAN, "its story", timeout_s=40)
        assert set(street.proxy.asked) == {f"{NAME}:443"}
    text = stage.log_path.read_text()
    assert "[z4j] connected to the brain" in text
    assert not [secret for secret in (brain.credentials.token, PASSWORD) if secret in text]


def test_a_file_that_is_missing_is_told_once(brain, tmp_path):
    """The worker runs without z4j, and one line says which setting to change."""
    agent = {**brain.env(), "Z4J_CA_FILE": str(tmp_path / "gone.pem")}
    with Stage(tmp_path, agent) as stage:
        wait_until(stage.is_ready, "start of the worker", timeout_s=40)
    lines = [line for line in stage.log_path.read_text().splitlines() if "z4j" in line]
    told = [line for line in lines if "ca_file (environment Z4J_CA_FILE)" in line]
    assert len(told) == 1
    assert "set Z4J_CA_FILE to one that can" in told[0]
