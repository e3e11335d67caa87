"""What redaction costs: the arguments of most tasks, and one argument that is far too large."""

from __future__ import annotations

import time
from collections.abc import Callable

from z4j_otel.redaction import Redactor

LARGE_CHARS = 130_000
_clock = time.perf_counter_ns


def run() -> dict[str, float]:
    """Return microseconds per call, the median."""
    redactor = Redactor()
    text = "The quick brown fox jumps over the lazy dog. " * (LARGE_CHARS // 45)
    items = [{"sku": f"A-{number}", "count": number} for number in range(LARGE_CHARS // 26)]
    large_text_us = _median(lambda: redactor.redact({"body": text}), 200)
    large_items_us = _median(lambda: redactor.redact({"items": items}), 200)
    return {
        "small_us": _median(
            lambda: (redactor.redact([2, 3]), redactor.redact({"note": "n"})), 5000
        ),
        "large_text_us": large_text_us,
        "large_items_us": large_items_us,
        "large_us": max(large_text_us, large_items_us),
    }


def _median(action: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = _clock()
        action()
        times.append(_clock() - begin)
    return sorted(times)[rounds // 2] / 1000


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.2f}")  # noqa: T201 -- this is what it is for
