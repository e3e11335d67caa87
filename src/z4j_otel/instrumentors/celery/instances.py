"""The Celery apps of this process that go by a name of their own, and who listens to them.

A process may use several apps: a site that publishes to two brokers, a worker whose tasks
publish to another team's queue. An adapter with a name makes its app an engine instance of
that name: in ``hello``, in commands, and in every event of the app's tasks. The apps are
held weakly, and a process without names pays one look at an empty dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = [
    "app_of_process",
    "app_of_publisher",
    "app_of_thread",
    "are_one_app",
    "listen",
    "listener_of",
    "name_app",
    "name_for",
    "name_of_publisher",
    "publishing_app",
    "unwrapped",
]

_names: Final[WeakKeyDictionary[Any, str]] = WeakKeyDictionary()
_listeners: Final[WeakKeyDictionary[Any, Callable[[Any], None]]] = WeakKeyDictionary()
_has_names: Final[list[bool]] = []
"""Empty until an app gets a name: a quicker look than one at a dictionary of weak keys."""
_has_listeners: Final[list[bool]] = []
"""Empty until an app gets a listener of its own."""
_for_all: list[Callable[[Any], None]] = []
publishing_app: Final[ContextVar[Any]] = ContextVar("z4j_celery_publisher", default=None)
"""The app that is publishing right now: Celery's signals do not say."""


def name_app(app: Any, name: str | None) -> None:
    """Let an app's tasks be told under a name of their own; None takes the name away."""
    app = unwrapped(app)
    if name is None:
        _names.pop(app, None)
        if not _names:
            _has_names.clear()
        return
    _names[app] = name
    _has_names[:] = [True]


def name_for(thing: Any, engine: str) -> str:
    """Return the engine instance of a task, a request or a consumer, by its ``app``.

    Args:
        thing: What has an ``app``, or None.
        engine: The answer for apps without a name.
    """
    if not _has_names or thing is None:
        return engine
    app = unwrapped(getattr(thing, "app", None))
    return engine if app is None else _names.get(app, engine)


def name_of_publisher(engine: str) -> str:
    """Return the engine instance whose app is publishing on this thread right now."""
    app = publishing_app.get() if _has_names else None
    return engine if app is None else _names.get(app, engine)


def app_of_publisher() -> Any:
    """Return the app that publishes on this thread, or None where nobody configured one."""
    app = publishing_app.get() or app_of_process()
    return None if _is_fallback(app) else app


def listen(app: Any, listener: Callable[[Any], None] | None) -> None:
    """Give every request that this process's worker receives for an app to a listener.

    Args:
        app: Whose; None for every app that has no listener of its own.
        listener: Takes the ``Request``; a later one replaces it, None ends it.
    """
    if app is None:
        _for_all[:] = [] if listener is None else [listener]
    elif listener is None:
        _listeners.pop(unwrapped(app), None)
    else:
        _listeners[unwrapped(app)] = listener
        _has_listeners[:] = [True]


def listener_of(request: Any) -> Callable[[Any], None] | None:
    """Return who listens to a request's app, if anybody does."""
    app = unwrapped(getattr(request, "app", None)) if _has_listeners else None
    found = None if app is None else _listeners.get(app)
    return found or (_for_all[0] if _for_all else None)


def app_of_process() -> Any:
    """Return the app that this process works with, asked from any of its threads.

    Celery keeps a current app for each thread; a thread of ours has none, and would be
    given one that nobody configured, for a broker on this machine.
    """
    from celery import _state, current_app  # noqa: PLC0415 -- Celery is an extra

    if app_of_thread() is None and _is_fallback(_state.default_app):
        made = [app for app in _state._get_active_apps() if not _is_fallback(app)]  # noqa: SLF001 -- Celery has no public list
        if len(made) == 1:
            return made[0]
    return unwrapped(current_app)


def app_of_thread() -> Any:
    """Return the app that was made or chosen on this very thread, or None."""
    from celery import _state  # noqa: PLC0415 -- Celery is an extra

    return getattr(_state._tls, "current_app", None)  # noqa: SLF001 -- see app_of_process


def _is_fallback(app: Any) -> bool:
    """Whether an app is the one that Celery makes where there is none."""
    return app is None or app.main == "default"


def are_one_app(one: Any, other: Any) -> bool:
    """Whether two references, of which each may be a proxy, mean the same app."""
    return unwrapped(one) is unwrapped(other)


def unwrapped(app: Any) -> Any:
    """Return the app behind ``current_app`` and other proxies: they mean what a thread means."""
    resolve = getattr(type(app), "_get_current_object", None)
    return app if resolve is None else resolve(app)
