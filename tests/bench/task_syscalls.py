"""Counts the system calls of a pool child per task, bare and with z4j, with ``strace``.

What a task's own thread does for z4j must be appends to a file: no database, no fsync, no
network, no lock that another process can hold. ``python tests/bench/task_syscalls.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import bench_worker
import processes
from fast_brain import FastBrain
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

__all__ = ["Calls", "forbidden", "measure", "table_of", "why_not"]

TASKS = 500
KINDS = ("bare", "otel", "z4j")
_WARM = 100
_ATTACH_S = 20.0
_LINE = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(.*)$")
_NETWORK = re.compile(r"<(TCP|TCPv6|UDP|UDPv6|UNIX|socket)[:\-\[]")
_SYNCS = frozenset({"fsync", "fdatasync", "sync_file_range", "msync", "sync", "syncfs"})
_SEMAPHORES = frozenset({"semop", "semtimedop", "msgsnd", "msgrcv"})


@dataclass(frozen=True)
class Calls:
    """What the processes of one pool child did during some tasks."""

    per_task: Mapping[str, float]
    """System calls by name and kind of file, per task."""
    threads: int
    """How many threads made them."""


def why_not() -> str:
    """Return why nothing can be measured here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    try:
        Redis.from_url(bench_worker._DATABASE).ping()
    except RedisError:
        return "no Redis"
    probe = subprocess.run(
        ["strace", "-o", os.devnull, sys.executable, "-c", ""],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return "strace may not trace here" if probe.returncode else ""


def measure(kinds: Collection[str] = KINDS, tasks: int = TASKS) -> dict[str, Calls]:
    """Trace one child of a worker of each kind."""
    redis = Redis.from_url(bench_worker._DATABASE)
    found: dict[str, Calls] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        brain = stack.enter_context(FastBrain())
        for name, variables in bench_worker._variables(brain).items():
            if name not in kinds:
                continue
            with bench_worker.Worker(name, redis, folder, variables, concurrency=1) as worker:
                worker.work(_WARM)
                found[name] = _trace(worker, folder / f"{name}.trace", tasks)
    return found


def _trace(worker: bench_worker.Worker, output: Path, tasks: int) -> Calls:
    child = max(pid for pid in processes.family(worker.pid) if pid != worker.pid)
    command = ["strace", "-f", "-y", "-yy", "-qq", "-s", "0", "-o", str(output), "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_traced(child)
        worker.work(tasks)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(_ATTACH_S)
    return _count(output.read_text("utf-8", "replace"), tasks)


def _wait_traced(pid: int) -> None:
    deadline = time.monotonic() + _ATTACH_S
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text("utf-8"):
        assert time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.05)
    time.sleep(0.2)


def _count(trace: str, tasks: int) -> Calls:
    calls: Counter[str] = Counter()
    threads = set()
    for line in trace.splitlines():
        found = _LINE.match(line)
        # A call that was interrupted by another thread's has two lines; its end is not counted.
        if found is None or "resumed>" in line:
            continue
        thread, name, rest = found.groups()
        threads.add(thread)
        calls[_kind(name, rest)] += 1
    return Calls({name: count / tasks for name, count in calls.items()}, len(threads))


def _kind(name: str, rest: str) -> str:
    first = rest.partition(",")[0]
    if _NETWORK.search(first):
        return f"{name} (socket)"
    if ".journal" in rest:
        return f"{name} (journal)"
    if ".sqlite" in rest:
        return f"{name} (database)"
    if "<pipe:" in first:
        return f"{name} (pipe to the worker)"
    return name


def forbidden(bare: Calls, ours: Calls) -> list[str]:
    """Name the calls that no task may make for z4j, and that were made."""
    found = []
    for name, rate in ours.per_task.items():
        call, _, kind = name.partition(" ")
        more = rate - bare.per_task.get(name, 0.0)
        is_bad = kind in {"(socket)", "(database)"} or call in _SYNCS | _SEMAPHORES
        is_lock = call in {"flock", "lockf"} or (call == "fcntl" and "SETLKW" in name)
        if more > 0 and (is_bad or (is_lock and more > _RARE)):
            found.append(f"{name}: {more:.3f} a task")
    return found


_RARE = 0.02
"""A new segment of the journal is opened with one ``flock`` that does not wait."""


def table_of(found: Mapping[str, Calls]) -> Table:
    """Return the counts as a table, the most frequent first."""
    title = "System calls of a pool child per task (strace, Redis, prefork)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("call")
    for name in found:
        table.add_column(
            {"bare": "bare", "otel": "upstream's spans"}.get(name, name), justify="right"
        )
    names = {name for calls in found.values() for name in calls.per_task}
    ours = found["z4j"].per_task
    for name in sorted(names, key=lambda each: (-ours.get(each, 0.0), each)):
        table.add_row(name, *(f"{calls.per_task.get(name, 0.0):.3f}" for calls in found.values()))
    return table


def main() -> int:
    """Measure and print.

    Returns:
        1 when a task did for z4j what none may do, else 0; also where nothing was measured.
    """
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=100)
    console.print()
    reason = why_not()
    if reason:
        console.print(f"system calls per task: not measured, {reason}", style="yellow")
        return 0
    found = measure(("bare", "z4j") if "--quick" in sys.argv else KINDS)
    console.print(table_of(found))
    bad = forbidden(found["bare"], found["z4j"])
    text = "; ".join(bad) or "no database, no fsync, no socket, no lock between processes"
    console.print(text, style="red" if bad else "green")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
