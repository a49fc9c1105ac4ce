"""What waits is bounded in bytes too, for each server and in all; and what has waited does not come all at once."""

from typing import Any

import pytest

from proxy.eras.handshake import LATEST
from proxy.errors import SERVER_UNAVAILABLE
from proxy.relay import queues, state
from proxy.relay.calls import MOST_AT_ONCE
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, hello, ids, message

KIB = 1024


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in life, but for the scale: 64 KiB for a server, 256 KiB in all."""
    monkeypatch.setattr(queues, "MOST_HELD", 64 * KIB)
    monkeypatch.setattr(queues, "MOST_HELD_IN_ALL", 256 * KIB)


def padded(id: int, size: int, server: str = "git") -> bytes:
    """A call of exactly so many bytes."""
    empty = call(b"%d" % id, f"{server}__a", b'""')
    return call(b"%d" % id, f"{server}__a", b'"' + b"x" * (size - len(empty)) + b'"')


def choked(*servers: str, **limits: Any) -> tuple[World, list[Server], Client]:
    """Servers that are there and don't read, and a client."""
    world = World(*servers)
    found = []
    for key in servers:
        world.targets[key].limits = Limits(**limits)
        found.append(world.start(key, "a"))
        choke(world, found[-1], True)
    return world, found, world.client()


def choke(world: World, server: Server, stop: bool) -> None:
    world.do(world.relay.choke, server.link, stop, world.now)


def refusal_of(message: Message, *words: str) -> None:
    error = message.error
    assert error["code"] == SERVER_UNAVAILABLE
    assert (error["data"]["delivered"], error["data"]["retryAfterMs"]) == ("no", 10_000)
    for word in words:
        assert word in error["message"], error


def answered_all(world: World, server: Server) -> list[bytes | None]:
    """Let the server answer whatever it gets, until nothing more comes; the ids under which it came."""
    seen: list[bytes | None] = []
    while asked := server.requests("tools/call"):
        seen += ids(asked)
        for request in asked:
            server.answer(request)
        world.do(world.relay.tick, world.now)
    return seen


@pytest.mark.usefixtures("_small")
def test_a_server_holds_only_so_many_bytes_and_beyond_them_a_call_is_refused_at_once() -> None:
    world, [git], client = choked("git")
    client.send(padded(1, 40 * KIB), padded(2, 24 * KIB))
    assert client.heard() == []
    client.send(padded(3, 1 * KIB))
    refusal_of(client.one(), "server 'git' has 0.1 MiB of calls waiting")
    choke(world, git, False)
    assert len(answered_all(world, git)) == 2
    client.heard()
    choke(world, git, True)
    client.send(padded(4, 64 * KIB))
    assert client.heard() == [], "there is room again"


@pytest.mark.usefixtures("_small")
def test_one_call_may_wait_however_long_it_is() -> None:
    world, [git], client = choked("git")
    client.send(padded(1, 400 * KIB))
    assert client.heard() == []
    client.send(padded(2, 1 * KIB))
    refusal_of(client.one(), "server 'git'")
    choke(world, git, False)
    assert len(answered_all(world, git)) == 1


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("end", ["cancelled", "late", "client gone", "server given up"])
def test_what_waits_no_more_takes_no_room(end: str) -> None:
    world, [git], client = choked("git")
    client.send(padded(1, 60 * KIB))
    if end == "cancelled":
        client.cancel(b"1")
    elif end == "late":
        world.pass_time(10)
    elif end == "client gone":
        client.leave()
        client = world.client("s2")
    else:
        world.lose(git)
        world.away("git")
        choke(world, world.connect("git"), True)
    client.heard()
    client.send(padded(2, 60 * KIB))
    assert client.heard() == []


