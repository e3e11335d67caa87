"""What all tests share: a clean environment, and the servers some of them need.

A test that needs a server asks for its fixture. Where the server is missing the test is
skipped and counted at the end; with ``Z4J_REQUIRE_SERVICES=1`` it fails instead.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from z4j_otel.cli.real_brain import BrainNotFound, RealBrain, find_brain

ROOT = Path(__file__).parent.parent
SKIPPED = "service missing: "
REQUIRED = os.environ.get("Z4J_REQUIRE_SERVICES", "") not in {"", "0"}
FOR_THE_TESTS = {"Z4J_BRAIN_BIN", "Z4J_REQUIRE_SERVICES"}


def pytest_configure():
    """Remove what the developer's shell says of agents and of OpenTelemetry."""
    for name in list(os.environ):
        if name.startswith(("Z4J_", "OTEL_")) and name not in FOR_THE_TESTS:
            del os.environ[name]


def pytest_collection_modifyitems(items):
    """Mark every test below tests/e2e as an end-to-end test."""
    for item in items:
        if (ROOT / "tests" / "e2e") in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_terminal_summary(terminalreporter):
    """Say how many tests did not run, and which server each of them wanted."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, found, service = reason.partition(SKIPPED)
        if found:
            counts[service] = counts.get(service, 0) + 1
    for service, count in sorted(counts.items()):
        terminalreporter.write_line(f"NOT RUN: {count} tests, {service}", yellow=True)


@pytest.fixture(autouse=True)
def own_log_level():
    """Give our logger back its level, which a command of the CLI may have set."""
    logger = logging.getLogger("z4j_otel")
    level = logger.level
    yield
    logger.setLevel(level)


def missing(service):
    """Skip the test for want of a server, or fail it where servers are required."""
    if REQUIRED:
        pytest.fail(f"{SKIPPED}{service}", pytrace=False)
    pytest.skip(f"{SKIPPED}{service}")


def listens(url):
    """Tell whether somebody listens at the URL's host and port."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def redis_url():
    """URL of an empty Redis database that is this run's own, emptied again at the end."""
    redis = pytest.importorskip("redis")
    server = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
    if not listens(server):
        missing(f"no Redis at {urlsplit(server).netloc}; start redis-server")
    for number in range(1, 16):
        url = f"{server}/{number}"
        with redis.Redis.from_url(url) as client:
            # Only an empty database can be claimed: what others keep here is theirs.
            if client.dbsize() or not client.set("z4j-otel-test-run", "1", nx=True, ex=7200):
                continue
            yield url
            client.flushdb()
            return
    missing("no empty database in Redis; run redis-cli -n 15 flushdb")


@pytest.fixture(scope="session")
def rabbitmq_url():
    """URL of a RabbitMQ virtual host, this run's own where one can be made.

    Where only the default one is allowed, tests keep apart by ``queue_name``.
    """
    server = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
    if not listens(server):
        missing(f"no RabbitMQ at port {urlsplit(server).port}; start rabbitmq-server")
    name = f"z4j-otel-test-{secrets.token_hex(4)}"
    user = urlsplit(server).username or "guest"
    is_own = rabbitmqctl("add_vhost", name)
    if is_own and rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*"):
        yield f"{server}/{name}"
    else:
        yield f"{server}//"
    if is_own:
        rabbitmqctl("delete_vhost", name)


def rabbitmqctl(*arguments):
    """Run rabbitmqctl; tell whether it is there and succeeded."""
    program = shutil.which("rabbitmqctl")
    if program is None:
        return False
    done = subprocess.run([program, "-q", *arguments], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.fixture
def queue_name():
    """Name for a queue that no other test has."""
    return f"z4j-test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def brain_program():
    """Path of the real brain's program."""
    try:
        return find_brain(directory=ROOT)
    except BrainNotFound as error:
        missing(str(error))


@pytest.fixture(scope="session")
def real_brain(brain_program):
    """Run one real brain for all tests; each mints an agent of its own."""
    with RealBrain(brain_program) as brain:
        yield brain
