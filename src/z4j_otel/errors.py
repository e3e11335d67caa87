"""Every error that z4j-otel raises, as one tree.

::

    Z4JOtelError
    ├─ ConfigError (also ValueError)     a setting is missing, unknown or malformed
    ├─ EngineUnavailable                 an engine's package is not installed
    ├─ WireError
    │   ├─ LocalWireError                we asked for something the protocol does not allow
    │   └─ RemoteWireError               the peer sent something the protocol does not allow
    │       ├─ FrameMalformed
    │       ├─ SignatureInvalid
    │       ├─ FrameReplayed
    │       └─ VersionUnsupported
    ├─ BufferError_ ─ BufferFull, BufferCorrupt
    ├─ TransportError ─ ConnectFailed, ConnectionLost, ConnectionSuperseded
    └─ CommandError ─ CommandUnsupported, CommandRefused, CommandTimedOut, AdapterError

Errors keep their facts as attributes and build their text in ``__str__``. No error ever
holds the value of a secret.
"""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "BufferCorrupt",
    "BufferError_",
    "BufferFull",
    "CommandError",
    "CommandRefused",
    "CommandTimedOut",
    "CommandUnsupported",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionSuperseded",
    "EngineUnavailable",
    "FrameMalformed",
    "FrameReplayed",
    "LocalWireError",
    "RemoteWireError",
    "SignatureInvalid",
    "TransportError",
    "VersionUnsupported",
    "WireError",
    "Z4JOtelError",
    "one_line",
]

_MAX_LINE_CHARS = 500


def one_line(text: str, most: int = _MAX_LINE_CHARS) -> str:
    """Return a peer's text as a log may show it: short, and unable to forge a line.

    Args:
        text: Whatever the peer said.
        most: Most characters to keep.
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:most])


class Z4JOtelError(Exception):
    """The base of every error raised by z4j-otel."""


class ConfigError(Z4JOtelError, ValueError):
    """A setting is missing, unknown or malformed.

    The text names the setting, where its value came from and the form expected, never
    the value itself: it may be a secret.
    """

    def __init__(
        self, setting: str, source: str, expected: str, *, is_strict: bool = False
    ) -> None:
        super().__init__(setting, source, expected)
        self.setting = setting
        """Name of the setting, as in the settings table."""
        self.source = source
        """Where the value came from, for example ``environment Z4J_TOKEN``."""
        self.expected = expected
        """What is expected instead, and what to do next."""
        self.is_strict = is_strict
        """Whether the configuration asks that such an error ends the process."""

    def __str__(self) -> str:
        return f"{self.setting} ({self.source}): {self.expected}"


class EngineUnavailable(Z4JOtelError):
    """An engine was asked for whose package is not installed."""

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.engine = engine

    def __str__(self) -> str:
        return (
            f"engine {self.engine!r} is not installed; run: pip install 'z4j-otel[{self.engine}]'"
        )


class WireError(Z4JOtelError):
    """Something about a frame is against the protocol."""


class LocalWireError(WireError):
    """We asked for a frame the protocol does not allow."""


class RemoteWireError(WireError):
    """The peer sent a frame the protocol does not allow."""


class FrameMalformed(RemoteWireError):
    """The frame is no JSON object of a known type and shape (PROTOCOL §3.4)."""


class SignatureInvalid(RemoteWireError):
    """The frame's signature is missing or does not match (PROTOCOL §3.1)."""


class FrameReplayed(RemoteWireError):
    """The frame's time, sequence number or nonce is not fresh (PROTOCOL §3.3)."""


class VersionUnsupported(RemoteWireError):
    """The peer speaks a protocol version that we do not (PROTOCOL §2.2)."""


class BufferError_(Z4JOtelError):  # noqa: N801 -- BufferError is a built-in
    """The base of the buffer's errors."""


class BufferFull(BufferError_):
    """The buffer cannot take an entry, and dropping old ones does not help."""


class BufferCorrupt(BufferError_):
    """The buffer's file cannot be read; it has been set aside."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"buffer {self.path} cannot be read ({self.reason}); it has been set aside"


class TransportError(Z4JOtelError):
    """The base of the network's errors."""


class ConnectFailed(TransportError):
    """No connection to the brain could be opened."""

    def __init__(
        self,
        reason: str,
        *,
        http_status: int | None = None,
        cause: str = "network",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status
        """Status of the refused HTTP upgrade, or None when there was no HTTP answer."""
        self.cause = cause
        """One word for what kind of thing went wrong, see ``transport.open_failures``."""
        self.retry_after_s = retry_after_s
        """How long the server asked us to stay away, seconds; 0 when it did not."""

    def __str__(self) -> str:
        return self.reason


class ConnectionLost(TransportError):
    """An open connection ended."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        """WebSocket close code; 1006 when the connection broke without one."""
        self.reason = one_line(reason)

    def __str__(self) -> str:
        return f"connection closed with code {self.code}" + (
            f": {self.reason}" if self.reason else ""
        )


class ConnectionSuperseded(TransportError):
    """We ended the connection ourselves: the next one is open already, and better."""


class CommandError(Z4JOtelError):
    """A command could not be carried out; becomes a ``failed`` result.

    ``code`` and the text make the result's ``error`` as ``<code>: <text>`` (PROTOCOL §6.1).
    """

    code = "failed"

    def __init__(self, message: str, *, indeterminate: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.indeterminate = indeterminate
        """Whether the work may have happened all the same."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class CommandUnsupported(CommandError):
    """No engine here can do this action."""

    code = "unsupported"


class CommandRefused(CommandError):
    """The command is not allowed: by policy, by its parameters or by the engine's state."""

    code = "refused"


class CommandTimedOut(CommandError):
    """The command's deadline passed."""

    code = "timeout"


class AdapterError(CommandError):
    """The engine reported an error."""

    code = "engine_error"
