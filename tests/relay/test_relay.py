"""The relay from outside: peers come and go, lists change, time passes, figures are asked for."""

import json

import pytest

from proxy.config.models import ToolRules
from proxy.errors import Delivered
from proxy.events import NotificationsDropped
from proxy.relay import Target
from proxy.relay.peers import Reply
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, ids, message

CHANGED = "notifications/tools/list_changed"


# Changed lists


def test_a_client_is_told_once_of_a_changed_list_until_it_looks_again() -> None:
    world = World("git")
    git = world.connect("git")
    world.publish("git", "a")
    client = world.client()
    client.tools()
    for tools in (["a", "b"], ["b"], ["c"], ["a"]):
        world.publish("git", *tools)
    assert [heard.method for heard in client.heard()] == [CHANGED]
    assert client.tools() == ["git__a"]
    world.publish("git")
    assert [heard.method for heard in client.heard()] == [CHANGED]
    assert git.heard() == []


def test_a_list_that_is_the_same_is_no_news() -> None:
    world = World("git")
    world.start("git", "a")
    client = world.client()
    client.tools()
    world.publish("git", "a")
    world.publish_all()
    assert client.heard() == []


def test_who_has_never_looked_is_not_told() -> None:
    world = World("git")
    world.start("git", "a")
    looked, other = world.client("s1"), world.client("s2")
    looked.tools()
    world.publish("git", "b")
    assert looked.one().method == CHANGED
    assert other.heard() == []


def test_a_changed_description_is_news() -> None:
    world = World("git")
    world.start("git", "a")
    client = world.client()
    client.tools()
    world.publish("git", "a", rules=ToolRules(describe={"a": "better"}))
    assert client.one().method == CHANGED


def test_a_server_that_is_away_stays_listed() -> None:
    world = World("git")
    git = world.start("git", "a")
    client = world.client()
    client.tools()
    world.lose(git)
    world.away("git", "it exited", coming=True)
    world.away("git", "it failed too often")
    assert client.heard() == []
    assert client.tools() == ["git__a"]


# Links


def test_a_link_carries_no_calls_before_it_is_ready() -> None:
    world = World("git")
    world.publish("git", "a")
    git = world.open("git")
    client = world.client()
    client.send(call(b"1", "git__a"))
    assert git.heard() == []
    world.do(world.relay.greet, git.link, capabilities={})
    world.do(world.relay.ready, git.link, world.now)
    assert [heard.method for heard in git.heard()] == ["notifications/initialized", "tools/call"]


def test_what_a_lost_link_still_owed_to_ourselves_is_told() -> None:
    world = World("git")
    git = world.open("git")
    replies: list[Reply | None] = []
    world.do(git.link.ask, "initialize", b"{}", replies.append)
    world.lose(git)
    world.lose(git)
    assert replies == [None]


def test_a_link_that_ended_before_it_was_ready_takes_no_calls() -> None:
    world = World("git")
    world.publish("git", "a")
    git = world.open("git")
    world.lose(git)
    world.do(world.relay.greet, git.link, capabilities={})
    world.do(world.relay.ready, git.link, world.now)
    client = world.client()
    client.send(call(b"1", "git__a"))
    world.pass_time(60)
    assert git.heard() == []
    assert ids(client.heard()) == [b"1"]
    world.assert_at_rest()


def test_the_end_of_an_old_link_leaves_the_new_one_in_place() -> None:
    world = World("git")
    old = world.start("git", "a")
    client = world.client()
    client.send(call(b"1", "git__a"))
    new = world.connect("git")
    client.send(call(b"2", "git__a"))
    world.lose(old)
    assert ids(client.heard()) == [b"1"]
    client.send(call(b"3", "git__a"))
    assert len(new.requests("tools/call")) == 2


# Time


def test_it_wants_to_be_called_at_the_next_end_of_a_wait() -> None:
    world = World("git", list_wait=4, call_timeout=30)
    assert world.relay.wake_at == float("inf")
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    assert world.relay.wake_at == 4
    world.start("git", "a")
    client.send(call(b"2", "git__a"))
    world.do(world.relay.tick, world.now)
    assert world.relay.wake_at == 30


def test_a_tick_too_early_changes_nothing() -> None:
    world = World("git", list_wait=4)
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    for _ in range(3):
        world.do(world.relay.tick, 3.9)
    assert client.heard() == []
    assert world.relay.wake_at == 4


