"""What else matters in and around the process: other agents, forks, supervisors, redaction."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from z4j_otel.agent.placement import green_library
from z4j_otel.config import SETTINGS, AgentConfig
from z4j_otel.findings import Finding, failed, fine, warned
from z4j_otel.instrumentors.supervisors import ProcessFacts, Supervisor, find_supervisor, read_facts
from z4j_otel.redaction.custom import NamedRedactor

__all__ = ["examine_forks", "examine_orchestrator", "examine_other_agents", "examine_redaction"]

_OTHERS: Final = ("z4j_celery", "z4j_django", "z4j_fastapi", "z4j_flask", "z4j_bare")


def examine_other_agents(
    *,
    is_installed: Callable[[str], bool] | None = None,
    loaded: Iterable[str] | None = None,
) -> Finding:
    """Look for another z4j agent, which would report everything a second time.

    Args:
        is_installed: Whether a module can be imported; the import system is asked when None.
        loaded: Names of loaded modules; this process's when None.
    """
    name = "other_agents"
    installed = [each for each in _OTHERS if (is_installed or _can_import)(each)]
    active = [each for each in _OTHERS if each in (sys.modules if loaded is None else loaded)]
    packages = " ".join(each.replace("_", "-") for each in installed)
    if active:
        text = f"{active[0]} is active in this process: z4j-otel stays off beside it"
        return warned(
            name, text, f"pip uninstall {packages}", f"pip uninstall {packages}", active=active
        )
    if installed:
        text = f"{installed[0]} is installed; where it is imported, z4j-otel stays off"
        return warned(
            name,
            text,
            f"pip uninstall {packages}",
            f"pip uninstall {packages}",
            installed=installed,
        )
    return fine(name, "no other z4j agent is installed")


def examine_forks(config: AgentConfig) -> Finding:
    """Say how processes of this kind multiply, and where the agent runs then."""
    name = "fork_model"
    library = green_library()
    if library is not None:
        text = f"{library} has replaced threads: the agent runs in a process of its own"
        return fine(name, text, library=library, agent_host="process")
    method = multiprocessing.get_start_method(allow_none=True) or _default_method()
    where = "a process of its own" if config.agent_host == "process" else "a thread of the worker"
    text = f"new processes are made by {method}; they append to a journal, and the agent is {where}"
    if not hasattr(os, "fork"):
        text = f"there is no fork here; use the solo or threads pool; the agent is {where}"
    return fine(name, text, start_method=method, agent_host=config.agent_host)


def examine_orchestrator(
    config: AgentConfig, *, read: Callable[[], ProcessFacts] = read_facts
) -> Finding:
    """Say who would start a process again that ends here, and by what that was seen."""
    name = "orchestrator"
    found: Supervisor = find_supervisor(read())
    setting = config.restart_by_exit
    exits = setting == "always" or (setting == "auto" and found.name is not None)
    does = "exits, to be started again," if exits else "does not exit"
    text = (
        f"{found.name or 'none'}: {found.evidence}; a worker in this place {does} when it is to"
        f" restart (Z4J_RESTART_BY_EXIT={setting})"
    )
    return fine(name, text, supervisor=found.name, evidence=found.evidence, restart_by_exit=setting)


def examine_redaction(config: AgentConfig) -> Finding:
    """Say which rules remove sensitive content before anything reaches disk or wire."""
    name = "redaction"
    settings = {
        row.name.removeprefix("redaction_"): _size_of(getattr(config, row.name))
        for row in SETTINGS
        if row.name.startswith("redaction_")
    }
    listed = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())
    details = {**settings, "max_payload_bytes": config.max_payload_bytes}
    for redactor in config.redactors:
        if why := _why_not_loaded(redactor):
            text = f"Z4J_REDACTORS names {redactor}, which cannot be imported ({why}): every value"
            cure = f"python -c 'import {redactor.rpartition('.')[0]}'  # where your service starts"
            return failed(name, f"{text} is redacted", cure, **details)
    text = f"{listed}; one value is cut at {config.max_payload_bytes} bytes"
    if settings.get("defaults_enabled") == "off" or settings.get("disabled_rules"):
        cure = "unset Z4J_REDACTION_DEFAULTS_ENABLED Z4J_REDACTION_DISABLED_RULES"
        return warned(name, f"built-in rules are switched off: {text}", cure, cure, **details)
    return fine(name, f"the built-in rules are on; {text}", **details)


def _why_not_loaded(redactor: str) -> str:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as celery -A does
    try:
        NamedRedactor(redactor).load()
    except (ImportError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 -- the user's module may raise anything
        return type(error).__name__
    return ""


def _size_of(value: object) -> int | str:
    """Return how many patterns there are, never which: they say what a company's secrets are."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return len(value) if isinstance(value, tuple) else str(value)


def _default_method() -> str:
    return multiprocessing.get_all_start_methods()[0]


def _can_import(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
