"""Restarting workers."""

from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state
from celery.worker.control import Panel

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.restarts import WorkerRestart, allow_exit, offer_exit
from z4j_otel.instrumentors.supervisors import ProcessFacts, Supervisor

from .scripted import Fleet, pool_of

ASKED = {"worker_name": "w@here"}
COMMAND = "z4j_restart_by_exit"
WAKE = "z4j_wake_pool"
WOKEN = {WAKE: {"ok": "woken"}}
BY_EXIT = {
    "worker": "w@here",
    "restarted_via": "exit",
    "supervisor": "systemd",
    "exit_status": 75,
}


def restart(fleet):
    """Restart the fleet's worker."""
    return WorkerRestart(fleet.peers).restart(ASKED)


def test_pool_is_renewed():
    """All processes are new ones in the end."""
    stats = [pool_of(1, 2), pool_of(1, 2), pool_of(), pool_of(2, 3), pool_of(3, 4)]
    fleet = Fleet(pool_restart={"ok": "reload started"}, stats=stats, **WOKEN)
    assert restart(fleet) == {"worker": "w@here"}
    assert fleet.commands() == [("pool_restart", {}), (WAKE, {})]


def test_pool_with_old_processes_is_uncertain():
    """An ok without new processes is no success."""
    unknown = {WAKE: {"error": f"KeyError('{WAKE}')"}}
    fleet = Fleet(pool_restart={"ok": ""}, stats=pool_of(1, 2), **unknown)
    with pytest.raises(AdapterError, match="have not been replaced yet") as raised:
        restart(fleet)
    assert raised.value.indeterminate


def test_busy_processes_are_replaced_after_their_task():
    """Marked processes that run a task are not waited for; idle ones are."""
    busy = lambda *pids: lambda _: [{"worker_pid": pid} for pid in pids]  # noqa: E731 -- short
    stats = [pool_of(1, 2), pool_of(1, 2), pool_of(2, 3)]
    fleet = Fleet(pool_restart={"ok": ""}, stats=stats, active=busy(2), **WOKEN)
    assert restart(fleet) == {"worker": "w@here"}
    assert len(fleet.pauses) == 1


def test_supervised_worker_exits():
    """Where pools are not restarted, the worker itself may exit."""
    exits = {COMMAND: {"ok": {"supervisor": "systemd"}}}
    fleet = Fleet(conf={}, stats=pool_of(1), **exits)
    assert restart(fleet) == BY_EXIT
    assert fleet.commands() == [(COMMAND, {})]
    assert restart(Fleet(conf=None, stats=pool_of(1), **exits)) == BY_EXIT
    assert restart(Fleet(stats=pool_of(1, kind="solo"), **exits)) == BY_EXIT
    odd = Fleet(stats=None, **{COMMAND: {"ok": "yes"}})
    assert restart(odd)["supervisor"] is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": f"KeyError('{COMMAND}')"}, "it has no z4j agent"),
        ({"error": "no sign of systemd"}, "no sign of systemd"),
    ],
)
def test_unsupervised_worker_is_left_running(answer, reason):
    """Nobody would start it again, and the refusal says what to change."""
    fleet = Fleet(conf={}, stats=pool_of(1), **{COMMAND: answer})
    with pytest.raises(CommandRefused, match=f"{reason}. Set worker_pool_restarts = True"):
        restart(fleet)


def test_other_errors_of_a_pool_stay():
    """A pool restart that failed is not followed by an exit."""
    with pytest.raises(CommandRefused, match="answered: broken"):
        restart(Fleet(pool_restart={"error": "broken"}, stats=pool_of(1)))


def test_setting_decides_over_the_signs():
    """Whoever knows better says so."""
    assert allow_exit("always").name == "setting"
    assert allow_exit("never", lambda: ProcessFacts(1, 0, cgroup="kubepods")).name is None
    assert allow_exit("auto", lambda: ProcessFacts(1, 0, cgroup="kubepods")).name == "kubernetes"


def test_worker_answers_and_then_stops(monkeypatch):
    """Our control commands: an exit only where somebody starts the worker again; a wake-up."""
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    monkeypatch.setattr(Panel, "meta", dict(Panel.meta))
    monkeypatch.setattr(worker_state, "should_stop", None)
    offer_exit(lambda: Supervisor(None, "no sign"))
    assert Panel.data[COMMAND](SimpleNamespace()) == {"error": "no sign"}
    assert worker_state.should_stop is None
    offer_exit(lambda: Supervisor("systemd", "main process"))
    assert Panel.data[COMMAND](SimpleNamespace()) == {"ok": {"supervisor": "systemd"}}
    assert worker_state.should_stop == 75
    jobs = []
    pool = SimpleNamespace(num_processes=2, _pool=SimpleNamespace(apply_async=jobs.append))
    state = SimpleNamespace(consumer=SimpleNamespace(pool=pool))
    assert Panel.data[WAKE](state) == {"ok": "woken"}
    assert len(jobs) == 2
