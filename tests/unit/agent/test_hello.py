"""The introduction."""

from __future__ import annotations

import msgspec

from z4j_otel.agent.hello import HelloBuilder, agent_version
from z4j_otel.agent.policy import policy_of
from z4j_otel.wire.frames import Hello


def test_hello_lists_engines_and_capabilities(kit):
    """The capability map is complete, sorted and the same every time."""
    builder = HelloBuilder(started_at_ns=kit.EPOCH_NS, worker_id="w")
    builder.add_engine(kit.FakeEngine("rq", capabilities=["b", "a", "b"]))
    builder.add_engine(kit.FakeEngine("celery", capabilities=[]))
    hello = builder.build()
    assert hello.engines == ["celery", "rq"]
    assert hello.capabilities == {"celery": [], "rq": ["a", "b"]}
    assert builder.build() == hello


def test_hello_leaves_out_what_the_policy_denies(kit):
    """The engine itself can do it all the same."""
    builder = HelloBuilder(started_at_ns=kit.EPOCH_NS)
    engine = kit.FakeEngine(capabilities=["purge_queue", "retry_task"])
    builder.add_engine(engine, policy_of(["-purge_queue"]))
    assert builder.build().capabilities == builder.capabilities == {engine.name: ["retry_task"]}


def test_engine_that_cannot_tell_what_it_can_do_is_offered_nothing(kit):
    """An adapter's fault costs its buttons, not the agent."""
    engine = kit.FakeEngine()
    engine.capabilities = lambda: 1 // 0
    builder = HelloBuilder(started_at_ns=kit.EPOCH_NS)
    builder.add_engine(engine)
    assert builder.build().capabilities == {engine.name: []}


def test_hello_names_the_host():
    """The agent's name is what the dashboard shows; the machine's name when it has none."""
    named = HelloBuilder(started_at_ns=0, agent_name="billing", host={"zone": "a"}).build()
    plain = HelloBuilder(started_at_ns=0).build()
    assert (named.host["name"], named.host["zone"]) == ("billing", "a")
    assert plain.host["name"] == plain.host["hostname"]
    assert named.host["packages"]["z4j-otel"] == agent_version() == named.agent_version


def test_hello_keeps_the_bounds_of_the_wire():
    """However long the given texts are, the brain accepts the introduction."""
    hello = HelloBuilder(
        framework="f" * 99, worker_role="r" * 99, worker_id="w" * 999, started_at_ns=0
    ).build()
    assert msgspec.convert(msgspec.to_builtins(hello), Hello) == hello
    assert hello.worker_started_at == "1970-01-01T00:00:00.000000Z"


def test_worker_ids_differ_and_say_where():
    """Two agents of one process never share a slot."""
    one, two = (HelloBuilder(framework="django", started_at_ns=0).worker_id for _ in range(2))
    assert one != two
    assert one.startswith("django-")
    assert len(one) <= 128


def test_a_secret_in_the_wrong_setting_is_not_told():
    """Who pastes a token into the name or the role of the agent does not show it to all."""
    token = "ghp_" + "a1B2" * 9
    hello = HelloBuilder(started_at_ns=0, agent_name=f"web-{token}", worker_role=token).build()
    assert hello.host["name"] == "web-[REDACTED]"
    assert hello.worker_role == "[REDACTED]"


def test_role_may_be_unset():
    """An empty role is not told."""
    assert HelloBuilder(started_at_ns=0).build().worker_role is None


def test_hello_lists_schedulers_beside_engines(kit):
    """A scheduler is no engine; one that may do nothing here is not told."""
    builder = HelloBuilder(started_at_ns=0)
    builder.add_engine(kit.FakeEngine("celery", capabilities=["a"]))
    builder.add_scheduler("celery-beat", ["read", "list", "read"])
    builder.add_scheduler("rq-scheduler", [])
    hello = builder.build(["external_schedule_protocol_v1"])
    assert (hello.engines, hello.schedulers) == (["celery"], ["celery-beat"])
    assert hello.capabilities == {"celery": ["a"], "celery-beat": ["list", "read"]}
    assert hello.runtime_features == ["retry_by_reference", "external_schedule_protocol_v1"]
    assert builder.capabilities == {"celery": ["a"]}
