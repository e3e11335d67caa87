"""The table of settings: each field of ``AgentConfig`` is one row.

A row says type, default, bounds and help at once; the resolver and the
reference documentation read the table from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from z4j_otel.config.parsing import Kind, Setting
from z4j_otel.config.secret import Secret

__all__ = ["SETTINGS", "AgentConfig"]

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def _setting(kind: Kind, default: object, text: str, **bounds: object) -> Any:
    row = {"kind": kind, "default": default, "help": text, **bounds}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata=row)
    return field(default=default, metadata=row)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything a user can set, resolved; made by ``load_config``."""

    brain_url: str = _setting(
        Kind.URL, "", "Where the brain is, http(s):// or ws(s)://.", decides_trust=True
    )
    token: Secret = _setting(Kind.SECRET, Secret(), "The agent's token, made by the brain.")
    hmac_secret: Secret = _setting(
        Kind.SECRET, Secret(), "The agent's signing secret, made by the brain with the token."
    )
    project_id: str = _setting(Kind.TEXT, "default", "The project's slug.", maximum=63)
    agent_name: str = _setting(
        Kind.TEXT,
        "",
        "Name shown in the dashboard; that of the service or the host when unset.",
        maximum=64,
    )
    agent_id: str = _setting(
        Kind.UUID,
        "",
        "The agent that the token is of; a warning tells when the brain knows it as another.",
    )
    environment: str = _setting(
        Kind.TEXT, "production", "Deployment environment, attached to every event.", maximum=40
    )
    tags: Mapping[str, str] = _setting(
        Kind.TAGS, _NOTHING, "Attached to every event: key=value,key=value."
    )
    transport: str = _setting(
        Kind.CHOICE,
        "auto",
        "How to reach the brain; auto takes HTTPS long-poll where no WebSocket comes through.",
        choices=("auto", "ws", "longpoll"),
    )
    ca_file: Path | None = _setting(
        Kind.PATH,
        None,
        "PEM file with the only authorities that may sign the brain's certificate; those of"
        " this machine when unset.",
        decides_trust=True,
    )
    client_certificate_file: Path | None = _setting(
        Kind.PATH,
        None,
        "PEM file with the certificate that is shown to the brain.",
        decides_trust=True,
    )
    client_key_file: Path | None = _setting(
        Kind.PATH,
        None,
        "PEM file with its private key, when that is in a file of its own.",
        decides_trust=True,
    )
    client_key_password: Secret = _setting(
        Kind.SECRET, Secret(), "Password of that key, when it is encrypted."
    )
    proxy: Secret = _setting(
        Kind.SECRET,
        Secret(),
        "HTTP proxy to the brain, http://user:password@host:port, or none; HTTPS_PROXY,"
        " ALL_PROXY and NO_PROXY decide when unset.",
    )
    engines: tuple[str, ...] = _setting(
        Kind.NAMES, (), "Engines to watch, for example celery; all that are installed when unset."
    )
    schedulers: tuple[str, ...] = _setting(
        Kind.NAMES,
        (),
        "Schedulers to show and to change, for example celery-beat; all there are when unset.",
    )
    commands: tuple[str, ...] = _setting(
        Kind.COMMANDS,
        (),
        "Commands that the brain may have carried out here: retry_task,cancel_task allows these"
        " two, -purge_queue all but this one, none nothing; all of them when unset.",
    )
    heartbeat_seconds: float = _setting(
        Kind.SECONDS,
        30.0,
        "Time between heartbeats; the brain may ask for less.",
        minimum=1,
        maximum=300,
    )
    heartbeat: bool = _setting(
        Kind.BOOLEAN,
        True,
        "Ask the engines for queues, workers and tasks at each heartbeat; without, heartbeats"
        " say only that the agent lives.",
    )
    agent_status_disabled: bool = _setting(
        Kind.BOOLEAN, False, "Do not tell the brain how the agent itself does, once a minute."
    )
    schedule_resync_interval_seconds: float = _setting(
        Kind.SECONDS,
        60.0,
        "Time between full comparisons of the schedules; changes are looked for every 2 s.",
        minimum=2,
        maximum=86_400,
    )
    home: Path | None = _setting(
        Kind.PATH, None, "Directory of all files; ~/.z4j when unset, in it 0700."
    )
    buffer_path: Path | None = _setting(
        Kind.PATH, None, "The buffer's file, below home; buffer-{pid}.sqlite there when unset."
    )
    buffer_max_events: int = _setting(
        Kind.INTEGER,
        100_000,
        "Most events kept while the brain is away.",
        minimum=1_000,
        maximum=100_000_000,
    )
    buffer_max_bytes: int = _setting(
        Kind.INTEGER,
        256 * 1024**2,
        "Most bytes kept while the brain is away.",
        minimum=1024**2,
        maximum=1024**4,
    )
    max_event_bytes: int = _setting(
        Kind.INTEGER,
        32 * 1024,
        "Greatest event after redaction.",
        minimum=1024,
        maximum=512 * 1024,
    )
    max_payload_bytes: int = _setting(
        Kind.INTEGER,
        8192,
        "Greatest single value in an event (arguments, result, traceback).",
        minimum=128,
        maximum=512 * 1024,
    )
    dev_mode: bool = _setting(
        Kind.BOOLEAN,
        False,
        "Allow ws:// and http:// to hosts other than this one, and watch task files.",
        decides_trust=True,
    )
    strict_mode: bool = _setting(
        Kind.BOOLEAN, False, "Fail at start on a configuration error, instead of running without."
    )
    autostart: bool = _setting(Kind.BOOLEAN, True, "Start the agent as soon as it is made.")
    disabled: bool = _setting(Kind.BOOLEAN, False, "Switch z4j-otel off altogether.")
    log_level: str = _setting(
        Kind.CHOICE,
        "",
        "Least severity of z4j-otel's own log records; what your logging settings say when"
        " unset, INFO in z4j-otel run.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    )
    log_format: str = _setting(
        Kind.CHOICE,
        "",
        "Write z4j-otel's own log records to stderr in this form; your handlers get them when"
        " unset.",
        choices=("text", "json"),
    )
    worker_role: str = _setting(
        Kind.TEXT, "", "What this process is: web, task, scheduler, beat or other.", maximum=32
    )
    redaction_extra_key_patterns: tuple[str, ...] = _setting(
        Kind.PATTERNS, (), "Keys whose values are redacted, besides the built-in ones."
    )
    redaction_extra_value_patterns: tuple[str, ...] = _setting(
        Kind.PATTERNS, (), "Texts that are redacted wherever they stand."
    )
    redaction_defaults_enabled: bool = _setting(
        Kind.BOOLEAN,
        True,
        "Whether the built-in rules of redaction apply; without them, only your own patterns do.",
        decides_trust=True,
    )
    redaction_disabled_rules: tuple[str, ...] = _setting(
        Kind.RULES,
        (),
        "Built-in rules that do not apply, for example value:email.",
        decides_trust=True,
    )
    redaction_tokens: bool = _setting(
        Kind.BOOLEAN,
        False,
        "Write [REDACTED:3f2a] for [REDACTED], so that equal secrets can be told from different"
        " ones; the reference says what this gives away.",
        decides_trust=True,
    )
    redactors: tuple[str, ...] = _setting(
        Kind.NAMES,
        (),
        "Functions of yours that look at each value before it leaves: shop.privacy.mask.",
        decides_trust=True,
    )
    agent_host: str = _setting(
        Kind.CHOICE,
        "auto",
        "Where the agent runs: a thread of the worker's process, or a process of its own;"
        " auto means process under gevent and eventlet, thread otherwise.",
        choices=("auto", "thread", "process"),
    )
    purge_threshold: int = _setting(
        Kind.INTEGER,
        1000,
        "Most messages of a queue that are purged without force.",
        minimum=0,
        maximum=1_000_000_000,
        decides_trust=True,
    )
    accept_legacy_purge_token: bool = _setting(
        Kind.BOOLEAN,
        False,
        "Let purges be confirmed without a key, as brains before 1.7 do.",
        decides_trust=True,
    )
    restart_by_exit: str = _setting(
        Kind.CHOICE,
        "auto",
        "Whether a worker without worker_pool_restarts exits to be started again; auto means"
        " under systemd, supervisord, Kubernetes or as a container's main process.",
        choices=("auto", "always", "never"),
    )
    flush_timeout_seconds: float = _setting(
        Kind.SECONDS,
        5.0,
        "Most time to deliver what waits when the process ends.",
        minimum=0,
        maximum=300,
    )

    sources: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False, compare=False)
    """Where each value that is not a default came from, by setting name."""
    secret_files: Mapping[str, Path] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, compare=False
    )
    """The file that a secret was read from, by setting name; its content may change."""

    @property
    def deployment(self) -> str:
        """Name the deployment by what its processes share, without telling it.

        Two parts, each 16 hexadecimal digits: one of project and signing secret, one of
        project and token. Whoever shares either delivers what the other left behind, so
        that a rotated token or a corrected secret strands nothing.

        Raises:
            ConfigError: There is no signing secret, or it is malformed.
        """
        import hashlib  # noqa: PLC0415 -- loads OpenSSL

        project = self.project_id.encode()
        shared = (b"secret" + self.signing_key(), b"token" + self.token.reveal().encode())
        return ".".join(hashlib.sha256(part + project).hexdigest()[:16] for part in shared)

    def signing_key(self) -> bytes:
        """Return the signing secret decoded, at least 32 bytes.

        Raises:
            ConfigError: There is no signing secret, or it is malformed.
        """
        from z4j_otel.wire.signing import decode_secret  # noqa: PLC0415 -- importing config is cheap

        return decode_secret(self.hmac_secret.reveal())

    def rows(self) -> list[tuple[Setting, str, str]]:
        """Return each setting with its value and its source, both fit to be shown.

        A value goes through the built-in rules of redaction: a secret may have been pasted
        into the wrong setting.
        """
        from z4j_otel.redaction import Redactor  # noqa: PLC0415 -- importing config is cheap

        safe = Redactor().redact_text
        return [
            (row, safe(row.show(getattr(self, row.name))), self.sources.get(row.name, "default"))
            for row in SETTINGS
        ]


SETTINGS: Final = tuple(
    Setting(name=each.name, **each.metadata) for each in fields(AgentConfig) if each.metadata
)
"""Every setting, in the order of the reference documentation."""
