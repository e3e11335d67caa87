"""Settings that are wrong or lead nowhere: the worker runs, says so once, and loses nothing."""

from __future__ import annotations

import socket

import pytest

from .ways import Play, Told
from .ways_lab import BASICS, Outcome, Plays

pytestmark = pytest.mark.timeout(300)

play = Plays()


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """Run every play that a chosen test asks for."""
    with play.running(request, tmp_path_factory) as running:
        yield running


def _have_run(play):
    log = play.log()
    return log.count("succeeded in") >= 2 and "raised unexpected" in log


@play
def malformed(lab):
    """A secret that is none."""
    play, told = lab.make({"OTEL_TRACES_EXPORTER": "z4j", "Z4J_HMAC_SECRET": "short+secret"})
    try:
        play.start_and_publish(*BASICS)
        play.wait(lambda: _have_run(play), "end of all tasks")
    finally:
        play.stop()
    return Outcome(play, told)


@play
def malformed_strict(lab):
    """The same with ``Z4J_STRICT_MODE=1``."""
    variables = {"Z4J_HMAC_SECRET": "short+secret", "Z4J_STRICT_MODE": "1"}
    play, told = lab.make({"OTEL_TRACES_EXPORTER": "z4j", **variables})
    play.start()
    try:
        play.end()
    finally:
        play.stop()
    return Outcome(play, told)


BROKEN = {
    "wrong_token": {"Z4J_TOKEN": "nobody-has-this-token"},
    "wrong_secret": {"Z4J_HMAC_SECRET": "d3JvbmctLXdyb25nLS13cm9uZy0td3JvbmctLXdyb25n"},
    "unreachable": {},
}


@play
def broken(lab):
    """Three workers that cannot deliver, then one that can, in one home directory."""
    home = lab.folder / "home"
    home.mkdir()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nowhere = {"Z4J_BRAIN_URL": f"http://127.0.0.1:{bound.getsockname()[1]}"}
        outcomes = {
            name: _broken(lab, name, home, variables or nowhere)
            for name, variables in BROKEN.items()
        }
        for outcome in outcomes.values():
            outcome.play.stop()
    play = Play(lab.folder, {**lab.brain.env(), "OTEL_TRACES_EXPORTER": "z4j"}, user_home=home)
    try:
        play.start()
        play.wait_log("[z4j] connected")
        play.wait(lambda: outcomes["wrong_token"].told.has_ended(*BASICS), "adoption of one")
        play.wait(lambda: outcomes["unreachable"].told.has_ended(*BASICS), "adoption of two")
    finally:
        play.stop()
    return outcomes | {"recovered": Outcome(play, Told(lab.brain, play))}


def _broken(lab, name, home, variables):
    folder = lab.folder / name
    folder.mkdir()
    hurry = {"OTEL_TRACES_EXPORTER": "z4j", "Z4J_FLUSH_TIMEOUT_SECONDS": "1"}
    play = Play(folder, {**lab.brain.env(), **hurry, **variables}, user_home=home)
    play.start_and_publish(*BASICS)
    play.wait(lambda: _have_run(play), "end of all tasks")
    play.wait(lambda: "[z4j] not connected" in play.log(), "warning")
    log = play.log()
    play.ask_to_stop()
    return Outcome(play, Told(lab.brain, play), log=log)


def test_malformed_settings_are_named_once(malformed):
    """One line names setting and source, and the worker runs without z4j."""
    lines = [line for line in malformed.play.log().splitlines() if "z4j-otel is off" in line]
    assert len(lines) == 1
    assert "hmac_secret (environment Z4J_HMAC_SECRET)" in lines[0]
    assert "short+secret" not in malformed.play.log()
    assert malformed.play.files() == []
    assert malformed.play.status == 0


def test_malformed_settings_fail_in_strict_mode(malformed_strict):
    """With Z4J_STRICT_MODE the worker does not start."""
    assert malformed_strict.play.status != 0
    assert "hmac_secret (environment Z4J_HMAC_SECRET)" in malformed_strict.play.log()
    assert "short+secret" not in malformed_strict.play.log()


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("wrong_token", "check Z4J_TOKEN"),
        ("wrong_secret", "Z4J_HMAC_SECRET does not belong to this token's project"),
        ("unreachable", "is the brain up, and Z4J_BRAIN_URL its address?"),
    ],
)
def test_a_broken_connection_is_told_once(broken, name, next_step):
    """The tasks run, and one line says what to do; it holds no secret."""
    log = broken[name].play.log()
    warnings = [line for line in log.splitlines() if "[z4j] not connected" in line]
    assert len(warnings) == 1
    assert next_step in warnings[0]
    assert not any(value in log for value in BROKEN[name].values())
    assert broken[name].play.status == 0


@pytest.mark.parametrize("name", ["wrong_token", "unreachable", "wrong_secret"])
def test_waiting_events_are_delivered_later(broken, name):
    """The next worker with right settings delivers what the broken one left behind."""
    assert broken[name].told.problems(*BASICS) == []
