"""The copy beside the database says what was stored, or that it cannot tell."""

from __future__ import annotations

from z4j_otel.buffer.mirror import read_mirror, write_mirror
from z4j_otel.buffer.state import State

ACCOUNTS = {"1-0000000a": b'{"captured":3}', "sums": b"{}"}


def written(generation: int = 7) -> tuple[bytes, int]:
    """Return a mirror's bytes, and how many of them are the state's."""
    state = State.begin()
    state.generation = 7
    record = state.encode()
    return write_mirror(record, generation, ACCOUNTS), len(record)


def test_state_and_accounts_come_back() -> None:
    """Also where the bytes of a longer, older copy follow."""
    data, _ = written()
    mirror = read_mirror(data + b"older")
    assert mirror is not None
    assert (mirror.state.generation, mirror.accounts) == (7, ACCOUNTS)


def test_damaged_accounts_are_none() -> None:
    """The state counts all the same; so it does where the copy was cut off."""
    data, length = written()
    for hurt in (data[:-1], data[:length], data[:-1] + b"\xff"):
        mirror = read_mirror(hurt)
        assert mirror is not None
        assert mirror.accounts is None


def test_accounts_of_another_commit_are_none() -> None:
    """They are no account of what the state counts."""
    mirror = read_mirror(written(generation=6)[0])
    assert mirror is not None
    assert mirror.accounts is None


def test_without_a_state_there_is_no_mirror() -> None:
    """Accounts alone mean nothing."""
    data, length = written()
    assert read_mirror(data[length:]) is None
    assert read_mirror(b"") is None
