"""The scene of a drill: whom it may kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from z4j_otel.cli.drill.notes import Notes
from z4j_otel.cli.drill.scene import Scene

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


class Stage:
    """One process that stands for a worker."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def start(self):
        """Start it, as the real one does: a group of its own."""
        self.process = subprocess.Popen(SLEEP, start_new_session=True)
        note = f"ready worker {self.process.pid} 1\n"
        (self.folder / "notes").write_text(note)

    @property
    def worker_pid(self):
        """Its number."""
        return self.process.pid

    has_worker = True

    def stop(self, signal_number):
        """End it with a signal."""
        self.process.send_signal(signal_number)
        self.process.wait()

    def kill(self, *, whole_group):
        """Kill it; it has no children."""
        del whole_group
        self.stop(signal.SIGKILL)


@pytest.fixture
def scene(tmp_path):
    """Return a scene whose worker runs."""
    scene = Scene(None, Stage(tmp_path), Notes(tmp_path / "notes"))
    scene.start_worker()
    yield scene
    scene.kill_orphans()
    scene.stage.process.wait()


def test_a_process_of_the_worker_can_be_killed(scene):
    """It belongs to the worker's group."""
    scene.kill_child(scene.stage.worker_pid, signal.SIGKILL)

    assert scene.stage.process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "end",
    [lambda scene: scene.stop_worker(), lambda scene: scene.kill_worker(whole_group=True)],
)
def test_the_end_of_a_worker_is_noted(scene, end):
    """When it is gone, so that what its broker lost with it can be told."""
    before_s = time.time()
    end(scene)

    assert scene.stage.process.poll() is not None
    assert len(scene.ended_s) == 1
    assert before_s <= scene.ended_s[0] <= time.time()


def test_no_other_process_is_ever_killed(scene):
    """A number in the notes may have gone to somebody else."""
    with subprocess.Popen(SLEEP) as stranger:
        scene.kill_child(stranger.pid, signal.SIGKILL)
        scene.kill_orphans()
        assert stranger.poll() is None
        stranger.terminate()
