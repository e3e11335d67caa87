"""Who owns which buffer file: theory of operation.

Constraints
    Several agents may share a home directory: of one deployment and of others, dead and
    alive, in containers where every process has the same pid. Nobody may open a living
    agent's database; a dead agent's files must be found and taken over by its own
    deployment only.

Format
    ``buffer-{pid}.sqlite`` (the database), ``buffer-{pid}.journal/`` and
    ``buffer-{pid}.lock``, and ``buffer-{pid}.status`` where the agent shows its state (see
    ``agent.status_file``); ``buffer-{pid}-{n}`` when that name is taken, be it by a dead
    agent. The lock file holds
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
    other for the owner. While it lives, the owner also sets the lock file's time now and
    then: whoever finds the files knows about when it died.

    A database without a lock file is another program's, and its name counts as taken.

Recovery
    Files whose lock can be had belong to a dead agent. ``find_abandoned`` takes all of its
    deployment; ``claim`` never does, not even where every process has the same pid, so that
    what was left is adopted in one way only. A lock file that cannot be read, or that
    belongs to another user, is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from z4j_otel.buffer import names
from z4j_otel.buffer.foreign import (
    is_no_directory_of_ours,
    put_aside,
    remove_journal,
    tell_of_strangers,
)
from z4j_otel.disk import open_own
from z4j_otel.forks import call_in_child
from z4j_otel.ids import BootId, new_boot_id

__all__ = [
    "AgentFiles",
    "exists",
    "find_abandoned",
    "find_served",
    "is_owner_alive",
    "look_at",
]

_OUR_SUFFIXES = (".lock", ".journal", ".status")
_RECORD_BYTES = 4096
_MOST_NAMES = 1000
_CLOSED = -1


class _Record(msgspec.Struct, frozen=True):
    deployment: str
    pid: int
    boot_id: BootId
    suffix: Annotated[str, msgspec.Meta(pattern=r"^(\.[^./\x00]+)?\Z")] = ".sqlite"


class AgentFiles:
    """The files of one agent, owned until :meth:`close`, or the end of this process."""

    def __init__(self, lock_path: Path, fd: int, record: _Record) -> None:
        self.lock_path = lock_path
        self.buffer_path = lock_path.with_suffix(record.suffix)
        """The database; it need not exist yet."""
        self.journal_dir = lock_path.with_suffix(".journal")
        """The journal's directory; exists."""
        self.status_path = lock_path.with_suffix(".status")
        """Where the agent shows its state; it need not exist."""
        self._record = record
        self.deployment = record.deployment
        """Who may adopt the files."""
        self.pid = record.pid
        """The process that claimed the name; not this one for adopted files."""
        self.boot_id = record.boot_id
        """The life of the agent that claimed the name."""
        self.last_alive_ns = os.fstat(fd).st_mtime_ns
        """When an abandoned owner was last known to live; by the wall clock."""
        self._fd = fd
        call_in_child(self.close)

    def __repr__(self) -> str:
        return f"AgentFiles({str(self.buffer_path)!r})"

    @property
    def key(self) -> str:
        """What tells these files from all others, also from later ones of the same name."""
        return f"{self.lock_path.stem}@{self.boot_id}"

    @classmethod
    def claim(
        cls, home: Path, pid: int, deployment: str, *, buffer_path: Path | None = None
    ) -> AgentFiles:
        """Own ``buffer-{pid}`` in ``home``, or the first of ``buffer-{pid}-{n}`` that is free.

        Names of dead agents count as taken: :func:`find_abandoned` is the way to them.

        Args:
            home: From ``buffer.home.resolve_home``.
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
        is_told = False
        for stem in stems:
            lock_path = first.with_name(f"{stem}.lock")
            fd = _claim_name(lock_path, record)
            if fd is not None:
                return cls(lock_path, fd, record)
            beside = [lock_path.with_suffix(each) for each in (suffix, *_OUR_SUFFIXES)]
            is_told = is_told or tell_of_strangers(beside)
        raise FileExistsError(errno.EEXIST, "every name is taken", str(first))

    @classmethod
    def handed_over(cls, lock_path: Path, fd: int) -> AgentFiles:
        """Own the files of the process that started this one, together with it.

        The lock belongs to the open file, so it is held until both have closed it.

        Args:
            lock_path: The lock file.
            fd: A descriptor of it that was inherited; closed by this object.

        Raises:
            FileNotFoundError: The path leads elsewhere; the files are gone.
        """
        record = _read_record(fd) if _leads_to(lock_path, fd) else None
        if record is None:
            raise FileNotFoundError(errno.ENOENT, "the lock file is gone", str(lock_path))
        return cls(lock_path, fd, record)

    def fileno(self) -> int:
        """Return the descriptor of the lock file, to be handed to an agent process."""
        return self._fd

    def remove(self) -> bool:
        """Delete the files of an agent whose entries have all been taken over.

        The caller has made sure that the database is empty and closed.

        Returns:
            True when they are gone, and owned no more. False when the journal still holds
            a segment, hence perhaps a record or a writer; then nothing was deleted.
        """
        if not remove_journal(self.journal_dir):
            return False
        draft = names.beside(self.status_path, names.NEW)
        for path in (*names.all_of(self.buffer_path), draft, self.status_path):
            with contextlib.suppress(IsADirectoryError):  # somebody else's
                path.unlink(missing_ok=True)
        # Last, and while it is locked: without it the rest would look like a stranger's.
        self.lock_path.unlink(missing_ok=True)
        if self.journal_dir.exists():
            # A process took us for a living agent, and is about to write there.
            self._leave_again()
        self.close()
        return True

    def _leave_again(self) -> None:
        """Put a lock file beside a journal that came back, so that it will be adopted."""
        fd = open_own(self.lock_path, os.O_RDWR | os.O_CREAT)
        with _closing_on_error(fd):
            _write_record(fd, self._record)
        os.close(fd)

    def note_alive(self) -> None:
        """Leave a sign of life; to be called every few seconds."""
        if self._fd != _CLOSED:
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def close(self) -> None:
        """Give up the ownership and keep the files, for others to adopt. Idempotent."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            os.close(fd)


