"""What an agent is built of, and how its files are left."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from z4j_otel.agent.adoption import AdoptingImporter
from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.estate import marks_in
from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.roll_call import RollCall
from z4j_otel.agent.schedules.native import Desk
from z4j_otel.agent.seat import Seat, home_of, redactor_of
from z4j_otel.agent.status_file import StatusFile
from z4j_otel.buffer.database import reason_of
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.clock import SystemClock
from z4j_otel.commands import Command, CommandResult
from z4j_otel.config import AgentConfig
from z4j_otel.errors import BufferError_
from z4j_otel.events import LostSpan
from z4j_otel.exporter.lost_spans import export_lost_span
from z4j_otel.ids import new_boot_id
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.journal.reader import JournalReader

__all__ = ["build_agent", "leave"]

_logger = logging.getLogger(__name__)

REPORT_VARIABLE = "Z4J_OTEL_REPORT"
"""Names a file to which every agent appends its counts when it ends, as one JSON line."""


def build_agent(
    seat: Seat,
    adapters: Sequence[EngineAdapter],
    *,
    hello: HelloBuilder,
    run_command: Callable[[Command], CommandResult] | None = None,
    schedules: Desk | None = None,
    on_lost_span: Callable[[LostSpan], None] | None = None,
) -> AgentRuntime:
    """Put an agent together that delivers the journal of a seat with files.

    Args:
        seat: This process's place.
        adapters: The engines to serve.
        hello: How it introduces itself.
        run_command: Carries commands out; on these adapters, in this process, when None.
        schedules: The schedulers; those of these adapters, in this process, when None.
        on_lost_span: Told once of every span that a killed process left open; given to the
            application's exporters when None.
    """
    assert seat.files is not None
    config, source = seat.config, seat.journal_dir.name
    boot_id = new_boot_id()
    ledger = Ledger(buffer_id=boot_id, runtime_id=f"{boot_id}:{os.getpid()}")
    buffer = _open_buffer(config, seat.files)
    ledger.open(buffer)
    reader = JournalReader(seat.journal_dir, buffer.positions().get(source))
    arbiter = Arbiter(recall=buffer.recall_story, on_lost_span=on_lost_span or _export)
    own = JournalImporter(
        reader,
        buffer,
        arbiter,
        source=source,
        life=seat.files.boot_id,
        ledger=ledger,
    )
    importer = AdoptingImporter(
        own,
        buffer,
        home=seat.files.buffer_path.parent,
        deployment=config.deployment,
        arbiter=arbiter,
        ledger=ledger,
        files=seat.files,
        tell=seat.sink.emit,
        flush=seat.journal.flush,
    )
    agent = AgentRuntime(
        config,
        adapters,
        buffer=buffer,
        importer=importer,
        redactor=redactor_of(config),
        ledger=ledger,
        hello=hello,
        run_command=run_command,
        schedules=schedules,
        home=home_of(config),
    )
    agent.announce = RollCall(seat.sink, adapters)
    facts = _facts(seat.files, config, hello)
    agent.show = StatusFile(seat.files.status_path, facts, SystemClock()).show
    return agent


def _open_buffer(config: AgentConfig, files: AgentFiles) -> SqliteBuffer:
    return SqliteBuffer(
        files.buffer_path, max_events=config.buffer_max_events, max_bytes=config.buffer_max_bytes
    )


def leave(seat: Seat, ledger: Ledger | None) -> None:
    """Give up the files; they are deleted when nothing is left in them."""
    if seat.files is None:
        return
    seat.journal.close()
    try:
        waiting = _empty(seat, seat.files, ledger)
    except (BufferError_, OSError) as error:
        _logger.warning(
            "%s is left to the next agent as it is (%s)",
            seat.files.buffer_path,
            reason_of(error),
            extra={"action": "files_left"},
        )
        seat.files.close()
        return
    if ledger is not None:
        _report({**ledger.snapshot(), "waiting": waiting})
    if not waiting:
        seat.files.remove()
    seat.files.close()


def _empty(seat: Seat, files: AgentFiles, ledger: Ledger | None) -> int:
    """Make the files ready to be deleted.

    Returns:
        What is left in them for the next agent; at least 1 when they must stay.
    """
    source = seat.journal_dir.name
    buffer = _open_buffer(seat.config, files)
    reader = JournalReader(seat.journal_dir, buffer.positions().get(source))
    if ledger is not None:
        ledger.open(buffer)
    arbiter = Arbiter(recall=buffer.recall_story)
    importer = JournalImporter(
        reader,
        buffer,
        arbiter,
        source=source,
        life=files.boot_id,
        ledger=ledger,
    )
    try:
        now_ns = SystemClock().now_ns()
        importer.import_pending(now_ns)
        # Celery may end before it has given up on a child that died: the next agent tells.
        is_all_told = not any(arbiter.open_runs(buffer.stories(), files.boot_id))
        is_retired = is_all_told and _retire(importer, buffer)
        if is_retired:
            importer.settle(now_ns, is_final=True)
        left = importer.ledger.refresh(buffer.stats())
        return left.held + left.results_held or int(not is_retired)
    finally:
        importer.close()
        buffer.close()


def _retire(importer: JournalImporter, buffer: SqliteBuffer) -> bool:
    """Delete the journal; not while an estate waits for what our buffer knows of it."""
    return not marks_in(buffer.positions()) and importer.retire()


def _facts(files: AgentFiles, config: AgentConfig, hello: HelloBuilder) -> dict[str, Any]:
    """Return what a status display says of an agent and never changes."""
    who = hello.build()
    brain = urlsplit(config.brain_url)
    redactor = redactor_of(config)
    return {
        "pid": os.getpid(),
        "owner_pid": files.pid,
        "host": who.host["name"],
        "role": who.worker_role or "other",
        "agent_version": who.agent_version,
        "started_at": who.worker_started_at,
        "brain": f"{brain.scheme}://{brain.netloc.rpartition('@')[2]}",
        # A secret may have been pasted into the wrong setting.
        "project": redactor.redact_name(config.project_id),
        "environment": redactor.redact_name(config.environment),
    }


def _export(lost: LostSpan) -> None:
    export_lost_span(lost)


def _report(counts: Mapping[str, Any]) -> None:
    """Append the final counts to the file that ``Z4J_OTEL_REPORT`` names, for measurements."""
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as report:
            report.write(json.dumps({"pid": os.getpid(), **counts}) + "\n")