@pytest.mark.usefixtures("_small")
def test_all_servers_together_hold_only_so_many_bytes() -> None:
    servers = [f"s{number}" for number in range(6)]
    _, _, client = choked(*servers)
    client.send(*(padded(number, 60 * KIB, server) for number, server in enumerate(servers[:4])))
    assert client.heard() == []
    client.send(padded(4, 20 * KIB, "s4"))
    refusal_of(client.one(), "there are 0.2 MiB of calls waiting")
    client.cancel(b"0")
    client.send(padded(5, 20 * KIB, "s5"))
    assert client.heard() == []


@pytest.mark.usefixtures("_small")
def test_calls_whose_names_may_still_be_learned_count_too() -> None:
    world = World("git")
    client = world.client()
    client.send(*(padded(number, 60 * KIB) for number in range(4)))
    assert client.heard() == []
    client.send(padded(4, 60 * KIB))
    refusal_of(client.one(), "of calls waiting")
    world.pass_time(10)
    assert ids(client.heard()) == [b"0", b"1", b"2", b"3"]
    world.assert_at_rest()
    client.send(padded(5, 300 * KIB))
    assert client.heard()[0].id == b"5"


def test_what_has_waited_is_sent_a_part_at_a_time_so_that_it_shows_whether_it_is_read() -> None:
    world = World("git")
    client = world.client()
    world.publish("git", "a")
    size = MOST_AT_ONCE // 4 + 1
    client.send(*(padded(number, size) for number in range(10)))
    git = world.connect("git")
    assert len(git.requests("tools/call")) == 4
    choke(world, git, True)
    world.do(world.relay.tick, world.now)
    assert git.heard() == []
    choke(world, git, False)
    assert len(git.requests("tools/call")) == 4
    assert world.relay.wake_at == world.now
    world.do(world.relay.tick, world.now)
    assert len(git.requests("tools/call")) == 2
    assert client.heard() == []


