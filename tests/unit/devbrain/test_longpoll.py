"""The embedded brain's HTTP routes, request by request."""

from __future__ import annotations

import json

import pytest

from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.devbrain.longpoll import Request
from z4j_otel.testing.clocks import ManualClock
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType
from z4j_otel.wire.signing import SessionBinding, Signer, decode_secret

NS = 1_000_000_000


class Agent:
    """A hand-made agent with a session's nonce."""

    def __init__(self, brain, nonce="nonce-1", credentials=None):
        self.brain = brain
        self.credentials = credentials or brain.mint_agent()
        self.nonce = nonce
        binding = SessionBinding(self.credentials.agent_id, self.credentials.project_id, nonce)
        self.signer = Signer(decode_secret(self.credentials.hmac_secret), binding)
        self.count = 0

    def headers(self, **more):
        """Return the headers of a request."""
        return {
            "authorization": f"Bearer {self.credentials.token}",
            "x-z4j-session-nonce": self.nonce,
            "content-type": "application/json",
            **more,
        }

    def poll(self, *, wait=0, max_frames=50, **headers):
        """Ask for commands."""
        query = {"wait": str(wait), "max_frames": str(max_frames)}
        path = "/api/v1/agent/commands"
        return self.brain.longpoll.answer(Request("GET", path, query, self.headers(**headers)))

    def probe(self):
        """Open the session."""
        return self.poll(max_frames=0)

    def frame(self, kind=FrameType.HEARTBEAT, payload=None, frame_id="f"):
        """Sign a frame."""
        self.count += 1
        data = self.signer.seal(
            kind,
            frame_id,
            canonical.encode(payload or {}),
            nonce=f"n{self.count}",
            now_ns=self.brain.clock.now_ns(),
        )
        self.signer.count()
        return data.decode()

    def post(self, *frames, body=None, **headers):
        """Hand over frames."""
        body = json.dumps({"frames": list(frames)}).encode() if body is None else body
        request = Request("POST", "/api/v1/agent/events", {}, self.headers(**headers), body)
        return self.brain.longpoll.answer(request)


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def brain(clock):
    """Return a brain."""
    return DevBrain(clock)


@pytest.fixture
def agent(brain):
    """Return an agent with an open session."""
    agent = Agent(brain)
    assert agent.probe().status == 200
    return agent


def test_probe_tells_the_ids(brain):
    """The first poll claims nothing and names what signatures are bound to."""
    agent = Agent(brain)
    answer = agent.probe()
    assert (answer.status, answer.content) == (200, {"frames": []})
    assert answer.headers["X-Z4J-Agent-Id"] == agent.credentials.agent_id
    assert answer.headers["X-Z4J-Project-Id"] == agent.credentials.project_id


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"authorization": "Bearer wrong"}, 401), ({"authorization": "Basic x"}, 401)],
)
def test_wrong_credentials(agent, headers, status):
    """Without the token there is no answer but 401."""
    assert agent.poll(**headers).status == status


def test_revoked_and_archived_agents(brain, agent):
    """A revoked token is unknown; an archived project is told apart."""
    brain.operator.archive()
    assert agent.poll().content == {"error": "project_inactive"}
    other = Agent(brain, credentials=brain.mint_agent(project="other"))
    brain.operator.revoke(other.credentials.agent_id)
    assert other.probe().status == 401


def test_addresses(clock):
    """The allow-list and the bucket of connections hold for requests, too."""
    strict = DevBrain(clock, BrainSettings(ip_allowlist=frozenset({"10.0.0.1"})))
    assert Agent(strict).probe().content == {"error": "ip_denied"}
    busy = Agent(DevBrain(clock, BrainSettings(connects_per_minute=2)))
    assert [busy.probe().status for _ in range(3)] == [200, 200, 429]
    assert busy.probe().headers["Retry-After"] == "60"


def test_unknown_sessions_are_refused(brain, clock):
    """Only the probe opens a session; an idle one is forgotten after 300 s."""
    agent = Agent(brain)
    assert agent.poll().status == 409
    assert agent.post(agent.frame()).status == 409
    agent.probe()
    assert agent.poll().status == 200
    clock.advance(301)
    assert agent.poll().status == 409


def test_bad_signature_closes_the_session(brain, agent, clock):
    """One wrong frame costs the session, for five minutes even the probe."""
    good = agent.frame()
    assert agent.post(good.replace('"hmac":"', '"hmac":"0')).status == 409
    assert agent.post(agent.frame()).status == 409
    assert agent.probe().status == 409
    clock.advance(301)
    assert agent.probe().status == 200


def test_replayed_frame_closes_the_session(agent):
    """A frame is taken once."""
    frame = agent.frame()
    assert agent.post(frame).content["accepted"] == 1
    assert agent.post(frame).status == 409


