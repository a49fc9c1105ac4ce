"""What is kept of events for the page: bounded, by the time that events have, and without secrets."""

import weakref
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import status as module
from proxy.events import (
    CallFinished,
    ClientConnected,
    ClientGone,
    Notice,
    Outcome,
    RequestFinished,
    ServerOutput,
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)
from proxy.status import MOST_CALLS, MOST_LINES, MOST_STEPS, RATE_OVER, STEP, STEPS, Status, Trouble


class Clock:
    """Unix time, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def status(clock: Clock) -> Status:
    return Status(clock)


def call(
    tool: str = "t", *, server: str = "one", outcome: Outcome = "ok", seconds: float = 0.1, reason: str = ""
) -> CallFinished:
    return CallFinished("client", "s1", "1", server, tool, outcome, seconds, 10, 20, reason=reason)


def test_the_last_calls_come_first(status: Status, clock: Clock) -> None:
    for tool in ("a", "b", "c"):
        status(call(tool))
        clock.now += 1
    assert [(one.number, one.tool, one.at) for one in status.calls(2)] == [(3, "c", 1_000_002.0), (2, "b", 1_000_001.0)]
    assert [one.tool for one in status.calls(after=1)] == ["c", "b"]
    assert status.calls(after=3) == []


def test_no_more_calls_are_kept_than_may_be(status: Status) -> None:
    for _ in range(MOST_CALLS + 5):
        status(call())
    kept = status.calls(2 * MOST_CALLS)
    assert (len(kept), kept[0].number, kept[-1].number) == (MOST_CALLS, MOST_CALLS + 5, 6)


class Calls(list[CallFinished]):
    """Of these it can be seen whether anybody keeps them."""


def test_of_more_calls_that_end_together_than_may_be_kept_no_others_are_held(status: Status) -> None:
    many = Calls([call("early")] * 5 + [call()] * MOST_CALLS)
    held = weakref.ref(many)
    status.take_calls(many, 1.0)
    del many
    kept = status.calls()
    assert (len(kept), kept[0].number, kept[-1].number) == (MOST_CALLS, MOST_CALLS + 5, 6)
    assert {one.tool for one in kept} == {"t"}
    assert held() is None


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.builds(
                    call,
                    st.sampled_from("ab"),
                    server=st.sampled_from(["", "one", "two"]),
                    outcome=st.sampled_from(get_args(Outcome)),
                    seconds=st.floats(0, 9),
                ),
                min_size=1,
                max_size=8,
            ),
            st.integers(0, 9),
        ),
        max_size=8,
    ),
    st.integers(1, 12),
    st.integers(0, 40),
)
def test_calls_that_end_together_are_kept_as_if_each_had_ended_alone(
    turns: list[tuple[list[CallFinished], int]], most: int, after: int
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_CALLS", most)
        together, alone = Status(clock), Status(clock)
        for calls, later in turns:
            clock.now += later
            together.take_calls(calls, clock.now)
            for one in calls:
                alone(one)
        assert together.calls(after=after) == alone.calls(after=after)
        assert len(alone.calls()) == min(sum(len(calls) for calls, _ in turns), most)
        assert together.last == alone.last
        for server in ("one", "two"):
            assert together.figures(server) == alone.figures(server)


def test_a_call_has_the_time_that_it_is_told_with(status: Status) -> None:
    status(call(), 5.0)
    assert [one.at for one in status.calls()] == [5.0]


def test_a_call_of_a_tool_that_nobody_has_is_shown_as_it_was_asked_for(status: Status) -> None:
    status(CallFinished("client", "s1", "1", "", "", "error", 0.0, 1, 1, name="one__gone"))
    assert [(one.server, one.tool) for one in status.calls()] == [("", "one__gone")]


def test_the_rate_is_of_the_last_seconds_and_falls_by_itself(status: Status, clock: Clock) -> None:
    for _ in range(RATE_OVER * 3):
        status(call())
    assert status.figures("one").rate == 3.0
    clock.now += RATE_OVER
    assert status.figures("one").rate == 0.0


def test_the_curve_counts_calls_and_the_failed_ones_by_their_time(status: Status, clock: Clock) -> None:
    status(call())
    clock.now += STEP
    status(call())
    status(call(outcome="tool_error"))
    clock.now += STEP
    figures = status.figures("one")
    assert len(figures.spark) == len(figures.failed) == STEPS
    assert figures.spark[-3:] == [1, 2, 0]
    assert figures.failed[-3:] == [0, 1, 0]
    clock.now += STEP * STEPS
    assert sum(status.figures("one").spark) == 0


def test_a_clock_that_is_set_back_loses_no_call(status: Status, clock: Clock) -> None:
    status(call())
    clock.now -= 1000 * STEP
    status(call())
    assert sum(status.figures("one").spark) == 1
    clock.now -= 2 * STEP
    status(call())
    assert sum(status.figures("one").spark) == 2


def test_percentiles_are_those_of_the_last_calls(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (status.figures("one").p50, status.figures("one").p99) == (None, None)
    for seconds in range(100, 0, -1):
        status(call(seconds=seconds))
    assert (status.figures("one").p50, status.figures("one").p99) == (50, 99)
    for _ in range(module.MOST_DURATIONS):
        status(call(seconds=7))
    assert (status.figures("one").p50, status.figures("one").p99) == (7, 7)


def test_calls_are_counted_for_the_server_that_had_them(status: Status) -> None:
    status(call())
    status(call(outcome="timeout"))
    status(call(outcome="cancelled"))
    status(call(server="two"))
    figures = status.figures("one")
    assert (figures.calls, figures.failures, status.figures("two").calls) == (3, 1, 1)


def test_other_requests_are_in_the_stream_but_not_in_the_figures(status: Status) -> None:
    status(RequestFinished("client", "s1", "1", "one", "file:///x", "ok", 9.0, 1, 1, method="resources/read"))
    assert [one.method for one in status.calls()] == ["resources/read"]
    assert (status.figures("one").calls, status.figures("one").p50) == (0, None)


def test_the_last_error_is_a_servers_and_not_a_tools(status: Status, clock: Clock) -> None:
    status(call("fine", outcome="tool_error"))
    assert status.figures("one").last_error is None
    status(call("slow", outcome="timeout", reason="it took too long"))
    assert status.figures("one").last_error == Trouble(clock.now, "slow: it took too long")
    status(ServerStateChanged("one", "ready", "backoff", "it exited with code 3", 2.0))
    assert status.figures("one").last_error == Trouble(clock.now, "it exited with code 3")
    status(call("odd", outcome="error", reason="its server answered with error -32603"))
    assert status.figures("one").last_error == Trouble(clock.now, "odd: its server answered with error -32603")


def test_a_state_is_told_with_its_time_its_reason_and_the_next_start(status: Status, clock: Clock) -> None:
    status(ServerStateChanged("one", "ready", "backoff", "it went away", 2.0))
    figures = status.figures("one")
    assert (figures.since, figures.reason, figures.next_start) == (clock.now, "it went away", clock.now + 2)
    clock.now += 2
    status(ServerStateChanged("one", "backoff", "starting"))
    figures = status.figures("one")
    assert (figures.since, figures.reason, figures.next_start) == (clock.now, "", None)
    assert [(step.old, step.new) for step in status.steps("one")] == [("backoff", "starting"), ("ready", "backoff")]
    for _ in range(MOST_STEPS):
        status(ServerStateChanged("one", "starting", "ready"))
    assert {step.new for step in status.steps("one")} == {"ready"}


def test_starts_are_counted(status: Status) -> None:
    status(ServerStartFinished("one", "ok", 0.1))
    status(ServerStartFinished("one", "failed", 0.1))
    assert (status.figures("one").starts, status.figures("two").starts) == (2, 0)


def test_the_last_lines_that_a_server_printed_are_kept(status: Status) -> None:
    for number in range(MOST_LINES + 1):
        status(ServerOutput("one", "stderr", f"line {number}"))
    lines = status.output("one")
    assert (len(lines), lines[0].text, lines[-1].text) == (MOST_LINES, "line 1", f"line {MOST_LINES}")
    assert [line.text for line in status.output("one", after=lines[-2].number)] == [f"line {MOST_LINES}"]
    assert status.output("two") == []


def test_long_lines_are_kept_as_long_as_there_is_room(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TAIL", 100)
    for letter in "abc":
        status(ServerOutput("one", "stderr", letter * 60))
    assert [line.text[0] for line in status.output("one")] == ["c"]
    status(ServerOutput("one", "stderr", "d" * 40))
    assert [line.text[0] for line in status.output("one")] == ["c", "d"]


def test_clients_are_counted_but_not_our_own(clock: Clock) -> None:
    status = Status(clock, ours=("rest",))
    for session in ("a", "b", "rest"):
        status(ClientConnected("client", "1", session, "2025-11-25"))
    status(ClientGone("client", "a"))
    status(ClientGone("client", "never"))
    assert status.clients == 1


def test_a_secret_is_masked_wherever_it_stands(clock: Clock) -> None:
    status = Status(clock, lambda text: text.replace("hush", "***"))
    status(call("hush", outcome="error", reason="hush"))
    status(ServerOutput("one", "stderr", "hush"))
    figures = status.figures("one")
    status(ServerStateChanged("one", "ready", "failed", "hush"))
    shown = [*status.calls(), figures, status.figures("one"), *status.output("one"), *status.steps("one")]
    assert "hush" not in repr(shown)
    assert repr(shown).count("***") == 8


def test_what_is_not_shown_is_let_pass(status: Status) -> None:
    status(Notice("info", "hello", "one"))
    assert status.figures("one").calls == 0


def test_servers_that_are_configured_no_more_are_forgotten(status: Status) -> None:
    for server in ("one", "two"):
        status(ServerOutput(server, "stderr", "hello"))
    [before] = status.output("one")
    status(ServerRemoved("one"))
    assert status.output("one", after=0) == []
    status(ServerOutput("one", "stderr", "back again"))
    assert [line.text for line in status.output("one", after=before.number)] == ["back again"]
    status(ServerRemoved("one"))
    assert (status.output("one"), len(status.output("two"))) == ([], 1)
