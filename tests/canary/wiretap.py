"""Records every frame between an agent and a brain, both ways, and can keep them apart."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

__all__ = ["Wiretap"]

_START_S = 10.0
_OF_ONE_HOP = {"host", "connection", "upgrade"}


class Wiretap:
    """A WebSocket server that passes everything on; a context manager.

    ``up`` holds what agents sent, ``down`` what the brain did, ``headers`` the requests' lines
    without the one that must carry the token.
    """

    def __init__(self, brain_url: str, *, is_refusing: bool = False) -> None:
        """Prepare; nothing listens yet.

        Args:
            brain_url: Where to pass frames on to.
            is_refusing: Whether to turn connections away until :meth:`admit`.
        """
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.headers: list[str] = []
        self.url = ""
        self._brain = urlsplit(brain_url)
        self._is_refusing = is_refusing
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="wiretap", daemon=True)

    def __enter__(self) -> Wiretap:  # noqa: PYI034 -- Self needs Python 3.11
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the wiretap did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_START_S)

    def admit(self) -> None:
        """Turn nobody away any more."""
        self._is_refusing = False

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with serve(
            self._pass_on, "127.0.0.1", 0, process_request=self._admit, max_size=None,
            ping_interval=None, open_timeout=None,
        ) as server:  # fmt: skip
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._end.wait()

    async def _admit(self, near: ServerConnection, request: Any) -> Any:
        """Connect to the brain first, so that its refusal reaches the agent."""
        self.headers += [
            f"{name}: {value}"
            for name, value in request.headers.raw_items()
            if name.lower() != "authorization"
        ]
        self.headers.append(request.path)
        if self._is_refusing:
            return near.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not yet\n")
        kept = Headers(
            (name, value)
            for name, value in request.headers.raw_items()
            if name.lower() not in _OF_ONE_HOP and not name.lower().startswith("sec-websocket")
        )
        try:
            near.far = await connect(  # type: ignore[attr-defined]
                f"ws://{self._brain.netloc}{request.path}", additional_headers=kept,
                user_agent_header=None, max_size=None, ping_interval=None, proxy=None,
            )  # fmt: skip
        except InvalidStatus as error:
            return near.respond(HTTPStatus(error.response.status_code), "refused\n")
        except OSError:
            return near.respond(HTTPStatus.BAD_GATEWAY, "no brain\n")
        return None

    async def _pass_on(self, near: Any) -> None:
        try:
            await asyncio.gather(_pump(near, near.far, self.up), _pump(near.far, near, self.down))
        finally:
            await near.far.close()


async def _pump(source: Any, sink: Any, record: list[bytes]) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in source:
            record.append(message.encode() if isinstance(message, str) else message)
            await sink.send(message)
    await sink.close(1012 if source.close_code in {None, 1005, 1006} else source.close_code)
