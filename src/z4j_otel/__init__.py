"""z4j-otel: the OpenTelemetry-integrated agent for the z4j control plane."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
