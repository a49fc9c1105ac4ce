"""What is told of queues, of servers, and of the sessions that there are."""

from typing import Any

from proxy.events import CallFinished
from proxy.relay.breaker import FAILURES
from proxy.relay.figures import Figures
from proxy.relay.target import Limits
from tests.support.relay import Client, Server, World, call


def limited(**limits: Any) -> tuple[World, Server, Client]:
    """A server of one tool, `git__a`, with these limits, and a client."""
    world = World("git")
    world.targets["git"].limits = Limits(**limits)
    return world, world.start("git", "a"), world.client()


def figures(world: World) -> Figures:
    [one] = world.relay.figures()
    return one


def waits(world: World) -> list[float | None]:
    return [event.waited for event in world.of(CallFinished)]


def test_calls_that_wait_are_told_with_how_many_may() -> None:
    world, git, client = limited(running=1, queued=5)
    client.send(*(call(b"%d" % number, "git__a") for number in range(3)))
    assert figures(world) == Figures("git", 2, 5, 0, False)
    git.answer(git.requests("tools/call")[0])
    assert figures(world).queued == 1


def test_a_call_that_is_sent_at_once_did_not_wait_and_another_says_how_long() -> None:
    world, git, client = limited(running=1)
    client.send(call(b"1", "git__a"), call(b"2", "git__a"))
    world.pass_time(2)
    git.answer(git.requests("tools/call")[0])
    world.pass_time(3)
    git.answer(git.requests("tools/call")[0])
    assert waits(world) == [None, 2.0]


def test_a_call_that_waited_in_vain_says_so_too() -> None:
    world, _, client = limited(running=1)
    client.send(call(b"1", "git__a"), call(b"2", "git__a"))
    world.pass_time(4)
    client.cancel(b"2")
    assert waits(world) == [4.0]


def test_a_call_that_is_sent_once_more_is_counted() -> None:
    world, git, client = limited()
    client.send(call(b"1", "git__a"))
    [request] = git.requests("tools/call")
    assert figures(world).retries == 0
    assert request.id is not None
    world.do(world.relay.undelivered, git.link, request.id, "no connection", world.now)
    assert figures(world).retries == 1


def test_a_breaker_that_is_open_is_told() -> None:
    world, _, client = limited(call=30.0)
    for _ in range(FAILURES):
        assert not figures(world).open
        client.send(call(b"1", "git__a"))
        world.pass_time(30)
    assert figures(world).open


def test_sessions_are_counted_by_the_way_that_they_came() -> None:
    world = World("git")
    for front in ("http", "http", "websocket"):
        world.relay.open_session("label", front=front)
    one = world.relay.open_session("label", front="http")
    world.relay.close_session(one, 0.0)
    assert world.relay.sessions() == {"http": 2, "websocket": 1}
