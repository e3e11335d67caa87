"""What the brain says to this agent: upgrade, hello, one signed frame, and its clock.

Theory of operation
    Hello is said as the agent says it where somebody knows what to say: an agent that runs
    on this machine, or an app that was named. Said by anybody else it would take buttons away
    from operators, because the brain keeps the lists of the last hello. Then the doctor only
    *knocks*: it opens a WebSocket, at which the brain looks at the token and closes when it
    does not take it. The signed frame goes over long-poll, which knows no hello.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from z4j_otel.agent.hello import HelloBuilder, agent_version
from z4j_otel.agent.policy import policy_of, scheduler_tokens
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.clock import Clock
from z4j_otel.config import AgentConfig
from z4j_otel.config.network import proxy_of, trust_of
from z4j_otel.doctor.conversation import Conversation, converse, doctor_worker_id, knock
from z4j_otel.doctor.verdicts import (
    CLOCK,
    FRAME,
    HELLO,
    LONGPOLL,
    UPGRADE,
    about_longpoll,
    about_talk,
    about_upgrade,
    unsaid,
)
from z4j_otel.errors import ConnectFailed
from z4j_otel.findings import Finding, skipped, warned
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.rules import LocalRules
from z4j_otel.redaction import Redactor
from z4j_otel.transport.base import Transport
from z4j_otel.transport.longpoll import LongPollTransport
from z4j_otel.transport.open_failures import PROXY_CAUSES, TLS_CAUSES
from z4j_otel.transport.tls import tls_context
from z4j_otel.transport.websocket import WebSocketTransport
from z4j_otel.wire.frames import Hello

__all__ = ["build_hello", "examine_brain", "skip_brain"]

_NOT_THE_WAY: Final = frozenset({401, 429})
_NOBODY: Final = Hello(agent_version=agent_version(), framework="doctor")
"""Said on long-poll, where it goes no further than our own transport."""


def build_hello(
    config: AgentConfig, adapters: Iterable[EngineAdapter], *, framework: str, clock: Clock
) -> Hello:
    """Return the agent's own introduction, for a slot of the doctor's.

    Args:
        config: Names agent, and what is denied here.
        adapters: The engines that the agent would list.
        framework: ``bare``, ``django`` …
        clock: Says since when.
    """
    builder = HelloBuilder(
        framework=framework,
        agent_name=config.agent_name,
        worker_role="other",
        started_at_ns=clock.now_ns(),
        worker_id=doctor_worker_id(),
    )
    policy, engines = policy_of(config.commands), {each.name: each for each in adapters}
    for adapter in engines.values():
        _suppose_a_worker(adapter, config)
        builder.add_engine(adapter, policy)
    for name, tokens in NativeSchedules(engines, Redactor()).capabilities().items():
        builder.add_scheduler(name, scheduler_tokens(tokens, policy))
    return builder.build()


def _suppose_a_worker(adapter: EngineAdapter, config: AgentConfig) -> None:
    """Have an adapter list what it could do in a worker that somebody starts again.

    Nobody does that for this process. A button that is refused does less harm than one
    that is gone.
    """
    obey = getattr(adapter, "obey", None)
    if obey is not None:
        never = config.restart_by_exit == "never"
        obey(LocalRules(restart_by_exit="never" if never else "always"))


def skip_brain(why: str) -> list[Finding]:
    """Return that the brain was not spoken to."""
    return [skipped(name, why) for name in (UPGRADE, HELLO, FRAME, CLOCK)]


def examine_brain(
    config: AgentConfig, hello: Hello | None, clock: Clock, *, sockets: Transport | None = None
) -> list[Finding]:
    """Connect as the agent would, and say what came of it.

    Args:
        config: Address, credentials and the way to take.
        hello: From :func:`build_hello`; None when nobody knows what to say.
        clock: This machine's clocks.
        sockets: The preferred way; the agent's own when None.
    """
    key = config.signing_key()
    if config.transport == LONGPOLL:
        polled = _poll(config, clock)
        return [*about_longpoll(config, polled), *about_talk(config, polled)]
    way = sockets or _websocket(config)
    talk = asyncio.run(knock(way) if hello is None else converse(way, key, hello, clock))
    upgrade = about_upgrade(config, talk)
    if talk.is_open:
        # Without hello and without a refusal, nothing has been told yet.
        is_over = hello is not None or talk.failure is not None
        rest = about_talk(config, talk) if is_over else _ask_otherwise(config, clock)
        return [upgrade, *rest]
    if config.transport == "ws" or not _blames_the_way(talk.error):
        return [upgrade, *about_talk(config, talk)]
    polled = _poll(config, clock)
    if _is_closed(polled):
        return [upgrade, *about_talk(config, talk)]
    lesser = warned(upgrade.name, upgrade.message, upgrade.cure, *upgrade.steps)
    return [lesser, *about_longpoll(config, polled), *about_talk(config, polled)]


def _ask_otherwise(config: AgentConfig, clock: Clock) -> list[Finding]:
    """Send the signed frame on the way that needs no hello."""
    polled = _poll(config, clock)
    if _is_closed(polled):
        why = "long-poll is not served here; with hello it would go over the WebSocket"
        return [unsaid(is_taken=False), skipped(FRAME, why), skipped(CLOCK, why)]
    hello, *rest = about_talk(config, polled)
    return [unsaid(is_taken=True) if hello.is_ok else hello, *rest]


def _poll(config: AgentConfig, clock: Clock) -> Conversation:
    return asyncio.run(converse(_longpoll(config), config.signing_key(), _NOBODY, clock))


def _is_closed(polled: Conversation) -> bool:
    """Whether long-poll is no way either; a refusal by the brain is an answer."""
    return not polled.is_open and isinstance(polled.error, ConnectFailed)


def _websocket(config: AgentConfig) -> Transport:
    return WebSocketTransport(config.brain_url, config.token.reveal(), **_options(config))


def _longpoll(config: AgentConfig) -> Transport:
    return LongPollTransport(config.brain_url, config.token.reveal(), **_options(config))


def _options(config: AgentConfig) -> dict[str, Any]:
    return {
        "dev_mode": config.dev_mode,
        "tls": partial(tls_context, trust_of(config)),
        "proxy": proxy_of(config),
        "user_agent": f"z4j-otel/{agent_version()} doctor",
    }


def _blames_the_way(error: Exception | None) -> bool:
    """Whether the agent would try long-poll, too."""
    if not isinstance(error, ConnectFailed) or error.http_status in _NOT_THE_WAY:
        return False
    return error.cause not in PROXY_CAUSES | TLS_CAUSES
