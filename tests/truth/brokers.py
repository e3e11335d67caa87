"""The brokers the truth is measured on, each empty and for this run alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = [
    "BROKERS",
    "RESULTS",
    "Broker",
    "BrokerMissing",
    "Results",
    "rabbitmq",
    "rabbitmqctl",
    "redis",
]


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
    rabbitmqctl("add_vhost", name)
    try:
        user = urlsplit(server).username or "guest"
        rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        yield f"{server}/{name}"
    finally:
        rabbitmqctl("delete_vhost", name)


def rabbitmqctl(*arguments: str) -> None:
    """Run rabbitmqctl.

    Raises:
        BrokerMissing: There is none, or no RabbitMQ that answers.
    """
    program = shutil.which("rabbitmqctl")
    if program is None:
        raise BrokerMissing("no rabbitmqctl here")
    done = subprocess.run([program, "-q", *arguments], capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise BrokerMissing("no RabbitMQ answers rabbitmqctl")


@contextlib.contextmanager
def sqlalchemy() -> Iterator[str]:
    """Yield the URL of a database in a file that is a broker to kombu."""
    with tempfile.TemporaryDirectory(prefix="z4j-truth-sqla-") as folder:
        yield f"sqla+sqlite:///{Path(folder) / 'broker.db'}"


@contextlib.contextmanager
def memory() -> Iterator[str]:
    """Yield the URL of the broker that lives in one process."""
    yield "memory://"


_EXPIRED = "RabbitMQ drops an expired message; no worker learns of it"
_HELD_BACK = "RabbitMQ itself holds a message back until its ETA; no worker learns of the revoke"
_NO_CONTROL = "kombu's SQLAlchemy transport has no remote control"
_IN_MEMORY = MappingProxyType({"always_eager": "the setting would be the worker's as well"})
_RABBITMQ: Mapping[str, str] = MappingProxyType({"expired": _EXPIRED})
_QUORUM = MappingProxyType({**_RABBITMQ, "revoked": _HELD_BACK, "stamped": _HELD_BACK})
_SQLALCHEMY = MappingProxyType(dict.fromkeys(("revoked", "stamped", "cancelled"), _NO_CONTROL))


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, or a way to use one."""

    name: str
    open: Callable[[], AbstractContextManager[str | None]]
    """Yields a URL, or None for the embedded broker. Raises :class:`BrokerMissing`."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """The scenarios that cannot happen on it, each with the reason."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """More variables of the worker and its publishers."""


BROKERS: Mapping[str, Broker] = MappingProxyType(
    {
        broker.name: broker
        for broker in (
            Broker("embedded broker", embedded),
            Broker("Redis", redis),
            Broker("RabbitMQ", rabbitmq, _RABBITMQ),
            Broker("RabbitMQ quorum", rabbitmq, _QUORUM, {"TRUTH_BROKER": "quorum"}),
            Broker("RabbitMQ priorities", rabbitmq, _RABBITMQ, {"TRUTH_BROKER": "priorities"}),
            Broker("SQLAlchemy", sqlalchemy, _SQLALCHEMY),
            Broker("memory", memory, _IN_MEMORY),
        )
    }
)
"""By name, every broker that kombu has a transport for and that can run here."""


@dataclass(frozen=True, slots=True)
class Results:
    """A result backend."""

    name: str
    url: str
    """For the workload; empty for its own database. ``{redis}`` stands for a Redis database."""
    impossible: Mapping[str, str] = field(default_factory=dict)


_CANVAS = ("chord", "chain_of_groups", "chord_in_chain", "nested_chord", "replaced_by_group")
_CHORDS = (*_CANVAS, "chord_fails")
_NONE = dict.fromkeys(_CHORDS, "a chord needs a result backend")
_RPC = dict.fromkeys(_CHORDS, "Celery's rpc result backend has no chords")

RESULTS: Mapping[str, Results] = MappingProxyType(
    {
        results.name: results
        for results in (
            Results("database", ""),
            Results("redis", "{redis}"),
            Results("rpc", "rpc://", MappingProxyType(_RPC)),
            Results("none", "disabled://", MappingProxyType(_NONE)),
        )
    }
)
"""By name, the result backends the truth is measured with."""
