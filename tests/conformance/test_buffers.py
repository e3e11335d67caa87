"""What every buffer does: the same cases over SQLite and memory, and a list model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from z4j_otel.buffer.base import COMMAND_AGE_S, DropReason, EntryKind, EventBuffer, Legacy
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
SECOND = 1_000_000_000
Make = Callable[..., EventBuffer]


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return a factory of buffers of each sort."""
    made: list[EventBuffer] = []

    def make(**caps: int) -> EventBuffer:
        if request.param == "memory":
            made.append(MemoryBuffer(**caps))
        else:
            made.append(SqliteBuffer(tmp_path / f"{len(made)}.sqlite", **caps))
        return made[-1]

    yield make
    for buffer in made:
        buffer.close()


@pytest.fixture
def buffer(make: Make) -> EventBuffer:
    """Return a buffer with the usual caps."""
    return make()


def events(*bodies: bytes) -> list[tuple[EntryKind, bytes]]:
    """Return entries for append."""
    return [(EVENT, body) for body in bodies]


def lease(buffer: EventBuffer, limit: int = 1000, *, now_ns: int = 0) -> list[bytes]:
    """Lease and return the bodies."""
    return [entry.body for entry in buffer.lease(limit, max_bytes=1 << 30, now_ns=now_ns)]


def test_a_new_buffer_is_empty(buffer: EventBuffer) -> None:
    """Nothing is held, lost or stored."""
    stats = buffer.stats()
    assert (stats.entries, stats.bytes, stats.oldest_ns, stats.dropped) == (0, 0, None, {})
    assert lease(buffer) == []
    assert buffer.positions() == {}


def test_entries_come_back_in_order_as_they_were(buffer: EventBuffer) -> None:
    """Kind and bytes are kept, sequences rise."""
    buffer.append([(EVENT, b"1"), (RESULT, b"\x00\xff")], now_ns=5)
    buffer.append([(EVENT, b"")], now_ns=6)
    entries = buffer.lease(10, max_bytes=100, now_ns=7)
    assert [(e.kind, e.body) for e in entries] == [
        (EVENT, b"1"),
        (RESULT, b"\x00\xff"),
        (EVENT, b""),
    ]
    assert [e.sequence for e in entries] == sorted(e.sequence for e in entries)
    assert all(type(e.kind) is EntryKind for e in entries)


def test_stats_count_entries_bytes_and_the_oldest(buffer: EventBuffer) -> None:
    """Leased entries are held; acked ones are not."""
    buffer.append(events(b"123"), now_ns=5)
    buffer.append(events(b"45"), now_ns=6)
    (first,) = buffer.lease(1, max_bytes=100, now_ns=7)
    assert (buffer.stats().entries, buffer.stats().bytes, buffer.stats().oldest_ns) == (2, 5, 5)
    buffer.ack([first.sequence])
    assert (buffer.stats().entries, buffer.stats().bytes, buffer.stats().oldest_ns) == (1, 2, 6)


def test_what_was_stored_is_acked_held_or_dropped(make: Make) -> None:
    """Of each kind, at any time; an entry that is too large was stored and dropped."""
    buffer = make(max_events=3, max_bytes=100)
    buffer.append([*events(b"1", b"2", b"3", b"x" * 101), (RESULT, b"r")], now_ns=0)
    (first,) = buffer.lease(1, max_bytes=1, now_ns=0)
    buffer.ack([first.sequence, first.sequence, 999])
    buffer.append(events(b"4", b"5"), now_ns=1)
    buffer.drop([buffer.lease(1, max_bytes=1, now_ns=1)[0].sequence], DropReason.REJECTED)
    buffer.count_dropped(EVENT, DropReason.JOURNAL_FULL, 2)
    stats = buffer.stats()
    assert stats.stored == {EVENT: 8, RESULT: 1, EntryKind.SCHEDULE: 0}
    assert stats.acked[EVENT] == 1
    for kind in EntryKind:
        dropped = sum(count for (its, _), count in stats.dropped.items() if its is kind)
        assert stats.stored[kind] == stats.acked[kind] + stats.held[kind] + dropped


