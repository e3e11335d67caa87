"""The drill's end of :mod:`.client`, the process that has the application."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from z4j_otel.cli.demo.stage import StageError, instrumented

__all__ = ["AppUnusable", "BrokerAway", "HandOn", "hand_on"]

_CLIENT: Final = "z4j_otel.cli.drill.client"
_END_S: Final = 30.0


class AppUnusable(StageError):
    """The application cannot be imported, or cannot take part in a drill."""


class BrokerAway(StageError):
    """The application's broker does not answer."""


class HandOn:
    """Orders to a client that runs."""

    def __init__(self, process: subprocess.Popen[str], log_path: Path) -> None:
        self._process = process
        self._log_path = log_path
        self.described = self._read()
        """What the client says of its application and broker."""
        if problem := self.described.get("unusable"):
            raise AppUnusable(problem, self._log())
        if problem := self.described.get("away"):
            raise BrokerAway(f"{self.described['broker']}: {problem}", self._log())

    def publish(self, calls: Sequence[tuple[str, tuple[object, ...]]]) -> list[str]:
        """Publish tasks to the drill's queue, and return their ids."""
        ids: list[str] = self._order("publish", calls)
        return ids

    def held(self) -> list[str]:
        """Take what the broker still holds, and return these tasks' ids."""
        ids: list[str] = self._order("held")
        return ids

    def delete(self) -> None:
        """Delete the drill's queue."""
        self._order("delete")

    def _order(self, verb: str, argument: object = None) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([verb, argument]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> StageError:
        return StageError("the process that publishes has ended", self._log())

    def _log(self) -> str:
        return "\n".join(self._log_path.read_text("utf-8", "replace").splitlines()[-20:])


@contextmanager
def hand_on(
    app: str, queue: str, environment: Mapping[str, str], *, cwd: Path, log_path: Path,
    is_seen: bool,
) -> Iterator[HandOn]:  # fmt: skip
    """Run a client while the context lasts.

    Args:
        app: The application, as ``celery -A`` takes it.
        queue: The drill's queue.
        environment: All variables of the process.
        cwd: Where it runs.
        log_path: Takes its standard error.
        is_seen: Whether it is instrumented, so that what it publishes is told.

    Raises:
        AppUnusable: The application cannot be imported.
        BrokerAway: Its broker does not answer.
    """
    interpreter = instrumented("python")[0 if is_seen else 1 :]
    switch = {} if is_seen else {"Z4J_DISABLED": "1", "OTEL_SDK_DISABLED": "true"}
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 -- our own module
            [*interpreter, "-m", _CLIENT, app, queue],
            env={**environment, **switch}, cwd=cwd, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True,
            # Ctrl-C is for the drill, which then ends this in order.
            start_new_session=True,
        )  # fmt: skip
    try:
        yield HandOn(process, log_path)
    finally:
        try:
            process.communicate(timeout=_END_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            process.kill()
            process.wait()
