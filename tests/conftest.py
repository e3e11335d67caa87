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
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from celery import _state
from hypothesis import HealthCheck, settings
from kombu import pools

from z4j_otel.cli.real_brain import BrainNotFound, RealBrain, find_brain

ROOT = Path(__file__).parent.parent
SKIPPED = "service missing: "
REQUIRED = os.environ.get("Z4J_REQUIRE_SERVICES", "") not in {"", "0"}
FOR_THE_TESTS = {"Z4J_BRAIN_BIN", "Z4J_REQUIRE_SERVICES"}

# How long an example takes says more about the machine than about the code.
settings.register_profile("z4j", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("z4j")


def pytest_configure():
    """Remove what the developer's shell says of agents, of OpenTelemetry and of proxies."""
    for name in list(os.environ):
        is_ours = name.startswith(("Z4J_", "OTEL_")) or name.lower().endswith("_proxy")
        if is_ours and name not in FOR_THE_TESTS:
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
    _say_model_steps(terminalreporter)


def _say_model_steps(terminalreporter):
    """Say how much the stateful tests did, which note it as properties of their reports."""
    sums: dict[str, int] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if report.when == "call" and name.startswith("model_"):
                    sums[name] = sums.get(name, 0) + value
    if sums:
        terminalreporter.write_line(
            f"STATEFUL: {sums['model_steps']} steps of model tests, "
            f"{sums['model_deaths']} processes killed at a system call or between two"
        )


@pytest.fixture(autouse=True)
def own_log_level():
    """Give our logger back its level, which a command of the CLI may have set."""
    logger = logging.getLogger("z4j_otel")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def own_shared_tasks():
    """Forget the tasks a test shared, which every later Celery app would have, too."""
    before = set(_state._on_app_finalizers)
    yield
    _state._on_app_finalizers.intersection_update(before)


@pytest.fixture(autouse=True, scope="module")
def own_broker_pools():
    """Close kombu's pools after a module: it has one for each URL, which all apps share."""
    yield
    pools.reset()


@pytest.fixture(autouse=True)
def no_closed_broker_pool():
    """Forget the pools that a test has closed: the next app with this URL makes its own."""
    yield
    for group in (pools.connections, pools.producers):
        for key in [key for key, pool in group.items() if pool._closed]:
            dict.pop(group, key)


@pytest.fixture(autouse=True, scope="module")
def no_agent_left():
    """See that a module ends every agent that its tests start."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name.startswith("z4j")]
    for thread in left:
        thread.join(5)  # some look something up once, and end
    assert not any(thread.is_alive() for thread in left), f"nobody ended {left}"


def missing(service):
    """Skip the test for want of a server, or fail it where servers are required."""
    if REQUIRED:
        pytest.fail(f"{SKIPPED}{service}", pytrace=False)
    pytest.skip(f"{SKIPPED}{service}")


@pytest.fixture
def service_missing():
    """Return what a test calls that finds no program or right that it needs."""
    return missing


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


@pytest.fixture(scope="session")
def postgres_url():
    """URL of a PostgreSQL database that is this run's own, dropped at the end."""
    server = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")
    place = urlsplit(server).netloc.rpartition("@")[2]
    name = f"z4j_otel_test_{secrets.token_hex(4)}"
    try:
        admin = psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        missing(f"no PostgreSQL at {place}; start postgresql")
    with admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield f"{server}/{name}"
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


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