def test_accounts_are_stored_with_entries(buffer: EventBuffer) -> None:
    """By owner, what was stored last at the end; empty bytes forget one."""
    buffer.append([], now_ns=0, accounts={"a": b"1", "b": b"2", "c": b"3"})
    buffer.append(events(b"1"), now_ns=0, accounts={"a": b"4", "c": b""})
    assert list(buffer.accounts().items()) == [("b", b"2"), ("a", b"4")]


def test_an_account_that_was_handed_on_begins_anew(buffer: EventBuffer) -> None:
    """Counts are gone, entries stay, and the name is another one."""
    buffer.append(events(b"1"), now_ns=0, accounts={"a": b"1"})
    buffer.count_dropped(EVENT, DropReason.REJECTED, 2)
    before = buffer.buffer_id
    buffer.begin_account({"b": b"2"})
    stats = buffer.stats()
    assert (stats.stored[EVENT], stats.held[EVENT], stats.dropped) == (1, 1, {})
    assert buffer.accounts() == {"b": b"2"}
    assert len(before) == len(buffer.buffer_id) == 32
    assert buffer.buffer_id != before


def test_counts_of_another_buffer_are_added(make: Make) -> None:
    """What it has settled counts here too; what it holds, when that is appended."""
    theirs, ours = make(), make()
    theirs.append(events(b"1", b"2", b"3"), now_ns=0)
    (first,) = theirs.lease(1, max_bytes=1, now_ns=0)
    theirs.ack([first.sequence])
    theirs.count_dropped(EVENT, DropReason.REJECTED, 2)
    ours.append(events(b"4"), now_ns=0)
    ours.take_counts(Legacy(theirs.stats(), {"a": b"1"}, {"j": "p"}))
    ours.append(events(b"2", b"3"), now_ns=0)
    stats = ours.stats()
    assert (stats.stored[EVENT], stats.acked[EVENT], stats.held[EVENT]) == (6, 1, 3)
    assert stats.dropped == {(EVENT, DropReason.REJECTED): 2}
    assert (ours.accounts(), ours.positions()) == ({"a": b"1"}, {"j": "p"})


def test_a_leased_entry_is_hidden(buffer: EventBuffer) -> None:
    """No entry is out twice."""
    buffer.append(events(b"1", b"2", b"3"), now_ns=0)
    assert [lease(buffer, 2), lease(buffer, 2), lease(buffer, 2)] == [[b"1", b"2"], [b"3"], []]


def test_a_lease_ends_at_its_bytes(buffer: EventBuffer) -> None:
    """The bytes bound a lease, but one entry is always taken."""
    buffer.append(events(b"12345", b"678", b"9"), now_ns=0)
    sizes = [len(buffer.lease(10, max_bytes=4, now_ns=0)) for _ in range(3)]
    assert sizes == [1, 2, 0]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_lease_of_nothing_is_an_error(buffer: EventBuffer, limit: int) -> None:
    """A limit below one is a mistake of the caller's."""
    with pytest.raises(ValueError, match="limit"):
        buffer.lease(limit, max_bytes=1, now_ns=0)


def test_a_released_entry_is_visible_in_its_old_place(buffer: EventBuffer) -> None:
    """What comes back comes first, in order, and what is still out stays hidden."""
    buffer.append(events(b"1", b"2", b"3", b"4"), now_ns=0)
    taken = buffer.lease(3, max_bytes=100, now_ns=0)
    buffer.release([taken[2].sequence, taken[0].sequence])
    assert lease(buffer) == [b"1", b"3", b"4"]


