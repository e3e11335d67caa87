"""The documentation agrees with itself and with the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from z4j_otel.cli.main import cli
from z4j_otel.config import SETTINGS
from z4j_otel.config.names import ALIASES, OBSOLETE
from z4j_otel.events import EventKind

from .event_data import DATA
from .generated import DOCS, generated_pages
from .pages import PAGES, ROOT, blocks, links, without_code

SOURCES = ROOT / "src" / "z4j_otel"
IMAGES = sorted((DOCS / "images").iterdir())
MAX_IMAGE_BYTES = 300_000
# Words that follow the program's name in messages.
NO_COMMANDS = {"is", "stays"}
OTHER_VARIABLES = {
    "Z4J_OTEL_REPORT",
    "Z4J_CONFIG",
    "Z4J_BRAIN_BIN",
    "Z4J_REQUIRE_SERVICES",
    "Z4J_ALLOWED_HOSTS",  # the brain's own
    "Z4J_MAX_PAYLOAD_SIZE_BYTES",  # the brain's own
}


def name_of(page):
    """Name a page in a test's id."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", generated_pages())
def test_generated_pages_are_up_to_date(name):
    """What is committed is what the code says; run ``make docs`` when it is not."""
    assert (DOCS / name).read_text("utf-8") == generated_pages()[name]


def test_every_kind_of_event_is_described():
    """No kind is missing from the reference."""
    assert set(DATA) == set(EventKind)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.where)
def test_python_compiles(block):
    """Each block of Python is Python."""
    compile(block.code, block.where, "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Files and headings that a page links to are there."""
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_knows_what_is_told_to_make(page):
    """Each ``make target`` in a page is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    told = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert told <= targets


def test_make_targets_are_no_files():
    """A target that has a directory's name still runs."""
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split())
    assert phony == set(re.findall(r"^([a-z]+):", text, re.MULTILINE))


def test_the_readme_starts_with_two_commands():
    """A newcomer is told to make the demo and the tests."""
    readme = next(block for block in blocks("sh") if block.where.startswith("README"))
    assert [line.split("#")[0].strip() for line in readme.code.splitlines()] == [
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_are_settings(page):
    """Each ``Z4J_*`` in a page exists."""
    known = {row.env_name for row in SETTINGS} | OTHER_VARIABLES
    known |= {f"{row.env_name}_FILE" for row in SETTINGS if row.is_secret}
    known |= {f"Z4J_{name.upper()}" for name in (*ALIASES, *OBSOLETE)}
    text = page.read_text("utf-8")
    assert set(re.findall(r"\bZ4J_[A-Z_]*[A-Z]\b", text)) <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page):
    """Each ``z4j-otel command`` in a page exists."""
    known = set(cli.list_commands(click.Context(cli))) | NO_COMMANDS
    told = set(re.findall(r"(?:^|`|    )z4j-otel ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
    assert told <= known


def test_modules_exist():
    """Each module that the architecture names is there."""
    text = without_code(DOCS / "architecture.md")
    named = re.findall(r"`([a-z_]+/[a-z_/{},]+\.py)`", text)
    assert named
    for name in named:
        before, _, rest = name.partition("{")
        inner, _, after = rest.partition("}")
        for each in inner.split(","):
            assert (SOURCES / f"{before}{each}{after}").is_file(), name


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_images_are_small_and_whole(image):
    """A picture is quick to load, fetches nothing from elsewhere, and is shown somewhere."""
    assert image.stat().st_size < MAX_IMAGE_BYTES
    assert any(image.name in page.read_text("utf-8") for page in PAGES)
    if image.suffix == ".svg":
        assert not re.search(r"(?:href|src|url)[=(:]\s*[\"']?https?:", image.read_text("utf-8"))
