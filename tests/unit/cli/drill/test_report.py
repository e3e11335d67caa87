"""What a drill shows."""

from __future__ import annotations

import io
from collections import Counter

from rich.console import Console

from z4j_otel.cli.drill.judge import Outcome
from z4j_otel.cli.drill.report import repeating, show

ACCOUNT = {
    "captured": 10, "acked": 8, "told_twice": 2, "pending": 0, "dropped": 0, "unaccounted": 0,
    "agents": 3,
}  # fmt: skip


def shown(outcome, left_out=None):
    """Return the report's text."""
    console = Console(file=io.StringIO(), width=200)
    show(console, outcome, left_out)
    return console.file.getvalue()


def outcome(**more):
    """Return a good outcome."""
    found = Outcome(7, tasks=4, runs=5, told=4, stored=8, account=dict(ACCOUNT), **more)
    found.faults = Counter({"acks are dropped": 3})
    return found


def test_a_good_outcome_has_all_its_numbers():
    """Faults, tasks, the account and the verdict."""
    text = shown(outcome())

    assert "acks are dropped      3" in text
    assert "4 published, 5 runs" in text
    assert "10 captured = 8 acked + 2 held back as duplicates + 0 pending + 0 dropped" in text
    assert "nothing is lost" in text


def test_what_was_left_out_has_its_reason_once():
    """Two faults with one reason share a line."""
    text = shown(outcome(), {"a child dies": "locked queue", "a kill": "locked queue"})

    assert "left out: a child dies; a kill (locked queue)" in text


def test_problems_are_named_the_first_ten_of_them():
    """And the others counted; nothing in them is taken for markup."""
    text = shown(outcome(problems=[f"t-{number} [received]" for number in range(13)]))

    assert "t-9 [received]" in text
    assert "t-10" not in text
    assert "and 3 more" in text
    assert "NOT as it should be" in text


def test_what_the_broker_lost_or_holds_is_counted():
    """Neither is a loss of ours."""
    text = shown(outcome(never_ran=2, waiting=1))

    assert "2 lost by the broker before they ran, 1 still to run" in text


def test_what_the_broker_was_seen_to_lose_is_shown_with_what_was_seen():
    """Each of these tasks has a line."""
    text = shown(outcome(lost={"t-1": "taken by BRPOP [x]"}))

    assert "1 seen to be lost by the broker" in text
    assert "lost by the broker, seen: t-1: taken by BRPOP [x]" in text


def test_memory_and_descriptors_of_a_worker_are_shown():
    """Where it lived long enough."""
    row = {"pid": 42, "lived_s": 60.0, "rss_mib_early": 70, "rss_mib_late": 71.5}

    text = shown(outcome(vitals=[{**row, "fds_early": 40, "fds_late": 41}]))

    assert "worker 42, 60 s: RSS 70.0 -> 71.5 MiB, descriptors 40 -> 41" in text


def test_the_command_that_repeats_a_seed_can_be_typed():
    """Words with odd characters are quoted."""
    text = repeating("shop.app", seed=7, minutes=0.5, concurrency=2, broker="redis://:**@h/0")

    assert text == (
        "z4j-otel doctor --drill -A shop.app --seed 7 --minutes 0.5 --concurrency 2"
        " --broker 'redis://:**@h/0'"
    )