def test_an_expired_lease_is_visible(buffer: EventBuffer) -> None:
    """A batch that nobody acked in time is sent again, and only then."""
    buffer.append(events(b"1", b"2"), now_ns=0)
    buffer.lease(1, max_bytes=100, now_ns=0, hold_s=2.5)
    buffer.lease(1, max_bytes=100, now_ns=0, hold_s=9.0)
    assert lease(buffer, now_ns=2 * SECOND) == []
    assert lease(buffer, now_ns=3 * SECOND) == [b"1"]
    assert lease(buffer, now_ns=9 * SECOND) == [b"2"]


def test_an_entry_acked_after_its_lease_expired_is_gone(buffer: EventBuffer) -> None:
    """A late ack is still an ack."""
    buffer.append(events(b"1"), now_ns=0)
    (entry,) = buffer.lease(1, max_bytes=100, now_ns=0, hold_s=1.0)
    assert lease(buffer, now_ns=SECOND) == [b"1"]
    buffer.ack([entry.sequence])
    assert lease(buffer, now_ns=1000 * SECOND) == []


def test_unknown_sequences_are_ignored(buffer: EventBuffer) -> None:
    """Acks may come twice, and for entries that were evicted."""
    buffer.append(events(b"1"), now_ns=0)
    (entry,) = buffer.lease(1, max_bytes=100, now_ns=0)
    for _ in range(2):
        buffer.ack(iter([entry.sequence, entry.sequence, 999]))
    buffer.release(iter([entry.sequence, 999]))
    buffer.drop(iter([entry.sequence]), DropReason.REJECTED)
    assert buffer.stats().dropped == {}
    assert buffer.stats().entries == 0


def test_sequences_are_not_used_again(buffer: EventBuffer) -> None:
    """A late ack never hits a newer entry."""
    buffer.append(events(b"1"), now_ns=0)
    (first,) = buffer.lease(1, max_bytes=100, now_ns=0)
    buffer.ack([first.sequence])
    buffer.append(events(b"2"), now_ns=0)
    (second,) = buffer.lease(1, max_bytes=100, now_ns=0)
    assert second.sequence > first.sequence


def test_a_full_buffer_drops_the_oldest_events(make: Make) -> None:
    """Events leave oldest first and are counted; results stay."""
    buffer = make(max_events=3)
    buffer.append([(RESULT, b"r"), *events(b"1", b"2")], now_ns=0)
    buffer.append(events(b"3", b"4"), now_ns=1)
    assert lease(buffer) == [b"r", b"3", b"4"]
    assert buffer.stats().dropped == {(EVENT, DropReason.BUFFER_FULL): 2}


def test_results_are_dropped_when_no_event_is_left(make: Make) -> None:
    """The cap holds in any case, and results leave oldest first."""
    buffer = make(max_events=2)
    buffer.append([(RESULT, b"1"), (RESULT, b"2"), (RESULT, b"3"), (EVENT, b"4")], now_ns=0)
    assert lease(buffer) == [b"2", b"3"]
    expected = {(EVENT, DropReason.BUFFER_FULL): 1, (RESULT, DropReason.BUFFER_FULL): 1}
    assert buffer.stats().dropped == expected


def test_the_cap_on_bytes_drops_as_many_as_needed(make: Make) -> None:
    """Bodies together never exceed the cap."""
    buffer = make(max_bytes=10)
    buffer.append(events(b"1234", b"5678"), now_ns=0)
    buffer.append(events(b"123456789"), now_ns=1)
    assert lease(buffer) == [b"123456789"]
    assert buffer.stats().bytes == 9
    assert buffer.stats().dropped == {(EVENT, DropReason.BUFFER_FULL): 2}


def test_a_full_buffer_makes_room_in_batches(make: Make) -> None:
    """One hundredth of the cap leaves at once."""
    buffer = make(max_events=300)
    buffer.append(events(*[b"x"] * 301), now_ns=0)
    assert buffer.stats().entries == 298


