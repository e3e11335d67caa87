"""What the brain says to this agent: upgrade, hello, one signed frame, and its clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from z4j_otel.agent.braintime import TOLERATED_S
from z4j_otel.agent.hello import HelloBuilder, agent_version
from z4j_otel.agent.policy import policy_of, scheduler_tokens
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.clock import Clock
from z4j_otel.config import AgentConfig
from z4j_otel.config.network import proxy_of, trust_of
from z4j_otel.doctor.conversation import Conversation, converse, doctor_worker_id
from z4j_otel.errors import ConnectFailed
from z4j_otel.findings import Finding, failed, fine, skipped, warned
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.transport.base import Transport
from z4j_otel.transport.longpoll import LongPollTransport
from z4j_otel.transport.open_failures import PROXY_CAUSES, TLS_CAUSES
from z4j_otel.transport.tls import tls_context
from z4j_otel.transport.websocket import WebSocketTransport
from z4j_otel.wire.frames import Hello

__all__ = ["ELSEWHERE", "build_hello", "examine_brain", "skip_brain"]

_UPGRADE: Final = "websocket"
_LONGPOLL: Final = "longpoll"
_HELLO: Final = "hello"
_FRAME: Final = "signed_frame"
_CLOCK: Final = "clock"
_NOT_THE_WAY: Final = frozenset({401, 429})
_TOKEN_FORM: Final = re.compile(r"[\w-]{43}")
_CLOSE_CODE: Final = re.compile(r"\(close code \d+\)")
_MINT: Final = (
    "make a new agent in the dashboard (Agents), then: export Z4J_TOKEN=<token>"
    " Z4J_HMAC_SECRET=<secret>"
)
_MINTING: Final = (
    "# In the brain's dashboard: Agents, New agent. It shows both secrets once:",
    "export Z4J_TOKEN=<token>",
    "export Z4J_HMAC_SECRET=<hmac_secret>",
)
_RAISE_CAP: Final = (
    "raise ws_per_agent_concurrency_cap at the brain, or use fewer processes per token"
)
_CURES: Final[Mapping[str, tuple[str, ...]]] = {
    "token": (_MINT, *_MINTING),
    "close:4403:True": (
        "export Z4J_HMAC_SECRET=<the secret shown together with this token>",
        *_MINTING,
    ),
    "close:4403:False": ("add this machine's address to the brain's agent_ip_allowlist",),
    "close:4400:False": ("correct Z4J_BRAIN_URL: export Z4J_BRAIN_URL=https://<the brain's host>",),
    "close:4429:True": (_RAISE_CAP,),
    "close:4429:False": ("wait a minute, then look for a process that restarts in a loop",),
    "close:4426:False": ("pip install --upgrade z4j-otel  # or upgrade the brain",),
    "close:4427:False": ("pip install --upgrade z4j-otel  # or upgrade the brain",),
    "version": ("pip install --upgrade z4j-otel  # or upgrade the brain",),
    "close:4002:True": ("run one doctor at a time on this machine",),
    "hello_timeout": ("look at the brain's log and load, then ask again",),
    "unacked": ("look at the brain's log: its database does not take what it reads",),
}
ELSEWHERE: Final = "export Z4J_BRAIN_URL=<where the dashboard opens in a browser>"
"""The cure where another server answers."""
_BY_STATUS: Final[Mapping[int, str]] = {
    401: "let /ws/agent through the access check in front of the brain; it has tokens of its own",
    403: "let /ws/agent through the proxy before the brain, or correct the path in Z4J_BRAIN_URL",
    404: ELSEWHERE,
    426: ELSEWHERE,
    429: "wait a minute; see which processes here reconnect all the time: z4j-otel status",
}
_ANY_STATUS: Final = (
    "see that the brain runs behind this address, and that the proxy upgrades WebSockets"
)
_BY_CAUSE: Final[Mapping[str, str]] = {
    "not_http": "correct Z4J_BRAIN_URL: this port speaks no HTTP",
    "no_tls": "write http:// in Z4J_BRAIN_URL, or the port that speaks TLS",
    "refused": "start the brain, or correct Z4J_BRAIN_URL",
    "tls_client": "export Z4J_CLIENT_CERTIFICATE_FILE=<PEM> Z4J_CLIENT_KEY_FILE=<PEM>",
    "proxy": "correct Z4J_PROXY or HTTPS_PROXY",
    "proxy_login": "export Z4J_PROXY=http://<user>:<password>@<proxy>:<port>",
    "proxy_no": "have the proxy allow CONNECT to the brain's host and port",
}
_SEE: Final = "see that the brain is up, and Z4J_BRAIN_URL its address"


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
        builder.add_engine(adapter, policy)
    for name, tokens in NativeSchedules(engines, Redactor()).capabilities().items():
        builder.add_scheduler(name, scheduler_tokens(tokens, policy))
    return builder.build()


def skip_brain(why: str) -> list[Finding]:
    """Return that the brain was not spoken to."""
    return [skipped(name, why) for name in (_UPGRADE, _HELLO, _FRAME, _CLOCK)]


def examine_brain(
    config: AgentConfig, hello: Hello, clock: Clock, *, sockets: Transport | None = None
) -> list[Finding]:
    """Connect as the agent would, and say what came of it.

    Args:
        config: Address, credentials and the way to take.
        hello: From :func:`build_hello`.
        clock: This machine's clocks.
        sockets: The preferred way; the agent's own when None.
    """
    key = config.signing_key()
    if config.transport == _LONGPOLL:
        talk = asyncio.run(converse(_longpoll(config), key, hello, clock))
        return [*_about_longpoll(config, talk), *_about_talk(config, talk)]
    talk = asyncio.run(converse(sockets or _websocket(config), key, hello, clock))
    upgrade = _about_upgrade(config, talk)
    if talk.is_open or config.transport == "ws" or not _blames_the_way(talk.error):
        return [upgrade, *_about_talk(config, talk)]
    polled = asyncio.run(converse(_longpoll(config), key, hello, clock))
    if not polled.is_open and polled.error.__class__ is ConnectFailed:
        return [upgrade, *_about_talk(config, talk)]
    lesser = warned(upgrade.name, upgrade.message, upgrade.cure, *upgrade.steps)
    return [lesser, *_about_longpoll(config, polled), *_about_talk(config, polled)]


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


def _about_upgrade(config: AgentConfig, talk: Conversation) -> Finding:
    if talk.is_open:
        return fine(_UPGRADE, f"ws upgrade to {config.brain_url} succeeded")
    return _not_open(_UPGRADE, talk)


def _about_longpoll(config: AgentConfig, talk: Conversation) -> Iterator[Finding]:
    if talk.is_open:
        yield fine(_LONGPOLL, f"HTTPS long-poll with {config.brain_url} works; the agent uses it")
    elif isinstance(talk.error, ConnectFailed):
        yield _not_open(_LONGPOLL, talk)


def _not_open(name: str, talk: Conversation) -> Finding:
    assert talk.failure is not None
    error, text = talk.error, talk.failure.text
    if not isinstance(error, ConnectFailed):
        return failed(name, text, _SEE)
    status = error.http_status
    default = _SEE if status is None else _BY_STATUS.get(status, _ANY_STATUS)
    return failed(
        name, text, _BY_CAUSE.get(error.cause, default), http_status=status, cause=error.cause
    )


def _about_talk(config: AgentConfig, talk: Conversation) -> Iterator[Finding]:
    if talk.ack is None:
        # A long-poll session is refused for the token before anything is open.
        is_refused = talk.failure is not None and not isinstance(talk.error, ConnectFailed)
        yield _refused(_HELLO, config, talk) if is_refused else skipped(_HELLO, "no connection")
        yield skipped(_FRAME, "no hello_ack")
        yield skipped(_CLOCK, "the brain told no time")
        return
    version = talk.ack.brain_version or "of unknown version"
    details = {
        "brain_version": talk.ack.brain_version,
        "agent_id": talk.ack.agent_id,
        "project_id": talk.ack.project_id,
    }
    yield fine(_HELLO, f"brain {version} takes the token; agent {talk.ack.agent_id}", **details)
    yield _about_frame(config, talk)
    yield _about_clock(talk)


def _about_frame(config: AgentConfig, talk: Conversation) -> Finding:
    if talk.is_proven:
        text = "the brain takes our signature: the signing secret belongs to the token's project"
        if talk.commands_refused:
            text += f"; {_commands(talk.commands_refused)}"
        return fine(_FRAME, text)
    return _refused(_FRAME, config, talk)


def _commands(count: int) -> str:
    if count == 1:
        return "1 waiting command was answered: send it again"
    return f"{count} waiting commands were answered: send them again"


def _refused(name: str, config: AgentConfig, talk: Conversation) -> Finding:
    failure = talk.failure
    assert failure is not None
    cure = _CURES.get(failure.key, (_SEE,))
    text = _without_cure(failure.text) + _about_token(config, failure.key)
    return failed(name, text, *cure, key=failure.key)


def _without_cure(text: str) -> str:
    """Leave out what the agent's log says in one line, and the doctor in a line of its own."""
    head, _, rest = text.partition("; ")
    code = _CLOSE_CODE.search(rest)
    return head if code is None else f"{head} {code[0]}"


