"""What redaction costs: the arguments of most tasks, one far too large, and hostile texts.

A hostile text is a megabyte of what one rule has to look at longest: its own beginning, over
and over, so that it starts everywhere and finishes nowhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from z4j_otel.redaction import Redactor
from z4j_otel.redaction.keys import NAME_STEMS
from z4j_otel.redaction.patterns import TOKEN_RULES

LARGE_CHARS = 130_000
HOSTILE_CHARS = 1_000_000
MIXTURES = 120
PIECES = (
    "a", "a.", "a@", "@", "a@b.", "a@b.co ", "1", "1 ", "4 ", "411 ", "4111-", "0123456789abcdef",
    "eyJ", "eyJ.", "eyJa.", "://", "redis://a:", "://a@", "s://u:p@h ", "a:a@", "a:b@c", "x:yyy@",
    "thin:a/", "=", "'", '"', "`", "\\", '\\"', '"""', "(", "[", "{", "<", "</", "%", "&", "--",
    " ", "\n", "ä", "\0", "\ud800", "password=", 'password="', "password='\\", "password=(",
    "password=[{", "password=a,b=c", 'password=\\"', "password='''", "password%3D", "%22token%22:",
    "&quot;token&quot;:", "<password>", "<password>x</", "password ", "password is ", "password a1",
    "password->", "|password|", "password: Optional[", "token = f(", "token = self.a", "token=[]",
    '("key", ', '["token",', "--key ", "api key ", '"name": "password", ', "cookie: ", "basic YTpi",
    "authorization: basic ", "machine a login b password ", "curl -u a", "'curl', '-u', '",
    "mysql -p", "sshpass -p ", "login ", "sig=", "?key=", "a&signature=", "----- ", "---- BEGIN ",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "begin ",
    "private-lines: 1\n", "[REDACTED]", "[REDACTED:0000]", "[...1 more bytes truncated]",
)  # fmt: skip
_clock = time.perf_counter_ns


def run() -> dict[str, float]:
    """Return microseconds per call, the median; of hostile texts milliseconds, the worst."""
    redactor = Redactor()
    text = "The quick brown fox jumps over the lazy dog. " * (LARGE_CHARS // 45)
    items = [{"sku": f"A-{number}", "count": number} for number in range(LARGE_CHARS // 26)]
    large_text_us = _median(lambda: redactor.redact({"body": text}), 200)
    large_items_us = _median(lambda: redactor.redact({"items": items}), 200)
    hostile = {piece: _hostile_ms(redactor, piece) for piece in hostile_pieces()}
    return {
        "small_us": _median(
            lambda: (redactor.redact([2, 3]), redactor.redact({"note": "n"})), 5000
        ),
        "large_text_us": large_text_us,
        "large_items_us": large_items_us,
        "large_us": max(large_text_us, large_items_us),
        "hostile_ms": max(hostile.values()),
        "hostile_p50_ms": sorted(hostile.values())[len(hostile) // 2],
        "hostile_texts": len(hostile),
    }


def hostile_pieces() -> Iterator[str]:
    """Yield what hostile texts consist of: pieces for each rule, and mixtures of them."""
    pieces = [*PIECES, *(rule.needle for rule in TOKEN_RULES)]
    pieces += [stem + sign for stem in NAME_STEMS for sign in ("", "=", ": ", " ", "_")]
    yield from dict.fromkeys(pieces)
    chance = random.Random(5)
    for _ in range(MIXTURES):
        yield "".join(chance.choices(pieces, k=chance.choice((2, 3, 4, 500))))


def _hostile_ms(redactor: Redactor, piece: str) -> float:
    text = piece * (HOSTILE_CHARS // len(piece))
    times: dict[str, list[int]] = {"head": [], "tail": []}
    for keep in ("head", "tail") * 2:
        # Processor time: what else the machine does meanwhile is no cost of ours.
        begin = time.thread_time_ns()
        redactor.redact_text(text, keep=keep)
        times[keep].append(time.thread_time_ns() - begin)
    return max(map(min, times.values())) / 1e6


def _median(action: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = _clock()
        action()
        times.append(_clock() - begin)
    return sorted(times)[rounds // 2] / 1000


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.2f}")  # noqa: T201 -- this is what it is for
