"""A server that leaves calls unanswered gets no more of them until it shows that somebody is there."""

import pytest

from proxy.errors import SERVER_UNAVAILABLE
from proxy.relay.breaker import FAILURES, LONGEST_SHUT, PINGS, PONG_WITHIN, SHUT
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, message

CALL_TIMEOUT = 30.0


def silent(calls: int = FAILURES) -> tuple[World, Server, Client]:
    """A server that left so many calls unanswered, one after the other."""
    world = World("git", call_timeout=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client()
    leave_unanswered(world, git, client, calls)
    return world, git, client


def leave_unanswered(world: World, git: Server, client: Client, calls: int) -> None:
    for _ in range(calls):
        client.send(call(b"1", "git__a"))
        assert len(git.requests("tools/call")) == 1
        world.pass_time(CALL_TIMEOUT)
        assert "did not answer" in client.one().error["message"]
    git.heard()


def refused(client: Client) -> int:
    """A call is refused at once; returns the milliseconds after which to try again."""
    client.send(call(b'"r"', "git__a"))
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert f"left its last {FAILURES} calls unanswered" in error["message"]
    data = error["data"]
    assert (data["server"], data["delivered"]) == ("git", "no")
    return int(data["retryAfterMs"])


def passes(git: Server, client: Client) -> bool:
    """Whether a call goes through."""
    client.send(call(b'"p"', "git__a"))
    asked = git.requests("tools/call")
    for request in asked:
        git.answer(request)
    client.heard()
    return bool(asked)


def pinged(git: Server) -> Message:
    [ping] = git.heard()
    assert ping.method == "ping"
    return ping


def test_after_five_time_outs_in_a_row_calls_are_refused_at_once() -> None:
    _, git, client = silent()
    assert refused(client) == SHUT * 1000
    assert git.heard() == []


def test_four_time_outs_are_no_reason() -> None:
    _, git, client = silent(FAILURES - 1)
    assert passes(git, client)


def test_any_answer_between_begins_the_count_anew() -> None:
    world, git, client = silent(FAILURES - 1)
    assert passes(git, client)
    leave_unanswered(world, git, client, FAILURES - 1)
    assert passes(git, client)


@pytest.mark.parametrize(
    "answer", [b'"result":{"isError":true,"content":[]}', b'"error":{"code":-32603,"message":"x"}']
)
def test_errors_of_tools_and_servers_are_answers(answer: bytes) -> None:
    world, git, client = silent(FAILURES - 1)
    for _ in range(3 * FAILURES):
        client.send(call(b"1", "git__a"))
        git.send(b'{"jsonrpc":"2.0","id":' + (git.one().id or b"") + b"," + answer + b"}")
        client.heard()
    assert passes(git, client)
    world.assert_at_rest()


def broke(world: World, git: Server, request: Message) -> None:
    """What it went through broke."""
    world.do(world.relay.failed, git.link, request.id or b"", "it answered HTTP 503", "maybe", world.now)


def test_broken_connections_count_as_time_outs_do() -> None:
    world, git, client = silent(2)
    for _ in range(FAILURES - 2):
        client.send(call(b"1", "git__a"))
        broke(world, git, git.one())
        assert "HTTP 503" in client.one().error["message"]
    assert refused(client) == SHUT * 1000
    assert git.heard() == []


def test_a_ping_that_breaks_is_no_answer() -> None:
    world, git, client = silent()
    world.pass_time(SHUT)
    broke(world, git, pinged(git))
    assert refused(client) == PONG_WITHIN * 1000
    world.pass_time(PONG_WITHIN)
    assert refused(client) == 2 * SHUT * 1000
    world.pass_time(2 * SHUT)
    git.answer(pinged(git), b"{}")
    assert passes(git, client)
    world.assert_at_rest()


def test_time_outs_at_one_moment_count_too() -> None:
    world = World("git", call_timeout=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client()
    client.send(*(call(b"%d" % number, "git__a") for number in range(FAILURES)))
    world.pass_time(CALL_TIMEOUT)
    assert len(client.heard()) == FAILURES
    git.heard()
    assert refused(client) == SHUT * 1000


def test_a_ping_that_is_answered_lets_calls_pass_again_and_no_tool_is_called_to_find_out() -> None:
    world, git, client = silent()
    world.pass_time(SHUT - 0.1)
    assert git.heard() == []
    world.pass_time(0.1)
    ping = pinged(git)
    assert refused(client) == PONG_WITHIN * 1000
    git.answer(ping, b"{}")
    assert passes(git, client)
    world.assert_at_rest()


def test_an_error_to_the_ping_is_an_answer() -> None:
    world, git, client = silent()
    world.pass_time(SHUT)
    git.fail(pinged(git), b'{"code":-32601,"message":"Method not found"}')
    assert passes(git, client)


def test_silence_doubles_the_wait_up_to_a_limit() -> None:
    world, git, client = silent()
    wait = SHUT
    for _ in range(6):
        assert refused(client) == wait * 1000
        world.pass_time(wait)
        pinged(git)
        world.pass_time(PONG_WITHIN)
        assert git.heard() == []
        wait = min(2 * wait, LONGEST_SHUT)
    assert wait == LONGEST_SHUT
    world.pass_time(wait)
    git.answer(pinged(git), b"{}")
    assert passes(git, client)
    leave_unanswered(world, git, client, FAILURES)
    assert refused(client) == SHUT * 1000, "the next time begins with the shortest wait"


def test_a_late_answer_to_a_ping_changes_nothing() -> None:
    world, git, client = silent()
    world.pass_time(SHUT)
    ping = pinged(git)
    world.pass_time(PONG_WITHIN)
    git.answer(ping, b"{}")
    assert refused(client) == 2 * SHUT * 1000


@pytest.mark.parametrize("asked", [False, True])
def test_an_answer_to_a_call_that_still_runs_closes_it_at_once(asked: bool) -> None:
    world = World("git")
    world.targets["git"].limits = Limits(call=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client()
    client.send(*(call(b"%d" % number, "git__a") for number in range(FAILURES)))
    world.pass_time(CALL_TIMEOUT - 1)
    client.send(call(b'"long"', "git__a"))
    long = git.requests("tools/call")[-1]
    world.pass_time(1)
    client.heard()
    refused(client)
    if asked:
        world.pass_time(SHUT)
    git.answer(long)
    client.heard()
    assert passes(git, client)
    git.heard()
    world.pass_time(100)
    leave_unanswered(world, git, client, FAILURES)
    world.pass_time(SHUT)
    git.answer(pinged(git), b"{}")
    assert passes(git, client)


def pass_pings(world: World, git: Server, pings: int, answer: bool = False) -> None:
    """So many pings, the last one answered or not; each is twice as long in coming as the one before."""
    wait = SHUT
    for number in range(pings):
        world.pass_time(wait)
        ping = pinged(git)
        if answer and number == pings - 1:
            git.answer(ping, b"{}")
        else:
            world.pass_time(PONG_WITHIN)
        wait = min(2 * wait, LONGEST_SHUT)


def listen(git: Server) -> list[str]:
    """What is told to whoever owns the connection."""
    told: list[str] = []
    git.link.hung = told.append
    return told


def test_a_server_of_which_nothing_is_heard_over_three_pings_hangs() -> None:
    world, git, _ = silent()
    told = listen(git)
    pass_pings(world, git, PINGS - 1)
    assert told == []
    world.pass_time(4 * SHUT)
    pinged(git)
    assert told == []
    world.pass_time(PONG_WITHIN)
    assert told == ["it said nothing for 85 s and did not answer 3 pings"]


def test_a_server_that_answers_a_ping_does_not_hang() -> None:
    world, git, client = silent()
    told = listen(git)
    pass_pings(world, git, PINGS, answer=True)
    assert passes(git, client)
    leave_unanswered(world, git, client, FAILURES)
    pass_pings(world, git, PINGS - 1)
    assert told == [], "what was before does not count"


def test_a_server_that_says_anything_at_all_does_not_hang_but_may_later() -> None:
    world, git, _ = silent()
    told = listen(git)
    pass_pings(world, git, PINGS - 1)
    git.send(message("notifications/tools/list_changed"))
    world.pass_time(4 * SHUT)
    pinged(git)
    world.pass_time(PONG_WITHIN)
    assert told == []
    for _ in range(PINGS):
        world.pass_time(LONGEST_SHUT)
        pinged(git)
        world.pass_time(PONG_WITHIN)
    assert told == ["it said nothing for 195 s and did not answer 3 pings"]


def test_a_server_that_waits_for_a_client_itself_does_not_hang() -> None:
    world = World("git", call_timeout=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client(capabilities={"roots": {}})
    told = listen(git)
    question = git.ask("roots/list", client)
    leave_unanswered_by_another(world, git)
    pass_pings(world, git, PINGS)
    assert told == []
    client.answer(question, b'{"roots":[]}')
    git.heard()


def leave_unanswered_by_another(world: World, git: Server) -> None:
    """Calls of a client that was asked nothing, so that they have no more time than usual."""
    leave_unanswered(world, git, world.client("s2"), FAILURES)


def test_where_a_call_has_less_time_a_ping_has_no_more() -> None:
    world = World("git", call_timeout=1.0)
    git, client = world.start("git", "a"), world.client()
    told = listen(git)
    client.send(*(call(b"%d" % number, "git__a") for number in range(FAILURES)))
    world.pass_time(1.0)
    client.heard()
    git.heard()
    for wait in (2.0, 4.0, 8.0):
        world.pass_time(wait)
        pinged(git)
        world.pass_time(1.0)
    assert told == ["it said nothing for 17 s and did not answer 3 pings"]


def test_what_waits_for_its_turn_is_refused_too() -> None:
    world = World("git")
    world.targets["git"].limits = Limits(call=CALL_TIMEOUT, running=FAILURES)
    git, client = world.start("git", "a"), world.client()
    client.send(*(call(b"%d" % number, "git__a") for number in range(FAILURES)))
    world.pass_time(CALL_TIMEOUT - 1)
    client.send(call(b'"waits"', "git__a"))
    world.pass_time(1)
    errors = {heard.id: heard.error for heard in client.heard()}
    assert "unanswered" in errors[b'"waits"']["message"]
    assert len(errors) == FAILURES + 1
    assert len(git.requests("tools/call")) == FAILURES


def test_a_new_connection_begins_without_a_grudge() -> None:
    world, git, client = silent()
    world.pass_time(SHUT)
    world.lose(git)
    assert passes(world.connect("git"), client)
    world.assert_at_rest()


def test_other_servers_and_what_is_no_call_are_not_concerned() -> None:
    world = World("git", "time", call_timeout=CALL_TIMEOUT)
    git, time = world.start("git", "a"), world.start("time", "a")
    client = world.client()
    client.send(*(call(b"%d" % number, "git__a") for number in range(FAILURES)))
    world.pass_time(CALL_TIMEOUT)
    client.heard()
    refused(client)
    time.answer(client.call("tools/call", time, b'{"name":"time__a"}'))
    assert ids_of(client) == [b"1"]
    assert client.tools() == ["git__a", "time__a"]
    git.send(message("ping", id=b"1"))
    assert git.heard()[-1].raw_result == b"{}"


def ids_of(client: Client) -> list[bytes | None]:
    return [heard.id for heard in client.heard()]
