"""Servers that sleep, as the relay sees them: who needs one has it woken and waits, and it tells when one may sleep."""

from typing import Any

import pytest

from proxy.errors import INVALID_PARAMS, REQUEST_TIMED_OUT, SERVER_UNAVAILABLE
from proxy.events import CallFinished
from proxy.relay.refusals import LONGEST_WAIT
from proxy.relay.target import Limits
from tests.support.relay import Client, Server, World, call, dump, ids, message

CALL_TIMEOUT = 60.0
TASK = {"taskId": "t1", "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": None}


class Bell:
    """What wakes a server: counts how often it was asked to."""

    def __init__(self) -> None:
        self.rung = 0
        self.sure = list[bool]()

    def __call__(self, sure: bool = True) -> None:
        self.rung += 1
        self.sure.append(sure)


def put_to_sleep(world: World, key: str) -> Bell:
    bell = Bell()
    world.do(world.relay.sleep, key, bell, world.now)
    return bell


def asleep(*tools: str, **capabilities: Any) -> tuple[World, Bell, Client]:
    """A server `git` that was never started, of which these tools are known, and a client."""
    world = World("git", call_timeout=CALL_TIMEOUT)
    world.targets["git"].capabilities = {name: dump(value) for name, value in capabilities.items()}
    world.publish("git", *(tools or ("a",)))
    return world, put_to_sleep(world, "git"), world.client()


def start(world: World, key: str = "git") -> None:
    world.do(world.relay.starts, key, world.now)


def wake(world: World, *tools: str, **capabilities: Any) -> Server:
    """It was started, and has these tools."""
    server = world.open("git")
    declared = {name: dump(value) for name, value in capabilities.items()}
    world.do(world.relay.greet, server.link, capabilities=declared)
    world.publish("git", *(tools or ("a",)))
    world.do(world.relay.ready, server.link, world.now)
    assert server.first().method == "notifications/initialized"
    return server


def fall_asleep(world: World, server: Server) -> Bell:
    """In the order in which its supervisor does it."""
    bell = put_to_sleep(world, server.link.server)
    world.lose(server, "nobody has needed it for 60 s")
    return bell


# Waking up


def test_a_sleeping_server_is_listed_and_nothing_that_needs_no_server_wakes_it() -> None:
    world, bell, client = asleep("a", "b")
    assert client.tools() == ["git__a", "git__b"]
    client.ask("ping")
    client.ask("prompts/list")
    client.ask("logging/setLevel", b'{"level":"info"}')
    client.ask("tools/call", dump({"name": "git__none"}))
    assert bell.rung == 0
    world.assert_at_rest()


def test_a_call_wakes_its_server_and_waits_for_it() -> None:
    world, bell, client = asleep()
    client.send(call(b"1", "git__a"))
    assert bell.rung == 1
    start(world)
    world.pass_time(2 * LONGEST_WAIT)
    assert client.heard() == []
    git = wake(world)
    git.answer(git.one())
    assert client.one().result == {"content": []}
    world.assert_at_rest()


@pytest.mark.parametrize("kind", ["prompts", "resources"])
def test_a_prompt_or_a_resource_wakes_its_server_too(kind: str) -> None:
    world, _, client = asleep(prompts={}, resources={})
    world.list_more("git", prompts=["p"], resources=["r://x"])
    bell = put_to_sleep(world, "git")
    method, params = {
        "prompts": ("prompts/get", {"name": "git__p"}),
        "resources": ("resources/read", {"uri": "r://x"}),
    }[kind]
    client.send(message(method, dump(params), b"1"))
    assert bell.rung == 1
    assert client.heard() == []


def test_a_uri_that_nobody_lists_wakes_those_that_may_know_it() -> None:
    world, bell, client = asleep(resources={})
    client.send(message("resources/read", b'{"uri":"r://hidden"}', b"1"))
    assert bell.rung == 1
    git = wake(world, resources={})
    assert git.one().params["uri"] == "r://hidden"


