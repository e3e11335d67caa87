"""Directories for tests that write a lot: in memory where that is possible, disks are slow."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["IN_MEMORY", "quiet_directory"]

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where to make a temporary directory; None for the usual place."""


@contextmanager
def quiet_directory(prefix: str) -> Iterator[Path]:
    """Yield a directory, and leave out what z4j-otel says of what is done in it."""
    logger = logging.getLogger("z4j_otel")
    level = logger.level
    with tempfile.TemporaryDirectory(dir=IN_MEMORY, prefix=prefix) as folder:
        logger.setLevel(logging.CRITICAL)
        try:
            yield Path(folder)
        finally:
            logger.setLevel(level)
