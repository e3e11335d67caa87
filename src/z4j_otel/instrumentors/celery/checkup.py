"""What the doctor finds of Celery: the app, its broker, its results, its settings."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from celery.app.utils import find_app
from kombu.utils.url import maybe_sanitize_url

from z4j_otel.bounded import bounded
from z4j_otel.errors import AdapterError
from z4j_otel.findings import Finding, failed, fine, skipped, warned
from z4j_otel.ids import new_uuid
from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.broker import broadcast, broker_connection
from z4j_otel.instrumentors.celery.queue_access import is_amqp
from z4j_otel.instrumentors.celery.results import read_result
from z4j_otel.instrumentors.celery.workers import pool_kind
from z4j_otel.redaction import Redactor

__all__ = ["CeleryCheckup"]

_APP: Final = "celery.app"
_BROKER: Final = "celery.broker"
_RESULTS: Final = "celery.results"
_WORKERS: Final = "celery.workers"
_DELIVERY: Final = "celery.delivery"
_COMMANDS: Final = "celery.commands"
_STEP_S: Final = 8.0
"""Most time for one step, seconds; the steps have shorter limits of their own."""
_REPLY_S: Final = 1.0
_MOST_FILES: Final = 200
_MOST_FILE_BYTES: Final = 1024**2
_MOST_NAMES: Final = 8
_MOST_CHARS: Final = 160
_VISIBILITY_S: Final = 3600
_HAS_VISIBILITY: Final = frozenset({"redis", "sqs"})


class CeleryCheckup:
    """Implements :class:`z4j_otel.instrumentors.checkup.Checkup`.

    Args:
        directory: Where to look for an app that nobody named; the current one when None.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def find(self, where: str | None, given: Any = None) -> tuple[Any, Finding]:
        """Find the app: the one given, the one named, or the only one of this process."""
        if given is not None:
            return given, _found(given, "given by the application")
        if where:
            return _load(where)
        app = instances.app_of_process()
        if app is not None and app.main != "default":
            return app, _found(app, "the only app of this process")
        return None, self._unnamed()

    def examine(self, app: Any) -> Iterator[Finding]:
        """Look at the app's broker, results, workers and settings."""
        broker = self._guarded(_BROKER, _check_broker, app)
        yield broker
        yield self._guarded(_RESULTS, _check_results, app)
        if broker.is_ok:
            yield self._guarded(_WORKERS, _check_workers, app)
        else:
            yield skipped(_WORKERS, "the broker cannot be reached")
        yield self._guarded(_DELIVERY, _check_delivery, app)
        yield self._guarded(_COMMANDS, _check_commands, app)

    def _unnamed(self) -> Finding:
        candidates = _candidates(self._directory or Path())
        shown = f"; {candidates[0]} looks like one" if candidates else ""
        name = candidates[0] if candidates else "proj.celery"
        cure = f"z4j-otel doctor -A {name}"
        return warned(_APP, f"no Celery app is named{shown}", cure, cure, candidates=candidates)

    @staticmethod
    def _guarded(name: str, check: Any, app: Any) -> Finding:
        """Run one step; whatever the application's configuration raises is its finding."""
        try:
            finding: Finding = bounded(lambda: check(app), _STEP_S)
        except TimeoutError:
            text = f"{_place(name, app)} gives no answer within {_STEP_S:g} s"
            return failed(name, text, "see that the service answers, and is the one you mean")
        except Exception as error:  # noqa: BLE001 -- the application's own configuration
            text = f"it cannot be looked at ({type(error).__name__})"
            return failed(name, text, "correct the app's configuration; start a worker to see more")
        return finding


def _load(where: str) -> tuple[Any, Finding]:
    try:
        app = find_app(where)
    except Exception as error:  # noqa: BLE001 -- the user's module may raise anything
        why = type(error).__name__
        if isinstance(error, (ImportError, AttributeError)):
            why = f"{why}: {error}"
        text = f"the app {where!r} cannot be imported"
        module = where.partition(":")[0]
        cure = f"python -c 'import {module}'  # here, or in the directory of your project"
        steps = ("cd /path/of/your/project", f"python -c 'import {module}'")
        if isinstance(error, AttributeError) and getattr(error.obj, "__name__", "") == where:
            # The module is there; the app in it has another name than celery -A expects.
            cure = f"z4j-otel doctor -A {where}:<the app's name in that module>"
            return None, failed(_APP, f"{text} ({why})", cure)
        return None, failed(_APP, f"{text} ({why})", cure, *steps)
    return app, _found(app, f"named {where}")


def _found(app: Any, how: str) -> Finding:
    own = [name for name in app.tasks if not name.startswith("celery.")]
    count = f"{len(own)} task{'' if len(own) == 1 else 's'} of its own"
    text = f"{app.main or 'an app without a name'} ({how}), {count}"
    return fine(_APP, text, app=str(app.main), tasks=len(own))


def _broker_url(app: Any) -> str:
    return str(app.conf.broker_write_url or app.conf.broker_url or "amqp://")


def _results_url(app: Any) -> str:
    return str(app.conf.result_backend or "")


_ADDRESSES: Final[dict[str, Callable[[Any], str]]] = {
    _BROKER: lambda app: str(maybe_sanitize_url(_broker_url(app))),
    _RESULTS: lambda app: str(maybe_sanitize_url(_results_url(app))),
}
"""How to write where a service is, without credentials."""


def _place(name: str, app: Any) -> str:
    return _ADDRESSES[name](app) if name in _ADDRESSES else "it"