def test_a_tick_long_overdue_ends_everything_at_once() -> None:
    world = World("git", "time", call_timeout=30)
    world.start("git", "a")
    client = world.client()
    client.send(call(b"1", "git__a"), call(b"2", "time__now"), message("tools/list", id=b"3"))
    world.now = 1e9
    world.do(world.relay.tick, world.now)
    assert sorted(map(str, ids(client.heard()))) == ["b'1'", "b'2'", "b'3'"]
    world.assert_at_rest()


# Figures


def test_calls_in_flight_are_counted_by_server() -> None:
    world = World("git", "time")
    git = world.start("git", "a")
    client = world.client()
    client.send(call(b"1", "git__a"), call(b"2", "git__a"), call(b"3", "git__nothing"))
    assert world.relay.in_flight() == [("git", 2), ("time", 0)]
    git.answer(git.requests("tools/call")[0])
    assert world.relay.in_flight() == [("git", 1), ("time", 0)]
    world.lose(git)
    assert world.relay.in_flight() == [("git", 0), ("time", 0)]


def test_bytes_are_counted_over_all_connections_of_a_server() -> None:
    world = World("git", "time")
    first = world.open("git")
    world.do(first.link.ask, "ping", b"", lambda reply: None)
    sent = len(b"".join(first.lines())) + 1
    first.link.received += 10
    assert world.relay.traffic() == [("git", 10, sent), ("time", 0, 0)]
    world.lose(first)
    second = world.open("git")
    second.link.received += 5
    assert world.relay.traffic() == [("git", 15, sent), ("time", 0, 0)]


def test_a_result_of_ten_megabytes_is_not_copied_into_one_line() -> None:
    world = World("git")
    git = world.start("git", "a")
    client = world.client()
    pieces: list[int] = []
    client.session.sink = lambda data: pieces.append(len(data))
    client.send(call(b"1", "git__a"))
    payload = b'{"text":"' + b"x" * 10_000_000 + b'"}'
    git.answer(git.one(), payload)
    assert len(payload) in pieces


@pytest.mark.parametrize("prefix", ["", "g"])
def test_a_target_may_have_any_prefix(prefix: str) -> None:
    world = World()
    world.do(world.relay.add_target, Target("git", prefix, Limits(call=5.0)))
    assert list(world.relay.targets) == ["git"]
    client = world.client()
    client.send(call(b"1", f"{prefix}__x"))
    world.pass_time(60)
    assert client.one().error["data"]["origin"] == "mcp-manifold"


# Servers that come into the configuration, and go


def test_a_server_that_is_retired_takes_no_calls_and_is_forgotten() -> None:
    world = World("git", "time")
    git, time = world.start("git", "a"), world.start("time", "b")
    client = world.client()
    client.tools()
    world.retire("git")
    assert client.one().method == CHANGED
    assert client.tools() == ["time__b"]
    assert list(world.relay.targets) == ["time"]
    assert dict(world.relay.in_flight()) == {"time": 0}
    assert [server for server, _, _ in world.relay.traffic()] == ["time"]
    world.lose(git)
    assert git.heard() == time.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("ready", [False, True])
def test_whatever_happens_around_a_server_that_was_retired_harms_nobody(ready: bool) -> None:
    world = World("git", "time")
    git = world.start("git", "a", logging={}) if ready else world.open("git")
    world.start("time", "b")
    client = world.client(capabilities={"roots": {}})
    replies: list[Reply | None] = []
    world.do(git.link.ask, "ping", b"", replies.append)
    world.retire("git")
    assert replies == [None]
    git.send(message("roots/list", id=b"1"), message("ping", id=b"2"), b"rubbish", message("notifications/x"))
    assert client.ask("logging/setLevel", b'{"level":"debug"}').result == {}
    client.send(message("notifications/roots/list_changed"))
    world.do(world.relay.server_overlong, git.link, b"{", world.now)
    world.do(world.relay.greet, git.link, capabilities={})
    world.do(world.relay.ready, git.link, world.now)
    world.pass_time(1000)
    assert client.heard() == []
    world.lose(git)
    world.assert_at_rest()


def test_servers_stand_in_the_order_of_the_new_configuration() -> None:
    world = World("a", "b", "c")
    for key in ("a", "b", "c"):
        world.start(key, resources={})
    world.do(world.relay.order_targets, ["c", "a", "b"])
    assert list(world.relay.targets) == ["c", "a", "b"]
    client = world.client()
    client.send(message("resources/read", b'{"uri":"test://x"}', b"1"))
    assert [server.link.server for server in world.servers if server.heard()] == ["c"]