def test_calls_that_wait_for_one_start_go_in_turn_when_it_is_ready_and_not_before() -> None:
    world, bell, client = asleep()
    other = world.client("s2")
    for number in range(3):
        client.send(call(b"%d" % number, "git__a"))
    other.send(call(b'"o"', "git__a"))
    start(world)
    git = world.open("git")
    world.do(world.relay.greet, git.link, capabilities={})
    world.publish("git", "a")
    assert [heard.method for heard in git.heard()] == ["notifications/initialized"]
    client.send(call(b"3", "git__a"))
    assert bell.rung == 5
    world.do(world.relay.ready, git.link, world.now)
    asked = git.heard()
    assert [one.method for one in asked] == ["tools/call"] * 5
    for one in asked:
        git.answer(one)
    assert ids(client.heard()) == [b"0", b"1", b"2", b"3"]
    assert ids(other.heard()) == [b'"o"']


def test_a_call_waits_for_the_start_no_longer_than_it_may_take() -> None:
    world, _, client = asleep()
    client.send(call(b"1", "git__a"))
    start(world)
    world.pass_time(CALL_TIMEOUT - 1)
    assert client.heard() == []
    world.pass_time(1)
    error = client.one().error
    assert (error["code"], error["data"]["delivered"]) == (REQUEST_TIMED_OUT, "no")
    git = wake(world)
    assert git.heard() == []
    world.assert_at_rest()


def test_the_time_of_the_wait_is_part_of_the_time_of_the_call() -> None:
    world, _, client = asleep()
    client.send(call(b"1", "git__a"))
    world.pass_time(CALL_TIMEOUT - 5)
    git = wake(world)
    git.one()
    world.pass_time(5)
    error = client.one().error
    assert (error["code"], error["data"]["delivered"]) == (REQUEST_TIMED_OUT, "maybe")


@pytest.mark.parametrize("limits", [Limits(running=1, queued=2), Limits(running=2, queued=0)])
def test_as_many_calls_wait_for_a_start_as_may_run_or_wait_for_their_turn(limits: Limits) -> None:
    world, bell, client = asleep()
    world.targets["git"].limits = limits
    for number in range(3):
        client.send(call(b"%d" % number, "git__a"))
    refused = client.one()
    assert (refused.id, refused.error["code"]) == (b"2", SERVER_UNAVAILABLE)
    assert "it is started when somebody needs it" in refused.error["message"]
    assert bell.rung == 2


def test_a_call_that_is_cancelled_while_its_server_wakes_is_not_sent() -> None:
    world, _, client = asleep()
    client.send(call(b"1", "git__a"))
    client.cancel(b"1")
    client.send(call(b"2", "git__a"))
    client.leave()
    git = wake(world)
    assert git.heard() == []
    assert world.outcomes == ["cancelled", "cancelled"]
    world.assert_at_rest()


