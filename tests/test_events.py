"""Facts are kept until somebody listens, told in order, and a listener that fails stops nothing."""

import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from proxy import events
from proxy.events import Bus, CallFinished, Event, Notice
from proxy.tracecontext import Trace


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float | None]] = []

    def __call__(self, event: Event, at: float | None = None) -> None:
        assert isinstance(event, Notice)
        self.told.append((event.text, at))


class Turns:
    """A `defer` whose turn comes when it is told to; time is the number of turns so far."""

    def __init__(self) -> None:
        self.deferred: list[Callable[[], None]] = []
        self.bus = Bus(self._ticks().__next__, self.deferred.append)

    def _ticks(self) -> Iterator[float]:
        now = 0.0
        while True:
            now += 10
            yield now

    def turn(self) -> None:
        deferred = self.deferred.copy()
        self.deferred.clear()
        for step in deferred:
            step()


def notice(text: str) -> Notice:
    return Notice("info", text)


def test_what_happened_before_anybody_listened_is_told_with_its_time() -> None:
    turns, one, other = Turns(), Listener(), Listener()
    turns.bus(notice("a"))
    turns.bus(notice("b"))
    turns.bus.open(one, other)
    assert one.told == other.told == [("a", 10.0), ("b", 20.0)]


def test_what_happens_then_is_told_in_order_a_moment_later() -> None:
    turns, listener = Turns(), Listener()
    turns.bus.open(listener)
    turns.bus(notice("a"))
    turns.bus(notice("b"))
    assert listener.told == []
    turns.turn()
    assert listener.told == [("a", 10.0), ("b", 10.0)]
    turns.bus(notice("c"))
    turns.turn()
    assert listener.told[2:] == [("c", 20.0)]


def test_calls_that_ended_in_one_turn_are_told_together_and_in_their_place() -> None:
    turns, told = Turns(), list[object]()

    class Listener:
        def __call__(self, event: Event, at: float | None = None) -> None:
            told.append(event)

        def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
            told.append(list(calls))

    alone: list[Event] = []
    turns.bus.open(Listener(), lambda event, at=None: alone.append(event))
    first, second, third = (
        CallFinished("client", "session", str(number), "git", "status", "ok", 0.1, 10, 20) for number in range(3)
    )
    for event in (first, second, notice("between"), third):
        turns.bus(event)
    turns.turn()
    assert told == [[first, second], notice("between"), [third]]
    assert alone == [first, second, notice("between"), third]


def test_each_turn_is_asked_for_once() -> None:
    turns = Turns()
    turns.bus.open()
    for _ in range(3):
        turns.bus(notice("a"))
    assert len(turns.deferred) == 1


def test_at_the_end_what_waits_is_told_at_once_and_not_again() -> None:
    turns, listener = Turns(), Listener()
    turns.bus.open(listener)
    turns.bus(notice("a"))
    turns.bus.flush()
    assert listener.told == [("a", 10.0)]
    turns.turn()
    assert listener.told == [("a", 10.0)]


def test_without_listeners_facts_are_forgotten() -> None:
    turns, late = Turns(), Listener()
    turns.bus(notice("a"))
    turns.bus.open()
    turns.bus.open(late)
    assert late.told == []


def test_a_listener_that_raises_costs_nobody_else_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, problem, trace: seen.append(kind))

    def broken(event: Event, at: float | None = None) -> None:
        raise ValueError

    turns, listener = Turns(), Listener()
    turns.bus(notice("a"))
    turns.bus.open(broken, listener, broken)
    turns.bus(notice("b"))
    turns.turn()
    assert [text for text, _ in listener.told] == ["a", "b"]
    assert seen == [ValueError], "who fails each time is told of once: stderr may be a pipe that nobody reads"


def test_a_listener_that_fails_at_one_call_hears_of_those_that_ended_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", lambda *problem: None)
    turns, heard = Turns(), list[str]()

    def listener(event: Event, at: float | None = None) -> None:
        assert isinstance(event, CallFinished)
        if event.request_id == "2":
            raise ValueError
        heard.append(event.request_id)

    turns.bus.open(listener)
    for number in "123":
        turns.bus(CallFinished("client", "session", number, "git", "status", "ok", 0.1, 10, 20))
    turns.turn()
    assert heard == ["1", "3"]


def test_a_listener_may_cause_further_events() -> None:
    turns, listener = Turns(), Listener()

    def chatty(event: Event, at: float | None = None) -> None:
        if event in (notice("a"), notice("c")):
            turns.bus(notice("further"))

    turns.bus(notice("a"))
    turns.bus.open(chatty, listener)
    turns.turn()
    turns.bus(notice("c"))
    turns.turn()
    turns.turn()
    assert [text for text, _ in listener.told] == ["a", "further", "c", "further"]
    assert turns.deferred == []


def test_facts_can_not_be_changed_by_who_hears_them() -> None:
    with pytest.raises(AttributeError):
        notice("a").text = "b"  # type: ignore[misc]


def test_facts_of_a_call_have_no_place_for_arguments_or_results() -> None:
    whose = {"client", "session", "request_id", "server", "method", "tool", "name"}
    way = {"front", "peer"}
    how = {"outcome", "seconds", "bytes_in", "bytes_out", "reason", "delivered", "noted", "trace", "waited"}
    assert {*CallFinished.__struct_fields__} == whose | how | way


def test_every_fact_is_a_frozen_event() -> None:
    facts = [one for one in vars(events).values() if isinstance(one, type) and hasattr(one, "__struct_fields__")]
    facts = [one for one in facts if one not in (events.Noted, Trace)]  # what they are made of
    assert len(facts) > 5
    assert all(issubclass(one, Event) and one.__struct_config__.frozen for one in facts)
