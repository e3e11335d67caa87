"""The documentation as the tests read it: pages, links, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "links", "without_code"]

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"(?:^<!-- run(?:: (?P<kind>[\w.]+))? -->\n(?P<runs>))?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One block of code."""

    where: str
    """Page and line."""
    language: str
    code: str
    is_run: bool
    """Whether a test runs it."""
    event: str | None
    """The kind of event that the brain must have got from it."""


def blocks(language: str) -> list[Block]:
    """Return all blocks of a language, from all pages."""
    return [
        Block(
            where=f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start('code')) + 1}",
            language=found["language"],
            code=found["code"],
            is_run=found["runs"] is not None,
            event=found["kind"],
        )
        for page in PAGES
        for text in [page.read_text("utf-8")]
        for found in _BLOCK.finditer(text)
        if found["language"] == language
    ]


def links(page: Path) -> list[str]:
    """Return what a page's links and pictures lead to."""
    return _LINK.findall(without_code(page))


def without_code(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return _BLOCK.sub("", page.read_text("utf-8"))
