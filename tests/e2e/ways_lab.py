"""A laboratory for plays: they run a few at once, and tests look at what came of them.

Celery sleeps for seconds when a worker stops, so that plays one after the other would take
minutes and leave the machine idle.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from z4j_otel.devbrain.server import BrainThread

from .otlp_receiver import OtlpReceiver, ReceivedSpan
from .ways import Play, Told

AT_ONCE = 4
BASICS = ("returns", "raises", "retries")
"""Scenarios of the workload that every way in must show."""


@dataclass
class Outcome:
    """What came of one play."""

    play: Play
    told: Told
    spans: list[ReceivedSpan] = field(default_factory=list)
    log: str = ""
    """The log with the threads of the main process in it, where the play asked for them."""


class Plays:
    """The plays of one test module; a decorator."""

    def __init__(self):
        self._functions = {}

    def __call__(self, function):
        """Make a play known, and a fixture that gives what came of it."""
        self._functions[function.__name__] = function

        @pytest.fixture(scope="module", name=function.__name__)
        def outcome(outcomes):
            return outcomes[function.__name__].result()

        return outcome

    @contextlib.contextmanager
    def running(self, request, tmp_path_factory):
        """Run every play that a chosen test asks for; give the futures by name."""
        wanted = set()
        for item in request.session.items:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            wanted |= {*item.fixturenames, params.get("way")}
        with BrainThread() as brain, ThreadPoolExecutor(AT_ONCE) as pool:
            yield {
                name: pool.submit(function, Lab(brain, tmp_path_factory.mktemp(name)))
                for name, function in self._functions.items()
                if name in wanted
            }


class Lab:
    """What a play is given: a brain, and a folder of its own."""

    def __init__(self, brain: BrainThread, folder: Path) -> None:
        self.brain = brain
        self.folder = folder

    def make(self, variables, **options):
        """Make the play's worker and publisher, with an agent."""
        play = Play(self.folder, {**self.brain.env(), **variables}, **options)
        return play, Told(self.brain, play)

    def basics(self, variables, *, names=BASICS, **options):
        """Play tasks in some way until the brain knows their ends."""
        play, told = self.make(variables, **options)
        try:
            play.start_and_publish(*names)
            play.wait(lambda: told.has_ended(*names), "end of all tasks")
        finally:
            play.stop()
        return Outcome(play, told)

    def traced_basics(self, variables, **options):
        """The same beside a collector, which gets two spans for each of the five runs."""
        with OtlpReceiver() as receiver:
            outcome = self.basics({**receiver.env(), **variables}, **options)
            outcome.spans = receiver.spans()
        return outcome
