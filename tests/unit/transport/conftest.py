"""The embedded brain's HTTP routes without sockets, in virtual time."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.longpoll import Request


class DeskHttp(httpx.AsyncBaseTransport):
    """Carries requests to an embedded brain in the same process."""

    def __init__(self, brain):
        self.brain = brain
        self.requests = []
        self.errors = []
        """Raised instead of answering the next requests, one each; None lets one pass."""
        self.answers = []
        """Given instead of the brain's to the next requests, one each; None lets one pass."""

    async def handle_async_request(self, request):
        """Answer as the served brain does, polls included."""
        self.requests.append(request)
        if self.errors and (error := self.errors.pop(0)):
            raise error
        if self.answers and (answer := self.answers.pop(0)):
            return answer
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = request.url
        asked = Request(request.method, url.path, dict(url.params), headers, request.content)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self.brain.longpoll.wait_s(asked)
        is_first = True
        while True:
            is_last = loop.time() >= ends_s
            answer = self.brain.longpoll.answer(asked, is_first=is_first, is_last=is_last)
            if answer.status:
                date = {"Date": "Sat, 21 Nov 2026 13:00:00 GMT"}
                return httpx.Response(
                    answer.status, headers={**date, **answer.headers}, content=answer.body
                )
            is_first = False
            await asyncio.sleep(0.5)

    def of(self, method):
        """Return the requests of one method."""
        return [request for request in self.requests if request.method == method]


@pytest.fixture
def brain(clock):
    """Return an embedded brain that lives in virtual time."""
    return DevBrain(clock)


@pytest.fixture
def http(brain):
    """Return the way to the brain's routes."""
    return DeskHttp(brain)
