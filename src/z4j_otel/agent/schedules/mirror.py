"""The streams in which the brain mirrors our schedules: theory of operation.

Constraints
    The brain takes the publications of one epoch in their order, without a gap. A snapshot
    deletes what it does not have. An epoch belongs to one connection.

Operation
    ``schedule.external.activate`` opens a stream: the whole inventory is published with
    sequence 1. From then on differences are published as they are found, and the whole
    inventory again after each change that an operator asked for. A publication and the
    number of its sequence are stored in one transaction of the buffer, so that no sequence
    is used twice for different contents, whatever dies when.

    Whoever reads schedules and publishes what it read holds the stream's *turn* meanwhile:
    an older inventory is never published after a newer one.

    What the brain may have from earlier epochs and is not there any more is named once more
    in the first inventory, switched off, and deleted by the next publication
    (:mod:`z4j_otel.agent.schedules.memory`).

Recovery
    When the connection ends the streams are fenced: nothing is published until the brain
    opens another epoch, and what of the old one still lies in the buffer is taken by the
    brain without effect. An activation that its connection did not outlive opens nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from z4j_otel.agent.schedules.memory import ToldMemory
from z4j_otel.agent.schedules.native import Desk
from z4j_otel.agent.schedules.stream import Stream, StreamStore, differences, opening_rows
from z4j_otel.buffer.base import EntryKind
from z4j_otel.clock import Clock, iso_utc
from z4j_otel.errors import (
    AdapterError,
    BufferError_,
    CommandRefused,
    FrameMalformed,
    LocalWireError,
)
from z4j_otel.ids import new_event_id
from z4j_otel.wire.schedules import (
    Authority,
    build_projection,
    build_projection_event,
    build_snapshot,
    build_snapshot_event,
    read_authority,
)

__all__ = ["ScheduleMirror"]

_POSITION: Final = "schedules:"
"""What the buffer's positions of streams begin with: epoch and last sequence of each."""
_MAX_PART_BYTES: Final = 256 * 1024
_OVERHEAD: Final = 4
"""The part of a frame's cap that rows may take: the rest is for what else is in the batch."""


