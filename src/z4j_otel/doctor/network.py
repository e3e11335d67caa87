"""Names, ports and proxies: can the brain, or the proxy before it, be reached at all?"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from z4j_otel.bounded import bounded
from z4j_otel.doctor.route import Route, TunnelRefused, open_tunnel
from z4j_otel.findings import Finding, Verdict, failed, fine, skipped, warned
from z4j_otel.transport.proxies import Proxy

__all__ = ["DNS_S", "TCP_S", "dial", "examine_dns", "examine_proxy", "examine_tcp"]

DNS_S: Final = 5.0
"""Most time for the resolver, seconds."""
TCP_S: Final = 5.0
"""Most time for one connection, seconds, all addresses together."""
_MOST_SHOWN: Final = 4
_PROXY: Final = "proxy"
_UNAUTHORISED: Final = 407
_USE_PROXY: Final = "export HTTPS_PROXY=http://<proxy>:<port>"


def examine_dns(route: Route, *, timeout_s: float = DNS_S) -> tuple[list[str], Finding]:
    """Resolve the name of whom we have to dial.

    Returns:
        The addresses, none when there are none, and the finding.
    """
    name = "dns"
    host, port = route.next_hop
    if _is_address(host):
        return [host], fine(name, f"{host} is an address", addresses=[host])
    try:
        found = bounded(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), timeout_s)
    except TimeoutError:
        text = f"the name server did not answer within {timeout_s:g} s for {host}"
        return [], failed(
            name,
            text,
            "see that /etc/resolv.conf names a server that answers",
            f"getent hosts {host}",
        )
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a name"
        return [], failed(name, f"{host} has no address ({why})", *_name_cure(route, host))
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    text = f"{host} -> {', '.join(addresses[:_MOST_SHOWN])}"
    if route.proxy is not None:
        text += f" (the proxy; it resolves {route.host})"
    return addresses, fine(name, text, addresses=addresses)


def examine_tcp(route: Route, addresses: Sequence[str], *, timeout_s: float = TCP_S) -> Finding:
    """Open a connection to whom we have to dial, and close it."""
    name = "tcp"
    host, port = route.next_hop
    if not addresses:
        return skipped(name, f"no address for {host}")
    try:
        dial(route, addresses, timeout_s).close()
    except TimeoutError:
        why = "its queue is full" if route.is_local else "a firewall drops what is sent"
        text = (
            f"no answer from {host}:{port} within {timeout_s:g} s: {why}, or it is paused or away"
        )
        return failed(name, text, *_blocked_cure(route))
    except ConnectionRefusedError:
        cure = f"start the brain, or correct Z4J_BRAIN_URL: nobody listens at {host}:{port}"
        if route.proxy is not None:
            cure = f"start the proxy, or correct {route.choice.source}"
        return failed(
            name,
            f"{host}:{port} refuses connections: nobody listens there",
            cure,
            f"nc -vz {host} {port}",
            cause="refused",
        )
    except OSError as error:
        why = error.strerror or type(error).__name__
        return failed(name, f"{host}:{port} cannot be reached ({why})", *_blocked_cure(route))
    return fine(name, f"TCP connect to {host}:{port}", host=host, port=port)


def examine_proxy(route: Route, tcp: Finding, addresses: Sequence[str]) -> Finding:
    """Say whether a proxy is used, and whether it lets us through."""
    if route.proxy is not None:
        return _examine_used(route, route.proxy, tcp, addresses)
    is_at_fault = not tcp.is_ok and tcp.details.get("cause") != "refused"
    if route.is_local or not (is_at_fault or tcp.verdict is Verdict.SKIP):
        return fine(_PROXY, f"none is used ({route.choice.source})", used=None)
    text = f"none is used ({route.choice.source}); many networks let traffic out only through one"
    return warned(_PROXY, text, _USE_PROXY, "# your network's people know the address", _USE_PROXY)


def _examine_used(route: Route, proxy: Proxy, tcp: Finding, addresses: Sequence[str]) -> Finding:
    variable = route.choice.source
    used = f"{proxy} ({variable})"
    details = {"used": str(proxy), "source": variable}
    if tcp.verdict is not Verdict.OK:
        # NO_PROXY says nothing about our own setting.
        without = "Z4J_PROXY=none" if variable == "Z4J_PROXY" else f"NO_PROXY={route.host}"
        cure = f"correct {variable}, or go without: export {without}"
        return failed(_PROXY, f"{used} cannot be reached", cure, **details)
    if proxy.scheme != "http":
        text = f"{used} is used; only the upgrade can tell whether it lets us through"
        return skipped(_PROXY, text, **details)
    place = f"{route.host}:{route.port}"
    try:
        with dial(route, addresses, TCP_S) as sock:
            open_tunnel(sock, route)
    except TunnelRefused as refused:
        text = f"{used} does not let us through to {place} (HTTP {refused.status})"
        cure = f"have the proxy allow CONNECT to {place}"
        if refused.status == _UNAUTHORISED:
            cure = f"export {variable}={proxy.scheme}://<user>:<password>@{proxy.host}:{proxy.port}"
        return failed(_PROXY, text, cure, status=refused.status, **details)
    except OSError as error:
        text = f"{used} does not answer as a proxy does ({error})"
        return failed(_PROXY, text, f"correct {variable}", **details)
    return fine(_PROXY, f"{used} lets us through to {place}", **details)


def dial(route: Route, addresses: Sequence[str], timeout_s: float) -> socket.socket:
    """Open a connection to the first address that answers.

    Raises:
        OSError: None did; the error of the last.
    """
    port = route.next_hop[1]
    last: OSError = TimeoutError("no address")
    tried = addresses[:_MOST_SHOWN]
    for address in tried:
        try:
            return socket.create_connection((address, port), timeout=timeout_s / len(tried))
        except OSError as error:
            last = error
    raise last


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_cure(route: Route, host: str) -> tuple[str, ...]:
    if route.proxy is not None:
        return f"correct {route.choice.source}", f"getent hosts {host}"
    cure = "correct the host in Z4J_BRAIN_URL; where only a proxy knows names, set HTTPS_PROXY"
    return (
        cure,
        f"getent hosts {host}",
        "export Z4J_BRAIN_URL=https://<brain host>",
        f"# or, behind a proxy: {_USE_PROXY}",
    )


def _blocked_cure(route: Route) -> tuple[str, ...]:
    host, port = route.next_hop
    if route.proxy is not None:
        return f"correct {route.choice.source}", f"nc -vz {host} {port}"
    if route.is_local:
        cure = f"restart what listens at port {port}: it takes no more connections"
        return cure, f"ss -ltnp 'sport = :{port}'"
    return (
        f"allow outgoing TCP to {host}:{port}, or set HTTPS_PROXY",
        f"nc -vz -w 5 {host} {port}",
        f"# or, behind a proxy: {_USE_PROXY}",
    )
