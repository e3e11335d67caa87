"""Somebody at the dashboard, who clicks and looks at what comes of it."""

from __future__ import annotations

from typing import Any

from z4j_otel.cli.brain_api import wait_until

from ..browser import Browser  # noqa: TID252 -- as make screenshots
from ..commands.scene import Scene  # noqa: TID252 -- as make commands

_ENDS = {"completed", "failed", "timeout", "cancelled"}
_PAGES_OWN = {"dlq.list"}
"""Issued by opening a page."""
_COMMAND_S = 75.0
_PAGE_S = 60.0
"""The page of a worker follows its heartbeats, which come every 30 s at most."""


class Operator:
    """Logged in to the dashboard; in the project of a scene of workers."""

    def __init__(self, browser: Browser, address: str, scene: Scene) -> None:
        self.scene = scene
        self._browser = browser
        self._project = f"{address}/projects/{scene.api.project}"
        self._known: set[str] = set()
        wait_until(self._is_admitted, "agent of each worker", timeout_s=_PAGE_S)

    # Pages.

    def go(self, path: str) -> None:
        """Open a page of the project."""
        self._browser.open(f"{self._project}/{path}")

    def go_to_worker(self, name: str) -> None:
        """Open a worker's page from the list of workers."""
        self.go("workers")
        self._browser.click(f"//a[normalize-space(.)='{name}']")

    def see(self, text: str) -> None:
        """Wait until a text is on the page."""
        shown = f"return document.body.innerText.includes({text!r})"
        self._browser.wait(shown, timeout_s=_PAGE_S)

    # Buttons.

    def press(self, label: str, *, within: str = "") -> None:
        """Press a button by its label, once it can be; ``within`` is an XPath of where."""
        named = f"normalize-space(.)='{label}' or @aria-label='{label}'"
        button = f"{within}//button[not(@disabled)][{named}]"
        self._browser.click(button, timeout_s=_PAGE_S)

    def open_tab(self, label: str) -> None:
        """Open a tab, which may have a count behind its label."""
        self._browser.click(f"//button[@role='tab'][starts-with(normalize-space(.),'{label}')]")

    def fill(self, field: str, text: str) -> None:
        """Type into a field of a dialog, by its id."""
        self._browser.click(f"//*[@role='dialog']//input[@id='{field}']")
        self._browser.type(f"#{field}", text)

    def agree(self, question: str) -> None:
        """Say yes to what the browser asks, which is to begin like this."""
        asked = self._browser.accept()
        assert asked.startswith(question), asked

    # What comes of it.

    def results(self, action: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for the end of the commands of the last clicks, and return their results.

        Nothing else was issued in this project, and all of them were completed.
        """

        def ended() -> list[dict[str, Any]]:
            listed = self.scene.api.list_all("commands")
            clicked = [each for each in listed if each["action"] not in _PAGES_OWN]
            new = [each for each in clicked if each["id"] not in self._known]
            return new if len([each for each in new if each["status"] in _ENDS]) >= count else []

        new = wait_until(ended, f"end of {action}", timeout_s=_COMMAND_S)
        self._known |= {each["id"] for each in new}
        told = [(each["action"], each["status"], each["error"]) for each in new]
        assert told == [(action, "completed", None)] * count, told
        return [{k: v for k, v in each["result"].items() if k != "trace_id"} for each in new]

    def result(self, action: str) -> dict[str, Any]:
        """Wait for the end of the one command of the last click, and return its result."""
        (result,) = self.results(action)
        return result

    def _is_admitted(self) -> bool:
        # The dashboard asks the one agent that the worker is known to report to.
        api = self.scene.api
        rows = [api.request("GET", f"workers/{row['id']}") for row in api.list_all("workers")]
        return [row["agent_id"] for row in rows] == [self.scene.agent.agent_id] * 2
