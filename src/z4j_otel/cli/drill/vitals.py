"""Memory and descriptors of the worker's main process over time."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

__all__ = ["Vitals"]

_SETTLED_S = 20.0


class Vitals:
    """Samples by process; a worker that is restarted begins anew."""

    def __init__(self) -> None:
        self._samples: dict[int, list[tuple[float, int, int]]] = {}

    def sample(self, pid: int, now_s: float) -> None:
        """Look at a process; one that is gone is left out."""
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except (OSError, IndexError):
            return
        size = pages * os.sysconf("SC_PAGE_SIZE")
        self._samples.setdefault(pid, []).append((now_s, size, descriptors))

    def rows(self) -> list[dict[str, float]]:
        """Return what each process that lived long enough had at its begin and end.

        The first 20 s are left out: imports and pools fill then.
        """
        rows = []
        for pid, samples in self._samples.items():
            settled = [each for each in samples if each[0] - samples[0][0] >= _SETTLED_S]
            third = len(settled) // 3
            if not third:
                continue
            early, late = settled[:third], settled[-third:]
            rows.append(
                {
                    "pid": pid,
                    "lived_s": samples[-1][0] - samples[0][0],
                    "rss_mib_early": statistics.median(each[1] for each in early) / 2**20,
                    "rss_mib_late": statistics.median(each[1] for each in late) / 2**20,
                    "fds_early": statistics.median(each[2] for each in early),
                    "fds_late": statistics.median(each[2] for each in late),
                }
            )
        return rows