def test_what_waits_for_the_end_of_a_task_is_sent_to_a_server_that_is_back_though_it_is_full() -> None:
    world = World("git")
    world.targets["git"].limits = Limits(running=1)
    git = world.start("git", "a", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    begun = client.call("tools/call", git, b'{"name":"git__a","arguments":{},"task":{}}')
    git.answer(begun, b'{"task":{"taskId":"t","status":"working"}}')
    client.heard()
    world.lose(git)
    client.send(padded(2, 1000), padded(3, 1000))
    client.send(b'{"jsonrpc":"2.0","id":4,"method":"tasks/result","params":{"taskId":"t"}}')
    again = world.connect("git", tasks={"requests": {"tools": {"call": {}}}})
    assert sorted(str(heard.method) for heard in again.heard()) == ["tasks/result", "tools/call"]


@pytest.mark.parametrize(("queued", "waiting"), [(0, 3), (5, 5)])
def test_as_many_calls_wait_for_a_start_as_are_sent_then_though_none_may_wait_for_its_turn(
    queued: int, waiting: int
) -> None:
    world = World("git")
    world.targets["git"].limits = Limits(running=3, queued=queued)
    world.publish("git", "a")
    client = world.client()
    client.send(*(call(b"%d" % number, "git__a") for number in range(6)))
    assert len(client.heard()) == 6 - waiting
    git = world.connect("git")
    assert len(git.requests("tools/call")) == 3
    client.send(call(b'"late"', "git__a"))
    assert [heard.id for heard in client.heard()] == ([b'"late"'] if queued == 0 else [])


# Whose turn it is


def busy(**limits: Any) -> tuple[World, Server, list[Client]]:
    """A server that takes one call at a time and has one, of the first of three clients."""
    world = World("git")
    world.targets["git"].limits = Limits(running=1, **limits)
    git = world.start("git", "a")
    clients = [world.client(label) for label in ("s1", "s2", "s3")]
    calls_of(clients[0], "a0")
    return world, git, clients


def calls_of(client: Client, *ids: str) -> None:
    client.send(*(call(b'"%b"' % id.encode(), "git__a", b'"%b"' % id.encode()) for id in ids))


def one_after_the_other(git: Server) -> list[str]:
    """Let the server answer one call at a time; which these were."""
    seen = []
    while asked := git.requests("tools/call"):
        [request] = asked
        seen.append(request.params["arguments"])
        git.answer(request)
    return seen


def test_clients_take_turns_at_a_server_and_the_calls_of_each_stay_in_order() -> None:
    world, git, (one, two, three) = busy()
    calls_of(one, "a1", "a2", "a3")
    calls_of(two, "b1", "b2")
    calls_of(three, "c1")
    calls_of(one, "a4")
    assert one_after_the_other(git) == ["a0", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    world.assert_at_rest()


def test_in_a_full_queue_each_client_has_its_share_of_the_room() -> None:
    world, git, (one, two, three) = busy(queued=4)
    calls_of(one, "a1", "a2", "a3", "a4")
    calls_of(two, "b1", "b2", "b3")
    refused = one.heard()
    assert ids(refused) == [b'"a4"', b'"a3"'], "its newest have to go"
    refusal_of(refused[0], "server 'git' has 1 call running, and 4 more wait")
    assert ids(two.heard()) == [b'"b3"'], "it has as many as the other"
    calls_of(three, "c1", "c2")
    assert ids(one.heard()) + ids(two.heard()) == [b'"a2"']
    assert ids(three.heard()) == [b'"c2"']
    assert one_after_the_other(git) == ["a0", "a1", "b1", "c1", "b2"]
    world.assert_at_rest()


def test_where_there_is_room_for_one_it_is_who_came_first() -> None:
    _, git, (one, two, _) = busy(queued=1)
    calls_of(one, "a1")
    calls_of(two, "b1")
    assert (ids(one.heard()), ids(two.heard())) == ([], [b'"b1"'])
    assert one_after_the_other(git) == ["a0", "a1"]


# How many there may be of all clients


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in life, but for the scale: 16 calls in all, and 8 of each client."""
    monkeypatch.setattr(state, "MOST_IN_ALL", 16)
    monkeypatch.setattr("proxy.relay.calls.MOST_IN_ALL", 16)
    monkeypatch.setattr("proxy.relay.peers.MOST_OF_A_CLIENT", 8)


def start(client: Client, first: int, count: int) -> int:
    """So many calls; returns how many of them were refused."""
    client.send(*(call(b"%d" % number, "git__a") for number in range(first, first + count)))
    refused = client.heard()
    for answer in refused:
        assert answer.error["data"] == {"origin": "mcp-manifold", "delivered": "no", "retryAfterMs": 1000}
    return len(refused)


@pytest.mark.usefixtures("_few")
def test_a_client_may_have_so_many_calls_and_all_clients_together_not_much_more() -> None:
    world = World("git")
    world.start("git", "a")
    one, two, three = (world.client(label) for label in ("s1", "s2", "s3"))
    assert start(one, 0, 9) == 1
    assert start(two, 0, 7) == 0
    assert start(three, 0, 1) == 0
    assert start(two, 7, 1) == 1, "there are sixteen"
    assert start(three, 1, 5) == 1, "a client has its share whatever the others do"
    one.leave()
    assert start(two, 7, 1) == 0
    world.pass_time(0)


def test_a_client_has_no_more_calls_than_its_front_allows_it_and_others_keep_theirs() -> None:
    world = World("git")
    world.start("git", "a")
    bounded = Client(world, world.relay.open_session("bounded", most=2))
    bounded.send(message("initialize", hello(LATEST, "bounded"), b'"hello"'), message("notifications/initialized"))
    bounded.heard()
    bounded.send(*(call(b"%d" % number, "git__a") for number in range(3)))
    refused = bounded.one()
    assert (refused.id, refused.error["data"]["retryAfterMs"]) == (b"2", 1000)
    assert start(world.client("other"), 0, 8) == 0
