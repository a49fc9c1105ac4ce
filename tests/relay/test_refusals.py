"""What clients are told of what could not be done: what happened, to which server, whether it may have been done."""

from typing import Any

import pytest

from proxy.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMED_OUT,
    RESOURCE_NOT_FOUND,
    SERVER_UNAVAILABLE,
)
from proxy.events import RequestFinished
from proxy.relay.breaker import FAILURES
from proxy.relay.refusals import LONGEST_WAIT
from proxy.relay.target import Limits
from tests.support.relay import Client, Server, World, call, dump, message

METHODS: dict[str, Any] = {
    "tools/call": {"name": "a__x"},
    "prompts/get": {"name": "a__x"},
    "resources/read": {"uri": "test://x"},
    "resources/subscribe": {"uri": "test://x"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "a__x"}},
}
every_method = pytest.mark.parametrize("method", METHODS)


def listed() -> tuple[World, Server, Client]:
    """A server that lists one of each, and can do everything."""
    world = World("a", call_timeout=30)
    a = world.connect("a", resources={"subscribe": True}, completions={})
    world.list_more("a", tools=["x"], prompts=["x"], resources=["test://x"])
    return world, a, world.client()


def refused(world: World, client: Client) -> Any:
    """The error that came, which is the one that the event tells of."""
    error = client.one().error
    [event] = world.of(RequestFinished)
    assert event.outcome == ("timeout" if error["code"] == REQUEST_TIMED_OUT else "error")
    assert event.reason
    world.assert_at_rest()
    return error


@every_method
def test_a_server_that_is_given_up_is_named_with_the_reason(method: str) -> None:
    world, a, client = listed()
    world.lose(a)
    world.away("a", "no such command: aa")
    client.send(message(method, dump(METHODS[method]), b"1"))
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    assert "'a'" in error["message"]
    assert "no such command: aa" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no"}


@every_method
def test_a_server_that_does_not_come_up_in_time_is_worth_another_try(method: str) -> None:
    world, a, client = listed()
    world.lose(a)
    world.away("a", "it exited", coming=True)
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(LONGEST_WAIT)
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    assert "it exited" in error["message"]
    assert error["data"] == {
        "origin": "mcp-manifold",
        "server": "a",
        "delivered": "no",
        "retryAfterMs": round(LONGEST_WAIT * 1000),
    }


@every_method
def test_a_server_that_does_not_answer_may_have_done_it(method: str) -> None:
    world, _, client = listed()
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(30)
    error = refused(world, client)
    assert error["code"] == REQUEST_TIMED_OUT
    assert "30 s" in error["message"]
    assert "callTimeout" in error["message"]
    assert error["data"]["delivered"] == "maybe"


@every_method
def test_a_server_that_went_away_may_have_done_it(method: str) -> None:
    world, a, client = listed()
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.lose(a, "it was killed by signal 9")
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    assert "it was killed by signal 9" in error["message"]
    assert error["data"]["delivered"] == "maybe"


@every_method
def test_an_answer_that_can_not_be_used_may_have_done_it(method: str) -> None:
    world, a, client = listed()
    a.answer(client.call(method, a, dump(METHODS[method])), b"[]")
    error = refused(world, client)
    assert error["code"] == INTERNAL_ERROR
    assert "'a'" in error["message"]
    assert error["data"]["delivered"] == "maybe"


@pytest.mark.parametrize(
    ("method", "params", "code", "said"),
    [
        ("tools/call", {"name": "a__y"}, INVALID_PARAMS, "tool 'a__y'"),
        ("prompts/get", {"name": "a__y"}, INVALID_PARAMS, "prompt 'a__y'"),
        ("resources/read", {"uri": "test://" + "y" * 9000}, RESOURCE_NOT_FOUND, "resource"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "x"}}, INVALID_PARAMS, "params.ref"),
        ("tasks/get", {"taskId": "t"}, INVALID_PARAMS, "task 't'"),
    ],
)
def test_what_nobody_has_is_refused_without_asking_anybody(method: str, params: Any, code: int, said: str) -> None:
    world, a, client = listed()
    client.send(message(method, dump(params), b"1"))
    error = refused(world, client)
    assert error["code"] == code
    assert said in error["message"]
    assert error["data"]["delivered"] == "no"
    assert a.heard() == []


@every_method
def test_a_server_that_is_being_tried_again_says_since_when_and_for_how_long(method: str) -> None:
    world, a, client = listed()
    world.lose(a)
    world.away("a", "it exited", coming=True)
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(LONGEST_WAIT - 4)
    world.do(world.relay.starts, "a", world.now)
    world.pass_time(4)
    said = "did not come up within 10 s: it exited; it is being tried again, for 4 s so far of at most 30 s"
    assert f"server 'a' {said}" in refused(world, client)["message"]