def test_a_call_that_waited_for_a_restart_wakes_a_server_that_sleeps_then() -> None:
    world = World("git", call_timeout=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client()
    world.lose(git)
    world.away("git", "it exited", coming=True)
    client.send(call(b"1", "git__a"))
    bell = put_to_sleep(world, "git")
    assert bell.rung == 1
    world.pass_time(2 * LONGEST_WAIT)
    assert client.heard() == [], "it has as much time now as any call"


def test_a_server_that_fell_asleep_is_woken_by_the_next_call() -> None:
    world = World("git", call_timeout=CALL_TIMEOUT)
    git, client = world.start("git", "a"), world.client()
    bell = fall_asleep(world, git)
    assert git.heard() == []
    assert client.tools() == ["git__a"]
    client.send(call(b"1", "git__a"))
    assert bell.rung == 1
    again = wake(world)
    again.answer(again.one())
    assert client.one().id == b"1"
    assert world.outcomes == ["ok"]


def test_a_call_between_sleep_and_the_end_of_the_connection_does_not_go_there() -> None:
    world = World("git")
    git, client = world.start("git", "a"), world.client()
    bell = put_to_sleep(world, "git")
    client.send(call(b"1", "git__a"))
    world.lose(git, "nobody has needed it for 60 s")
    assert git.heard() == []
    assert bell.rung == 1
    assert client.heard() == []
    again = wake(world)
    assert again.one().method == "tools/call"


def test_a_server_that_was_woken_and_is_lost_is_not_asleep() -> None:
    world, bell, client = asleep()
    client.send(call(b"1", "git__a"))
    git = wake(world)
    git.answer(git.one())
    client.heard()
    world.lose(git)
    client.send(call(b"2", "git__a"))
    assert bell.rung == 1, "it comes back by itself"
    world.pass_time(LONGEST_WAIT)
    assert client.one().error["code"] == SERVER_UNAVAILABLE


def test_subscriptions_to_a_server_that_slept_are_renewed_when_it_wakes() -> None:
    world = World("git")
    can = {"subscribe": True}
    git, client = world.start("git", "a", resources=can), world.client()
    world.list_more("git", resources=["r://x"])
    git.answer(client.call("resources/subscribe", git, b'{"uri":"r://x"}'), b"{}")
    client.heard()
    fall_asleep(world, git)
    again = wake(world, resources=can)
    assert [asked.params for asked in again.requests("resources/subscribe")] == [{"uri": "r://x"}]


# Starts that fail


def fail(world: World, reason: str, *, tell: bool, coming: bool = True, next_start: float | None = None) -> None:
    world.do(world.relay.away, "git", reason, coming=coming, now=world.now, next_start=next_start, tell=tell)


@pytest.mark.parametrize("coming", [True, False])
def test_a_start_that_fails_is_told_to_each_that_waited_for_it(coming: bool) -> None:
    world, bell, client = asleep()
    other = world.client("s2")
    client.send(call(b"1", "git__a"), call(b"2", "git__a"))
    other.send(call(b"1", "git__a"))
    start(world)
    fail(world, "it exited with code 1", tell=True, coming=coming, next_start=0.5)
    answers = [*client.heard(), *other.heard()]
    assert len(answers) == 3
    for answer in answers:
        assert answer.error["code"] == SERVER_UNAVAILABLE
        assert "'git'" in answer.error["message"]
        assert "it exited with code 1" in answer.error["message"]
        assert answer.error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "no"}
    assert world.outcomes == ["error"] * 3
    assert bell.rung == 3
    world.assert_at_rest()


def test_a_call_that_comes_after_a_failed_start_waits_for_the_next_try() -> None:
    world, bell, client = asleep()
    client.send(call(b"1", "git__a"))
    fail(world, "it exited with code 1", tell=True, next_start=5.0)
    client.heard()
    client.send(call(b"2", "git__a"))
    assert bell.rung == 1, "it is no sleep from which it could be woken"
    world.pass_time(5)
    start(world)
    git = wake(world)
    assert git.one().method == "tools/call"


def test_unless_they_are_to_be_told_calls_wait_for_the_next_start() -> None:
    world, _, client = asleep()
    client.send(call(b"1", "git__a"))
    fail(world, "it exited with code 1", tell=False, next_start=5.0)
    assert client.heard() == []
    git = wake(world)
    assert git.one().method == "tools/call"


def test_who_may_know_a_uri_is_asked_before_others_are_woken_one_after_the_other() -> None:
    world = World("git", "time", "up")
    up = world.start("up", resources={})
    bells = {}
    for key in ("git", "time"):
        world.targets[key].capabilities = {"resources": b"{}"}
        world.publish(key)
        bells[key] = put_to_sleep(world, key)
    client = world.client()
    asked = client.call("resources/read", up, b'{"uri":"r://hidden"}')
    assert [bell.rung for bell in bells.values()] == [0, 0]
    up.fail(asked, b'{"code":-32002,"message":"what?"}')
    assert [bell.rung for bell in bells.values()] == [1, 0]
    fail(world, "it exited with code 1", tell=True)
    assert [bell.rung for bell in bells.values()] == [1, 1]
    assert [bell.sure for bell in bells.values()] == [[False], [False]]
    assert client.heard() == []


def test_of_those_that_sleep_only_who_lists_the_like_is_woken_for_a_uri_that_nobody_lists() -> None:
    world = World("git", "time")
    bells = {}
    for key in ("git", "time"):
        world.targets[key].capabilities = {"resources": b"{}"}
        bells[key] = put_to_sleep(world, key)
    world.list_more("time", resources=["notes://a"])
    world.publish_all(settled=True)
    client = world.client()
    client.send(b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"notes://hidden"}}')
    assert {key: bell.rung for key, bell in bells.items()} == {"git": 0, "time": 1}


