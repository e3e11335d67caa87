"""What plays a target: mutation, lines seen for the first time, a watch on time and memory.

Theory of operation
    Every input is bytes. A round takes one that is known, changes it by a generator with a
    seed, and gives it to the target. Every few rounds Python's own tracing notes which lines of
    z4j_otel run; an input that reached a new one is known from then on. What a target may raise
    is its own business: all that leaves it is a fault.

    An input that takes longer than a few seconds is ended by SIGALRM, and is a fault, too. The
    memory that Python holds is compared between two moments at which nothing is under way;
    growth beyond a bound is a fault of the target as a whole.

    A fault is written to ``tests/fuzz/failures``, with the command that plays it again.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import random
import signal
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import z4j_otel

__all__ = ["CORPUS", "FAILURES", "Figures", "Hang", "Play", "Target", "replay_line"]

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FAILURES = HERE / "failures"
_SOURCE = str(Path(z4j_otel.__file__).parent)
_LIMIT_S = 10
_TRACED = 4
_MOST_BYTES = 1 << 16
_MOST_KNOWN = 2000
_MOST_KEPT_BYTES = 2048
_GROWTH_BYTES = 6 * 1024 * 1024
_WORDS = (
    b"null", b"true", b"{}", b"[]", b'""', b"\xff", b"\0", b"\xed\xa0\x80", b"1e999", b"-0",
    b"NaN", b"[" * 3000, b'{"a":' * 2000, b"9" * 5000, b"\\ud800", b"__import__('os')",
    b"../../etc/passwd", b"\xf5\x5a", b"\xf6", b"%s%n", b"\n", b"\x1b[2J",
)  # fmt: skip


class Hang(BaseException):
    """An input took too long."""


@dataclass(frozen=True, slots=True)
class Target:
    """One boundary that hostile bytes may come through."""

    name: str
    open: Callable[[], contextlib.AbstractContextManager[Callable[[bytes], None]]]
    """Gives what takes an input; whatever it raises is a fault."""
    seeds: Callable[[], Sequence[bytes]]
    """Well-formed inputs to begin with."""


@dataclass(slots=True)
class Figures:
    """What a play came to."""

    inputs: int = 0
    seconds: float = 0.0
    known: int = 0
    lines: int = 0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    faults: list[str] = field(default_factory=list)


class Play:
    """Plays one target from one seed.

    Args:
        target: What to play.
        seed: Decides every change.
        keep: Write inputs that reached new lines to the corpus.
    """

    def __init__(self, target: Target, seed: int, *, keep: bool = False) -> None:
        self._target = target
        self._random = random.Random(f"{target.name} {seed}")
        self._keep = keep
        self._lines: set[tuple[str, int]] = set()
        self._seen: set[str] = set()
        self._known = [*target.seeds(), *stored(target.name)] or [b""]
        self.figures = Figures()

    def run(self, seconds: float = 0.0, rounds: int = 0) -> Figures:
        """Play for a time, or a number of rounds."""
        figures = self.figures
        started_s = time.monotonic()
        with self._target.open() as take, _alarm(), _memory_traced():
            for data in list(self._known):
                self._give(take, data, is_traced=True)
            before = _held()
            number = 0
            while number < rounds or time.monotonic() - started_s < seconds:
                number += 1
                data = self._change(self._random.choice(self._known))
                self._give(take, data, is_traced=number % _TRACED == 0)
                if number == 200:  # caches are full by then
                    before = _held()
            figures.growth_bytes = _held() - before
        figures.seconds = time.monotonic() - started_s
        figures.known = len(self._known)
        figures.lines = len(self._lines)
        if figures.growth_bytes > _GROWTH_BYTES:
            figures.faults.append(f"{self._target.name}: holds {figures.growth_bytes} bytes more")
        return figures

    def give(self, data: bytes) -> Figures:
        """Play one input."""
        with self._target.open() as take, _alarm():
            self._give(take, data, is_traced=False)
        return self.figures

    def _give(self, take: Callable[[bytes], None], data: bytes, *, is_traced: bool) -> None:
        before = len(self._lines)
        started_s = time.perf_counter()
        signal.alarm(_LIMIT_S)
        try:
            with _tracing(self._lines) if is_traced else contextlib.nullcontext():
                take(data)
        except (Exception, Hang) as error:  # noqa: BLE001 -- whatever comes out is the fault
            signal.alarm(0)
            self._note(data, error)
        finally:
            signal.alarm(0)
        self.figures.inputs += 1
        self.figures.slowest_s = max(self.figures.slowest_s, time.perf_counter() - started_s)
        if len(self._lines) > before and data not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.pop(self._random.randrange(len(self._known)))
            self._known.append(data)
            if self._keep and len(data) <= _MOST_KEPT_BYTES:
                _store(CORPUS / self._target.name, data)

    def _note(self, data: bytes, error: BaseException) -> None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _SOURCE in f.filename]
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "outside"
        told = f"{type(error).__name__} at {where}"
        if told in self._seen:
            return
        self._seen.add(told)
        path = _store(FAILURES / self._target.name, data)
        self.figures.faults.append(f"{told}: {str(error)[:120]!r}\n  {replay_line(path)}")

    def _change(self, data: bytes) -> bytes:
        draw, changed = self._random, bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 3, 8))):
            at = draw.randrange(len(changed) + 1)
            way = draw.randrange(8)
            if way == 0 and changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            elif way == 1:
                changed[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))
            elif way == 2:
                del changed[at : at + draw.choice((1, 2, 16, 200))]
            elif way == 3:
                changed[at:at] = draw.choice(_WORDS)
            elif way == 4:
                changed[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"))
            elif way == 5:
                piece = changed[at : at + draw.choice((4, 40, 400))]
                to = draw.randrange(len(changed) + 1)
                changed[to:to] = piece
            elif way == 6:
                other = draw.choice(self._known)
                cut = draw.randrange(len(other) + 1)
                changed[at:] = other[cut:]
            else:
                del changed[at:]
        return bytes(changed[:_MOST_BYTES])


def replay_line(path: Path) -> str:
    """Return the command that plays a stored input again."""
    return f"python -m tests.fuzz --replay {path.relative_to(HERE.parent.parent)}"


def stored(name: str) -> list[bytes]:
    """Return the inputs kept for a target, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def _store(directory: Path, data: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@contextlib.contextmanager
def _memory_traced() -> Iterator[None]:
    is_ours = not tracemalloc.is_tracing()
    if is_ours:
        tracemalloc.start()
    try:
        yield
    finally:
        if is_ours:
            tracemalloc.stop()


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(_number: int, _frame: object) -> None:
        raise Hang(f"took longer than {_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _tracing(lines: set[tuple[str, int]]) -> Iterator[None]:
    """Note the lines of z4j_otel that run; nothing else is slowed down."""

    def line(frame, event: str, _argument: object):
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame, _event: str, _argument: object):
        return line if frame.f_code.co_filename.startswith(_SOURCE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
