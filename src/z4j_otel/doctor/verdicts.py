"""What the brain's words, and its silence, mean to an operator: lines and cures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from z4j_otel.agent.braintime import TOLERATED_S
from z4j_otel.config import AgentConfig
from z4j_otel.doctor.configuration import MINTING
from z4j_otel.doctor.conversation import Conversation
from z4j_otel.errors import ConnectFailed
from z4j_otel.findings import Finding, failed, fine, skipped, warned

__all__ = [
    "CLOCK",
    "ELSEWHERE",
    "FRAME",
    "HELLO",
    "LONGPOLL",
    "UPGRADE",
    "about_longpoll",
    "about_talk",
    "about_upgrade",
    "unsaid",
]

UPGRADE: Final = "websocket"
LONGPOLL: Final = "longpoll"
HELLO: Final = "hello"
FRAME: Final = "signed_frame"
CLOCK: Final = "clock"
_BAD_SIGNATURE: Final = "close:4403:True"
_TOKEN_FORM: Final = re.compile(r"[\w-]{43}")
_CLOSE_CODE: Final = re.compile(r"\(close code \d+\)")
_MINT: Final = (
    "make a new agent in the dashboard (Agents), then: export Z4J_TOKEN=<token>"
    " Z4J_HMAC_SECRET=<secret>"
)
_RAISE_CAP: Final = (
    "raise ws_per_agent_concurrency_cap at the brain, or use fewer processes per token"
)
_CURES: Final[Mapping[str, tuple[str, ...]]] = {
    "token": (_MINT, *MINTING),
    _BAD_SIGNATURE: (
        "export Z4J_HMAC_SECRET=<the secret shown together with this token>",
        *MINTING,
    ),
    "close:4403:False": ("add this machine's address to the brain's agent_ip_allowlist",),
    "close:4400:False": ("correct Z4J_BRAIN_URL: export Z4J_BRAIN_URL=https://<brain host>",),
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


def about_upgrade(config: AgentConfig, talk: Conversation) -> Finding:
    """Say whether a WebSocket opened."""
    if talk.is_open:
        return fine(UPGRADE, f"ws upgrade to {config.brain_url} succeeded")
    return _not_open(UPGRADE, talk)


def about_longpoll(config: AgentConfig, talk: Conversation) -> Iterator[Finding]:
    """Say whether long-poll works; nothing where the brain itself refused."""
    if talk.is_open:
        yield fine(LONGPOLL, f"HTTPS long-poll with {config.brain_url} works; the agent uses it")
    elif isinstance(talk.error, ConnectFailed):
        yield _not_open(LONGPOLL, talk)


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


def about_talk(config: AgentConfig, talk: Conversation) -> Iterator[Finding]:
    """Say what became of hello, of the signed frame, and how the clocks compare."""
    if talk.ack is None:
        # A long-poll session is refused for the token before anything is open.
        is_refused = talk.failure is not None and not isinstance(talk.error, ConnectFailed)
        yield _refused(HELLO, config, talk) if is_refused else skipped(HELLO, "no connection")
        yield skipped(FRAME, "no hello_ack")
        yield skipped(CLOCK, "the brain told no time")
        return
    version = talk.ack.brain_version or "of unknown version"
    details = {
        "brain_version": talk.ack.brain_version,
        "agent_id": talk.ack.agent_id,
        "project_id": talk.ack.project_id,
    }
    yield fine(HELLO, f"brain {version} takes the token; agent {talk.ack.agent_id}", **details)
    yield _about_frame(config, talk)
    yield _about_clock(talk)


def unsaid(*, is_taken: bool) -> Finding:
    """Say why the brain was not told hello.

    Args:
        is_taken: Whether it has shown otherwise that it takes the token.
    """
    known = "the brain takes the token; " if is_taken else ""
    text = (
        f"{known}hello itself was not said: it would replace what your workers have told the"
        " brain. To say it, name your app, which must load: z4j-otel doctor -A proj.celery"
    )
    return skipped(HELLO, text)


def _about_frame(config: AgentConfig, talk: Conversation) -> Finding:
    if talk.is_proven:
        text = "the brain takes our signature: the signing secret belongs to the token's project"
        if talk.commands_refused:
            text += f"; {_commands(talk.commands_refused)}"
        return fine(FRAME, text)
    refused = _refused(FRAME, config, talk)
    if talk.offset_s is None and refused.details["key"] == _BAD_SIGNATURE:
        # A stale frame is refused with the same code, and nobody has told the time.
        text = f"{refused.message}, or this machine's clock is more than a minute off"
        return replace(refused, message=text)
    return refused


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
    setting = {"token": "token", _BAD_SIGNATURE: "hmac_secret"}.get(key)
    if setting is None:
        return ""
    source = config.sources.get(setting, "default")
    if setting != "token":
        return f"; it comes from {source}"
    if _TOKEN_FORM.fullmatch(config.token.reveal()):
        return f"; the token, from {source}, is wrong or was revoked"
    form = "those have 43 letters, digits, - and _"
    return f"; what comes from {source} is no agent's token, for {form}"


def _about_clock(talk: Conversation) -> Finding:
    if talk.offset_s is None:
        return skipped(CLOCK, "the brain told no time")
    size, offset_s = abs(talk.offset_s), round(talk.offset_s, 1)
    if size <= TOLERATED_S:
        return fine(CLOCK, f"agrees with the brain's within {TOLERATED_S:g} s", offset_s=offset_s)
    side = "behind" if talk.offset_s > 0 else "ahead of"
    text = (
        f"this machine's clock is {size:.0f} s {side} the brain's; the agent corrects its"
        " signatures, but the times of events are wrong"
    )
    steps = ("timedatectl set-ntp true", "timedatectl status")
    return warned(CLOCK, text, "set the clock: timedatectl set-ntp true", *steps, offset_s=offset_s)