def test_who_might_have_it_and_does_not_come_up_soon_makes_room_for_the_next() -> None:
    world = World("git", "time", call_timeout=100)
    for key in ("git", "time"):
        world.targets[key].capabilities = {"resources": b"{}"}
        world.publish(key)
    bells = {key: put_to_sleep(world, key) for key in ("git", "time")}
    client = world.client()
    client.send(b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"r://hidden"}}')
    assert {key: bell.rung for key, bell in bells.items()} == {"git": 1, "time": 0}
    world.pass_time(15)
    assert {key: bell.rung for key, bell in bells.items()} == {"git": 1, "time": 1}


def test_a_link_is_idle_whatever_nobody_waits_for() -> None:
    world = World("git")
    git = world.start("git", "a", logging={})
    git.link.request("logging/setLevel", b'{"level":"info"}')
    assert world.relay.idle_since(git.link, world.now) is not None
    git.link.ask("tools/list", b"", lambda reply: None)
    assert world.relay.idle_since(git.link, world.now) is None


# What it does not have any more


def test_a_call_for_what_a_server_no_longer_has_says_what_it_has() -> None:
    world, _, client = asleep("open_issue")
    client.tools()
    client.send(call(b"1", "git__open_issue"))
    world.targets["git"].news = " (it was git-mcp 1 and is git-mcp 2 now)"
    git = wake(world, "open_issues", "x")
    changed, answer = client.heard()
    assert changed.method == "notifications/tools/list_changed"
    assert answer.error["code"] == INVALID_PARAMS
    assert answer.error["message"].startswith(
        "server 'git' no longer has the tool 'open_issue' (it was git-mcp 1 and is git-mcp 2 now); "
        "it has git__open_issues"
    )
    assert answer.error["message"].endswith(". The list was corrected")
    assert answer.error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "no"}
    assert git.heard() == []
    assert client.tools() == ["git__open_issues", "git__x"]
    [event] = world.of(CallFinished)
    assert (event.outcome, event.name) == ("error", "git__open_issue")
    world.assert_at_rest()


def test_what_the_server_has_under_another_definition_is_called_all_the_same() -> None:
    world, _, client = asleep("a", "b")
    client.send(call(b"1", "git__a"))
    git = wake(world, "c", "a")
    assert git.one().params["name"] == "a"


def test_a_name_that_nobody_ever_listed_is_unknown_and_not_gone() -> None:
    _, bell, client = asleep()
    client.send(call(b"1", "git__none"))
    assert client.one().error["message"].startswith("unknown tool 'git__none'")
    assert bell.rung == 0


def test_what_is_gone_with_its_server_is_unknown() -> None:
    world, _, client = asleep()
    client.send(call(b"1", "git__a"))
    world.retire("git")
    [answer] = client.heard()
    assert "no longer in the configuration" in answer.error["message"]
    client.send(call(b"1", "git__a"))
    assert client.one().error["message"].startswith("unknown tool 'git__a'")


# When one may sleep


def idle_since(world: World, server: Server) -> float | None:
    return world.relay.idle_since(server.link, world.now)


def awake(**capabilities: Any) -> tuple[World, Server, Client]:
    world = World("git")
    world.now = 100.0
    git = world.start("git", "a", **capabilities)
    client = world.client(capabilities={"roots": {}})
    return world, git, client


def test_a_server_is_idle_since_it_was_ready_and_then_since_its_last_call() -> None:
    world, git, client = awake()
    world.pass_time(50)
    assert idle_since(world, git) == 100
    assert git.link.used is None
    asked = client.call("tools/call", git, dump({"name": "git__a"}))
    assert idle_since(world, git) is None
    world.pass_time(10)
    git.answer(asked)
    world.pass_time(10)
    assert idle_since(world, git) == git.link.used == 160


