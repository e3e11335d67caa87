"""What the settings say about the way to the brain, as the transport wants to know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from z4j_otel.config.problems import Problem
from z4j_otel.config.settings import AgentConfig
from z4j_otel.errors import ConfigError
from z4j_otel.transport.addresses import agent_url
from z4j_otel.transport.proxies import ProxyChoice, proxy_for

if TYPE_CHECKING:
    from z4j_otel.transport.tls import Trust

__all__ = ["check_network", "proxy_of", "trust_of"]


def trust_of(config: AgentConfig) -> Trust:
    """Return whom to trust in TLS, and which certificate to show; reads no file."""
    from z4j_otel.transport.tls import Identity, Trust  # noqa: PLC0415 -- loads OpenSSL

    ca_file = config.ca_file.absolute() if config.ca_file else None
    if config.client_certificate_file is None:
        return Trust(ca_file)
    key_file = config.client_key_file.absolute() if config.client_key_file else None
    certificate_file = config.client_certificate_file.absolute()
    return Trust(ca_file, Identity(certificate_file, key_file, config.client_key_password.reveal()))


def proxy_of(config: AgentConfig) -> ProxyChoice:
    """Return the proxy to the brain, and what decided.

    Raises:
        ConfigError: It cannot be used.
    """
    return proxy_for(config.brain_url, config.proxy.reveal())


def check_network(config: AgentConfig) -> Iterator[Problem]:
    """Look at the address, the proxy and the files that the settings name.

    Yields what cannot be used.
    """
    if config.client_key_file and not config.client_certificate_file:
        source = config.sources.get("client_key_file", "default")
        cure = "set Z4J_CLIENT_CERTIFICATE_FILE"
        yield Problem("client_key_file", source, "a key needs its certificate", cure)
    looks: list[Callable[[], object]] = []
    if config.brain_url:
        looks += [
            lambda: agent_url(config.brain_url, dev_mode=config.dev_mode),
            lambda: proxy_of(config),
        ]
    if config.ca_file or config.client_certificate_file:
        from z4j_otel.transport.tls import tls_context  # noqa: PLC0415 -- loads OpenSSL

        looks.append(lambda: tls_context(trust_of(config)))
    wrong: set[str] = set()
    for look in looks:
        try:
            look()
        except ConfigError as error:
            if error.setting not in wrong:
                wrong.add(error.setting)
                yield _problem(config, error)


def _problem(config: AgentConfig, error: ConfigError) -> Problem:
    text, _, cure = error.expected.partition("; ")
    source = config.sources.get(error.setting, error.source)
    return Problem(error.setting, source, text, cure or f"correct Z4J_{error.setting.upper()}")