def test_an_entry_that_changed_takes_its_new_limits() -> None:
    world = World("git", call_timeout=30)
    target = world.targets["git"]
    world.lose(world.start("git", "a"))
    target.adopt(Target("git", "g", Limits(call=5.0, ask=7.0)))
    assert (target.prefix, target.limits, target.known) == ("g", Limits(call=5.0, ask=7.0), False)
    world.start("git", "a")
    client = world.client()
    client.send(call(b"1", "git__a"))
    world.pass_time(5)
    assert ids(client.heard()) == [b"1"]
    world.assert_at_rest()


# A client that does not read

LOG = message("notifications/message", b'{"level":"info","data":"%s"}' % (b"x" * 1000))
UPDATED = "notifications/resources/updated"


def choked() -> tuple[World, Server, Client]:
    """A client that has seen the list of tools and reads no more."""
    world = World("git")
    git = world.start("git", "a", logging={}, resources={"subscribe": True})
    client = world.client()
    client.tools()
    world.do(world.relay.choke, client.session, True, world.now)
    return world, git, client


def reads_again(world: World, client: Client) -> list[Message]:
    world.do(world.relay.choke, client.session, False, world.now)
    return client.heard()


def tell(git: Server, method: str, params: str) -> None:
    git.send(message(f"notifications/{method}", params.encode()))


def test_of_progress_only_the_newest_word_on_each_call_waits_for_a_client_that_does_not_read() -> None:
    world, git, client = choked()
    client.send(*(call(id, "git__a", meta=b'{"progressToken":%b}' % id) for id in (b"1", b'"1"')))
    for number in range(10_000):
        for token in (1, 2):
            tell(git, "progress", f'{{"progressToken":{token},"progress":{number}}}')
    assert client.heard() == []
    told = reads_again(world, client)
    assert [heard.params for heard in told] == [
        {"progressToken": 1, "progress": 9999},
        {"progressToken": "1", "progress": 9999},
    ]
    assert world.of(NotificationsDropped) == []


def test_no_progress_comes_after_its_answer() -> None:
    world, git, client = choked()
    client.send(*(call(id, "git__a", meta=b'{"progressToken":%b}' % id) for id in (b"1", b"2", b"3")))
    asked = git.requests("tools/call")
    for token in (1, 2, 3):
        tell(git, "progress", f'{{"progressToken":{token},"progress":1}}')
    git.answer(asked[0])
    client.cancel(b"2")
    assert ids(client.heard()) == [b"1"], "an answer is never kept back"
    assert [heard.params["progressToken"] for heard in reads_again(world, client)] == [3]


