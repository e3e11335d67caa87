"""Breaks the code in ways that must not go unnoticed, and sees whether a test fails.

``make mutants``. Each mutant is one small change in a copy of the sources; the tests named
with it are run against the copy. A mutant that survives is a hole in the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One change that must be noticed."""

    name: str
    file: str
    before: str
    after: str
    tests: str


MUTANTS = (
    Mutant(
        "canonical form: keys unsorted",
        "wire/canonical.py", 'order="sorted"', "order=None", "tests/unit/wire",
    ),
    Mutant(
        "replay guard: the last sequence number is forgotten",
        "wire/replay.py", "self._last_seq = seq", "pass", "tests/unit/wire",
    ),
    Mutant(
        "replay guard: any sequence number accepted",
        "wire/replay.py", "seq <= self._last_seq", "seq <= 0", "tests/unit/wire",
    ),
    Mutant(
        "signature: session not bound",
        "wire/signing.py", "canonical.encode(binding.session_id)", "b'\"\"'", "tests/unit/wire",
    ),
    Mutant(
        "redaction: e-mail addresses pass",
        "redaction/patterns.py", 'r"@[a-z0-9', 'r"@@@[a-z0-9', "tests/unit/redaction",
    ),
    Mutant(
        "files: links are followed",
        "disk.py", "os.O_NOFOLLOW", "0", "tests/unit/test_disk.py",
    ),
    Mutant(
        "files: a second name is taken for ours",
        "disk.py", "status.st_nlink > 1", "False", "tests/unit/test_disk.py",
    ),
    Mutant(
        "home: another user's directory is used",
        "buffer/home.py", "each.lstat().st_uid not in trusted", "False",
        "tests/unit/buffer/test_home.py",
    ),
    Mutant(
        "commands: what is denied is done",
        "agent/execution.py", "self._policy(command)", "pass",
        "tests/conformance/test_hostile_brain.py",
    ),
    Mutant(
        "TLS: the host's name is not checked",
        "transport/tls.py", "trust = trust or Trust()",
        "return ssl._create_unverified_context()", "tests/unit/transport/test_tls.py",
    ),
    Mutant(
        "WebSocket: redirects are followed",
        "transport/websocket.py", "return exc\n", "return super().process_redirect(exc)\n",
        "tests/conformance/test_redirects.py",
    ),
    Mutant(
        "long-poll: redirects are followed",
        "transport/routes.py", "follow_redirects=False", "follow_redirects=True",
        "tests/conformance/test_redirects.py",
    ),
    Mutant(
        "redirects: the token may be told",
        "transport/redirects.py", "secret.lower() in text.lower()", "False",
        "tests/unit/transport/test_redirects.py",
    ),
    Mutant(
        "WebSocket: the library logs the handshake",
        "transport/websocket.py", '"logger": _library_logger', '"logger": None',
        "tests/conformance/test_quiet.py",
    ),
    Mutant(
        "proxy: a client of a CGI script chooses it",
        "transport/proxies.py", 'found == "HTTP_PROXY"', "not found",
        "tests/unit/transport/test_proxies.py",
    ),
    Mutant(
        "journal: checksum not compared",
        "journal/format.py", "]) == check", "]) is not check", "tests/unit/journal",
    ),
    Mutant(
        "arbiter: a second end passes",
        "agent/arbiter.py", "if run is None and not _is_end", "if False and not _is_end",
        "tests/unit/agent/test_arbiter.py",
    ),
    Mutant(
        "arbiter: the end of one run ends another one",
        "agent/story.py", "if not run.contradicts(who)", "if True",
        "tests/unit/agent/test_story.py",
    ),
    Mutant(
        "adoption: stories stay behind when an adopter dies",
        "agent/estate.py", "heir=self._me, stories", 'heir="", stories',
        "tests/unit/agent/test_adoption.py",
    ),
    Mutant(
        "adoption: entries are taken without a mark",
        "agent/estate.py", "str(entries[-1].sequence)", '"0"',
        "tests/unit/agent/test_adoption.py",
    ),
    Mutant(
        "uploader: events of a task overtake others that are out",
        "agent/gathering.py", "if not out:", "if True:",
        "tests/unit/agent/test_gathering.py",
    ),
    Mutant(
        "buffer: acked entries stay",
        "buffer/statements.py", "WHERE sequence BETWEEN", "WHERE 0 AND sequence BETWEEN",
        "tests/conformance",
    ),
    Mutant(
        "buffer: an entry's checksum not compared",
        "buffer/records.py", "!= checksum", "is checksum", "tests/unit/buffer",
    ),
    Mutant(
        "buffer: the newer copy of the state not believed",
        "buffer/store.py", "mirrored.generation > state.generation", "False", "tests/model",
    ),
    Mutant(
        "dead letters: acked before the broker has the message",
        "instrumentors/celery/dead_letters.py",
        "            _publish(connection, letter, queue)\n",
        "            look.remove(letter)\n            _publish(connection, letter, queue)\n",
        "tests/unit/instrumentors/celery/test_dead_letters.py",
    ),
    Mutant(
        "dead letters: a quorum queue is looked into",
        "instrumentors/celery/browsing.py", "_TYPE: _CLASSIC}", "}",
        "tests/unit/instrumentors/celery/test_browsing.py",
    ),
    Mutant(
        "policy: what is denied is offered",
        "agent/agent.py", "add_engine(adapter, self._policy)", "add_engine(adapter)",
        "tests/unit/agent/test_agent.py",
    ),
)  # fmt: skip


def survives(mutant: Mutant, folder: Path) -> bool:
    """Apply a mutant to a copy of the sources and run its tests.

    Returns:
        Whether all tests passed, which they should not.
    """
    source = folder / "src"
    shutil.copytree(ROOT / "src", source)
    path = source / "z4j_otel" / mutant.file
    text = path.read_text("utf-8")
    if mutant.before not in text:
        raise SystemExit(f"{mutant.name}: {mutant.file} has no {mutant.before!r} any more")
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.tests],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def main() -> int:
    """Try every mutant and print a table."""
    console, table = Console(), Table("mutant", "tests", "noticed", box=None)
    survivors = 0
    for mutant in MUTANTS:
        with tempfile.TemporaryDirectory() as folder, console.status(mutant.name):
            lives = survives(mutant, Path(folder))
        survivors += lives
        table.add_row(mutant.name, mutant.tests, "[red]NO[/]" if lives else "[green]yes[/]")
    console.print(table)
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
