"""The real brain's process, played by a program that answers health and nothing else."""

from __future__ import annotations

import sys
import textwrap

import pytest

from z4j_otel.cli.real_brain import BrainNotFound, BrainNotStarted, RealBrain, find_brain

PROGRAM = """
    import json, os, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({})
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.answer({"agent": {"id": "a"}, "token": "t", "hmac_secret": "s"})
        def answer(self, body):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())
    print(sorted(name for name in os.environ if name.startswith("Z4J_")), flush=True)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path):
    """Return a function that makes an executable of some Python code."""

    def make(code):
        path = tmp_path / "z4j"
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
        path.chmod(0o755)
        return path

    return make


def test_the_brain_is_found_where_the_variable_says(program, tmp_path):
    """Z4J_BRAIN_BIN beats the search, also when it is wrong."""
    path = program("")

    assert find_brain({"Z4J_BRAIN_BIN": str(path)}, tmp_path) == path
    with pytest.raises(BrainNotFound, match="make brain"):
        find_brain({"Z4J_BRAIN_BIN": str(tmp_path / "none")}, tmp_path)


def test_the_brain_is_found_from_here_up(tmp_path):
    """Any directory of the checkout will do."""
    path = tmp_path / ".venv-brain" / "bin" / "z4j"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)

    assert find_brain({}, tmp_path / "a" / "b") == path


def test_a_brain_starts_stops_and_starts_again(program, monkeypatch):
    """The port stays, the data goes only with the brain; our own variables do not reach it."""
    monkeypatch.setenv("Z4J_TOKEN", "an-agents")
    with RealBrain(program(PROGRAM), settings={"ws_idle_timeout_seconds": "15"}) as brain:
        url = brain.base_url
        brain.start()
        brain.kill()
        assert not brain.is_running
        brain.start()
        assert (brain.base_url, brain.is_running) == (url, True)
        assert brain.mint_agent("x").agent_id == "a"
        assert "Z4J_WS_IDLE_TIMEOUT_SECONDS" in brain.log_tail()
        assert "Z4J_TOKEN" not in brain.log_tail()
    assert not brain.directory.exists()


def test_a_brain_that_ends_says_what_it_printed(program):
    """The error carries the last lines, and nothing is left behind."""
    brain = RealBrain(program("print('no database')"))
    with pytest.raises(BrainNotStarted, match="the brain ended; it printed:\nno database"):
        brain.__enter__()
    assert not brain.directory.exists()


def test_a_brain_whose_port_was_taken_tries_others(program, tmp_path):
    """A free port that somebody else took meanwhile is given up, a few times."""
    code = f"open({str(tmp_path / 'ports')!r}, 'a').write('x'); print('Address already in use')"
    with pytest.raises(BrainNotStarted, match="Address already in use"):
        RealBrain(program(code)).__enter__()
    assert (tmp_path / "ports").read_text() == "xxxxx"


def test_a_port_that_was_asked_for_is_not_exchanged(program, tmp_path):
    """The user wanted this port: the error says that it is taken."""
    code = f"open({str(tmp_path / 'ports')!r}, 'a').write('x'); print('Address already in use')"
    with pytest.raises(BrainNotStarted):
        RealBrain(program(code), port=1).__enter__()
    assert (tmp_path / "ports").read_text() == "x"


def test_a_brain_that_never_started_has_no_log(program):
    """There is nothing to show, and nothing to end."""
    brain = RealBrain(program(""))
    assert brain.log_tail() == ""
    brain.close()
