"""A drill on somebody's own application, by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain

pytestmark = pytest.mark.timeout(400)
COMMAND = Path(sys.executable).with_name("z4j-otel")
APP = """
from pathlib import Path

from celery import Celery

from z4j_otel import install_agent
from z4j_otel.cli.workload.app import WholeFiles  # kombu's own shows files half written

here = Path(__file__).parent
for name in ("messages", "control"):
    (here / name).mkdir(exist_ok=True)
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(here / "messages"),
    "data_folder_out": str(here / "messages"),
    "control_folder": str(here / "control"),
}
app.conf.task_default_queue = "orders"
app.conf.task_acks_late = True
app.conf.task_routes = {"*": {"queue": "orders", "exchange": "orders", "routing_key": "orders"}}
print("a shop says hello")


@app.task(name="shop.sell")
def sell():
    Path(__file__).with_name("sold").touch()
"""


def test_a_drill_finds_no_loss_and_touches_nothing_of_the_users(tmp_path):
    """Exit code 0; the user's brain heard nothing, and the user's message still waits."""
    with EmbeddedBrain() as own:
        settings = ", ".join(
            f"{name.removeprefix('Z4J_').lower()}={value!r}"
            for name, value in own.environment().items()
        )
        (tmp_path / "shop.py").write_text(f"{APP}\ninstall_agent({settings}, autostart=True)\n")
        publish = "import sys; sys.path.insert(0, '.'); from shop import sell; sell.delay()"
        environ = {"PATH": str(COMMAND.parent), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
        subprocess.run(
            [sys.executable, "-c", publish],
            cwd=tmp_path, env={**environ, "Z4J_DISABLED": "1"}, check=True, timeout=60,
        )  # fmt: skip
        done = subprocess.run(
            [COMMAND, "doctor", "--drill", "-A", "shop", "--yes", "--json", "--minutes", "0.33",
             "--seed", "4", "--concurrency", "2"],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=360,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert own.inner.events() == []
        assert own.workers() == []

    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["good"]
    assert row["told"] > 20
    assert row["faults"]
    assert "all its processes are killed" in row["left_out"]
    assert [path.name.endswith(".orders.msg") for path in (tmp_path / "messages").iterdir()] == [
        True
    ]
    assert not (tmp_path / "sold").exists()
    assert list(tmp_path.glob("z4j-drill-*")) == []
    assert list((tmp_path / "control").glob("z4j-drill-*")) == []
