"""What a running agent of this machine told the brain that it can do.

The brain keeps the list of the last hello, and shows operators the buttons that it allows.
Whoever says hello with a running agent's token must say what that agent said.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from z4j_otel.agent.status_file import read_status
from z4j_otel.buffer.census import find_files
from z4j_otel.config import AgentConfig
from z4j_otel.wire.frames import Hello

__all__ = ["as_told_by", "find_living"]


def find_living(home: Path | None, config: AgentConfig) -> Mapping[str, Any] | None:
    """Return the status of a living agent with the same token; None where there is none.

    Its files are read, and nothing else is done to them.

    Args:
        home: Where agents have their files; None where they can have none.
        config: Token and project.
    """
    if home is None:
        return None
    token = config.deployment.rpartition(".")[2]
    for files in find_files(home):
        if files.is_alive and token in files.deployment.split("."):
            status = read_status(files.status_path)
            if status and status.get("capabilities"):
                return status
    return None


def as_told_by(status: Mapping[str, Any], hello: Hello) -> Hello:
    """Return a hello with the lists of a running agent."""
    engines, schedulers = _lists(status, "capabilities"), _lists(status, "schedulers")
    return msgspec.structs.replace(
        hello,
        engines=sorted(engines),
        schedulers=sorted(schedulers),
        capabilities=dict(sorted({**engines, **schedulers}.items())),
    )


def _lists(status: Mapping[str, Any], key: str) -> dict[str, list[str]]:
    found = status.get(key)
    return dict(found) if isinstance(found, dict) else {}
