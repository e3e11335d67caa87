"""The home directory, and who owns which buffer file in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AgentFiles", "clamp_buffer_path", "find_abandoned", "is_owner_alive", "resolve_home"]


def resolve_home(environ: Mapping[str, str]) -> Path:
    """Return the directory for the agent's files, made if need be."""
    raise NotImplementedError


def clamp_buffer_path(path: Path, environ: Mapping[str, str]) -> Path:
    """Return the path resolved, or raise ConfigError when outside home and temporary root."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """The files of one agent, owned until :meth:`close` or the end of the process."""

    buffer_path: Path
    journal_dir: Path
    lock_path: Path
    deployment: str
    pid: int
    boot_id: str

    @classmethod
    def claim(
        cls, home: Path, pid: int, deployment: str, *, buffer_path: Path | None = None
    ) -> AgentFiles:
        """Claim ``buffer-{pid}`` in ``home``, or the next free ``buffer-{pid}-{n}``."""
        raise NotImplementedError

    def remove(self) -> bool:
        """Delete the files; False when the journal still holds anything."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up ownership and keep the files."""
        raise NotImplementedError


def is_owner_alive(journal_dir: Path) -> bool:
    """Tell whether the agent that owns a journal is still there."""
    raise NotImplementedError


def find_abandoned(home: Path, deployment: str) -> list[AgentFiles]:
    """Claim the files of dead agents of the same deployment."""
    raise NotImplementedError
