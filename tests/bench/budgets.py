"""The budgets, one row each: what is measured, what it may cost, and beside what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BUDGETS", "Budget", "Verdict", "judge"]

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Budget:
    """One promise about cost."""

    what: str
    source: str
    """The module that measures it."""
    figure: str
    limit: float
    unit: str
    beside: Callable[[Figures], str]
    """Says what else was measured in the same run, for comparison."""
    is_floor: bool = False
    """Whether the limit is a least, not a most."""
    why_missed: str = ""
    """What is known of the reason, where the limit is not kept on common machines."""


@dataclass(frozen=True)
class Verdict:
    """A budget and what was reached; None where it could not be measured."""

    budget: Budget
    reached: float | None
    beside: str
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the limit was kept; None when nothing was measured."""
        if self.reached is None:
            return None
        if self.budget.is_floor:
            return self.reached >= self.budget.limit
        return self.reached <= self.budget.limit

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        budget = self.budget
        return {
            "what": budget.what,
            "limit": budget.limit,
            "bound": "least" if budget.is_floor else "most",
            "unit": budget.unit,
            "reached": self.reached,
            "beside": self.beside,
            "is_met": self.is_met,
            "note": self.note,
        }


def judge(budget: Budget, figures: Figures | str) -> Verdict:
    """Compare a budget with the figures of its source, or with why there are none."""
    if isinstance(figures, str):
        return Verdict(budget, None, "", figures)
    verdict = Verdict(budget, figures[budget.figure], budget.beside(figures))
    if verdict.is_met:
        return verdict
    return Verdict(budget, verdict.reached, verdict.beside, budget.why_missed)


_IN_PLACE = (
    "two records are some 1,500 steps of the interpreter; between Celery's and the SDK's own "
    "code each takes twice what it takes in a tight loop (14 µs), where caches are warm"
)

BUDGETS = (
    Budget(
        "task thread, all records of one run, p50", "bench_capture", "run_ours_p50_us", 25, "µs",
        lambda f: f"upstream span {f['run_upstream_p50_us']:.0f} µs, "
        f"{f['run_ours_p50_us'] / f['run_upstream_p50_us']:.2f} x; hooks that only write "
        f"{f['run_floor_p50_us']:.0f} µs",
        why_missed=_IN_PLACE,
    ),
    Budget(
        "task thread, all records of one run, p99", "bench_capture", "run_inside_p99_us", 60,
        "µs", lambda f: f"p50 inside the hooks {f['run_inside_p50_us']:.0f} µs",
        why_missed="holds garbage collections and whatever else the machine does",
    ),
    Budget(
        "publish, beyond the upstream span, p50", "bench_capture", "publish_ours_p50_us", 15,
        "µs", lambda f: f"upstream span {f['publish_upstream_p50_us']:.0f} µs, "
        f"{f['publish_ours_p50_us'] / f['publish_upstream_p50_us']:.2f} x; hooks that only "
        f"write {f['publish_floor_p50_us']:.0f} µs",
        why_missed="a record with its arguments redacted, a marked span, one more header, and "
        "a wrapper around send_task, all between other code, where caches are cold",
    ),
    Budget(
        "append to journal, p50", "bench_journal", "append_p50_us", 5, "µs",
        lambda f: f"{f['append_to_write_p50_ratio']:.1f} x a plain write of the same bytes",
    ),
    Budget(
        "redaction of small arguments", "bench_redaction", "small_us", 8, "µs",
        lambda f: "args=[2, 3], kwargs={'note': 'n'}",
    ),
    Budget(
        "redaction of one argument of 130 kB", "bench_redaction", "large_us", 2000, "µs",
        lambda f: f"text {f['large_text_us']:.0f} µs, list {f['large_items_us']:.0f} µs",
    ),
    Budget(
        "redaction of a hostile text of 1 MB", "bench_redaction", "hostile_ms", 50, "ms",
        lambda f: f"the worst of {f['hostile_texts']:.0f}; p50 {f['hostile_p50_ms']:.1f} ms",
        why_missed="the machine did something else meanwhile, or a rule is not linear",
    ),
    Budget(
        "import into the buffer, per event", "bench_buffer", "append_p50_us", 10, "µs",
        lambda f: f"{f['append_to_insert_p50_ratio']:.1f} x a plain insert in a batch",
    ),
    Budget(
        "lease and ack, per event", "bench_buffer", "lease_ack_p50_us", 10, "µs",
        lambda f: f"p99 {f['lease_ack_p99_us']:.1f} µs",
    ),
    Budget(
        "agent, journal to ack, per second of one core", "bench_agent", "per_cpu_s", 15_000,
        "events", lambda f: f"{f['per_wall_s']:.0f} per second of wall time", is_floor=True,
    ),
    Budget(
        "click to ack of a command beside one that hangs", "bench_commands", "hung_max_ms", 50,
        "ms", lambda f: f"the longest of 200; p50 {f['hung_p50_ms']:.1f} ms, with none that hangs "
        f"{f['quiet_p50_ms']:.1f} ms; 50 at once all answered in {f['flood_ms']:.0f} ms",
        why_missed="one of 200 waited while the machine did something else",
    ),
    Budget(
        "processor time per task, span included", "bench_worker", "z4j_cpu_us", 90, "µs",
        lambda f: f"a bare task {f['bare_cpu_us']:.0f} µs, upstream's span alone "
        f"{f['otel_cpu_us']:.0f} µs",
        why_missed="upstream's span alone takes most of the budget, or all of it; a record in "
        "the main process, two in the child and three events through the agent come on top, each "
        "for two to three times what it costs in a tight loop: between other work caches are cold",
    ),
    Budget(
        "worker slow-down, no-op tasks, prefork, Redis", "bench_worker", "z4j_ratio", 1.10, "x",
        lambda f: f"bare 1.00 ({f['bare_wall_s']:.2f} s), upstream's span {f['otel_ratio']:.2f}",
        why_missed="bound by processor time: see the row above",
    ),
    Budget(
        "idle wake-ups per second", "bench_worker", "z4j_wakeups_per_s", 1.0, "/s",
        lambda f: f"a worker's main thread {f['z4j_main_wakeups_per_s']:.1f} /s, without z4j "
        f"{f['otel_main_wakeups_per_s']:.1f}; 0.2 /s are the SDK's batch thread",
    ),
    Budget(
        "broker connections held", "bench_worker", "z4j_connections", 0, "",
        lambda f: f"on top of {f['otel_connections']:.0f} of a worker without it",
        why_missed="one that measures queues, silent between heartbeats: the worker's own "
        "belong to its event loop's thread, and one a heartbeat would cost the broker more",
    ),
    Budget(
        "import, beyond opentelemetry-sdk", "bench_import", "ours_ms", 80, "ms",
        lambda f: f"opentelemetry-sdk {f['sdk_ms']:.0f} ms; the agent itself, after the fork, "
        f"{f['agent_ms']:.0f} ms more",
    ),
    Budget(
        "memory after import", "bench_import", "ours_rss_mb", 8, "MiB",
        lambda f: f"the agent itself, after the fork, {f['agent_rss_mb']:.1f} MiB more",
    ),
)  # fmt: skip
