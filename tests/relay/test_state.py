"""How long requests wait for servers that are still starting, and when the relay wants to be called."""

from proxy.relay.state import State


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
