"""What each broker can promise, and which faults cannot be judged on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["KILLS_OF_CHILDREN", "KILLS_OF_MAIN", "BrokerFacts", "facts_of"]

KILLS_OF_CHILDREN: Final = ("a child dies in its task", "a child dies")
KILLS_OF_MAIN: Final = ("the worker's main process is killed", "all its processes are killed")
_LOCKED: Final = (
    "without an event loop, children share one locked queue: a kill stops Celery's pool for good"
)
_TAKEN: Final = "this broker does not soon hand out again what a dead worker had taken"
_VISIBILITY_S: Final = 10
"""After this time Redis hands out again what a dead worker of the drill had taken."""
_MUTEX_S: Final = 5
"""For so long a dead worker may keep others from doing so."""
_QUIET_S: Final = {"redis": _VISIBILITY_S + _MUTEX_S + 5.0, "amqp": 20.0}
_QUIET_ELSEWHERE_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What a drill has to know of a broker."""

    transport: str
    """kombu's name of it: ``redis``, ``amqp``, ``filesystem``, …"""
    quiet_s: float
    """When nothing has happened for so long, nothing comes again."""
    keeps_taken: bool
    """Whether it keeps what a worker had taken when that worker is gone."""
    left_out: Mapping[str, str]
    """Faults that are not played on it, each with the reason."""

    def options_alone(self, queue: str) -> dict[str, Any]:
        """Return transport options that keep a drill's worker apart from all others.

        On Redis, workers of one database share the book of messages taken, and each of them
        hands out again what is overdue by its own reckoning. The drill's needs a short time,
        so it must have a book of its own.

        Args:
            queue: The drill's queue.
        """
        if self.transport != "redis":
            return {}
        return {
            "unacked_key": f"{queue}-unacked",
            "unacked_index_key": f"{queue}-unacked-index",
            "unacked_mutex_key": f"{queue}-unacked-mutex",
            "unacked_mutex_expire": _MUTEX_S,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "visibility_timeout": _VISIBILITY_S,
        }


def facts_of(transport: str, *, has_loop: bool) -> BrokerFacts:
    """Return what is known of a broker.

    Args:
        transport: kombu's name of its driver type.
        has_loop: Whether Celery drives its transport by an event loop.
    """
    keeps_taken = transport in _QUIET_S
    left_out: dict[str, str] = {}
    if not has_loop:
        left_out |= dict.fromkeys(KILLS_OF_CHILDREN, _LOCKED)
    if not keeps_taken:
        left_out |= dict.fromkeys(KILLS_OF_MAIN, _TAKEN)
    quiet_s = _QUIET_S.get(transport, _QUIET_ELSEWHERE_S)
    return BrokerFacts(transport, quiet_s, keeps_taken, MappingProxyType(left_out))
