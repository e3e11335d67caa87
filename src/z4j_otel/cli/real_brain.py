"""A real brain on this machine, for tests and the demo: PyPI package ``z4j``, run as a program.

The brain is another program with its own environment and licence. It is only started,
spoken to over the network, and ended; nothing of it is imported. Each one has its own
data directory, and ends with the process that started it (see ``brain_guard``).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, final

import httpx

from z4j_otel.cli import brain_guard
from z4j_otel.cli.brain_api import AgentCredentials, BrainApi
from z4j_otel.errors import Z4JOtelError

__all__ = ["BrainNotFound", "BrainNotStarted", "RealBrain", "find_brain"]

_HOST: Final = "127.0.0.1"
_EMAIL: Final = "operator@demo.example.com"
_PORT_ATTEMPTS: Final = 5
_STOP_PATIENCE_S: Final = 20.0
_OK: Final = 200


class BrainNotFound(Z4JOtelError):
    """The real brain is not installed where we look for it."""

    def __str__(self) -> str:
        return (
            "the real brain is not installed; run: make brain"
            " (or set Z4J_BRAIN_BIN to its program z4j)"
        )


class BrainNotStarted(Z4JOtelError):
    """The real brain ended, or was not ready in time."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(reason, log)
        self.reason = reason
        self.log = log
        """The last lines the brain printed."""

    def __str__(self) -> str:
        return f"{self.reason}; it printed:\n{self.log}"


def find_brain(environ: Mapping[str, str] = os.environ, directory: Path | None = None) -> Path:
    """Return the brain's program: ``Z4J_BRAIN_BIN``, or ``.venv-brain/bin/z4j`` from here up.

    Args:
        environ: Where ``Z4J_BRAIN_BIN`` is looked up.
        directory: Where the search starts; the current directory when None.

    Raises:
        BrainNotFound: It is in neither place.
    """
    start = (directory or Path.cwd()).absolute()
    places = [Path(place, ".venv-brain", "bin", "z4j") for place in (start, *start.parents)]
    if environ.get("Z4J_BRAIN_BIN"):
        places = [Path(environ["Z4J_BRAIN_BIN"]).absolute()]
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return place
    raise BrainNotFound


@final
class RealBrain:
    """One brain process with its data directory, a project and an operator's account.

    A context manager: entering starts the brain, leaving ends it and removes its data.
    """

    def __init__(
        self,
        program: Path | None = None,
        *,
        port: int = 0,
        project: str = "demo",
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        """Prepare a brain; nothing runs yet.

        Args:
            program: The brain's program; looked for with ``find_brain`` when None.
            port: TCP port on loopback; any free one when 0.
            project: Slug of the project made at the first start.
            settings: The brain's own settings by their names in lower case.
            start_timeout_s: How long it may take to answer, seconds.

        Raises:
            BrainNotFound: The brain is not installed.
        """
        self._program = program or find_brain()
        self._asked_port = port
        self._settings = dict(settings or {})
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._api: BrainApi | None = None
        self.port = port
        self.project = project
        self.email = _EMAIL
        self.password = f"Pw-{secrets.token_urlsafe(18)}"
        self.directory = Path(tempfile.mkdtemp(prefix="z4j-real-brain-"))

    def __enter__(self) -> RealBrain:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """Where the dashboard and the API are; the URL to give to agents."""
        return f"http://{_HOST}:{self.port}"

    @property
    def api(self) -> BrainApi:
        """The client of the REST API; the brain must have been started."""
        assert self._api is not None
        return self._api

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the brain, or start it again with the same data and port.

        Raises:
            BrainNotStarted: It ended, or was not ready in time.
        """
        if self.is_running:
            return
        self._start_process()
        if self._api is None:
            self._api = BrainApi(self.base_url, self.email, self.password, project=self.project)
            self._api.create_project()

    def stop(self) -> None:
        """End the brain as an operator would; its data stay for the next start."""
        self._end(is_crash=False)

    def kill(self) -> None:
        """Crash the brain; its data stay for the next start."""
        self._end(is_crash=True)

    def close(self) -> None:
        """End the brain for good and remove its data."""
        self.stop()
        if self._api is not None:
            self._api.close()
            self._api = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def mint_agent(self, name: str) -> AgentCredentials:
        """Make a new agent in the project and return its credentials."""
        return self.api.mint_agent(name)

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines the brain printed."""
        try:
            text = self._log_path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    @property
    def _log_path(self) -> Path:
        return self.directory / "brain.log"

    def _start_process(self) -> None:
        for attempt in range(_PORT_ATTEMPTS):
            if not self.port:
                self.port = _free_port()
            try:
                self._spawn()
                self._wait_healthy()
            except BrainNotStarted as error:
                # Another program may take a free port before the brain does.
                was_taken = "address already in use" in error.log.lower()
                is_ours = self._asked_port or self._api is not None
                if is_ours or not was_taken or attempt == _PORT_ATTEMPTS - 1:
                    raise
                self.port = 0
            else:
                return

    def _spawn(self) -> None:
        guard = [sys.executable, "-I", str(brain_guard.__file__), str(self._program)]
        serve = ["serve", "--host", _HOST, "--port", str(self.port), "--workers", "1"]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- the program the user named
                [*guard, *serve],
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        # Z4J_* of this process are an agent's, and its Python paths another environment's.
        foreign = ("Z4J_", "OTEL_", "PYTHON", "VIRTUAL_ENV")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
        own = {f"Z4J_{name.upper()}": text for name, text in self._settings.items()}
        return {
            **kept,
            "HOME": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "Z4J_HOME": str(self.directory / "home"),
            "Z4J_ENVIRONMENT": "dev",
            "Z4J_BOOTSTRAP_ADMIN_EMAIL": self.email,
            "Z4J_BOOTSTRAP_ADMIN_PASSWORD": self.password,
            **own,
        }

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        with httpx.Client(trust_env=False, timeout=2) as client:
            while self.is_running and time.monotonic() < deadline:
                try:
                    answer = client.get(f"{self.base_url}/api/v1/health")
                except httpx.TransportError:
                    time.sleep(0.1)
                else:
                    if answer.status_code == _OK:
                        return
        reason = "the brain was not ready in time" if self.is_running else "the brain ended"
        self.kill()
        raise BrainNotStarted(reason, self.log_tail())

    def _end(self, *, is_crash: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if not is_crash:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_PATIENCE_S)
        # Guard and brain form one group of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
