"""A drill on a user's application, without any process."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from contextlib import contextmanager

import click
import pytest

from z4j_otel.cli.demo.stage import StageError
from z4j_otel.cli.drill.drill import Drill
from z4j_otel.cli.drill.hand import AppUnusable, BrokerAway
from z4j_otel.cli.drill.judge import Outcome
from z4j_otel.cli.failure import Failure

REDIS = {
    "broker": "redis://:**@staging/3",
    "transport": "redis",
    "has_loop": True,
    "makes_queues": True,
    "other_agent": None,
}
ACCOUNT = {"captured": 9, "acked": 9, "pending": 0, "dropped": 0, "unaccounted": 0}


class Hands:
    """Stand for the processes that have the application."""

    def __init__(self, described=REDIS, error=None):
        self.described = described
        self.error = error
        self.environments = []
        self.deleted = 0

    @contextmanager
    def __call__(self, app, queue, environment, *, cwd, log_path, is_seen):
        """Be one of them."""
        assert app == "shop.app"
        assert not is_seen
        self.environments.append(environment)
        if self.error is not None:
            raise self.error
        yield self

    def delete(self):
        """Count the deletions of the queue."""
        self.deleted += 1


class Player:
    """Stands for what plays a seed."""

    def __init__(self, *, told=9, problems=(), error=None):
        self.told = told
        self.problems = list(problems)
        self.error = error
        self.plans = []

    def __call__(self, plan, folder, say):
        """Return at once."""
        self.plans.append(plan)
        (folder / "worker.log").write_text("ready")
        say("   1.0 s  connections are reset")
        if self.error is not None:
            raise self.error
        outcome = Outcome(plan.seed, tasks=9, runs=9, told=self.told, stored=9)
        outcome.problems = self.problems
        outcome.account = dict(ACCOUNT)
        return outcome


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Keep the drills' folders below the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def drill(player=None, hands=None, **options):
    """Return a drill that is agreed to."""
    options = {"seeds": (7,), "is_agreed": True, **options}
    return Drill("shop.app", play=player or Player(), hand=hands or Hands(), **options)


def test_a_good_drill_ends_with_0_and_leaves_nothing(folders, capsys):
    """It has said what it will do, deleted its queue, and shows how to play it again."""
    player, hands = Player(), Hands()

    assert drill(player, hands).run() == 0

    said = capsys.readouterr().out
    assert player.plans[0].queue in said
    assert "redis://:**@staging/3" in said
    assert "again: z4j-otel doctor --drill -A shop.app --seed 7 --minutes 1" in said
    assert hands.deleted == 1
    assert list(folders.iterdir()) == []


def test_a_loss_ends_with_1_and_keeps_the_logs(folders, capsys):
    """What was lost is named, and where the logs are."""
    hands = Hands()

    assert drill(Player(problems=["t-1: 1 runs, 0 told"]), hands).run() == 1

    said = capsys.readouterr().out
    (log,) = folders.rglob("worker.log")
    assert "t-1: 1 runs, 0 told" in said
    assert f"logs are kept in {log.parent}" in said
    assert hands.deleted == 1


def test_a_drill_in_which_nothing_ran_is_not_good():
    """Empty sums agree with everything."""
    assert drill(Player(told=0)).run() == 1


def test_one_bad_seed_of_two_counts(folders):
    """Each plays; the bad one's logs stay."""

    class Second(Player):
        def __call__(self, plan, folder, say):
            self.problems = ["lost"] if plan.seed == 8 else []
            return super().__call__(plan, folder, say)

    player = Second()

    assert drill(player, seeds=(7, 8, 9)).run() == 1
    assert [plan.seed for plan in player.plans] == [7, 8, 9]
    assert [path.parent.name for path in folders.rglob("worker.log")] == ["8"]


def test_a_worker_that_does_not_run_fails_the_drill(folders):
    """Exit code 1, the worker's log, and the queue is deleted all the same."""
    hands = Hands()
    player = Player(error=StageError("the worker ended at its start", "ImproperlyConfigured"))

    with pytest.raises(Failure, match="ImproperlyConfigured") as caught:
        drill(player, hands).run()

    assert caught.value.exit_code == 1
    assert "--seed 7" in caught.value.then
    assert hands.deleted == 1
    assert list(folders.rglob("worker.log"))