def _check_broker(app: Any) -> Finding:
    full, url = _broker_url(app), _ADDRESSES[_BROKER](app)
    try:
        with broker_connection(app) as connection:
            transport = connection.transport.driver_type
            name = connection.transport.driver_name
    except AdapterError as error:
        cure = "start the broker, or correct broker_url (CELERY_BROKER_URL) of the app"
        return failed(_BROKER, f"{url}: {error.message}{_why(error, full)}", cure, url=url)
    kind = transport if transport == name else f"{transport}, {name}"
    return fine(_BROKER, f"{url} answers ({kind})", url=url, transport=transport)


def _check_results(app: Any) -> Finding:
    full, url = _results_url(app), _ADDRESSES[_RESULTS](app)
    if not url:
        text = "no result backend: a task is retried from its worker's memory, or its queue"
        return fine(_RESULTS, text, backend="")
    try:
        row = read_result(app, new_uuid())
    except AdapterError as error:
        cure = "start the result backend, or correct result_backend of the app"
        return failed(_RESULTS, f"{url}: {error.message}{_why(error, full)}", cure, backend=url)
    if row is None:
        text = f"{url} tells a result to its caller only: tasks are retried without it"
        return fine(_RESULTS, text, backend=url)
    if not app.conf.result_extended:
        text = f"{url} answers; without result_extended it keeps no arguments to retry a task with"
        line = "app.conf.result_extended = True"
        return warned(_RESULTS, text, line, f"# in the module of {app.main}:", line, backend=url)
    text = f"{url} answers, with result_extended: tasks can be retried from it"
    return fine(_RESULTS, text, backend=url, result_extended=True)


def _why(error: AdapterError, url: str) -> str:
    """Return what the service's client said, in one line, without any credentials."""
    told = " ".join(str(error.__cause__ or "").split())
    for secret in filter(None, (urlsplit(url).password, unquote(urlsplit(url).password or ""))):
        told = told.replace(secret, "**")
    told = Redactor().redact_text(told)[:_MOST_CHARS]
    return f": {told}" if told else ""


def _check_workers(app: Any) -> Finding:
    pool = str(app.conf.worker_pool)
    if not app.conf.worker_enable_remote_control:
        text = f"remote control is off: no worker is asked; configured pool {pool}"
        return warned(_WORKERS, text, "app.conf.worker_enable_remote_control = True", pool=pool)
    try:
        answers = broadcast(app, "stats", {}, timeout_s=_REPLY_S)
    except AdapterError as error:
        cure = "start a worker, then ask again"
        return warned(_WORKERS, f"{error.message}: workers cannot be asked", cure, pool=pool)
    kinds = {name: pool_kind(stats) for name, stats in sorted(answers.items())}
    if not kinds:
        text = f"no worker answers now; configured pool {pool}, unless -P says otherwise"
        return fine(_WORKERS, text, pool=pool, workers={})
    shown = ", ".join(f"{name} ({kind})" for name, kind in list(kinds.items())[:_MOST_NAMES])
    return fine(_WORKERS, f"{len(kinds)} answer: {shown}", pool=pool, workers=kinds)


def _check_delivery(app: Any) -> Finding:
    conf = app.conf
    late, lost = bool(conf.task_acks_late), bool(conf.task_reject_on_worker_lost)
    details: dict[str, Any] = {"task_acks_late": late, "task_reject_on_worker_lost": lost}
    if not late:
        text = (
            "a message is acknowledged when its task starts: a killed worker's task is not repeated"
        )
    elif lost:
        text = (
            "a message is acknowledged when its task ends, and a killed process's task is repeated"
        )
    else:
        text = (
            "a message is acknowledged when its task ends; a killed process's task is not repeated"
        )
    with app.connection_for_write() as connection:
        driver = connection.transport.driver_type
    if driver in _HAS_VISIBILITY:
        visible_s = (conf.broker_transport_options or {}).get("visibility_timeout", _VISIBILITY_S)
        details["visibility_timeout"] = visible_s
        text += f"; what takes longer than {visible_s} s is handed out again (visibility_timeout)"
    return fine(_DELIVERY, text, **details)


def _check_commands(app: Any) -> Finding:
    restarts = bool(app.conf.worker_pool_restarts)
    sources = ["the worker's memory"]
    if app.conf.result_backend and app.conf.result_extended:
        sources.append("the result backend")
    with app.connection_for_write() as connection:
        sources.append(
            "dead-letter and waiting queues" if is_amqp(connection) else "waiting queues"
        )
    details = {"worker_pool_restarts": restarts, "retry_sources": sources}
    text = f"retries take a task's arguments from {', '.join(sources)}"
    if restarts:
        return fine(_COMMANDS, f"{text}; workers restart their pools", **details)
    text += (
        "; worker_pool_restarts is off: restart_worker needs somebody who starts the worker anew"
    )
    return fine(_COMMANDS, text, **details)


def _candidates(directory: Path) -> list[str]:
    """Return modules below a directory that make a Celery app, without importing them."""
    found = []
    for path in [*sorted(directory.glob("*.py")), *sorted(directory.glob("*/*.py"))][:_MOST_FILES]:
        if any(part.startswith(".") for part in path.parts) or not _makes_app(path):
            continue
        names = path.relative_to(directory).with_suffix("").parts
        found.append(".".join(names))
    return found


def _makes_app(path: Path) -> bool:
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            return False
        text = path.read_text("utf-8", "replace")
        # Parsing every file would take seconds; most do not have the word.
        tree = ast.parse(text) if "Celery(" in text else None
    except (OSError, SyntaxError, ValueError):
        return False
    return tree is not None and any(_is_app(node) for node in tree.body)


def _is_app(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(value, ast.Call):
        return False
    name = value.func
    return (name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")) == "Celery"
