"""The pictures of the documentation: the real dashboard, and the demo in a terminal.

``python -m tests.screenshots [BROKER-URL]`` plays the demo's tour against the real brain,
looks at its pages in a headless browser, and writes the pictures to ``docs/images``. What
is missing on this machine is named, and its pictures are left as they are.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from click import echo
from rich.console import Console

from z4j_otel.cli.demo.brains import BrainView, EmbeddedBrain, InstalledBrain
from z4j_otel.cli.demo.report import summary, table
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.demo.tour import Tour
from z4j_otel.cli.real_brain import BrainNotFound

from ..browser import Browser, BrowserNotFound, sign_in  # noqa: TID252 -- shared with make buttons

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH = 1400
MAX_BYTES = 300_000
SETTLE_S = 35.0
"""The worker's page shows the last heartbeat; heartbeats come every 30 s at most."""

# The pages come with their data later than the document does.
IS_SETTLED = "return document.querySelectorAll('[data-slot=skeleton], .animate-pulse').length === 0"
OPEN_FAILURE = """
const inside = e => [...e.querySelectorAll('summary')].filter(s => s.innerText.includes('payload'));
const cards = [...document.querySelectorAll('*')].filter(
  e => e.innerText?.startsWith('task.failed') && inside(e).length === 1);
if (!cards.length) return false;
inside(cards[0])[0].parentElement.open = true;
return true;
"""
FOLD_SIDEBAR = """
[...document.querySelectorAll('header button')].find(e => e.offsetParent !== null).click();
"""
# Pictures are published: they show tasks, not where somebody keeps a virtual environment.
HIDE_PREFIX = """
const [prefix, shown] = arguments;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.nodeValue.includes(prefix)) node.nodeValue = node.nodeValue.replaceAll(prefix, shown);
}
"""


def main(broker: str | None) -> int:
    """Take every picture that can be taken here; return the exit status."""
    browser: Browser | None = None
    brain: BrainView = EmbeddedBrain()
    try:
        browser, brain = Browser(WIDTH, 1000), InstalledBrain()
    except BrowserNotFound:
        echo("NOT TAKEN: the dashboard's pictures; install chromium and chromium-driver")
    except BrainNotFound as error:
        echo(f"NOT TAKEN: the dashboard's pictures; {error}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="z4j-pictures-") as folder,
        brain,
        Stage(Path(folder), brain.environment(), broker=broker) as stage,
    ):
        tour = Tour(brain, stage, show=lambda text: echo(f"- {text}"))
        if not tour.run():
            echo("something is not as it should be; no picture is taken")
            return 1
        picture_terminal(tour, time.monotonic() - began)
        if browser is not None:
            with browser:
                picture_dashboard(browser, brain, tour)
    return 0


def picture_terminal(tour: Tour, seconds: float) -> None:
    """Write the demo's table and outcome as SVG."""
    console = Console(record=True, width=132, file=io.StringIO(), force_terminal=True)
    console.print(table(tour.lines), summary(tour, [], seconds))
    svg = console.export_svg(title="z4j-otel demo", unique_id="demo")
    # No picture of ours makes a reader's browser fetch fonts from somewhere else.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (IMAGES / "demo.svg").write_text(svg, "utf-8")
    echo("demo.svg")


def picture_dashboard(browser: Browser, brain: BrainView, tour: Tour) -> None:
    """Log in and write one picture per page."""
    address, login = (line.split()[1:] for line in brain.lines())
    project = f"{address[0]}projects/demo"
    sign_in(browser, address[0], email=login[0], password=login[-1])
    picture(browser, f"{project}/tasks", "shop.killed", "dashboard-tasks", height=1300)
    killed = killed_task(brain, tour)
    picture(
        browser, f"{project}/tasks/celery/{killed}", "task.failed", "dashboard-task", OPEN_FAILURE
    )
    echo("- waiting for the worker's next heartbeat")
    time.sleep(SETTLE_S)
    workers = f"{project}/workers"
    picture(browser, workers, "shop@demo", "dashboard-workers", FOLD_SIDEBAR, height=640)


def killed_task(brain: BrainView, tour: Tour) -> str:
    """Return the id of a task whose failure names the signal that killed it.

    Billiard forgets the signal when it notices a death before the message that says who
    ran the task; then the task is run once more, alone.
    """
    line = next(line for line in tour.lines if line.scenario.name == "sigkill")
    if line.row and "SIGKILL" in line.row["exception"]:
        return line.task_id
    echo("- the killed task runs once more, alone")
    result = brain.command("retry_task", line.task_id, 30.0)["result"]
    task_id = str(result["new_task_id"])
    deadline = time.monotonic() + 20
    while not (row := brain.task(task_id)) or row["state"] != "failure":
        if time.monotonic() > deadline:
            raise TimeoutError(f"task {task_id} has not failed")
        time.sleep(0.2)
    return task_id


def picture(
    browser: Browser,
    url: str,
    text: str,
    name: str,
    script: str = "",
    *,
    height: int | None = None,
) -> None:
    """Write what a page shows once ``text`` is on it; the whole page when no height is given.

    ``script`` is run on the page first.
    """
    browser.resize(WIDTH, height or 1000)
    browser.open(url)
    browser.wait(f"return document.body.innerText.includes({text!r})")
    browser.wait(IS_SETTLED)
    browser.run(script)
    if height is None:
        browser.resize(WIDTH, browser.run("return document.documentElement.scrollHeight"))
    browser.run(HIDE_PREFIX, sys.prefix, "/srv/shop/.venv")
    time.sleep(1)  # the page's own transitions
    data = smaller(browser.picture())
    if len(data) > MAX_BYTES:
        raise ValueError(f"{name}.png has {len(data)} bytes; install pngquant")
    (IMAGES / f"{name}.png").write_bytes(data)
    echo(f"{name}.png, {len(data) // 1000} kB")


def smaller(data: bytes) -> bytes:
    """Reduce a picture to a palette, where pngquant is installed."""
    program = shutil.which("pngquant")
    if program is None:
        return data
    command = [program, "--quality=80-100", "--strip", "--speed=1", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