@every_method
def test_a_server_that_pauses_before_the_next_start_says_when_that_is(method: str) -> None:
    world, a, client = listed()
    world.lose(a)
    next_start = world.now + LONGEST_WAIT + 2.5
    world.do(world.relay.away, "a", "it exited", coming=True, now=world.now, next_start=next_start)
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(LONGEST_WAIT)
    assert "did not come up within 10 s: it exited; it is tried again in 2.5 s" in refused(world, client)["message"]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_a_server_that_is_starting_for_the_first_time_says_since_when_and_for_how_long(method: str) -> None:
    world = World("a", list_wait=5)
    client = world.client()
    world.do(world.relay.starts, "a", world.now)
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(5)
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    said = "it is still starting, for 5 s so far of at most 30 s (`startTimeout` on its entry)"
    assert error["message"] == f"server 'a' is not up yet: {said}"
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no"}


def test_a_queue_that_is_full_says_when_its_server_is_tried_again() -> None:
    world, a, client = listed()
    world.targets["a"].limits = Limits(running=1, queued=0)
    world.lose(a)
    world.do(world.relay.away, "a", "it exited", coming=True, now=world.now, next_start=world.now + 3)
    client.send(call(b"1", "a__x"), call(b"2", "a__x"))
    assert (
        "server 'a' is away (it exited; it is tried again in 3.0 s), and 1 more wait" in client.one().error["message"]
    )


def test_a_server_that_closed_its_connection_is_no_longer_called_starting() -> None:
    world = World("a", list_wait=5)
    client = world.client()
    world.do(world.relay.starts, "a", world.now)
    a = world.open("a")
    client.send(call(b"1", "a__x"))
    world.lose(a, "it closed its output")
    world.pass_time(5)
    assert refused(world, client)["message"] == "server 'a' is not up yet: it closed its output"


@pytest.mark.parametrize(("method", "kind"), [("tools/call", "tools"), ("prompts/get", "prompts")])
def test_a_server_that_has_not_listed_anything_yet_is_named(method: str, kind: str) -> None:
    world = World("a", "b", list_wait=0)
    world.connect("a")
    client = world.client()
    client.send(message(method, b'{"name":"a__x"}', b"1"))
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    assert f"it has not listed its {kind} yet" in error["message"]
    assert error["data"]["server"] == "a"


def test_what_a_server_can_not_do_is_refused_by_name_and_capability() -> None:
    world = World("a")
    a = world.connect("a", resources={})
    world.list_more("a", resources=["test://x"])
    client = world.client()
    client.send(message("resources/unsubscribe", b'{"uri":"test://x"}', b"1"))
    error = refused(world, client)
    assert error["code"] == METHOD_NOT_FOUND
    for said in ("'a'", "resources/unsubscribe", "resources.subscribe"):
        assert said in error["message"]
    assert a.heard() == []


# Servers that can't take more


def busy(**limits: Any) -> tuple[World, Server, Client]:
    """A server with these limits that works on as many calls as it may."""
    world, a, client = listed()
    world.targets["a"].limits = Limits(**limits)
    client.send(*(call(b'"%d"' % number, "a__x") for number in range(limits["running"])))
    a.heard()
    return world, a, client


@every_method
def test_what_is_beyond_the_queue_is_refused_with_the_limits_and_when_to_try_again(method: str) -> None:
    _, a, client = busy(running=2, queued=0)
    client.send(message(method, dump(METHODS[method]), b"1"))
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    for said in ("'a'", "2 calls running", "`maxRunning`", "`maxQueued`"):
        assert said in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no", "retryAfterMs": 10_000}
    assert a.heard() == []


@every_method
def test_what_waited_in_vain_for_its_turn_was_not_sent(method: str) -> None:
    world, a, client = busy(running=1)
    client.send(message(method, dump(METHODS[method]), b"1"))
    world.pass_time(LONGEST_WAIT)
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert "has 1 call running" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no", "retryAfterMs": 10_000}
    assert a.heard() == []


@every_method
def test_a_server_that_leaves_calls_unanswered_is_named_with_when_to_try_again(method: str) -> None:
    world, a, client = busy(running=FAILURES, call=30)
    world.pass_time(30)
    assert len(client.heard()) == FAILURES
    a.heard()
    world.pass_time(4)
    client.send(message(method, dump(METHODS[method]), b"1"))
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert f"server 'a' left its last {FAILURES} calls unanswered" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no", "retryAfterMs": 6000}
    assert a.heard() == []


@every_method
def test_what_could_not_be_sent_twice_says_why(method: str) -> None:
    world, a, client = listed()
    client.send(message(method, dump(METHODS[method]), b"1"))
    for _ in range(2):
        [request] = [heard for heard in a.heard() if heard.method == method]
        world.do(world.relay.undelivered, a.link, request.id or b"", "no connection (refused)", world.now)
        world.lose(a, "no connection (refused)")
        if world.of(RequestFinished):
            break
        a = world.connect("a", resources={"subscribe": True}, completions={})
    error = refused(world, client)
    assert error["code"] == SERVER_UNAVAILABLE
    assert "server 'a' could not be reached: no connection (refused)" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no"}
