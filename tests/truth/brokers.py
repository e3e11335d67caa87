"""The brokers the truth is measured on, each empty and for this run alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

__all__ = ["BROKERS", "BrokerMissing"]


class BrokerMissing(Exception):
    """There is no such broker here."""


@contextlib.contextmanager
def embedded() -> Iterator[None]:
    """Yield None: the workload's own broker, in plain files."""
    yield None


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Yield the URL of an empty Redis database, emptied again at the end."""
    import redis as library  # noqa: PLC0415 -- the embedded broker does without

    server = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
    for number in range(1, 16):
        with library.Redis.from_url(f"{server}/{number}") as client:
            try:
                is_ours = not client.dbsize() and client.set("z4j-truth", 1, nx=True, ex=7200)
            except library.RedisError as error:
                raise BrokerMissing(f"no Redis at {urlsplit(server).netloc}") from error
            if is_ours:
                try:
                    yield f"{server}/{number}"
                finally:
                    client.flushdb()
                return
    raise BrokerMissing("no empty database in Redis")


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Yield the URL of a RabbitMQ virtual host made for this run."""
    server = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
    name = f"z4j-truth-{secrets.token_hex(4)}"
    _rabbitmqctl("add_vhost", name)
    try:
        user = urlsplit(server).username or "guest"
        _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        yield f"{server}/{name}"
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*arguments: str) -> None:
    program = shutil.which("rabbitmqctl")
    if program is None:
        raise BrokerMissing("no rabbitmqctl here")
    done = subprocess.run([program, "-q", *arguments], capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise BrokerMissing("no RabbitMQ answers rabbitmqctl")


BROKERS = {"embedded broker": embedded, "Redis": redis, "RabbitMQ": rabbitmq}
"""By name, context managers that yield a URL, or None for the embedded one."""
