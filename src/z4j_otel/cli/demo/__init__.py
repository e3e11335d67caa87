"""The tour: a broker, a brain, a real worker, and everything that can happen to a task."""

from z4j_otel.cli.demo.command import command

__all__ = ["command"]
