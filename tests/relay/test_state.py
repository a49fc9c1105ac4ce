"""How long requests wait for servers that are still starting, and when the relay wants to be called."""

from proxy.relay.peers import Link, Session
from proxy.relay.state import AFTERWORDS, State


def state(list_wait: float = 10.0) -> State:
    return State(lambda event: None, list_wait, 1000, "hub", "1")


def test_patience_runs_from_the_first_request_that_waits_and_is_not_renewed() -> None:
    waiting = state()
    assert waiting.patience("tools", 100.0) == 110.0
    assert waiting.patience("tools", 109.9) == 110.0
    assert waiting.patience("tools", 110.0) is None
    assert waiting.patience("tools", 500.0) is None


def test_nobody_waits_once_every_server_was_listed_or_has_failed() -> None:
    waiting = state()
    waiting.settled = frozenset({"tools"})
    assert waiting.patience("tools", 0.0) is None
    assert waiting.patience("prompts", 0.0) == 10.0


def test_a_wait_of_nothing_is_no_wait() -> None:
    assert state(list_wait=0.0).patience("tools", 3.0) is None


def test_the_earliest_wish_to_be_called_counts() -> None:
    waiting = state()
    assert waiting.wake_at == float("inf")
    for deadline in (7.0, 5.0, 6.0):
        waiting.wake_by(deadline)
    assert waiting.wake_at == 5.0


class Instant(float):
    """A time that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Instant.compared += 1
        return float(self) < other

    def __ge__(self, other: float) -> bool:
        Instant.compared += 1
        return float(self) >= other


def test_what_an_answered_call_costs_does_not_grow_with_the_clients_that_had_theirs_just_now() -> None:
    busy = state()
    link = Link([], "git")
    sessions = [Session([], f"s{number}") for number in range(3000)]
    for round_ in range(3):
        for number, session in enumerate(sessions):
            busy.answered(link, session, Instant(round_ * 0.4 + number * 0.0001))
    assert Instant.compared <= 2 * 3 * len(sessions)


def test_who_had_an_answer_just_now_may_be_spoken_of_and_nobody_else() -> None:
    several = state()
    link = Link([], "git")
    one, two = (Session([], label) for label in ("one", "two"))
    several.sessions = {one: None, two: None}
    several.answered(link, one, 0.0)
    several.answered(link, two, 0.1)
    several.answered(link, one, 0.2)
    assert several.audience(link, 0.3) == []
    assert several.audience(link, 0.1 + AFTERWORDS) == [one]
    assert several.audience(link, 0.2 + AFTERWORDS) == [one, two]
