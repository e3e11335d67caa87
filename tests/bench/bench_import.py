"""What our imports cost a worker that has Celery and the OpenTelemetry SDK already.

First what every process loads, then what is loaded only where an agent runs.
"""

from __future__ import annotations

import json
import subprocess
import sys

ROUNDS = 7
_THEIRS = """
import opentelemetry.sdk.trace.export, opentelemetry.sdk.resources
"""
_HOSTS = """
import celery.app.trace, celery.worker, celery.bin.worker, kombu
import opentelemetry.instrumentation.celery, opentelemetry.instrumentation.auto_instrumentation
"""
_OURS = """
import z4j_otel.agent.host, z4j_otel.agent.seat, z4j_otel.config
import z4j_otel.exporter.exporter, z4j_otel.instrumentors.celery.instrumentor
"""
_AGENTS = """
import z4j_otel.agent.assembly, z4j_otel.instrumentors.celery.adapter
"""
_PROGRAM = """
import json, os, time
def rss_kb():
    pages = int(open('/proc/self/statm').read().split()[1]) if os.path.exists('/proc') else 0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1024
def cost(code):
    begin, rss = time.perf_counter(), rss_kb()
    exec(code)
    return (time.perf_counter() - begin) * 1000, (rss_kb() - rss) / 1024
print(json.dumps([cost(code) for code in {codes!r}]))
"""


def run() -> dict[str, float]:
    """Return milliseconds and MiB, each the least of some fresh interpreters."""
    rounds = [_measure() for _ in range(ROUNDS)]
    least = [[min(round_[part][unit] for round_ in rounds) for unit in (0, 1)] for part in range(4)]
    (sdk_ms, _), _, (ours_ms, ours_mb), (agent_ms, agent_mb) = least
    return {
        "sdk_ms": sdk_ms,
        "ours_ms": ours_ms,
        "ours_rss_mb": ours_mb,
        "agent_ms": agent_ms,
        "agent_rss_mb": agent_mb,
    }


def _measure() -> list[tuple[float, float]]:
    program = _PROGRAM.format(codes=[_THEIRS, _HOSTS, _OURS, _AGENTS])
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    costs: list[tuple[float, float]] = json.loads(done.stdout)
    return costs


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.1f}")  # noqa: T201 -- this is what it is for