@pytest.mark.parametrize("end", ["cancelled", "timed out", "refused"])
def test_however_a_call_ends_the_server_is_idle_from_then_on(end: str) -> None:
    world, git, client = awake()
    asked = client.call("tools/call", git, dump({"name": "git__a"}))
    world.pass_time(10)
    if end == "cancelled":
        client.cancel(b"1")
    elif end == "refused":
        git.fail(asked)
    else:
        world.pass_time(290)
    assert idle_since(world, git) == world.now


def test_a_server_is_busy_while_calls_wait_for_their_turn() -> None:
    world, git, client = awake()
    world.targets["git"].limits = Limits(running=1)
    client.send(call(b"1", "git__a"), call(b"2", "git__a"))
    git.answer(git.one())
    assert idle_since(world, git) is None
    git.answer(git.one())
    assert idle_since(world, git) == world.now


def test_a_server_is_busy_while_calls_wait_for_it_to_read() -> None:
    world, git, client = awake()
    world.do(world.relay.choke, git.link, True, world.now)
    client.send(call(b"1", "git__a"))
    assert git.link.calls == {}
    assert idle_since(world, git) is None


def test_a_server_is_busy_while_we_ask_it_something_ourselves() -> None:
    world, git, _ = awake()
    id = git.link.ask("tools/list", b"", lambda reply: None)
    assert idle_since(world, git) is None
    git.send(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % id)
    assert idle_since(world, git) == 100


def test_a_server_is_busy_while_it_waits_for_a_client() -> None:
    world, git, client = awake()
    asked = git.ask("roots/list", client)
    world.pass_time(10)
    assert idle_since(world, git) is None
    client.answer(asked, b'{"roots":[]}')
    assert idle_since(world, git) is not None


def test_a_server_is_busy_while_somebody_is_subscribed() -> None:
    world, git, client = awake(resources={"subscribe": True})
    world.list_more("git", resources=["r://x"])
    git.answer(client.call("resources/subscribe", git, b'{"uri":"r://x"}'), b"{}")
    world.pass_time(1000)
    assert idle_since(world, git) is None
    git.answer(client.call("resources/unsubscribe", git, b'{"uri":"r://x"}', b"2"), b"{}")
    assert idle_since(world, git) == world.now


def test_a_server_is_busy_until_the_result_of_its_task_was_fetched() -> None:
    world, git, client = awake(tasks={"requests": {"tools": {"call": {}}}})
    git.answer(client.call("tools/call", git, dump({"name": "git__a", "task": {}})), dump({"task": TASK}))
    [begun] = client.heard()
    world.pass_time(1000)
    assert idle_since(world, git) is None
    params = dump({"taskId": begun.result["task"]["taskId"]})
    git.answer(client.call("tasks/get", git, params, b"2"), dump({**TASK, "status": "completed"}))
    world.pass_time(1000)
    assert idle_since(world, git) is None, "the result would be lost"
    git.answer(client.call("tasks/result", git, params, b"3"), b'{"content":[]}')
    assert idle_since(world, git) == world.now


def test_what_another_server_does_keeps_nobody_awake() -> None:
    world = World("git", "time")
    git, time = world.start("git", "a"), world.start("time", "a")
    world.client().call("tools/call", time, dump({"name": "time__a"}))
    assert idle_since(world, git) == 0


# The first use


@pytest.mark.parametrize(
    ("method", "params", "is_use"),
    [
        ("ping", None, False),
        ("tools/list", None, False),
        ("logging/setLevel", {"level": "info"}, False),
        ("tools/call", {}, False),
        ("tools/call", {"name": "git__a"}, True),
        ("prompts/get", {"name": "git__p"}, True),
        ("resources/read", {"uri": "r://x"}, True),
    ],
)
def test_the_first_request_that_a_server_has_to_do_is_told_once(
    method: str, params: dict[str, Any] | None, is_use: bool
) -> None:
    world = World("git")
    world.start("git", "a", prompts={}, resources={})
    world.list_more("git", prompts=["p"], resources=["r://x"])
    first, second = Bell(), Bell()
    world.relay.on_first_use(first)
    client = world.client()
    for id in (b"1", b"2"):
        client.send(message(method, None if params is None else dump(params), id))
    assert first.rung == is_use
    world.relay.on_first_use(second)
    client.send(call(b"3", "git__a"))
    assert (first.rung, second.rung) == (is_use, 1)