def is_owner_alive(journal_dir: Path) -> bool:
    """Tell whether the agent that reads a journal is there. Any process may ask."""
    try:
        fd = open_own(journal_dir.with_suffix(".lock"), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def exists(home: Path, key: str) -> bool:
    """Tell whether files with this key are there, whoever owns them."""
    stem, _, boot_id = key.rpartition("@")
    record = look_at(home / f"{stem}.lock")
    return record is not None and record.boot_id == boot_id


def find_served(home: Path, deployment: str) -> Path | None:
    """Return the journal of a living agent of a deployment, or None."""
    for lock_path in home.glob("*.lock"):
        record = look_at(lock_path)
        journal_dir = lock_path.with_suffix(".journal")
        if record is None or not _are_one(record.deployment, deployment):
            continue
        if is_owner_alive(journal_dir) and journal_dir.is_dir():
            return journal_dir
    return None


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
        known = look_at(lock_path)
        if known is not None and _are_one(known.deployment, deployment):
            with contextlib.suppress(OSError):  # tried again at the next look
                files = _adopt(lock_path, deployment)
                if files is not None:
                    found.append(files)
    return found


def _claim_name(lock_path: Path, record: _Record) -> int | None:
    fd = _lock(lock_path, is_new=True)
    if fd is None:
        return None
    with _closing_on_error(fd):
        if _is_free(lock_path, fd, record.suffix):
            try:
                _write_record(fd, record)
                lock_path.with_suffix(".journal").mkdir(mode=0o700, exist_ok=True)
            except OSError:
                lock_path.unlink()  # half a claim would look like a dead agent's files
                raise
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
        journal_dir = lock_path.with_suffix(".journal")
        if is_no_directory_of_ours(journal_dir):
            put_aside(journal_dir)
        journal_dir.mkdir(mode=0o700, exist_ok=True)
    return AgentFiles(lock_path, fd, record)


def _lock(path: Path, *, is_new: bool) -> int | None:
    """Return a descriptor that owns a lock file, or None when somebody else does."""
    while True:
        try:
            fd = open_own(path, os.O_RDWR | (os.O_CREAT if is_new else 0))
        except OSError:
            if is_new and not os.path.lexists(path):
                raise
            return None  # gone, somebody else's, or a link or a directory in its place
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


def _is_free(lock_path: Path, fd: int, suffix: str) -> bool:
    """Whether a locked name may be used: it is new, or was left before it had a record."""
    if os.fstat(fd).st_size:
        return False
    journal_dir = lock_path.with_suffix(".journal")
    database = names.all_of(lock_path.with_suffix(suffix))
    if any(map(os.path.lexists, database)) or is_no_directory_of_ours(journal_dir):
        lock_path.unlink()  # made by us a moment ago, beside another program's files
        return False
    return True


def _are_one(known: str, wanted: str) -> bool:
    """Whether two names are of one deployment: they share a part."""
    return not set(known.split(".")).isdisjoint(wanted.split("."))


def look_at(lock_path: Path) -> _Record | None:
    """Read a lock file of ours without owning it; None for what is none, or not this user's."""
    try:
        fd = open_own(lock_path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _read_record(fd)
    finally:
        os.close(fd)


def _read_record(fd: int) -> _Record | None:
    try:
        record = msgspec.json.decode(os.pread(fd, _RECORD_BYTES, 0), type=_Record)
    except (ValueError, RecursionError):
        return None
    return None if record.suffix in _OUR_SUFFIXES else record


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
