"""Finding of engines."""

import logging
from importlib.metadata import EntryPoint

import pytest

from z4j_otel.errors import ConfigError, EngineUnavailable
from z4j_otel.instrumentors.registry import (
    ENTRY_POINT_GROUP,
    Engine,
    find_engines,
    load_engine,
)

OTHER = Engine(name="other", package="json", instrumentor=object, adapter=object)
ABSENT = Engine(name="absent", package="no_such_package_here", instrumentor=object, adapter=object)


def entry(target: str) -> EntryPoint:
    """Make an entry point to something in this module's namespace."""
    return EntryPoint("any", target, ENTRY_POINT_GROUP)


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Another distribution's module with an engine in it."""
    source = "from z4j_otel.instrumentors.registry import Engine\n"
    for name, engine in (("MINE", "mine"), ("TWIN", "celery")):
        source += f"{name} = Engine({engine!r}, 'json', object, object)\n"
    (tmp_path / "offered_engines.py").write_text(source + "WRONG = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "offered_engines"


def test_own_folders_are_engines():
    """A folder of this package is found without an entry point."""
    engines = find_engines([])
    assert engines["celery"].package == "celery"
    assert engines["celery"].is_installed


def test_entry_points_add_engines(offered):
    """Another distribution's engine is found under its own name."""
    assert find_engines([entry(f"{offered}:MINE")])["mine"].package == "json"


def test_installed_entry_points_are_read_by_default():
    """Without arguments the installed distributions are asked, and doubles are one."""
    assert find_engines()["celery"] is find_engines([])["celery"]


def test_first_of_two_names_stays(offered, caplog):
    """A second engine of one name is ignored, and said so."""
    with caplog.at_level(logging.WARNING):
        engines = find_engines([entry(f"{offered}:TWIN")])
    assert engines["celery"].package == "celery"
    assert "offered twice" in caplog.text


@pytest.mark.parametrize("target", ["no_such_module_at_all:X", "{0}:ABSENT", "{0}:WRONG"])
def test_broken_entries_are_left_out(offered, caplog, target):
    """An entry that cannot be loaded or is no engine costs only itself."""
    with caplog.at_level(logging.WARNING):
        engines = find_engines([entry(target.format(offered)), entry(f"{offered}:MINE")])
    assert "mine" in engines
    assert len(caplog.records) == 1


def test_load_returns_installed_engine():
    """An installed engine is returned by its name."""
    assert load_engine("other", {"other": OTHER}) is OTHER
    assert load_engine("celery").name == "celery"


def test_load_says_how_to_install():
    """A missing package ends in the pip command."""
    with pytest.raises(EngineUnavailable, match=r"pip install 'z4j-otel\[absent"):
        load_engine("absent", {"absent": ABSENT})


def test_load_names_the_engines_there_are():
    """An unknown engine is no reason to install anything."""
    with pytest.raises(ConfigError, match="no engine 'unheard-of'; this version knows: absent"):
        load_engine("unheard-of", {"absent": ABSENT})


def test_broken_package_name_is_not_installed():
    """A name that cannot be a module counts as missing."""
    assert not Engine("x", "no_such.sub", object, object).is_installed
