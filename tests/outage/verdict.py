"""Whether an outage went as it should: caps to the byte, and every event accounted for."""

from __future__ import annotations

from collections.abc import Iterator

from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.sqlite import file_cap_bytes

from .measuring import Peaks
from .world import Plan, World

__all__ = ["caps_of", "growth_of", "problems_of"]

_MIB = 1024 * 1024
_BATCH_BYTES = 5 * _MIB
"""What one import stores at most: 4 MiB of records, and the last of them."""
_EVENT, _RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT


def caps_of(plan: Plan) -> dict[str, int]:
    """Return what each peak may be at most, by its name in :class:`Peaks`."""
    caps = {
        "entries": plan.max_events,
        "body_bytes": plan.max_bytes,
        "journal_bytes": plan.journal_bytes,
        "database_bytes": file_cap_bytes(plan.max_bytes),
        # SQLite takes its log back beyond 4 MiB; a batch, whose rows may waste half of
        # each page, and the rows evicted for it come on top.
        "log_bytes": 4 * _MIB + 3 * _BATCH_BYTES,
        "beside_bytes": 2 * _MIB,
    }
    caps["disk_bytes"] = sum(
        caps[name] for name in ("journal_bytes", "database_bytes", "log_bytes", "beside_bytes")
    )
    return caps


def problems_of(world: World) -> Iterator[str]:
    """Yield what is not as it should be."""
    plan, account = world.plan, world.account
    for name, cap in caps_of(plan).items():
        if getattr(world.peaks, name) > cap:
            yield f"{name} is {getattr(world.peaks, name)}, more than {cap}"
    if not account.closes:
        yield f"the equation does not close: {account.describe()}"
    if (account.captured, account.acked) != (world.given, len(world.told)):
        yield (
            f"{world.given} events were captured and {len(world.told)} reached the brain; "
            f"the ledger says {account.captured} and {account.acked}"
        )
    if account.pending or account.results_held:
        yield f"{account.pending} events and {account.results_held} results still wait"
    if account.results_acked != plan.results:
        yield f"{account.results_acked} of {plan.results} results were delivered"
    if any(count > 1 for count in world.told.values()):
        yield "an event was delivered twice"
    yield from _wrong_counts(world)


def _wrong_counts(world: World) -> Iterator[str]:
    """Yield the losses that have another reason than they should."""
    plan, dropped = world.plan, dict(world.account.dropped)
    exact = {DropReason.TOO_LARGE: plan.oversize, DropReason.UNENCODABLE: plan.unencodable}
    for reason, expected in exact.items():
        found = dropped.pop((_EVENT, reason), 0)
        if found != expected:
            yield f"{found} events are counted as {reason.value}, not {expected}"
    is_full = {
        DropReason.BUFFER_FULL: plan.events > plan.max_events,
        DropReason.JOURNAL_FULL: world.peaks.journal_bytes > plan.journal_bytes * 0.99,
    }
    for reason, has_to in is_full.items():
        if bool(dropped.pop((_EVENT, reason), 0)) != has_to:
            yield f"events are counted as {reason.value}: {not has_to}"
    if any(dropped.values()):
        yield f"lost for other reasons: {dropped}"


def growth_of(peaks: Peaks) -> int:
    """Return by how much the process grew, bytes."""
    return max(0, peaks.rss_bytes - peaks.rss_at_first_bytes)
