"""The external schedule protocol, version 1: bodies, digests and frames (PROTOCOL §6.8).

Theory of operation
    The brain mirrors the schedules of one *owner* (a scheduler) in one stream. It opens an
    *epoch* of the stream for one session and tells it in ``schedule.external.activate``; all
    members of that command which name the epoch are its *authority* and come back in every
    frame. Within an epoch each publication has the next sequence, beginning with 1, and a
    digest over all it says: the SHA-256 of its canonical bytes. The brain redacts before it
    checks a digest, so rows must have been redacted before they come here.

    A *snapshot* is the whole inventory, cut into frames of rows and a terminal frame; what it
    does not have the brain deletes. A *projection* is one publication that fits one frame:
    rows that were created, updated or deleted, or the row that a control command changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from z4j_otel.errors import FrameMalformed, LocalWireError
from z4j_otel.wire import canonical

__all__ = [
    "ROW_MEMBERS",
    "Authority",
    "build_projection",
    "build_projection_event",
    "build_snapshot",
    "build_snapshot_event",
    "digest",
    "read_authority",
    "source_scope",
    "split_rows",
]

PROTOCOL_VERSION: Final = 1
ROW_MEMBERS: Final = frozenset(
    {
        *("source_key", "engine", "scheduler", "name", "task_name", "kind", "expression"),
        *("timezone", "queue", "priority", "args", "kwargs", "is_enabled", "last_run_at"),
        *("next_run_at", "total_runs", "external_id", "catch_up", "source", "source_hash"),
    }
)
"""The members of a row: all of them, and no other."""
_DELTAS: Final = {
    "created": "schedule.created",
    "updated": "schedule.updated",
    "deleted": "schedule.deleted",
    "control": "schedule.updated",
}
"""Kind of event by kind of projection."""


class Authority(msgspec.Struct, frozen=True):
    """What entitles a session to publish in a stream, as the brain told it."""

    owner: str
    source_scope: str
    stream_id: str
    epoch_uuid: str
    epoch_number: int
    adapter_instance_id: str
    registry_owner_id: str
    session_generation: str

    def matches(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether a later command speaks of the same epoch and session."""
        return all(
            parameters.get(name) == getattr(self, name)
            for name in self.__struct_fields__
            # A control command has neither.
            if name not in {"owner", "source_scope"} or name in parameters
        )


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical bytes, lower-case hexadecimal.

    Raises:
        LocalWireError: The value has no canonical form.
    """
    return hashlib.sha256(canonical.encode(value)).hexdigest()


def source_scope(owner: str) -> str:
    """Return the scope of an owner's stream: canonical JSON as text."""
    return canonical.encode({"kind": "scheduler-owner", "owner": owner, "version": 1}).decode()


def read_authority(parameters: Mapping[str, Any]) -> Authority:
    """Read the parameters of ``schedule.external.activate``.

    Raises:
        FrameMalformed: A member is missing or has another type, the scope is another one, or
            the source is not to be stable.
    """
    try:
        authority = msgspec.convert(dict(parameters), Authority, strict=True)
    except msgspec.ValidationError:
        raise FrameMalformed("no activation of a schedule stream") from None
    is_ours = authority.source_scope == source_scope(authority.owner)
    if not is_ours or parameters.get("stable_source") is not True or authority.epoch_number < 1:
        raise FrameMalformed("an activation of a schedule stream of another kind")
    return authority


def build_projection(
    authority: Authority,
    sequence: int,
    kind: str,
    *,
    rows: Sequence[Mapping[str, Any]] = (),
    deleted: Sequence[str] = (),
    operation_id: str | None = None,
) -> dict[str, Any]:
    """Build the body that a digest is taken of: 14 members.

    Args:
        authority: Of the epoch.
        sequence: Of this publication, at least 1.
        kind: ``snapshot`` (``rows`` is then the whole inventory), ``created``, ``updated``,
            ``deleted`` or ``control``.
        rows: Redacted, in any order.
        deleted: The source keys of rows that are gone.
        operation_id: Of the control command, where one is answered.

    Raises:
        LocalWireError: A row is not of the protocol's form, or two have one key.
    """
    return {
        "protocol_version": PROTOCOL_VERSION,
        "stream_id": authority.stream_id,
        "epoch_uuid": authority.epoch_uuid,
        "epoch_number": authority.epoch_number,
        "sequence": sequence,
        "kind": kind,
        "owner": authority.owner,
        "source_scope": authority.source_scope,
        "adapter_instance_id": authority.adapter_instance_id,
        "complete": kind == "snapshot",
        "stable_source": True,
        "operation_id": operation_id,
        "schedules": _sorted_rows(authority.owner, rows),
        "deleted_source_keys": sorted(deleted),
    }