def _about_token(config: AgentConfig, key: str) -> str:
    """Say where a secret came from, and when it cannot be one."""
    setting = {"token": "token", "close:4403:True": "hmac_secret"}.get(key)
    if setting is None:
        return ""
    source = config.sources.get(setting, "default")
    if setting != "token":
        return f"; it comes from {source}"
    if _TOKEN_FORM.fullmatch(config.token.reveal()):
        return f"; the token, from {source}, is wrong or was revoked"
    return f"; what comes from {source} is no agent's token: those have 43 letters, digits, - and _"


def _about_clock(talk: Conversation) -> Finding:
    if talk.offset_s is None:
        return skipped(_CLOCK, "the brain told no time")
    size, offset_s = abs(talk.offset_s), round(talk.offset_s, 1)
    if size <= TOLERATED_S:
        return fine(_CLOCK, f"agrees with the brain's within {TOLERATED_S:g} s", offset_s=offset_s)
    side = "behind" if talk.offset_s > 0 else "ahead of"
    text = (
        f"this machine's clock is {size:.0f} s {side} the brain's; the agent corrects its"
        " signatures, but the times of events are wrong"
    )
    steps = ("timedatectl set-ntp true", "timedatectl status")
    return warned(
        _CLOCK, text, "set the clock: timedatectl set-ntp true", *steps, offset_s=offset_s
    )
