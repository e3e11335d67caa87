"""All targets by name."""

from __future__ import annotations

from . import in_tasks, on_disk, on_wire

__all__ = ["TARGETS"]

TARGETS = {
    target.name: target for module in (on_wire, on_disk, in_tasks) for target in module.TARGETS
}