class ScheduleMirror:
    """Publishes schedules; may be used from several threads.

    Args:
        desk: The schedulers.
        store: The buffer.
        clock: For the times of events.
        on_stored: Told after every publication.
        frame_bytes: Returns the brain's cap on a frame.
        memory: What was told in earlier epochs; of this life only when None.
    """

    def __init__(
        self,
        desk: Desk,
        store: StreamStore,
        clock: Clock,
        *,
        on_stored: Callable[[], None],
        frame_bytes: Callable[[], int],
        memory: ToldMemory | None = None,
    ) -> None:
        self._desk = desk
        self._store = store
        self._clock = clock
        self._on_stored = on_stored
        self._frame_bytes = frame_bytes
        self._memory = memory or ToldMemory(None)
        self._streams = {name: Stream() for name in desk.capabilities()}

    @property
    def owners(self) -> list[str]:
        """The names of all schedulers."""
        return list(self._streams)

    def turn(self, owner: str) -> threading.RLock:
        """Return what to hold while schedules are read, changed and published.

        Raises:
            CommandRefused: There is no such scheduler.
        """
        return self._stream(owner).turn

    def is_active(self, owner: str) -> bool:
        """Whether the brain mirrors this scheduler from here."""
        return self._streams[owner].authority is not None

    def describe(self) -> dict[str, Any]:
        """Return the streams' state for status displays."""
        return {
            name: {
                "mirrored": stream.authority is not None,
                "schedules": len(stream.rows),
                "sequence": stream.sequence,
            }
            for name, stream in self._streams.items()
        }

    def offer(self, parameters: Mapping[str, Any]) -> None:
        """Note an activation as it arrives, in the order of the connection."""
        stream = self._streams.get(str(parameters.get("scheduler")))
        if stream is not None:
            stream.offered = str(parameters.get("epoch_uuid"))

    def fence(self) -> None:
        """Close all epochs: their connection has ended."""
        for stream in self._streams.values():
            stream.offered, stream.authority = "", None

    def activate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Open an epoch and publish the whole inventory.

        Returns:
            The result of the command (PROTOCOL §6.8).

        Raises:
            CommandError: The activation is malformed or over, or the schedules cannot be
                read or stored; then nothing was published.
        """
        try:
            authority = read_authority(parameters)
        except FrameMalformed as error:
            raise CommandRefused(str(error)) from error
        stream = self._stream(authority.owner)
        with stream.turn:
            if stream.offered != authority.epoch_uuid:
                raise CommandRefused("the connection that this epoch was opened for has ended")
            stream.sequence = self._stored_sequence(authority)
            stream.rows, stream.version = {}, ""
            stream.known = self._memory.recall(authority.owner)
            stream.authority = authority
            try:
                told = self._publish(stream, authority, "activation", is_opening=True)
            except Exception:
                stream.authority = None
                raise
            return {**told, "sequence": stream.sequence}

    def require(self, parameters: Mapping[str, Any]) -> None:
        """Refuse a command that speaks of another epoch than the open one.

        Raises:
            CommandRefused: It does, or none is open.
        """
        stream = self._stream(str(parameters.get("scheduler")))
        if stream.authority is None or not stream.authority.matches(parameters):
            raise CommandRefused("the command belongs to an epoch that is over; send it again")
        expected = parameters.get("expected_accepted_sequence")
        if not isinstance(expected, int) or expected > stream.sequence:
            raise CommandRefused("the brain has more of this stream than was sent")

    def publish_all(self, owner: str, *, reason: str) -> dict[str, Any]:
        """Publish the whole inventory in an open epoch.

        Args:
            owner: The scheduler.
            reason: One word for people.

        Returns:
            What the result of an activation has (PROTOCOL §6.8).

        Raises:
            CommandError: The schedules cannot be read or stored, or no epoch is open.
        """
        stream = self._stream(owner)
        with stream.turn:
            return self._publish(stream, self._authority(stream), reason)

    def _publish(
        self, stream: Stream, authority: Authority, reason: str, *, is_opening: bool = False
    ) -> dict[str, Any]:
        owner = authority.owner
        version, rows = self._read(owner)
        found = {row["source_key"]: row for row in rows}
        if is_opening:
            rows = opening_rows(stream.known, rows)
        sequence = stream.sequence + 1
        try:
            frames = build_snapshot(
                authority,
                sequence,
                rows,
                snapshot_id=str(uuid.uuid4()),
                max_bytes=self._part_bytes(),
            )
        except LocalWireError as error:
            raise AdapterError(str(error)) from error
        events = [
            build_snapshot_event(
                frame, event_id=new_event_id(), occurred_at=self._now(), reason=reason
            )
            for frame in frames
        ]
        self._remember(stream, owner, rows)
        self._store_events(stream, authority, events, sequence)
        stream.rows = {row["source_key"]: row for row in rows}
        bodies = differences(stream, authority, found, max_bytes=self._part_bytes())
        self._remember(stream, owner, found.values())
        self._store_bodies(stream, authority, bodies)
        stream.rows, stream.version = found, version
        return {
            "scheduler": owner,
            "stream_id": authority.stream_id,
            "epoch_uuid": authority.epoch_uuid,
            "epoch_number": authority.epoch_number,
            "sequence": sequence,
            "adapter_instance_id": authority.adapter_instance_id,
            "schedule_count": len(found),
            "frame_count": len(frames),
        }

    def look(self, owner: str, *, is_thorough: bool) -> bool:
        """Publish what has changed since the last publication; tell whether anything has.

        Returns at once while somebody else has the turn, or no epoch is open.

        Args:
            owner: The scheduler.
            is_thorough: Whether to compare all rows, though the version is the same: runs
                do not change it.

        Raises:
            CommandError: The schedules cannot be read or stored.
        """
        stream = self._stream(owner)
        if stream.authority is None or not stream.turn.acquire(blocking=False):
            return False
        try:
            authority = self._authority(stream)
            self._forget_delivered(stream, owner)
            if not is_thorough and self._desk.version(owner) == stream.version:
                return False
            version, rows = self._read(owner)
            found = {row["source_key"]: row for row in rows}
            bodies = differences(stream, authority, found, max_bytes=self._part_bytes())
            self._remember(stream, owner, rows)
            self._store_bodies(stream, authority, bodies)
            stream.rows, stream.version = found, version
            return bool(bodies)
        finally:
            stream.turn.release()

    def publish_control(self, owner: str, key: str, operation_id: str) -> int:
        """Publish one row after a control command; returns the sequence.

        Raises:
            CommandError: The schedules cannot be read or stored, or it is gone.
        """
        stream = self._stream(owner)
        with stream.turn:
            authority = self._authority(stream)
            row = next((each for each in self._desk.rows(owner) if each["source_key"] == key), None)
            if row is None:
                raise AdapterError("the schedule is gone", indeterminate=True)
            sequence = stream.sequence + 1
            body = build_projection(
                authority, sequence, "control", rows=[row], operation_id=operation_id
            )
            self._store_bodies(stream, authority, [body])
            stream.rows[key] = row
            return sequence

    def told(self, owner: str, key: str) -> dict[str, Any] | None:
        """Return a row as it was published last, or None."""
        return self._streams[owner].rows.get(key)

    def _stream(self, owner: str) -> Stream:
        stream = self._streams.get(owner)
        if stream is None:
            raise CommandRefused(f"this agent has no scheduler {owner[:40]!r}")
        return stream

    @staticmethod
    def _authority(stream: Stream) -> Authority:
        if stream.authority is None:
            raise CommandRefused("the brain has opened no epoch for this scheduler")
        return stream.authority

    def _read(self, owner: str) -> tuple[str, list[dict[str, Any]]]:
        # In this order: what changes between the two is found by the next look.
        return self._desk.version(owner), self._desk.rows(owner)

    def _remember(self, stream: Stream, owner: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Note what the brain is about to be told, and forget nothing."""
        stream.known |= {row["source_key"]: dict(row) for row in rows}
        self._memory.keep(owner, stream.known)

    def _forget_delivered(self, stream: Stream, owner: str) -> None:
        """Forget what is gone, once the brain has all that was published."""
        if stream.known.keys() != stream.rows.keys() and not self._store.stats().held.get(
            EntryKind.SCHEDULE
        ):
            stream.known = dict(stream.rows)
            self._memory.keep(owner, stream.known)

    def _store_bodies(
        self, stream: Stream, authority: Authority, bodies: Sequence[Mapping[str, Any]]
    ) -> None:
        if bodies:
            events = [
                build_projection_event(body, event_id=new_event_id(), occurred_at=self._now())
                for body in bodies
            ]
            self._store_events(stream, authority, events, bodies[-1]["sequence"])

    def _store_events(
        self, stream: Stream, authority: Authority, events: Sequence[bytes], sequence: int
    ) -> None:
        position = f"{authority.epoch_uuid} {sequence}"
        try:
            self._store.append(
                [(EntryKind.SCHEDULE, event) for event in events],
                now_ns=self._clock.now_ns(),
                positions={_POSITION + authority.owner: position},
            )
        except BufferError_ as error:
            raise AdapterError(f"the buffer does not take it ({type(error).__name__})") from error
        stream.sequence = sequence
        self._on_stored()

    def _stored_sequence(self, authority: Authority) -> int:
        """Return the last sequence used in an epoch, 0 in a new one."""
        known = self._store.positions().get(_POSITION + authority.owner, "")
        epoch, _, sequence = known.partition(" ")
        return int(sequence) if epoch == authority.epoch_uuid and sequence.isdigit() else 0

    def _part_bytes(self) -> int:
        return min(_MAX_PART_BYTES, self._frame_bytes() // _OVERHEAD)

    def _now(self) -> str:
        return iso_utc(self._clock.now_ns())
