"""What ``AgentRuntime.status()`` returns: one dict of plain values, without secrets.

Its members, always all of them:

``state``
    ``stopped``, ``connecting``, ``connected``, ``waiting`` (for the next attempt), or
    ``forked``: this process is a child of the agent's.
``problem``
    Why there is no connection, in words for an operator; None while there is one.
``last_error``
    The last failure of a connection, also when another one has succeeded since: ``text``,
    ``kind`` and ``ago_s``; None when there was none.
``failures_in_a_row``
    By kind, since the last stable connection.
``next_attempt_in_s``, ``brain_version``, ``connected_for_s``
    Each None where it does not apply. Long-poll does not tell the brain's version.
``transport``
    The way to the brain at present, ``ws`` or ``longpoll``; None before there was one.
``pid``, ``version``, ``worker_id``, ``engines``, ``capabilities``, ``schedulers``
    Who this agent is: what each engine and each scheduler may do here, as hello says it.
``buffer``
    ``id``, ``entries``, ``bytes``, ``oldest_ns``, ``oldest_age_s`` (None when empty),
    ``files_set_aside``.
``ledger``
    The equation: ``captured``, ``journaled``, ``imported``, ``told_twice``, ``acked``,
    ``pending`` (``held`` and ``late``), ``dropped``, ``unaccounted``, ``results``,
    ``dropped_by_reason``, ``closes``. It outlives the agent.
``processes``
    Of each process: ``process`` (``pid-boot``), ``captured``, ``imported``, ``missing``,
    ``dropped`` by reason. Those heard last come last.
``counts``
    Of this life of the agent; see :meth:`Ledger.counters`.
``batch_limit``, ``clock_offset_s``, ``commands_held``
    Most events in a batch at present; how far this machine's clock is behind the brain's;
    commands that have not ended.
``schedules``
    ``is_owner``: whether this process mirrors the schedules of its machine; ``streams``: by
    scheduler, whether the brain takes them from here, how many, and the last sequence. None
    where nothing is scheduled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from z4j_otel.agent.hello import agent_version
from z4j_otel.agent.ledger import Ledger

__all__ = ["build_status_dict"]

_NS: Final = 1_000_000_000
_NO_LINK: Final[Mapping[str, Any]] = {
    "problem": None,
    "last_error": None,
    "failures_in_a_row": {},
    "next_attempt_in_s": None,
    "brain_version": None,
    "connected_for_s": None,
    "transport": None,
    "batch_limit": None,
    "clock_offset_s": 0.0,
    "commands_held": 0,
    "schedulers": {},
    "schedules": None,
}


def build_status_dict(
    link: Mapping[str, Any],
    ledger: Ledger,
    *,
    worker_id: str,
    capabilities: Mapping[str, list[str]],
    now_ns: int,
) -> dict[str, Any]:
    """Put the dict together; see the module.

    Args:
        link: ``state`` and what else is known of the connection.
        ledger: Asked for the state it has seen last.
        worker_id: This process's slot at the brain.
        capabilities: What each engine can do.
        now_ns: Current time, nanoseconds since the epoch.
    """
    stats = ledger.stats
    age_s = None if stats.oldest_ns is None else max(0, now_ns - stats.oldest_ns) / _NS
    return {
        **_NO_LINK,
        **link,
        "pid": os.getpid(),
        "version": agent_version(),
        "worker_id": worker_id,
        "engines": sorted(capabilities),
        "capabilities": {name: list(can) for name, can in capabilities.items()},
        "buffer": {
            "id": ledger.buffer_id,
            "entries": stats.entries,
            "bytes": stats.bytes,
            "oldest_ns": stats.oldest_ns,
            "oldest_age_s": age_s,
            "files_set_aside": stats.files_set_aside,
        },
        "ledger": ledger.equation.describe(),
        "processes": ledger.processes(),
        "counts": ledger.counters(),
    }
