"""Brokers for the commands' table, each empty and for one run alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..truth.brokers import rabbitmq, redis  # noqa: TID252 -- shared with make truth
from .scene import Scene

PLACES = {"Redis": redis, "RabbitMQ": rabbitmq}


@contextlib.contextmanager
def scene_on(place: str, brain: Any) -> Iterator[Scene]:
    """Yield a scene with its workers on a broker; results are kept in a file."""
    with (
        PLACES[place]() as broker,
        tempfile.TemporaryDirectory(prefix="z4j-commands-") as name,
    ):
        folder = Path(name)
        (folder / "home").mkdir(mode=0o700)
        with Scene(brain, broker, f"db+sqlite:///{folder / 'results.db'}", folder) as scene:
            yield scene
