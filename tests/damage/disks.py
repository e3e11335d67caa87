"""A directory's bytes, to be damaged and written anew as often as it takes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from z4j_otel import disk
from z4j_otel.buffer import database

Files = dict[str, bytes]
"""Contents by path below the directory."""


class Damage(NamedTuple):
    """One thing that is wrong, with one of the files."""

    kind: str
    """``flipped``, ``cut off``, ``beheaded`` or ``missing``."""
    name: str
    at: int
    """The byte that is inverted, or where the file ends or begins now."""

    def do(self, files: Files) -> Files:
        """Return the files with it."""
        data = files[self.name]
        if self.kind == "flipped":
            hurt = bytearray(data)
            hurt[self.at] ^= 0xFF
            return {**files, self.name: bytes(hurt)}
        if self.kind == "cut off":
            return {**files, self.name: data[: self.at]}
        if self.kind == "beheaded":
            return {**files, self.name: data[self.at :]}
        return {name: kept for name, kept in files.items() if name != self.name}


def snapshot(directory: Path) -> Files:
    """Return the bytes of every file."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def write(directory: Path, files: Files, origin: Path) -> None:
    """Make a directory hold these files and nothing else.

    Args:
        directory: Where to.
        files: What they hold.
        origin: Where they were made: they keep their inodes, which tell one journal from
            another, as they do on a disk that rots.
    """
    shutil.rmtree(directory, ignore_errors=True)
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (origin / name).exists():
            path.hardlink_to(origin / name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, data)
        os.close(fd)


@contextmanager
def keeping_inodes() -> Iterator[None]:
    """Have files taken for ours in spite of the second name by which ``write`` keeps them."""
    judge = disk.what_is_wrong_with

    def lenient(status: os.stat_result) -> tuple[int, str]:
        number, problem = judge(status)
        return (0, "") if number == errno.EMLINK else (number, problem)

    disk.what_is_wrong_with = database.what_is_wrong_with = lenient
    try:
        yield
    finally:
        disk.what_is_wrong_with = database.what_is_wrong_with = judge


def all_damage(files: Files, *, beheaded: str = "") -> Iterator[Damage]:
    """Yield every byte inverted, every length cut off, and every file missing.

    Args:
        files: The intact bytes.
        beheaded: Files whose name begins so are also tried without their first bytes.
    """
    for name, data in files.items():
        for at in range(len(data)):
            yield Damage("flipped", name, at)
        for at in range(len(data)):
            yield Damage("cut off", name, at)
        if beheaded and name.startswith(beheaded):
            for at in range(1, len(data)):
                yield Damage("beheaded", name, at)
        yield Damage("missing", name, 0)
