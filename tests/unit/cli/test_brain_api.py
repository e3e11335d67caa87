"""The client of the brain's REST API, against a brain that answers from a table."""

from __future__ import annotations

import json

import httpx
import pytest

from z4j_otel.cli.brain_api import AgentCredentials, ApiError, BrainApi, wait_until


class TableBrain:
    """Answers calls from a table, once somebody has logged in."""

    def __init__(self, answers):
        self.answers = {key: list(value) for key, value in answers.items()}
        self.calls = []
        self.pauses = []
        self.is_logged_in = False

    def __call__(self, request):
        """Answer one call."""
        path = request.url.path.removeprefix("/api/v1")
        self.calls.append((request.method, path, dict(request.url.params), dict(request.headers)))
        if path == "/auth/login":
            self.is_logged_in = True
            return httpx.Response(200, json={}, headers={"set-cookie": "z4j_csrf=c5rf; Path=/"})
        if not self.is_logged_in:
            return httpx.Response(401)
        status, body = self.answers[(request.method, path)].pop(0)
        return httpx.Response(status, content=json.dumps(body) if body is not None else b"")


@pytest.fixture
def client():
    """Return a function that makes a client of a table."""
    made = []

    def make(answers):
        brain = TableBrain(answers)
        transport = httpx.MockTransport(brain)
        api = BrainApi(
            "http://brain", "e", "p", project="shop", transport=transport, sleep=brain.pauses.append
        )
        made.append(api)
        return api, brain

    yield make
    for api in made:
        api.close()


def test_a_session_that_has_run_out_is_renewed(client):
    """The first call logs in, and the call is made again with the token against forgery."""
    api, brain = client({("GET", "/projects/shop/agents"): [(200, [])]})

    assert api.list_all("agents") == []
    assert [call[1] for call in brain.calls][1] == "/auth/login"
    assert brain.calls[-1][3]["x-csrf-token"] == "c5rf"


def test_a_busy_brain_is_asked_again_to_make_a_project(client):
    """It answers 500 while its database is locked; any other error is one, and so is the fifth."""
    answers = [(500, None), (201, {}), (409, None), *[(500, None)] * 5]
    api, brain = client({("POST", "/projects"): answers})

    api.create_project()
    assert brain.pauses == [1]
    for status in (409, 500):
        with pytest.raises(ApiError, match=f"answered with {status}"):
            api.create_project()
    assert brain.pauses == [1] * 5


def test_all_pages_are_read(client):
    """A list goes on while there is a cursor; filters that are None are not sent."""
    pages = [(200, {"items": [{"id": 1}], "next_cursor": "n"}), (200, {"items": [{"id": 2}]})]
    api, brain = client({("GET", "/projects/shop/tasks"): pages})

    assert api.list_all("tasks", state="failure", queue=None) == [{"id": 1}, {"id": 2}]
    assert brain.calls[-1][2] == {"state": "failure", "cursor": "n"}


def test_what_is_not_there_is_none(client):
    """404 is an answer; any other error is raised with status and reason."""
    path = ("GET", "/projects/shop/tasks/celery/t")
    api, _ = client({path: [(404, None), (500, {"detail": "boom"})]})

    assert api.task("t") is None
    with pytest.raises(ApiError, match=r"GET /projects/shop/tasks/celery/t .* 500: .*boom"):
        api.task("t")


def test_events_come_oldest_first(client):
    """The brain lists the newest first."""
    page = {"items": [{"occurred_at": "2"}, {"occurred_at": "1"}]}
    api, _ = client({("GET", "/projects/shop/events"): [(200, page)]})

    assert [event["occurred_at"] for event in api.events("t")] == ["1", "2"]


def test_an_agent_is_minted_with_all_it_needs(client):
    """The credentials make the environment of an agent, and do not show in a repr."""
    made = {"agent": {"id": "a1"}, "token": "t0ken-value", "hmac_secret": "s3cret-value"}
    api, _ = client(
        {("POST", "/projects"): [(201, None)], ("POST", "/projects/shop/agents"): [(201, made)]}
    )
    api.create_project()
    agent = api.mint_agent("worker")

    assert agent == AgentCredentials(
        "http://brain", "shop", "a1", "worker", "t0ken-value", "s3cret-value"
    )
    assert agent.environment()["Z4J_AGENT_ID"] == "a1"
    assert "value" not in repr(agent)


def test_a_command_is_followed_to_its_end(client):
    """Issued, dispatched, completed: the last is returned."""
    api, _ = client(
        {
            ("POST", "/projects/shop/commands/retry-task"): [(202, {"id": "c"})],
            ("GET", "/projects/shop/commands/c"): [(200, {"status": "completed"})],
        }
    )
    assert api.run_command("retry-task", agent_id="a")["status"] == "completed"


def test_a_task_id_may_hold_anything(client):
    """Applications make up ids; what is special in an address must not change the address."""
    path = "/projects/shop/tasks/celery/order 17: Größe?#"
    api, brain = client({("GET", path): [(200, {"id": 1})]})
    assert api.task("order 17: Größe?#") == {"id": 1}
    assert brain.calls[-1][2] == {}


def test_a_task_is_waited_for(client):
    """The state asked for ends the wait."""
    answers = [(200, {"state": "success"})]
    api, _ = client({("GET", "/projects/shop/tasks/celery/t"): answers})

    assert api.wait_task("t", "success")["state"] == "success"


def test_waiting_asks_until_the_answer_is_true():
    """Errors of the API and the network mean "not yet"."""
    answers = iter([None, ApiError("GET", "/", 500, ""), httpx.ConnectError("no"), "there"])
    pauses = []

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = wait_until(ask, "it", timeout_s=9, sleep=pauses.append, monotonic_s=lambda: 0)
    assert found == "there"
    assert pauses == [0.1, 0.1, 0.1]


def test_waiting_ends_with_the_last_answer():
    """The error says what was waited for and what came instead."""
    ticks = iter([0.0, 2.0])
    with pytest.raises(TimeoutError, match="no task within 1 s; last answer: None"):
        wait_until(lambda: None, "task", timeout_s=1, monotonic_s=lambda: next(ticks))
