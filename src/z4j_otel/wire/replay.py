"""Freshness of the peer's frames: time, sequence number and nonce (PROTOCOL §3.3)."""

from __future__ import annotations

__all__ = ["ReplayGuard"]


class ReplayGuard:
    """The state of one direction of one session."""