def test_frames_that_cannot_be_read_count_as_taken(agent):
    """Nonsense is dropped as if it had been accepted; another version is not."""
    hello = json.dumps({"v": 2, "type": "hello", "id": "h"})
    old = json.dumps({"v": 1, "type": "heartbeat"})
    bad_loss = agent.frame(payload={"telemetry_loss": {"buffer_id": ""}})
    verdict = agent.post("nonsense", hello, old, bad_loss).content
    assert (verdict["accepted"], verdict["rejected"], len(verdict["errors"])) == (3, 1, 1)


def test_events_and_reports_are_applied(brain, agent):
    """A batch makes rows, a heartbeat and a status are kept, and the agent is online."""
    event = {"id": "i", "kind": "task.received", "engine": "celery", "task_id": "t", "data": {}}
    verdict = agent.post(
        agent.frame(FrameType.EVENT_BATCH, {"events": [event]}),
        agent.frame(payload={"buffer_size": 3}),
        agent.frame(FrameType.AGENT_STATUS, {"buffer_depth": 3}),
    ).content
    assert verdict == {"accepted": 3, "rejected": 0, "errors": [], "error_code": None}
    assert brain.task("celery", "t").state == "received"
    assert (len(brain.heartbeats), len(brain.statuses)) == (1, 1)
    assert brain.agents()[0].state == "online"


def test_batch_that_is_not_stored_is_not_accepted(brain, agent):
    """A database fault is told, so that the agent sends again."""
    brain.faults.lose_batches()
    assert agent.post(agent.frame(FrameType.EVENT_BATCH, {"events": []})).content["accepted"] == 0


def test_sizes_and_shapes(agent):
    """A body over 8 KiB is refused unread, and frames are a list of one to 500 texts."""
    assert agent.post(body=b" " * 8193).status == 413
    for body in (b'{"frames":[]}', b'{"frames":[1]}', b"[]", b"{"):
        assert agent.post(body=body).status == 422
    assert agent.post(agent.frame(), **{"content-type": "text/plain"}).status == 422
    assert agent.poll(wait=61).status == 422
    assert agent.poll(max_frames="x").status == 422


def test_other_routes_do_not_exist(brain, agent):
    """What is no route for agents is not found."""
    request = Request("GET", "/api/v1/agent/other", {}, agent.headers())
    assert brain.longpoll.answer(request).status == 404


def test_command_is_claimed_by_the_poll_and_ended_by_the_result(brain, agent):
    """A command is given once, signed for the session, and its answer counts."""
    agent.post(agent.frame())
    order = brain.issue("cancel_task", engine="celery", task_id="t")
    (text,) = agent.poll().content["frames"]
    assert json.loads(text)["id"] == order.id
    assert agent.poll().content == {"frames": []}
    agent.post(agent.frame(FrameType.COMMAND_ACK, {}, order.id))
    agent.post(agent.frame(FrameType.COMMAND_RESULT, {"status": "success"}, order.id))
    assert (order.is_acked, order.status.value) == (True, "completed")


def test_poll_without_a_command_waits(brain, agent):
    """There is nothing to tell until a command comes or the time is over."""
    request = Request("GET", "/api/v1/agent/commands", {"wait": "5"}, agent.headers())
    assert brain.longpoll.wait_s(request) == 5.0
    assert brain.longpoll.answer(request, is_last=False).status == 0
    assert brain.longpoll.answer(request).content == {"frames": []}
    assert brain.longpoll.wait_s(Request("GET", "/", {"wait": "x"})) == 0.0


def test_repeatable_command_is_offered_again(brain, agent, clock):
    """Without a result a cancel comes again after ten seconds, a retry never."""
    agent.post(agent.frame())
    contracts = {"x-z4j-retry-contracts": "celery=1"}
    brain.issue("cancel_task", engine="celery", task_id="t")
    brain.issue("retry_task", engine="celery", task_id="t")
    actions = [len(agent.poll(**contracts).content["frames"])]
    for _ in range(2):
        clock.advance(6)
        actions.append(len(agent.poll(**contracts).content["frames"]))
    assert actions == [2, 0, 1]


@pytest.mark.parametrize("text", ["", "rq=1", "celery", "celery=2", "celery=1,=1"])
def test_retry_needs_the_contract(brain, agent, text):
    """Whoever does not state the contract is given no retry."""
    agent.post(agent.frame())
    brain.issue("retry_task", engine="celery", task_id="t")
    assert agent.poll(**{"x-z4j-retry-contracts": text}).content == {"frames": []}


def test_fault_is_answered_unseen(brain, agent):
    """A status that was asked for is answered, once each."""
    brain.faults.answer_requests(503, retry_after_s=1)
    answer = agent.poll()
    assert (answer.status, answer.headers) == (503, {"Retry-After": "1"})
    assert agent.poll().status == 200
    assert agent.poll().body == b'{"frames":[]}'