def test_a_queue_that_cannot_be_deleted_is_named(capsys):
    """The verdict stands; the user can delete it."""

    class Stuck(Hands):
        def delete(self):
            raise StageError("the process that publishes has ended", "")

    player = Player()

    assert drill(player, Stuck()).run() == 0
    assert f"the queue {player.plans[0].queue} could not be deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (AppUnusable("ModuleNotFoundError: no shop", ""), "cannot be loaded .Module"),
        (BrokerAway("redis://staging: refused", ""), "does not answer .redis://staging: refused"),
        (StageError("the process has ended", "segfault at import"), "segfault at import"),
    ],
)
def test_an_app_or_broker_that_is_away_is_a_usage_error(folders, error, says):
    """One clear line, exit code 2, and nothing was played."""
    player = Player()

    with pytest.raises(Failure, match=says) as caught:
        drill(player, Hands(error=error)).run()

    assert caught.value.exit_code == 2
    assert player.plans == []
    assert list(folders.iterdir()) == []


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ({"transport": "memory"}, "lives in one process"),
        ({"makes_queues": False}, "task_create_missing_queues"),
        ({"other_agent": "z4j_bare"}, "z4j_bare"),
    ],
)
def test_an_app_that_cannot_be_drilled_is_told_why(fact, says):
    """Exit code 2."""
    with pytest.raises(Failure, match=says) as caught:
        drill(hands=Hands({**REDIS, **fact})).run()

    assert caught.value.exit_code == 2


def test_without_a_terminal_it_wants_yes():
    """A script has to say so."""
    player = Player()

    with pytest.raises(Failure, match="no terminal") as caught:
        drill(player, is_agreed=False).run()

    assert caught.value.exit_code == 2
    assert caught.value.then.endswith("--yes")
    assert player.plans == []


@pytest.mark.parametrize(("answer", "plays"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
def test_on_a_terminal_it_asks(monkeypatch, answer, plays):
    """Nothing starts without a yes."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    player = Player()

    if plays:
        assert drill(player, is_agreed=False).run() == 0
    else:
        with pytest.raises(click.Abort):
            drill(player, is_agreed=False).run()
    assert len(player.plans) == plays


def test_json_is_one_object_a_seed_and_all_else_goes_to_standard_error(capsys):
    """With the verdict and what was left out."""
    hands = Hands({**REDIS, "transport": "filesystem", "has_loop": False})

    assert drill(hands=hands, seeds=(7, 8), as_json=True).run() == 0

    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [(row["seed"], row["good"], row["told"]) for row in rows] == [(7, True, 9), (8, True, 9)]
    assert "a child dies" in rows[0]["left_out"]
    assert "verdict" in shown.err


def test_the_processes_know_no_brain_of_the_users(monkeypatch):
    """Neither the user's variables nor the application's code lead them there."""
    monkeypatch.setenv("Z4J_TOKEN", "own")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://own.example.com")
    player, hands = Player(), Hands()

    drill(player, hands).run()

    for environment in hands.environments:
        assert environment["Z4J_OTEL_PINNED"] == "1"
        assert not {"Z4J_TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT"} & environment.keys()
    assert player.plans[0].variables["Z4J_OTEL_PINNED"] == "1"


def test_another_broker_is_given_in_variables_and_its_password_is_not_shown(capsys):
    """No command line of a process has it, and no output."""
    player = Player()

    drill(player, broker="redis://:geheim@staging/3").run()

    plan = player.plans[0]
    assert plan.variables["CELERY_BROKER_URL"] == "redis://:geheim@staging/3"
    assert "geheim" not in " ".join(plan.options)
    assert "geheim" not in capsys.readouterr().out


def test_the_workers_book_of_messages_is_its_own():
    """On Redis its short visibility timeout must not reach the user's messages."""
    player = Player()

    drill(player).run()

    plan = player.plans[0]
    alone = json.loads(plan.variables["Z4J_OTEL_DRILL_ALONE"])
    assert alone["unacked_key"].startswith(plan.queue)
    assert alone["unacked_index_key"].startswith(plan.queue)
    assert alone["unacked_mutex_key"].startswith(plan.queue)
