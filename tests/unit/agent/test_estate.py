"""What one dead agent left, beyond what the tests of adoption show."""

from __future__ import annotations

from pathlib import Path

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.estate import Estate
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles, find_abandoned
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.buffer.sqlite import SqliteBuffer


def test_a_backlog_beyond_the_usual_cap_is_not_evicted_where_it_was_left(tmp_path: Path) -> None:
    """The dead agent may have been allowed more than anybody else; what it left only shrinks."""
    files = AgentFiles.claim(tmp_path, 1, "d1")
    left = SqliteBuffer(files.buffer_path, max_events=200_000)
    left.append([(EntryKind.EVENT, b"{}")] * 100_001, now_ns=1)
    left.close()
    files.close()
    (files,) = find_abandoned(tmp_path, "d1")
    ours = MemoryBuffer(max_events=200_000)
    estate = Estate(files, ours, Arbiter(), taker="me@1")

    assert estate.take(2) == 100_001

    assert (ours.stats().entries, ours.stats().dropped) == (100_001, {})
    estate.close()