def test_entries_on_lease_are_dropped_last(make: Make) -> None:
    """What may be on its way is kept while there is something else."""
    buffer = make(max_events=3)
    buffer.append(events(b"1", b"2", b"3"), now_ns=0)
    taken = buffer.lease(2, max_bytes=100, now_ns=0)
    buffer.append(events(b"4"), now_ns=0)
    buffer.release(entry.sequence for entry in taken)
    assert lease(buffer) == [b"1", b"2", b"4"]
    buffer.append(events(b"5"), now_ns=0)
    buffer.append(events(b"6", b"7", b"8"), now_ns=0)
    assert buffer.stats().entries == 3


def test_an_entry_larger_than_the_buffer_is_dropped_alone(make: Make) -> None:
    """It does not push out everything else first."""
    buffer = make(max_bytes=10)
    buffer.append([*events(b"1", b"x" * 11), (RESULT, b"y" * 11)], now_ns=0)
    assert lease(buffer) == [b"1"]
    expected = {(EVENT, DropReason.TOO_LARGE): 1, (RESULT, DropReason.TOO_LARGE): 1}
    assert buffer.stats().dropped == expected


def test_dropped_entries_are_counted_under_their_reason(buffer: EventBuffer) -> None:
    """What the brain refuses is gone and known."""
    buffer.append([(EVENT, b"1"), (RESULT, b"2"), (EVENT, b"3")], now_ns=0)
    taken = buffer.lease(2, max_bytes=100, now_ns=0)
    buffer.drop([entry.sequence for entry in taken], DropReason.REJECTED)
    expected = {(EVENT, DropReason.REJECTED): 1, (RESULT, DropReason.REJECTED): 1}
    assert buffer.stats().dropped == expected
    assert lease(buffer) == [b"3"]


def test_losses_of_the_journal_are_counted_too(buffer: EventBuffer) -> None:
    """Counts from elsewhere add up; a count of nothing leaves no trace."""
    for count in (2, 3, 0):
        buffer.count_dropped(EVENT, DropReason.JOURNAL_CORRUPT, count)
    buffer.count_dropped(RESULT, DropReason.REJECTED, 0)
    assert buffer.stats().dropped == {(EVENT, DropReason.JOURNAL_CORRUPT): 5}


def test_positions_are_replaced_and_forgotten(buffer: EventBuffer) -> None:
    """Each journal has one position; an empty text removes it."""
    buffer.append([], now_ns=0, positions={"a": "1", "b": "2"})
    buffer.append(events(b"1"), now_ns=0, positions={"a": "3"})
    buffer.append([], now_ns=0, positions={"b": "", "c": ""})
    assert buffer.positions() == {"a": "3"}


def test_a_command_begins_once(buffer: EventBuffer) -> None:
    """A redelivery is told from a new command, and answered when there is an answer."""
    assert buffer.begin_command("c1", 0)
    assert not buffer.begin_command("c1", 1)
    assert buffer.recall_result("c1") is None
    buffer.remember_result("c1", b"done", now_ns=2)
    assert not buffer.begin_command("c1", 3)
    assert buffer.recall_result("c1") == b"done"
    assert buffer.recall_result("c2") is None


def test_a_result_of_an_unknown_command_is_kept(buffer: EventBuffer) -> None:
    """A result is worth remembering even if its beginning was not noted."""
    buffer.remember_result("c1", b"done", now_ns=2)
    assert buffer.recall_result("c1") == b"done"
    assert not buffer.begin_command("c1", 3)


def test_a_command_begins_with_an_answer(buffer: EventBuffer) -> None:
    """It is recalled like a result, and found by how it begins; a result takes its place."""
    assert buffer.begin_command("c1", 0, answer=b"begun-1")
    assert not buffer.begin_command("c1", 1, answer=b"begun-2")
    buffer.begin_command("c2", 2)
    buffer.remember_result("c3", b"done", now_ns=3)
    assert buffer.recall_result("c1") == b"begun-1"
    assert [known.key for known in buffer.commands(b"begun")] == ["c1"]
    assert [known.key for known in buffer.commands()] == ["c1", "c2", "c3"]
    buffer.remember_result("c1", b"done", now_ns=4)
    assert buffer.commands(b"begun") == []


