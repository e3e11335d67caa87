"""Who owns which buffer file: theory of operation.

Constraints
    Several agents may share a home directory: of one deployment and of others, dead and
    alive, in containers where every process has the same pid. Nobody may open a living
    agent's database; a dead agent's files must be found and taken over by its own
    deployment only.

Format
    ``buffer-{pid}.sqlite`` (the database), ``buffer-{pid}.journal/`` and
    ``buffer-{pid}.lock``; ``buffer-{pid}-{n}`` when that name is taken. The lock file holds
    one JSON object: ``deployment``, ``pid``, ``boot_id``, and the database's ``suffix``. A
    path set by the user names all three in the same way.

Operation
    The owner holds an exclusive ``flock`` on the lock file for life, so that it is alive
    if and only if somebody fails to lock the file. Pids are for people to read: they are
    reused. The lock belongs to the open file, which a forked child shares; therefore
    Python's fork hook closes it in every child, and a child cannot keep its dead parent
    alive. (A POSIX record lock would not be inherited, but is lost as soon as the process
    closes any descriptor of the file: asking for the owner would end the ownership.)
    Whoever asks opens the file anew and tries a shared lock, so two who ask do not take each
    other for the owner.

    A database without a lock file is another program's, and its name counts as taken.

Recovery
    Files whose lock can be had belong to a dead agent. ``claim`` takes them over when the
    name and the deployment are its own (a restarted container), ``find_abandoned`` takes
    all of its deployment. A lock file that cannot be read is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from z4j_otel.buffer.home import clamp_buffer_path, resolve_home
from z4j_otel.forks import call_in_child
from z4j_otel.ids import BootId, new_boot_id

__all__ = ["AgentFiles", "clamp_buffer_path", "find_abandoned", "is_owner_alive", "resolve_home"]

_COMPANIONS = ("-wal", "-shm", "")
_OUR_SUFFIXES = (".lock", ".journal")
_RECORD_BYTES = 4096
_MOST_NAMES = 1000
_OPEN_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_CLOSED = -1


class _Record(msgspec.Struct, frozen=True):
    deployment: str
    pid: int
    boot_id: BootId
    suffix: str = ".sqlite"


class AgentFiles:
    """The files of one agent, owned until :meth:`close`, or the end of this process."""

    def __init__(self, lock_path: Path, fd: int, record: _Record) -> None:
        self.lock_path = lock_path
        self.buffer_path = lock_path.with_suffix(record.suffix)
        """The database; it need not exist yet."""
        self.journal_dir = lock_path.with_suffix(".journal")
        """The journal's directory; exists."""
        self.deployment = record.deployment
        """Who may adopt the files."""
        self.pid = record.pid
        """The process that claimed the name; not this one for adopted files."""
        self.boot_id = record.boot_id
        """The life of the agent that claimed the name."""
        self._fd = fd
        call_in_child(self.close)

    def __repr__(self) -> str:
        return f"AgentFiles({str(self.buffer_path)!r})"

    @classmethod
    def claim(
        cls, home: Path, pid: int, deployment: str, *, buffer_path: Path | None = None
    ) -> AgentFiles:
        """Own ``buffer-{pid}`` in ``home``, or the first of ``buffer-{pid}-{n}`` that is free.

        A dead agent's files of the same name and deployment are taken over as they are.

        Args:
            home: From :func:`resolve_home`.
            pid: Of the agent's process.
            deployment: Name of those who may adopt one another's files; no secret. It may
                have several parts with dots between them: sharing one of them is enough.
            buffer_path: An explicit database instead, clamped already; its journal and lock
                lie beside it. The names tried after it end in ``-{n}``, too.

        Raises:
            OSError: The directory cannot be written, has no locks, or a thousand names are taken.
        """
        first = buffer_path or home / f"buffer-{pid}.sqlite"
        suffix = ".sqlite" if first.suffix in _OUR_SUFFIXES else first.suffix
        record = _Record(deployment, pid, new_boot_id(), suffix)
        stems = (first.stem, *(f"{first.stem}-{number}" for number in range(1, _MOST_NAMES)))
        for stem in stems:
            lock_path = first.with_name(f"{stem}.lock")
            fd = _claim_name(lock_path, record)
            if fd is not None:
                return cls(lock_path, fd, record)
        raise FileExistsError(errno.EEXIST, "every name is taken", str(first))

    def remove(self) -> bool:
        """Delete the files of an agent whose entries have all been taken over.

        The caller has made sure that the database is empty and closed.

        Returns:
            True when they are gone, and owned no more. False when the journal still holds
            a segment, hence perhaps a record or a writer; then nothing was deleted.
        """
        try:
            self.journal_dir.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        for companion in _COMPANIONS:
            path = self.buffer_path.with_name(self.buffer_path.name + companion)
            path.unlink(missing_ok=True)
        # Last, and while it is locked: without it the rest would look like a stranger's.
        self.lock_path.unlink(missing_ok=True)
        self.close()
        return True

    def close(self) -> None:
        """Give up the ownership and keep the files, for others to adopt. Idempotent."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            os.close(fd)


def is_owner_alive(journal_dir: Path) -> bool:
    """Tell whether the agent that reads a journal is there. Any process may ask."""
    try:
        fd = os.open(journal_dir.with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def find_abandoned(home: Path, deployment: str) -> list[AgentFiles]:
    """Own the files of every dead agent of a deployment.

    Returns:
        Oldest claim first. The caller imports them, then calls ``remove`` or ``close``.

    Raises:
        OSError: The directory cannot be read.
    """
    found: list[AgentFiles] = []
    for lock_path in sorted(home.glob("*.lock"), key=_modified_ns):
        # Read before locking: what is not ours is not even touched.
        if _are_one(_deployment_in(lock_path), deployment):
            files = _adopt(lock_path, deployment)
            if files is not None:
                found.append(files)
    return found


def _claim_name(lock_path: Path, record: _Record) -> int | None:
    fd = _lock(lock_path, is_new=True)
    if fd is None:
        return None
    with _closing_on_error(fd):
        if _is_free(lock_path, fd, record):
            _write_record(fd, record)
            lock_path.with_suffix(".journal").mkdir(mode=0o700, exist_ok=True)
            return fd
    os.close(fd)
    return None


def _adopt(lock_path: Path, deployment: str) -> AgentFiles | None:
    fd = _lock(lock_path, is_new=False)
    if fd is None:
        return None
    with _closing_on_error(fd):
        record = _read_record(fd)
        if record is None or not _are_one(record.deployment, deployment):
            os.close(fd)
            return None
        lock_path.with_suffix(".journal").mkdir(mode=0o700, exist_ok=True)
    return AgentFiles(lock_path, fd, record)


def _lock(path: Path, *, is_new: bool) -> int | None:
    """Return a descriptor that owns a lock file, or None when somebody else does."""
    while True:
        try:
            fd = os.open(path, _OPEN_FLAGS | (os.O_CREAT if is_new else 0), 0o600)
        except (FileNotFoundError, PermissionError):
            if is_new and not path.exists():
                raise
            return None
        with _closing_on_error(fd):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            if _leads_to(path, fd):
                return fd
        # Its owner removed the file between our two calls: what we locked has no name.
        os.close(fd)


def _leads_to(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_free(lock_path: Path, fd: int, wanted: _Record) -> bool:
    """Whether a locked name may be used: it is new, or a dead agent's of our deployment."""
    known = _read_record(fd)
    if known is not None:
        return known.suffix == wanted.suffix and _are_one(known.deployment, wanted.deployment)
    if os.fstat(fd).st_size:
        return False
    if lock_path.with_suffix(wanted.suffix).exists():
        lock_path.unlink()  # made by us a moment ago, beside another program's database
        return False
    return True


def _are_one(known: str | None, wanted: str) -> bool:
    """Whether two names are of one deployment: they share a part."""
    return known is not None and not set(known.split(".")).isdisjoint(wanted.split("."))


def _deployment_in(lock_path: Path) -> str | None:
    try:
        fd = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        record = _read_record(fd)
    except IsADirectoryError:
        return None
    finally:
        os.close(fd)
    return None if record is None else record.deployment


def _read_record(fd: int) -> _Record | None:
    try:
        return msgspec.json.decode(os.pread(fd, _RECORD_BYTES, 0), type=_Record)
    except msgspec.DecodeError:
        return None


def _write_record(fd: int, record: _Record) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, msgspec.json.encode(record), 0)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _closing_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise
