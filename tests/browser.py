"""A headless Chromium, spoken to over the WebDriver protocol of its own chromedriver.

What looks at the brain's dashboard shares it: ``make screenshots``, ``make buttons``.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import time
from typing import Any

import httpx

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver hands out elements."""
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_LATENCY_S = 0.1


class BrowserNotFound(Exception):
    """Chromium or its driver is not installed."""


class Browser:
    """One window of a browser of its own, closed on leaving."""

    def __init__(self, width: int, height: int) -> None:
        """Look for the programs; nothing runs yet.

        Raises:
            BrowserNotFound: One of them is missing.
        """
        self._driver = shutil.which("chromedriver")
        self._binary = next(filter(None, map(shutil.which, _CHROMIUMS)), None)
        if self._driver is None or self._binary is None:
            raise BrowserNotFound
        self._size = (width, height)
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(trust_env=False, timeout=60)
        self._session = ""

    def __enter__(self) -> Browser:  # noqa: PYI034 -- Self needs Python 3.11
        port = _free_port()
        self._process = subprocess.Popen(
            [str(self._driver), f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        root = f"http://127.0.0.1:{port}"
        try:
            self._wait_ready(root)
            self._session = f"{root}/session/{self._open(root)}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._session:
            with contextlib.suppress(httpx.HTTPError):
                self._client.delete(self._session)
        self._client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        """Run the body of a JavaScript function; return what it returns."""
        return self._call("execute/sync", script=script, args=list(args))

    def wait(self, script: str, timeout_s: float = 20.0) -> Any:
        """Run a script until its answer is true, and return the answer.

        Raises:
            TimeoutError: It did not become true in time.
        """
        deadline = time.monotonic() + timeout_s
        while not (answer := self.run(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page did not come to: {script}")
            time.sleep(_LATENCY_S)
        return answer

    def click(self, xpath: str, timeout_s: float = 20.0) -> None:
        """Click, as a hand would, on the first element an XPath finds, once it can be reached.

        Raises:
            TimeoutError: It is not there, or something lies over it.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                element = self._call("element", using="xpath", value=xpath)[ELEMENT]
                self._call(f"element/{element}/click")
            except RuntimeError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing to click on at: {xpath}") from error
                time.sleep(_LATENCY_S)
            else:
                return

    def accept(self) -> str:
        """Say yes to the question the browser itself asks, and return the question."""
        answer = self._client.get(f"{self._session}/alert/text").json()
        self._call("alert/accept")
        return str(answer["value"])

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that a CSS selector finds."""
        element = self._call("element", using="css selector", value=selector)[ELEMENT]
        self._call(f"element/{element}/value", text=text)

    def picture(self) -> bytes:
        """Return what the window shows, as PNG."""
        answer = self._client.get(f"{self._session}/screenshot")
        return base64.b64decode(answer.json()["value"])

    def resize(self, width: int, height: int) -> None:
        """Give the window's content another size, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def _wait_ready(self, root: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self._client.get(f"{root}/status").json()["value"]["ready"]:
                    return
            time.sleep(_LATENCY_S)
        raise TimeoutError("chromedriver does not answer")

    def _open(self, root: str) -> str:
        arguments = [
            "--headless=new",
            # Root, as in a container, has no sandbox; the only page is our own brain's.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size={},{}".format(*self._size),
        ]
        options = {"binary": self._binary, "args": arguments}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        answer = self._client.post(f"{root}/session", json={"capabilities": wanted}).json()
        if "sessionId" not in answer["value"]:
            raise RuntimeError(answer["value"]["message"])
        return str(answer["value"]["sessionId"])

    def _call(self, path: str, **body: Any) -> Any:
        answer = self._client.post(f"{self._session}/{path}", json=body)
        value = answer.json()["value"]
        if answer.is_error:
            raise RuntimeError(value["message"])
        return value


def sign_in(browser: Browser, address: str, *, email: str, password: str) -> None:
    """Fill in the form of the dashboard's first page."""
    browser.open(address)
    browser.wait("return document.querySelector('input[type=password]') !== null")
    browser.type("input[type=email]", email)
    browser.type("input[type=password]", password)
    browser.run("document.querySelector('button[type=submit]').click()")
    browser.wait("return !location.pathname.includes('login')")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