def test_commands_are_forgotten_by_age(buffer: EventBuffer) -> None:
    """After a day a key is new again."""
    buffer.begin_command("old", 0)
    late_ns = int((COMMAND_AGE_S + 1) * SECOND)
    assert buffer.begin_command("new", late_ns)
    assert buffer.begin_command("old", late_ns)


def test_commands_are_forgotten_by_number(buffer: EventBuffer, request) -> None:
    """The oldest keys leave when there are too many."""
    module = __import__("z4j_otel.buffer", fromlist=["memory", "statements"])
    holder = module.memory if isinstance(buffer, MemoryBuffer) else module.statements
    request.addfinalizer(lambda kept=holder.COMMANDS_KEPT: setattr(holder, "COMMANDS_KEPT", kept))
    holder.COMMANDS_KEPT = 3
    for number in range(5):
        assert buffer.begin_command(f"c{number}", number)
    assert not buffer.begin_command("c2", 5)
    assert buffer.begin_command("c1", 6)


def test_stories_are_kept_beside_entries(buffer: EventBuffer) -> None:
    """The latest of each key is recalled; those stored last come last."""
    buffer.append([], now_ns=0, stories={"a": b"1", "b": b"2"})
    buffer.append(events(b"x"), now_ns=0, stories={"a": b"3"})
    assert (buffer.recall_story("a"), buffer.recall_story("c")) == (b"3", None)
    assert list(buffer.stories().items()) == [("b", b"2"), ("a", b"3")]


def test_stories_are_forgotten_by_number(buffer: EventBuffer, monkeypatch) -> None:
    """Those that were not touched for longest leave."""
    for name in ("memory", "stories"):
        monkeypatch.setattr(f"z4j_otel.buffer.{name}.STORIES_KEPT", 3)
    buffer.append([], now_ns=0, stories={f"{number}": b"" for number in range(6000)})
    buffer.append([], now_ns=0, stories={"5997": b""})
    assert list(buffer.stories()) == ["5998", "5999", "5997"]


def test_commands_of_another_buffer_are_remembered_too(make: Make) -> None:
    """A result fills in for none; what is known here is not replaced."""
    left, buffer = make(), make()
    for key in ("begun", "ended", "both"):
        left.begin_command(key, 1)
    left.remember_result("ended", b"e", now_ns=2)
    left.remember_result("both", b"theirs", now_ns=2)
    buffer.begin_command("ended", 1)
    buffer.remember_result("both", b"ours", now_ns=3)
    for _ in range(2):
        buffer.take_commands(left.commands())
    buffer.take_commands([])
    assert not buffer.begin_command("begun", 4)
    results = [buffer.recall_result(key) for key in ("begun", "ended", "both")]
    assert results == [None, b"e", b"ours"]


@pytest.mark.parametrize("caps", [{"max_events": 0}, {"max_bytes": 0}])
def test_a_cap_of_nothing_is_an_error(make: Make, caps: dict[str, int]) -> None:
    """A buffer that can hold nothing is a mistake of the settings."""
    with pytest.raises(ValueError, match="at least one"):
        make(**caps)


def test_a_closed_buffer_refuses(buffer: EventBuffer) -> None:
    """Closing twice is fine; using it afterwards is not."""
    buffer.close()
    buffer.close()
    with pytest.raises(BufferError_, match="closed"):
        buffer.append(events(b"1"), now_ns=0)
    with pytest.raises(BufferError_, match="closed"):
        buffer.stats()


LEAVING = [EVENT, EntryKind.SCHEDULE, RESULT]
CAP_BYTES = 99  # below 100, so that no more is evicted than the model does


