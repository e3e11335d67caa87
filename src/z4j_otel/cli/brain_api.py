"""The real brain's REST API, as far as tests and the demo need it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from z4j_otel.errors import Z4JOtelError

__all__ = ["AgentCredentials", "ApiError", "BrainApi", "wait_until"]

T = TypeVar("T")

_COMMAND_ENDS: Final = frozenset({"completed", "failed", "timeout", "cancelled"})
_UNAUTHORISED: Final = 401
_NOT_FOUND: Final = 404
_INTERNAL: Final = 500
_TRIES: Final = 5
_PAUSE_S: Final = 1.0
_SHOWN_CHARACTERS: Final = 1000


class ApiError(Z4JOtelError):
    """The brain's REST API answered with an error status."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(method, path, status, body)
        self.method = method
        self.path = path
        self.status = status
        """HTTP status of the answer."""
        self.body = body

    def __str__(self) -> str:
        shown = self.body[:_SHOWN_CHARACTERS]
        return f"{self.method} {self.path} was answered with {self.status}: {shown}"


@dataclass(frozen=True, slots=True)
class AgentCredentials:
    """What an agent needs to connect, as the brain handed it out."""

    brain_url: str
    project_id: str
    agent_id: str
    name: str
    token: str = field(repr=False)
    hmac_secret: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables to start an agent with."""
        return {
            "Z4J_BRAIN_URL": self.brain_url,
            "Z4J_TOKEN": self.token,
            "Z4J_HMAC_SECRET": self.hmac_secret,
            "Z4J_PROJECT_ID": self.project_id,
            "Z4J_AGENT_ID": self.agent_id,
        }


class BrainApi:
    """A logged-in client of one project of the brain.

    The session is renewed when it has run out. Methods raise ``ApiError`` when the brain
    answers with an error, and ``httpx.TransportError`` when it does not answer.
    """

    def __init__(
        self,
        base_url: str,
        email: str,
        password: str,
        *,
        project: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url
        self.project = project
        self._sleep = sleep
        self._login = {"email": email, "password": password}
        # Only this machine is spoken to: a proxy from the environment would be in the way.
        self._client = httpx.Client(
            base_url=f"{base_url}/api/v1", trust_env=False, timeout=30, transport=transport
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Make one call and return the decoded answer.

        Args:
            method: HTTP method.
            path: Below the project; below the API's root when it starts with ``/``.
            body: What to send as JSON; None sends none.
            query: Parameters of the query; those that are None are left out.

        Raises:
            ApiError: The answer's status is 400 or more.
        """
        url = path if path.startswith("/") else f"/projects/{self.project}/{path}"
        response = self._send(method, url, body, query)
        if response.status_code == _UNAUTHORISED:
            self._send("POST", "/auth/login", self._login, {})
            response = self._send(method, url, body, query)
        if response.is_error:
            raise ApiError(method, url, response.status_code, response.text)
        return response.json() if response.content else None

    def create_project(self) -> None:
        """Make the project that this client speaks of."""
        self._make("/projects", {"slug": self.project, "name": self.project})

    def mint_agent(self, name: str) -> AgentCredentials:
        """Make a new agent in the project and return its credentials."""
        made = self._make("agents", {"name": name})
        return AgentCredentials(
            brain_url=self.base_url,
            project_id=self.project,
            agent_id=made["agent"]["id"],
            name=name,
            token=made["token"],
            hmac_secret=made["hmac_secret"],
        )

    def _make(self, path: str, body: Any) -> Any:
        """Make something; a brain whose database is busy answers 500, and is asked again."""
        for _ in range(_TRIES - 1):
            try:
                return self.request("POST", path, body)
            except ApiError as error:
                if error.status != _INTERNAL:
                    raise
            self._sleep(_PAUSE_S)
        return self.request("POST", path, body)

    def list_all(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        """Return a whole list: ``agents``, ``tasks``, ``commands``, ``workers``, ``queues``.

        Args:
            what: The path of the list below the project.
            filters: Parameters of the query, for example ``state="failure"``.
        """
        items: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", what, **filters)
            if isinstance(page, list):
                return page
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            filters["cursor"] = page["next_cursor"]

    def find(self, path: str) -> dict[str, Any] | None:
        """Return one object, or None when the brain has none at that path."""
        try:
            found: dict[str, Any] = self.request("GET", path)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return found

    def task(self, task_id: str, *, engine: str = "celery") -> dict[str, Any] | None:
        """Return a task as the dashboard shows it, or None while the brain has no row."""
        # Applications make up task ids of their own, with anything in them.
        return self.find(f"tasks/{engine}/{quote(task_id, safe='')}")

    def events(self, task_id: str, *, engine: str = "celery") -> list[dict[str, Any]]:
        """Return a task's events, oldest first; the order within one second is arbitrary."""
        events = self.list_all("events", engine=engine, task_id=task_id, limit=500)
        return sorted(events, key=lambda event: str(event["occurred_at"]))

    def wait_task(
        self, task_id: str, state: str, *, engine: str = "celery", timeout_s: float = 20.0
    ) -> dict[str, Any]:
        """Wait until the brain shows a task in a state, and return the task.

        Raises:
            TimeoutError: It does not within ``timeout_s`` seconds.
        """

        def reached() -> dict[str, Any] | None:
            task = self.task(task_id, engine=engine)
            return task if task is not None and task["state"] == state else None

        return wait_until(reached, f"task {task_id} in state {state}", timeout_s=timeout_s)

    def run_command(
        self, action: str, *, agent_id: str, timeout_s: float = 75.0, **body: Any
    ) -> dict[str, Any]:
        """Issue a command and return it when it has ended, in whatever way.

        Args:
            action: Last part of the path, for example ``retry-task``.
            agent_id: Who is to carry it out.
            timeout_s: How long to wait for its end, seconds.
            body: What the action needs, for example ``engine`` and ``task_id``.

        Raises:
            TimeoutError: It has not ended within ``timeout_s`` seconds.
        """
        issued = self.request("POST", f"commands/{action}", {"agent_id": agent_id, **body})

        def ended() -> dict[str, Any] | None:
            command = self.find(f"commands/{issued['id']}")
            return command if command and command["status"] in _COMMAND_ENDS else None

        return wait_until(ended, f"end of command {action}", timeout_s=timeout_s)

    def _send(self, method: str, url: str, body: Any, query: dict[str, Any]) -> httpx.Response:
        token = next(
            (value for name, value in self._client.cookies.items() if name.endswith("z4j_csrf")),
            "",
        )
        return self._client.request(
            method,
            url,
            json=body,
            params={name: value for name, value in query.items() if value is not None},
            headers={"X-CSRF-Token": token},
        )


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    timeout_s: float,
    interval_s: float = 0.1,
    sleep: Callable[[float], None] = time.sleep,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> T:
    """Ask again and again until the answer is true, and return the answer.

    A brain that is not there, or answers with an error, counts as "not yet".

    Args:
        condition: What to ask.
        what: What is waited for, for the error's text.
        timeout_s: How long to go on asking, seconds.
        interval_s: Pause between two questions, seconds.
        sleep: How to pause.
        monotonic_s: The clock to measure with.

    Raises:
        TimeoutError: The answer did not become true in time.
    """
    deadline = monotonic_s() + timeout_s
    while True:
        last: object
        try:
            answer = condition()
        except (ApiError, httpx.TransportError) as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        if monotonic_s() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:g} s; last answer: {last!r}")
        sleep(interval_s)