def build_snapshot(
    authority: Authority,
    sequence: int,
    rows: Sequence[Mapping[str, Any]],
    *,
    snapshot_id: str,
    max_bytes: int,
) -> list[dict[str, Any]]:
    """Build the frames of a whole inventory: rows, and the terminal frame at the end.

    Args:
        authority: Of the epoch.
        sequence: Of this publication, at least 1.
        rows: All there are, redacted, in any order.
        snapshot_id: A UUID.
        max_bytes: About how large the rows of one frame may be; one row is taken whatever
            its size.

    Raises:
        LocalWireError: A row is not of the protocol's form, or two have one key.
    """
    whole = build_projection(authority, sequence, "snapshot", rows=rows)
    parts = split_rows(whole["schedules"], max_bytes)
    common = {
        **{name: whole[name] for name in _OF_BOTH},
        "snapshot_id": snapshot_id,
        "snapshot_digest": digest(whole),
        "frame_count": len(parts),
        "row_count": len(whole["schedules"]),
    }
    frames = [
        {**common, "frame_kind": "rows", "frame_index": index, "schedules": part}
        for index, part in enumerate(parts)
    ]
    terminal = {"frame_kind": "terminal", "frame_index": len(parts), "schedules": []}
    return [*frames, {**common, **terminal}]


_OF_BOTH: Final = (
    *("protocol_version", "stream_id", "epoch_uuid", "epoch_number", "sequence", "owner"),
    *("source_scope", "adapter_instance_id", "stable_source"),
)
"""What a frame of a snapshot has of the body that its digest is taken of."""


def build_snapshot_event(
    frame: Mapping[str, Any], *, event_id: str, occurred_at: str, reason: str
) -> bytes:
    """Return one frame of a snapshot as the canonical bytes of an event.

    Args:
        frame: Of :func:`build_snapshot`.
        event_id: A version 4 UUID.
        occurred_at: ISO-8601.
        reason: One word for people: ``activation``, ``change``.
    """
    data = {"external_snapshot_frame": frame, "frame_digest": digest(frame), "reason": reason}
    return _event("schedule.snapshot", frame["owner"], data, event_id, occurred_at)


def build_projection_event(body: Mapping[str, Any], *, event_id: str, occurred_at: str) -> bytes:
    """Return a projection that is no snapshot as the canonical bytes of an event."""
    data = {"external_projection": body, "payload_digest": digest(body)}
    return _event(_DELTAS[body["kind"]], body["owner"], data, event_id, occurred_at)


def _event(
    kind: str, owner: str, data: Mapping[str, Any], event_id: str, occurred_at: str
) -> bytes:
    return canonical.encode(
        {
            "id": event_id,
            "kind": kind,
            "engine": owner,
            "task_id": "",
            "occurred_at": occurred_at,
            "data": data,
        }
    )


def _sorted_rows(owner: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    ordered = sorted(rows, key=lambda row: str(row.get("source_key")))
    for row in ordered:
        _check(owner, row)
    if len({row["source_key"] for row in ordered}) != len(ordered):
        raise LocalWireError("two schedules have one source key")
    return ordered


def _check(owner: str, row: Mapping[str, Any]) -> None:
    """Refuse what the brain would drop without a word."""
    if set(row) != ROW_MEMBERS or row["scheduler"] != owner:
        raise LocalWireError("a schedule's row has other members, or is of another scheduler")
    for name in ("source_key", "name", "task_name"):
        if not row[name] or row[name] != row[name].strip():
            raise LocalWireError(f"a schedule's {name} is empty or has blanks around it")
    if not isinstance(row["args"], list) or not isinstance(row["kwargs"], dict):
        raise LocalWireError("a schedule's arguments are no list, or no object")


def split_rows(rows: Sequence[Mapping[str, Any]], max_bytes: int) -> list[list[Mapping[str, Any]]]:
    """Cut rows into runs of at most ``max_bytes``, none of them empty."""
    parts: list[list[Mapping[str, Any]]] = []
    room = 0
    for row in rows:
        size = len(canonical.encode(row)) + 1
        if size > room or not parts:
            parts.append([])
            room = max_bytes
        parts[-1].append(row)
        room -= size
    return parts
