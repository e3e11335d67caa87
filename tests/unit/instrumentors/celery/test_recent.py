"""The store of recent messages."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.instrumentors.celery.recent import RecentMessages

OVERHEAD = 4096


def request(task_id, body=b"[]", content_type="application/json"):
    """Make what Celery hands to task_received, with the attributes the store reads."""
    return SimpleNamespace(
        id=task_id,
        body=body,
        content_type=content_type,
        content_encoding="utf-8",
        delivery_info={"exchange": "", "routing_key": "q", "priority": 0},
        message=SimpleNamespace(headers={"task": "t"}, properties=None),
    )


def test_message_is_found_as_it_came():
    """Nothing is decoded, and the header is the message's own."""
    store = RecentMessages()
    received = request("a", b"[1]")
    store.remember(received)
    found = store.find("a")
    assert (found.body, found.headers) == (b"[1]", received.message.headers)
    assert found.properties == {}
    assert store.find("b") is None


def test_later_message_replaces_earlier():
    """Of one task only the latest message stays, and its bytes are counted once."""
    store = RecentMessages()
    store.remember(request("a", b"1" * 10))
    store.remember(request("a", b"2" * 4))
    assert store.find("a").body == b"2222"
    assert (len(store), store.held_bytes) == (1, OVERHEAD + 4)


def test_borrowed_memory_is_copied():
    """A view into a broker's buffer is turned into bytes of our own."""
    store = RecentMessages()
    store.remember(request("a", memoryview(b"xyz")))
    assert store.find("a").body == b"xyz"


def test_decoded_messages_are_not_kept():
    """A message of task protocol 1 has no bytes to keep."""
    store = RecentMessages()
    store.remember(request("a", ((), {}, {}), content_type=None))
    store.remember(request("b", None))
    assert len(store) == 0


def test_message_larger_than_store_is_not_kept():
    """One huge message does not throw everything else out."""
    store = RecentMessages(max_bytes=OVERHEAD * 2)
    store.remember(request("small"))
    store.remember(request("huge", b"x" * OVERHEAD * 2))
    assert store.find("huge") is None
    assert store.find("small") is not None


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3000)), max_size=40))
def test_bounds_hold_and_the_latest_stay(sizes):
    """Whatever arrives, the store keeps within its bounds and has the last message."""
    store = RecentMessages(max_bytes=4 * OVERHEAD, max_tasks=3)
    for name, size in sizes:
        store.remember(request(str(name), b"x" * size))
        assert store.find(str(name)).body == b"x" * size
        assert len(store) <= 3
        held = [store.find(str(n)) for n in range(9)]
        assert store.held_bytes == sum(m.size_bytes for m in held if m) <= 4 * OVERHEAD
    store.forget("none")
