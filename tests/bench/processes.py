"""What Linux tells of a process and its children: time used, wake-ups, connections."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["connections", "cpu_s", "voluntary_switches"]

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and its living descendants, seconds."""
    total = 0
    for member in family(pid):
        # The name in the second field may hold spaces; utime and stime are 14 and 15.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def voluntary_switches(pid: int) -> tuple[int, int]:
    """Return how often a process's main thread and its other threads went to sleep so far."""
    main = others = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)
        assert found is not None
        if status.parent.name == str(pid):
            main += int(found[1])
        else:
            others += int(found[1])
    return main, others


def connections(pid: int, port: int) -> int:
    """Return how many TCP connections to a port a process and its descendants hold open."""
    open_sockets = set()
    for member in family(pid):
        for entry in Path(f"/proc/{member}/fd").iterdir():
            found = re.match(r"socket:\[(\d+)\]", str(entry.readlink()))
            if found:
                open_sockets.add(found[1])
    rows = [row for table in ("tcp", "tcp6") for row in _rows(f"/proc/{pid}/net/{table}")]
    return sum(
        row[9] in open_sockets and int(row[2].rpartition(":")[2], 16) == port for row in rows
    )


def _rows(path: str) -> list[list[str]]:
    return [line.split() for line in Path(path).read_text().splitlines()[1:]]
