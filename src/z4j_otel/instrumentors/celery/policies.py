"""Where Celery keeps the tasks of this process, for those who ask for their policies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from z4j_otel.guard import note_failure
from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.results import StoredResult
from z4j_otel.redaction.arguments import hide_arguments
from z4j_otel.redaction.occurrences import forms_of, without_occurrences
from z4j_otel.redaction.policy import REDACTED
from z4j_otel.task_policies import in_use, policy_of

__all__ = ["FINDER", "HIDDEN_HEADER", "CeleryTasks", "exception_of", "hides_arguments", "tells_of"]

HIDDEN_HEADER: Final = "z4j_hidden"
"""Message header of a task whose policy hides arguments: for a worker without that task,
which knows no policy and would tell the text of the arguments that Celery sends along."""

_CANVAS: Final = frozenset(
    f"celery.{name}"
    for name in (
        "accumulate",
        "chain",
        "chord",
        "chord_unlock",
        "chunks",
        "group",
        "map",
        "starmap",
    )
)


class CeleryTasks:
    """Implements :class:`~z4j_otel.task_policies.TaskFinder` for all apps of this process."""

    def __init__(self) -> None:
        self.in_hand: Callable[[], Any] = lambda: None
        """Returns the request whose failure is handled right here: Celery forgets it first."""

    def tasks(self, name: str) -> list[Any]:
        """Return the tasks of a name, of the app that is in use here first."""
        found = (registry.get(name) for registry in _registries())
        return [task for task in found if task is not None]

    def function(self, task: Any) -> Callable[..., Any]:
        """Return the task's ``run``, which sees no ``self``."""
        function: Callable[..., Any] = task.run
        return function

    def is_canvas(self, name: str) -> bool:
        """Whether it is one of the tasks that Celery makes chords and maps of."""
        return name in _CANVAS

    def arguments(self, name: str, task_id: str) -> tuple[Any, Any] | None:
        """Return the arguments of a run here, or of a request that this worker holds."""
        for task in self.tasks(name):
            for context in reversed(task.request_stack.stack or ()):
                if context.id == task_id:
                    return context.args, context.kwargs
        state = sys.modules.get("celery.worker.state")
        request = self.in_hand()
        if request is None or request.id != task_id:
            request = None if state is None else state.requests.get(task_id)
        if request is None:
            return None
        return request.request_dict.get("args"), request.request_dict.get("kwargs")


FINDER: Final = CeleryTasks()


def hides_arguments(name: Any) -> bool:
    """Whether a task of this process has a policy that hides arguments."""
    bound = policy_of(name) if in_use and type(name) is str else None
    return bound is not None and bound.policy.hides_arguments


def tells_of(request: Any) -> bool:
    """Whether a run is told at all, by a ``Request`` of this worker."""
    # ``request.name`` may be one for the log.
    bound = policy_of(str(request.request_dict.get("task"))) if in_use else None
    return bound is None or bound.policy.tells_of(request.id)


def exception_of(stored: StoredResult) -> str | None:
    """Return what a stored failure may tell: the class alone where values cannot be found.

    Without ``result_extended`` a result backend knows neither a task's name nor its arguments.
    """
    text, name = stored.exception, stored.name
    if text is None or not in_use:
        return text
    bound = None if name is None else policy_of(name)
    if name is not None and (bound is None or not bound.policy.hides_arguments):
        return text
    if bound is None or stored.args is None or stored.kwargs is None:
        kind, separator, _ = text.partition(": ")
        return f"{kind}: {REDACTED}" if separator else text
    hidden: list[Any] = []
    hide_arguments(bound, stored.args, stored.kwargs, hidden)
    return str(without_occurrences(text, forms_of(hidden)))


def _registries() -> list[Mapping[str, Any]]:
    """Return the task registries of this process's apps.

    The tasks of the app in use are made where that has not been done; those of apps that
    their application may not have finished are left as they are.
    """
    from celery import _state  # noqa: PLC0415 -- Celery is an extra

    try:
        in_hand = instances.publishing_app.get() or instances.app_of_process()
        apps = [in_hand, *(app for app in _state._get_active_apps() if app is not in_hand)]  # noqa: SLF001 -- Celery has no public list
        # A finished app's own registry: the public one takes a lock.
        return [app._tasks if app.finalized or app is not in_hand else app.tasks for app in apps]  # noqa: SLF001 -- see above
    except Exception as error:  # noqa: BLE001 -- an app that cannot be made ready
        note_failure("look at the tasks of this process", error)
        return []
