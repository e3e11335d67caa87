"""Which commands an adapter offers: those that this Celery app can carry out at all.

All processes that share a token should offer the same (PROTOCOL §2.3), so this looks at
the app, which they share, and not at whether a worker runs in this process.
"""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.commands import Capability
from z4j_otel.instrumentors.celery.dead_queues import dead_letter_queues
from z4j_otel.instrumentors.celery.handle import CeleryHandle, log_unreadable
from z4j_otel.instrumentors.celery.queue_access import is_amqp
from z4j_otel.instrumentors.celery.restarts import allow_exit
from z4j_otel.instrumentors.rules import LocalRules

__all__ = ["offered"]

_ALWAYS: Final = (
    Capability.SUBMIT_TASK,
    Capability.RETRY_TASK,
    Capability.CANCEL_TASK,
    Capability.BULK_RETRY,
    Capability.PURGE_QUEUE,
    Capability.RETRY_BY_REFERENCE,
)
_REMOTE: Final = (
    Capability.RATE_LIMIT,
    Capability.POOL_GROW,
    Capability.POOL_SHRINK,
    Capability.ADD_CONSUMER,
    Capability.CANCEL_CONSUMER,
)
_LETTERS: Final = (Capability.LIST_DEAD_LETTERS, Capability.REQUEUE_DEAD_LETTER)


def offered(handle: CeleryHandle, rules: LocalRules) -> list[str]:
    """Return the capability tokens; never raises."""
    tokens = [*_ALWAYS]
    try:
        app = handle.app
        if _has_remote_control(app):
            tokens += _REMOTE
            by_exit = allow_exit(rules.restart_by_exit).name is not None
            if app.conf.worker_pool_restarts or by_exit:
                tokens.append(Capability.RESTART_WORKER)
        if _has_dead_letters(app):
            tokens += _LETTERS
    except Exception as error:  # noqa: BLE001 -- the application's configuration may be broken
        log_unreadable("configuration", error)
    return [token.value for token in tokens]


def _has_dead_letters(app: Any) -> bool:
    """Whether the app's broker can keep dead letters, and the app says where."""
    with app.connection_for_write() as connection:
        return is_amqp(connection) and bool(dead_letter_queues(app))


def _has_remote_control(app: Any) -> bool:
    """Whether workers of this app take orders: switched on, and their broker can fan out."""
    if not app.conf.worker_enable_remote_control:
        return False
    with app.connection_for_write() as connection:
        return bool(connection.supports_exchange_type("fanout"))