class BufferMachine(RuleBasedStateMachine):
    """Random lives of a buffer against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer: EventBuffer = MemoryBuffer(max_events=12, max_bytes=CAP_BYTES)
        self.held: dict[bytes, EntryKind] = {}
        self.out: dict[bytes, tuple[int, int]] = {}
        self.lost: dict[EntryKind, int] = dict.fromkeys(EntryKind, 0)
        self.made = self.now_ns = 0
        self.position: dict[str, str] = {}

    @rule(kinds=st.lists(st.sampled_from(EntryKind), max_size=6), size=st.integers(0, 20))
    def append(self, kinds: list[EntryKind], size: int) -> None:
        """Append; the model evicts by the rule of the port."""
        entries = []
        for kind in kinds:
            self.made += 1
            entries.append((kind, b"%d:" % self.made + b"x" * size))
        self.position = {"journal": str(self.made)}
        self.buffer.append(entries, now_ns=self.now_ns, positions=self.position)
        self.held.update((body, kind) for kind, body in entries)
        while len(self.held) > 12 or sum(map(len, self.held)) > CAP_BYTES:
            victim = min(
                self.held, key=lambda body: (LEAVING.index(self.held[body]), body in self.out)
            )
            self.lost[self.held.pop(victim)] += 1
            self.out.pop(victim, None)

    @rule(limit=st.integers(1, 8), hold_s=st.integers(1, 5))
    def lease(self, limit: int, hold_s: int) -> None:
        """Lease; the model knows what is visible."""
        self.out = {body: out for body, out in self.out.items() if out[1] > self.now_ns}
        entries = self.buffer.lease(limit, max_bytes=999, now_ns=self.now_ns, hold_s=hold_s)
        visible = [body for body in self.held if body not in self.out]
        assert [entry.body for entry in entries] == visible[:limit]
        assert all(self.held[entry.body] is entry.kind for entry in entries)
        ends_ns = self.now_ns + hold_s * SECOND
        self.out.update((entry.body, (entry.sequence, ends_ns)) for entry in entries)

    @rule(data=st.data(), what=st.sampled_from(["ack", "release", "drop"]))
    def finish(self, data: st.DataObject, what: str) -> None:
        """End some leases in one of three ways."""
        bodies = data.draw(st.sets(st.sampled_from(sorted(self.out)))) if self.out else set()
        sequences = [self.out.pop(body)[0] for body in bodies]
        if what == "drop":
            self.buffer.drop(sequences, DropReason.BUFFER_FULL)
        else:
            getattr(self.buffer, what)(sequences)
        for body in bodies if what != "release" else ():
            kind = self.held.pop(body)
            self.lost[kind] += what == "drop"

    @rule(seconds=st.integers(0, 4))
    def time_passes(self, seconds: int) -> None:
        """Move the clock."""
        self.now_ns += seconds * SECOND

    @invariant()
    def agrees(self) -> None:
        """Totals, losses and position are the model's."""
        stats = self.buffer.stats()
        assert (stats.entries, stats.bytes) == (len(self.held), sum(map(len, self.held)))
        expected = {(k, DropReason.BUFFER_FULL): n for k, n in self.lost.items() if n}
        assert stats.dropped == expected
        assert self.buffer.positions() == self.position

    def teardown(self) -> None:
        """Close what is open."""
        self.buffer.close()


class SqliteMachine(BufferMachine):
    """The same over SQLite, where the process may die at any time, too."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.buffer = self.open()

    def open(self) -> SqliteBuffer:
        """Open the one file."""
        return SqliteBuffer(Path(self.folder.name) / "b.sqlite", max_events=12, max_bytes=CAP_BYTES)

    @rule()
    def crash(self) -> None:
        """All is as before, except that every entry is visible again."""
        self.buffer.close()
        self.buffer = self.open()
        self.out = {}

    def teardown(self) -> None:
        """Remove the file as well."""
        super().teardown()
        self.folder.cleanup()


LIFE = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMemoryModel = BufferMachine.TestCase
TestMemoryModel.settings = LIFE
TestSqliteModel = SqliteMachine.TestCase
TestSqliteModel.settings = settings(LIFE, max_examples=25)
