"""What waits for a client that does not read stays bounded, and what is dropped is counted."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.backlog import MOST_KEPT, Backlog

LOG = "notifications/message"


def test_what_waits_is_taken_once_in_order() -> None:
    backlog = Backlog()
    for number in range(3):
        backlog.add(LOG, b"%d" % number)
    assert backlog.take() == [b"0", b"1", b"2"]
    assert backlog.take() == []


def test_of_those_with_one_key_only_the_newest_waits() -> None:
    backlog = Backlog()
    for number in range(1000):
        backlog.add("progress", b"a%d" % number, ("progress", b"1"))
        backlog.add("progress", b"b%d" % number, ("progress", b'"1"'))
    assert backlog.take() == [b"a999", b"b999"]
    assert not backlog.take_dropped()


def test_what_was_replaced_takes_no_room() -> None:
    backlog = Backlog()
    for _ in range(10):
        backlog.add("progress", b"x" * MOST_KEPT, "key")
    assert not backlog.take_dropped()
    assert backlog.take() == [b"x" * MOST_KEPT]


def test_what_is_forgotten_does_not_come_and_takes_no_room() -> None:
    backlog = Backlog()
    backlog.add("progress", b"x" * MOST_KEPT, "key")
    backlog.forget("key")
    backlog.forget("another")
    backlog.add(LOG, b"y" * MOST_KEPT)
    assert backlog.take() == [b"y" * MOST_KEPT]
    assert not backlog.take_dropped()


def test_beyond_the_limit_everything_is_dropped_and_counted_by_method_once() -> None:
    backlog = Backlog()
    backlog.add(LOG, b"x" * MOST_KEPT)
    for _ in range(3):
        backlog.add(LOG, b"y")
    backlog.add("progress", b"y", "key")
    assert backlog.take_dropped() == {LOG: 3, "progress": 1}
    assert not backlog.take_dropped()
    assert backlog.take() == [b"x" * MOST_KEPT]


def test_there_is_room_again_once_it_was_taken() -> None:
    backlog = Backlog()
    for _ in range(3):
        backlog.add(LOG, b"x" * MOST_KEPT)
        assert backlog.take() == [b"x" * MOST_KEPT]
    assert not backlog.take_dropped()


def test_a_changed_list_is_told_however_much_else_waits() -> None:
    """It is not announced again before the client has looked."""
    backlog = Backlog()
    backlog.add(LOG, b"x" * MOST_KEPT)
    for _ in range(100):
        backlog.add("list_changed", b"changed", "list_changed")
    assert backlog.take() == [b"x" * MOST_KEPT, b"changed"]
    assert not backlog.take_dropped()


STEPS = st.lists(st.tuples(st.sampled_from([None, "a", "b", "forget"]), st.integers(0, MOST_KEPT // 2)), max_size=30)


@given(STEPS)
def test_it_never_holds_more_than_its_limit_and_loses_nothing_uncounted(steps: list[tuple[str | None, int]]) -> None:
    backlog, added, replaceable = Backlog(), 0, 0
    for key, size in steps:
        if key == "forget":
            backlog.forget("a")
        else:
            backlog.add(LOG, b"x" * size, key)
            added += 1
            replaceable += key is not None
    dropped = backlog.take_dropped()[LOG]
    lines = backlog.take()
    assert sum(map(len, lines)) <= MOST_KEPT
    assert added - replaceable <= len(lines) + dropped <= added
    backlog.add(LOG, b"x" * MOST_KEPT)
    assert backlog.take() == [b"x" * MOST_KEPT]
