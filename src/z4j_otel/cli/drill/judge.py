"""The count at the end of a drill: the tasks' notes, the brain's events, the agents' ledgers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from z4j_otel.cli.drill.notes import ENDS, OUT_OF_ORDER, problems_of
from z4j_otel.cli.drill.scene import Scene

__all__ = ["REPORT", "Fate", "Outcome", "judge", "reports_of"]

REPORT: Final = "report.jsonl"
"""Name of the file to which each agent appends its account when it ends."""
_CAUSES: Final = ("worker_lost", "time_limit")
_TO_RUN: Final = (["state retry"], ["state received"])
"""All that is wrong with a task that waits for its next run, in the broker or in a worker that
was killed before it began the run.

Without its message it is a problem, whatever it noted: a broker may have lost the message when
it handed it out again, but a run that was falsely told as retried leaves the same notes. Only
who saw the broker lose it can tell one from the other."""
_Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fate:
    """What a broker was seen to do with a task's last message."""

    seen: str
    """Step by step, for people."""
    is_lost: bool
    """Whether it was seen to lose the message."""


_UNSEEN: Final = Fate("", is_lost=False)


@dataclass(slots=True)
class Outcome:
    """What a drill did and what was found."""

    seed: int
    tasks: int = 0
    runs: int = 0
    """How often tasks began, by their own notes."""
    told: int = 0
    """Tasks whose every run was told exactly once."""
    never_ran: int = 0
    """Tasks without a message that neither began nor were told as begun: lost by the broker."""
    lost: dict[str, str] = field(default_factory=dict)
    """Tasks whose message the broker was seen to lose before their first or next run, and how."""
    repeated_events: int = 0
    """Events stored more than once."""
    stored: int = 0
    """Events that the brain has."""
    waiting: int = 0
    """Tasks whose messages the broker still holds; or has lost, if they were to run again."""
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    account: dict[str, Any] = field(default_factory=dict)
    """The sums of the last accounts of all agents."""
    vitals: list[dict[str, float]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is missing, nothing was said twice, and every account closes."""
        return (
            self.told > 0
            and not self.problems
            and not self.repeated_events
            and self.account.get("unaccounted") == 0
            and self.account.get("dropped") == 0
            and self.account.get("pending") == 0
            and self.account.get("acked") == self.stored
        )

    def plain(self) -> dict[str, Any]:
        """Return all of it, and the verdict, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"good": self.is_good}


def judge(
    scene: Scene,
    outcome: Outcome,
    held: Collection[str],
    *,
    is_held_known: bool = True,
    fates: Mapping[str, Fate] = MappingProxyType({}),
) -> None:
    """Compare what was told with what happened.

    Args:
        scene: The scene, at rest.
        outcome: Takes what is found.
        held: Tasks whose messages the broker still has.
        is_held_known: Whether the broker keeps what a worker had taken; if not, a task that is
            to run again and has no message is the broker's loss.
        fates: What the broker was seen to do with tasks' messages, where it was watched.
    """
    runs = scene.notes.runs()
    stories: dict[str, list[_Event]] = defaultdict(list)
    known: Counter[tuple[object, ...]] = Counter()
    for event in scene.brain.inner.events():
        known[event.task_id, event.kind, event.data.get("span_id"), event.occurred_at] += 1
        if event.kind != "task.sent":
            stories[event.task_id].append({"kind": event.kind, "data": event.data})
    outcome.repeated_events = sum(count - 1 for count in known.values())
    outcome.stored = sum(known.values())
    outcome.tasks = len(scene.ids)
    outcome.runs = sum(map(len, runs.values()))
    for task_id in scene.ids:
        events, fate = stories[task_id], fates.get(task_id, _UNSEEN)
        if task_id not in runs and not any(each["kind"] == "task.started" for each in events):
            if task_id in held:
                outcome.waiting += 1
            elif fate.is_lost:
                outcome.lost[task_id] = fate.seen
            else:
                outcome.never_ran += 1
            continue
        row = scene.brain.task(task_id)
        wrong = [
            problem
            for problem in problems_of(
                runs.get(task_id, ()), events, str(row["state"]) if row else None, _CAUSES
            )
            # A child may outlive its main process: its run and the next one then overlap.
            if problem != OUT_OF_ORDER or _ends_before_it_starts(events)
        ]
        if wrong in _TO_RUN and (task_id in held or not is_held_known):
            outcome.waiting += 1
        elif wrong in _TO_RUN and fate.is_lost:
            outcome.lost[task_id] = fate.seen
        elif wrong:
            kinds = " ".join(str(each["kind"]).partition(".")[2] for each in events)
            noted = ", ".join(map(str, runs.get(task_id, ()))) or "nothing"
            problem = f"{task_id}: {'; '.join(wrong)} [{kinds}]; noted: {noted}"
            outcome.problems.append(f"{problem}; broker: {fate.seen}" if fate.seen else problem)
        else:
            outcome.told += 1
    outcome.account = _accounts(reports_of(scene.folder))


def _ends_before_it_starts(events: Sequence[_Event]) -> bool:
    running = 0
    for event in events:
        running += (event["kind"] == "task.started") - (event["kind"] in ENDS)
        if running < 0:
            return True
    return False


def reports_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the agents that ended by themselves have reported, in order."""
    path = folder / REPORT
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def _accounts(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of the accounts that no other agent has taken over.

    An agent that left something behind, be it a journal with a living writer, is adopted,
    and its account with it.
    """
    last = {counts["buffer_id"]: counts for counts in reports}
    final = reports[-1]["buffer_id"] if reports else None
    sums: Counter[str] = Counter()
    for name, counts in last.items():
        if name == final or not counts["waiting"]:
            account = counts["account"]
            sums.update({key: value for key, value in account.items() if type(value) is int})
    return {**sums, "agents": len(last)}