def test_no_progress_comes_after_the_result_of_its_task() -> None:
    world = World("git")
    git = world.start("git", "a", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    params = b'{"name":"git__a","task":{},"_meta":{"progressToken":7}}'
    git.answer(client.call("tools/call", git, params), b'{"task":{"taskId":"t","status":"working"}}')
    waiting = client.call("tasks/result", git, b'{"taskId":"t"}', b"2")
    client.heard()
    world.do(world.relay.choke, client.session, True, world.now)
    tell(git, "progress", '{"progressToken":1,"progress":1}')
    git.answer(waiting)
    assert ids(client.heard()) == [b"2"]
    assert reads_again(world, client) == []


def test_a_changed_list_and_an_updated_resource_are_told_once_when_the_client_reads_again() -> None:
    world, git, client = choked()
    for tools in (["b"], ["c"], ["d"]):
        world.publish("git", *tools)
    for _ in range(100):
        tell(git, "resources/updated", '{"uri":"test://a"}')
        tell(git, "resources/updated", '{"uri":"test://b"}')
    assert client.heard() == []
    assert sorted((heard.method, (heard.params or {}).get("uri")) for heard in reads_again(world, client)) == [
        (UPDATED, "test://a"),
        (UPDATED, "test://b"),
        (CHANGED, None),
    ]


def test_log_messages_beyond_a_bound_are_dropped_and_counted_and_a_changed_list_is_not() -> None:
    world, git, client = choked()
    for _ in range(5000):
        git.send(LOG)
    world.publish("git", "b")
    told = [heard.method for heard in reads_again(world, client)]
    kept = told.count("notifications/message")
    assert 900 < kept < 1100, "1 MiB"
    assert told[-1] == CHANGED
    assert world.of(NotificationsDropped) == [NotificationsDropped("s1", "notifications/message", 5000 - kept)]
    git.send(LOG)
    assert len(client.heard()) == 1
    world.do(world.relay.choke, client.session, True, world.now)
    reads_again(world, client)
    assert len(world.of(NotificationsDropped)) == 1


def test_what_was_dropped_is_told_even_if_the_client_never_reads_again() -> None:
    world, git, client = choked()
    for _ in range(2000):
        git.send(LOG)
    client.leave()
    [told] = world.of(NotificationsDropped)
    assert told.number > 900
    world.assert_at_rest()


def test_answers_reach_a_client_that_does_not_read_and_questions_when_it_does_again() -> None:
    world = World("git")
    git = world.start("git", "a")
    client = world.client(capabilities={"roots": {}})
    world.do(world.relay.choke, client.session, True, world.now)
    client.send(call(b"1", "git__a"), call(b"2", "git__a"))
    first, second = git.requests("tools/call")
    git.answer(second)
    git.send(message("roots/list", id=b"7"))
    git.answer(first)
    assert ids(client.heard()) == [b"2", b"1"]
    world.do(world.relay.choke, client.session, False, world.now)
    assert client.one().method == "roots/list"


def test_a_client_that_does_not_read_is_no_concern_of_another_one() -> None:
    world = World("git")
    git = world.start("git", "a", logging={})
    stuck, other = world.client("s1"), world.client("s2")
    world.do(world.relay.choke, stuck.session, True, world.now)
    for _ in range(3000):
        git.send(LOG)
    assert len(other.heard()) == 3000
    git.answer(other.call("tools/call", git, b'{"name":"git__a"}'))
    assert ids(other.heard()) == [b"1"]


# A server that can't be reached


def test_what_is_said_of_a_request_that_nobody_made_or_of_a_link_that_is_gone_changes_nothing() -> None:
    world = World("git")
    git = world.start("git", "a")
    client = world.client()
    for id in (b"99", b'"1"', b"null", b"x"):
        world.do(world.relay.undelivered, git.link, id, "no connection", world.now)
        world.do(world.relay.failed, git.link, id, "the connection broke", "maybe", world.now)
    world.lose(git)
    again = world.connect("git")
    client.send(call(b"1", "git__a"))
    assert again.one().id == b"1"
    world.do(world.relay.undelivered, git.link, b"1", "no connection", world.now)
    world.do(world.relay.failed, git.link, b"1", "the connection broke", "maybe", world.now)
    assert client.heard() == []
    assert world.targets["git"].link is again.link


@pytest.mark.parametrize("delivered", ["no", "maybe"])
def test_a_request_of_our_own_that_breaks_is_answered_with_why(delivered: Delivered) -> None:
    world = World("git")
    git = world.start("git", "a")
    replies: list[Reply | None] = []
    id = git.link.ask("tools/list", b"", replies.append)
    for _ in range(2):
        world.do(world.relay.failed, git.link, b"%d" % id, "it answered HTTP 503", delivered, world.now)
    [reply] = replies
    assert reply is not None
    assert not reply.answered
    error = json.loads(reply.error)
    assert "'git': it answered HTTP 503" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": delivered}
    world.assert_at_rest()


def test_calls_that_have_not_ended_can_be_looked_at() -> None:
    world = World("git", "time")
    git = world.start("git", "status")
    world.publish("time", "now")
    client = world.client("s1")
    assert world.relay.under_way(10) == (0, [])
    client.send(call(b"1", "git__status"))
    world.pass_time(2)
    client.send(call(b"2", "time__now"))
    number, [waits, flies] = world.relay.under_way(10)
    assert (waits.server, waits.tool, waits.request_id, waits.waits) == ("time", "now", "2", True)
    assert (flies.server, flies.tool, flies.request_id, flies.waits) == ("git", "status", "1", False)
    assert (flies.session, flies.client, flies.method) == ("s1", "client of s1", "tools/call")
    assert (number, waits.started - flies.started) == (2, 2)
    assert world.relay.under_way(1) == (2, [waits])
    git.answer(git.one(), b'{"content":[]}')
    assert world.relay.under_way(10) == (1, [waits])
