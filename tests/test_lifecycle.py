"""One server's life as a table, on a clock that the test moves: hours of back-off in no time."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle import (
    HEALTHY_AFTER,
    LONGEST_DELAY,
    MOST_STARTS,
    SHORTEST_DELAY,
    TABLE,
    WITHIN,
    IllegalTransition,
    Lifecycle,
    State,
    Trigger,
)

STATES: tuple[State, ...] = get_args(State)
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)

# The shortest way into each state.
WAYS: dict[State, list[Trigger]] = {
    "idle": [],
    "starting": ["start"],
    "ready": ["start", "ready"],
    "backoff": ["start", "lost"],
    "failed": ["start", "hopeless"],
    "stopped": ["stop"],
}


def lifecycle(*triggers: Trigger, dice: float = 0.5) -> Lifecycle:
    """One that took these steps at time 0."""
    life = Lifecycle(lambda: dice)
    for trigger in triggers:
        life.apply(trigger, 0.0)
    return life


def fail(life: Lifecycle, now: float, *, lasting: float = 0.0) -> float:
    """A start that ends after a time; when the next one is due."""
    life.apply("start", now)
    now += lasting
    life.apply("lost", now)
    return now + (life.delay or 0.0)


# The table


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_each_state_takes_the_triggers_of_the_table_and_refuses_the_others(state: State, trigger: Trigger) -> None:
    life = lifecycle(*WAYS[state])
    assert life.state == state
    if (state, trigger) in TABLE:
        assert life.apply(trigger, 1.0) == life.state == TABLE[state, trigger]
    else:
        with pytest.raises(IllegalTransition, match=f"'{trigger}' in state '{state}'"):
            life.apply(trigger, 1.0)
        assert life.state == state


def test_the_table_is_what_the_design_says() -> None:
    starts = {state for state, trigger in TABLE if trigger == "start"}
    assert starts == {"idle", "backoff", "failed", "stopped"}
    assert {state for state, trigger in TABLE if trigger == "ready"} == {"starting"}
    assert {state for state, trigger in TABLE if trigger == "lost"} == {"starting", "ready"}
    assert {state for state, trigger in TABLE if trigger == "unreachable"} == {"starting", "ready"}
    assert {state for state, trigger in TABLE if trigger == "stop"} == set(STATES) - {"stopped"}
    assert {TABLE[key] for key in TABLE if key[1] == "hopeless"} == {"failed"}
    assert {key: TABLE[key] for key in TABLE if key[1] == "sleep"} == {
        ("ready", "sleep"): "idle",
        ("backoff", "sleep"): "idle",
    }


@given(
    st.lists(st.tuples(st.sampled_from(TRIGGERS), st.floats(0, 120)), max_size=60), st.floats(0, 1, exclude_max=True)
)
def test_only_a_planned_start_has_a_delay_and_it_is_within_bounds(
    steps: list[tuple[Trigger, float]], dice: float
) -> None:
    life, now = Lifecycle(lambda: dice), 0.0
    for trigger, seconds in steps:
        now += seconds
        if (life.state, trigger) in TABLE:
            before = life.state
            after = life.apply(trigger, now)
            assert after in (TABLE[before, trigger], "failed")
            assert (life.delay is not None) == (after == "backoff")
            assert life.delay is None or 0 <= life.delay <= LONGEST_DELAY


# Back-off


def test_delays_double_up_to_the_longest() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    delays = []
    for _ in range(12):
        now = fail(life, now, lasting=30.0)
        delays.append(life.delay)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


def test_the_jitter_is_full() -> None:
    for dice in (0.0, 0.25, 0.999):
        life, now = lifecycle(dice=dice), 0.0
        for attempt in range(5):
            now = fail(life, now, lasting=30.0)
            assert life.delay == pytest.approx(dice * SHORTEST_DELAY * 2**attempt)


def test_a_server_whose_starts_fail_slowly_is_tried_for_months() -> None:
    life, now = Lifecycle(random.Random(7).random), 0.0
    for _ in range(100_000):
        now = fail(life, now, lasting=30.0)
        assert life.state == "backoff"
        assert life.delay is not None
        assert life.delay <= LONGEST_DELAY


# Giving up


def test_too_many_starts_in_a_minute_without_health_are_given_up() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    states = []
    for _ in range(MOST_STARTS):
        now = fail(life, now)
        states.append(life.state)
    assert states == ["backoff"] * (MOST_STARTS - 1) + ["failed"]
    assert now < WITHIN
    assert life.delay is None


def test_starts_that_are_ready_for_a_moment_count_as_well() -> None:
    life, now = Lifecycle(lambda: 0.0), 0.0
    for _ in range(MOST_STARTS):
        life.apply("start", now)
        life.apply("ready", now + 1)
        now += 5
        life.apply("lost", now)
    assert life.state == "failed"


def test_starts_longer_ago_than_a_minute_do_not_count() -> None:
    life = Lifecycle(lambda: 0.0)
    for attempt in range(30):
        fail(life, attempt * (WITHIN / (MOST_STARTS - 1) + 0.1))
        assert life.state == "backoff"


def test_a_minute_of_health_clears_the_past() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    for _ in range(MOST_STARTS - 1):
        now = fail(life, now)
    life.apply("start", now)
    life.apply("ready", now)
    life.apply("lost", now + HEALTHY_AFTER)
    assert (life.state, life.delay) == ("backoff", SHORTEST_DELAY)


def test_almost_a_minute_of_health_clears_nothing() -> None:
    life = lifecycle("start", "lost", "start", "lost", "start", "ready", dice=1.0)
    life.apply("lost", HEALTHY_AFTER - 0.1)
    assert life.delay == SHORTEST_DELAY * 4


def test_only_time_spent_ready_is_health() -> None:
    life = lifecycle("start", "lost", "start", "lost", "start", dice=1.0)
    life.apply("lost", HEALTHY_AFTER * 10)
    assert life.delay == SHORTEST_DELAY * 4


@pytest.mark.parametrize("end", ["stop", "hopeless"])
def test_health_of_an_earlier_life_is_no_health(end: Trigger) -> None:
    life = lifecycle("start", "ready", end, dice=1.0)
    now = 100.0
    for _ in range(MOST_STARTS):
        now = fail(life, now)
    assert life.state == "failed"


@pytest.mark.parametrize("way", [["start", "hopeless"], ["stop"]])
def test_a_start_that_somebody_asked_for_has_a_clean_slate(way: list[Trigger]) -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    for _ in range(MOST_STARTS - 2):
        now = fail(life, now)
    for trigger in way:
        life.apply(trigger, now)
    now = fail(life, now)
    assert (life.state, life.delay) == ("backoff", SHORTEST_DELAY)


def test_a_server_that_was_given_up_can_be_started_again() -> None:
    life, now = Lifecycle(lambda: 0.0), 0.0
    for _ in range(MOST_STARTS):
        now = fail(life, now)
    assert life.apply("start", now) == "starting"
    assert life.apply("lost", now) == "backoff"


# Addresses where nobody answers


def test_an_address_where_nobody_answers_is_tried_for_ever_and_ever_more_seldom() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    for _ in range(50):
        life.apply("start", now)
        life.apply("unreachable", now)
        assert life.delay is not None
        now += life.delay
        assert life.state == "backoff"
    assert life.delay == LONGEST_DELAY


def test_failures_to_reach_a_server_do_not_count_against_it_when_it_answers() -> None:
    life, now = Lifecycle(lambda: 0.0), 0.0
    for _ in range(20):
        life.apply("start", now)
        life.apply("unreachable", now)
    for _ in range(MOST_STARTS - 1):
        now = fail(life, now)
        assert life.state == "backoff"


# Sleep


def test_a_server_that_sleeps_and_wakes_very_often_is_not_given_up_for_that() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    for _ in range(100):
        life.apply("start", now)
        life.apply("ready", now + 0.1)
        now += 1
        assert life.apply("sleep", now) == "idle"
        assert life.delay is None
    for _ in range(MOST_STARTS - 1):
        now = fail(life, now)
        assert life.state == "backoff"
    assert life.delay == SHORTEST_DELAY * 2 ** (MOST_STARTS - 2), "the first failure has the shortest delay"


def test_failures_before_a_sleep_count_still() -> None:
    life, now = Lifecycle(lambda: 1.0), 0.0
    for _ in range(MOST_STARTS - 1):
        now = fail(life, now)
    for trigger in ("start", "ready", "sleep"):
        life.apply(trigger, now)
    fail(life, now)
    assert life.state == "failed"


def test_a_server_that_sleeps_after_a_failed_start_waits_for_nothing_and_keeps_its_distance_when_woken() -> None:
    life = lifecycle("start", "unreachable", dice=1.0)
    assert life.apply("sleep", 1.0) == "idle"
    assert life.delay is None
    delays: list[float | None] = []
    for now in range(10, 200, 10):
        for trigger in ("start", "unreachable"):
            life.apply(trigger, now)
        delays.append(life.delay)
        life.apply("sleep", now)
    assert delays[:3] == [0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY


def test_health_before_a_sleep_is_no_health_of_the_next_start() -> None:
    life = lifecycle("start", "ready", dice=1.0)
    life.apply("sleep", HEALTHY_AFTER * 2)
    life.apply("start", HEALTHY_AFTER * 2)
    life.apply("lost", HEALTHY_AFTER * 2 + 1)
    life.apply("start", HEALTHY_AFTER * 2 + 1)
    life.apply("lost", HEALTHY_AFTER * 2 + 2)
    assert life.delay == SHORTEST_DELAY * 2


def test_it_shows_where_it_stands() -> None:
    life = lifecycle("start", "lost")
    assert repr(life) == "<Lifecycle backoff attempt=1 delay=0.05>"
