"""Servers whose lists are known sleep until somebody needs them, and may sleep again: hours of it on virtual time."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.config.changes import compare
from proxy.config.models import Server, ServerEntry, ToolRules
from proxy.errors import INVALID_PARAMS, ConnectionLost, Hopeless
from proxy.events import ListingRecalled, ServerStateChanged
from proxy.fleet import Fleet
from proxy.fronts.local import RequestFailed
from proxy.nap import LINGER
from proxy.relay.refusals import LONGEST_WAIT
from proxy.store.listings import Listings
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer, answer_initialize, configured, result, silent
from tests.support.stage import Stage, call, configuration, fleet_of, learn, listed, supervised
from tests.support.virtual_time import VIRTUAL

LIST_CHANGED = "notifications/tools/list_changed"
DAY = 24 * 3600.0
ECHO: dict[str, Any] = {"content": [], "echo": {}}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


@pytest.fixture
def shelf(tmp_path: Path) -> Listings:
    return Listings(tmp_path, {})


def die(connection: Connection, message: Message) -> Outcome:
    connection.end(ConnectionLost("one", "it exited with code 1"))
    return None


def offering(*tools: str) -> ScriptedServer:
    """A server with a prompt and resources, too."""
    server = ScriptedServer(*tools)
    server.instructions = "Be kind."
    server.capabilities |= {"prompts": {}, "resources": {"subscribe": True}}
    server.scripts["prompts/list"] = lambda *_: result({"prompts": [{"name": "p"}]})
    server.scripts["prompts/get"] = lambda *_: result({"messages": []})
    server.scripts["resources/list"] = lambda *_: result({"resources": [{"uri": "r://x", "name": "x"}]})
    server.scripts["resources/templates/list"] = lambda *_: result({"resourceTemplates": []})
    server.scripts["resources/read"] = lambda *_: result({"contents": []})
    server.scripts["resources/subscribe"] = server.scripts["resources/unsubscribe"] = lambda *_: result({})
    return server


class Told(list[str]):
    """What requests in the background ended with."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    async def take(self, request: Awaitable[object]) -> None:
        try:
            self.append(json.dumps(await request))
        except RequestFailed as problem:
            self.append(str(problem))
        self._stage.note()


async def failure(request: Awaitable[object]) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await request
    return caught.value


async def asleep(stage: Stage, times: int = 1) -> float:
    """When it fell asleep."""
    await stage.until(lambda: stage.states("one").count("idle") == times, f"asleep {times} times")
    return stage.pump.now()


def turn(fleet: Fleet, before: list[Server], after: list[Server]) -> None:
    """Let the second configuration take the first one's place."""
    new = configuration(*after)
    fleet.apply(new, compare(configuration(*before), new))


# The first session, and the ones after it


async def test_a_server_of_which_nothing_is_known_is_started_once_to_be_listed(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server, shelf=shelf) as supervisor:
        assert await listed(await stage.client()) == ["one__echo"]
        await stage.until(lambda: supervisor.surveyed)
        ready = stage.pump.now()
        await stage.until(lambda: supervisor.lifecycle.state == "idle")
        assert stage.pump.now() == pytest.approx(ready + LINGER, abs=0.1)
        await server.until(lambda: server.last.closed)
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready", "idle"]
        assert stage.of(ServerStateChanged)[-1].reason == "its lists have been read"
        assert stage.notices("warning") == stage.notices("error") == []
    assert len(server.connections) == 1


async def test_what_is_known_is_listed_without_starting_anything(shelf: Listings) -> None:
    stage, server = Stage(), offering("echo", "other")
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf) as supervisor:
        before = stage.pump.now()
        client = await stage.client()
        assert await listed(client) == ["one__echo", "one__other"]
        assert json.loads(await client.request("prompts/list"))["prompts"] == [{"name": "one__p"}]
        assert [one["uri"] for one in json.loads(await client.request("resources/list"))["resources"]] == ["r://x"]
        assert stage.pump.now() == before, "at once"
        assert supervisor.attempted
        assert supervisor.inventory.hello is not None
        assert supervisor.inventory.hello.instructions == "Be kind."
        await anyio.sleep(DAY)
        assert supervisor.lifecycle.state == "idle"
    assert server.connections == []


async def test_a_server_that_was_needed_while_it_was_listed_stays(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server, shelf=shelf):
        await call(await stage.client(), "one__echo")
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]


async def test_a_memory_that_can_not_be_read_is_no_memory(shelf: Listings, tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    [path] = [path for path in (tmp_path / "listings").iterdir() if not path.name.startswith(".")]
    path.write_bytes(b"torn")
    async with supervised(stage, server, shelf=shelf) as supervisor:
        assert await listed(await stage.client()) == ["one__echo"]
        await supervisor.until_learned()
    assert len(server.connections) == 1
    async with supervised(Stage(), server, shelf=shelf):
        await anyio.sleep(DAY)
    assert len(server.connections) == 1


async def test_where_nothing_can_be_kept_servers_work_and_sleep_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "listings").touch()
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server, shelf=Listings(tmp_path, {})):
        client = await stage.client()
        assert await listed(client) == ["one__echo"]
        await stage.until(lambda: stage.states("one") == ["starting", "ready", "idle"])
        assert await listed(client) == ["one__echo"]
        assert await call(client, "one__echo") == ECHO
        assert len([text for text in stage.notices("warning") if "can't be kept" in text]) == 1


async def test_afresh_all_servers_run_and_what_they_list_is_remembered(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("old")
    await learn(shelf, {"one": server})
    server.tools = ["new"]
    async with fleet_of(stage, {"one": server}, shelf=shelf, afresh=True) as fleet:
        assert await listed(await stage.client()) == ["one__new"]
        await fleet.supervisors[0].until_learned()
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]
    stage = Stage()
    async with supervised(stage, server, shelf=shelf):
        assert await listed(await stage.client()) == ["one__new"]


async def test_an_entry_that_can_not_be_used_has_failed_whatever_is_remembered(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    entry = ServerEntry(command="x")
    await learn(shelf, {"one": server}, entries={"one": Server("one", "one", entry)})
    broken = Server("one", "one", entry, problem="variable TOKEN is not set")
    async with supervised(stage, server, broken, shelf):
        await stage.until(lambda: stage.states("one") == ["failed"])
        assert "TOKEN is not set" in str(await failure(call(await stage.client(), "one__echo")))
    assert server.connections == []


# Waking up


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "one__echo", "arguments": {}}),
        ("prompts/get", {"name": "one__p"}),
        ("resources/read", {"uri": "r://x"}),
        ("resources/read", {"uri": "r://hidden"}),
        ("resources/subscribe", {"uri": "r://x"}),
    ],
)
async def test_a_server_is_started_when_something_of_it_is_needed(
    method: str, params: dict[str, Any], shelf: Listings
) -> None:
    stage, server = Stage(), offering("echo")
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        await client.request(method, json.dumps(params).encode())
        assert [asked.method for asked in server.asked(method)] == [method]
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"], "it stays, since nothing says that it may not"
        assert await call(client, "one__echo") == ECHO
    assert len(server.connections) == 1


async def test_only_the_server_that_is_needed_is_started(shelf: Listings) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abc"}
    await learn(shelf, servers)
    async with fleet_of(stage, servers, shelf=shelf):
        await call(await stage.client(), "b__t")
        await anyio.sleep(DAY)
    assert {key: len(server.connections) for key, server in servers.items()} == {"a": 0, "b": 1, "c": 0}


async def test_calls_that_come_while_it_starts_share_the_start(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = silent
    async with supervised(stage, server, shelf=shelf), anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        for number in range(3):
            tasks.start_soon(told.take, call(client, "one__echo", {"n": number}))
            await server.until(lambda: bool(server.asked("initialize")))
            await anyio.sleep(LONGEST_WAIT - 1)
        assert (told, server.asked("tools/call")) == ([], [])
        server.scripts.clear()
        answer_initialize(server)
        await stage.until(lambda: len(told) == 3)
        assert [json.loads(one)["echo"]["n"] for one in told] == [0, 1, 2]
    assert len(server.connections) == 1


async def test_a_call_waits_for_the_start_no_longer_than_it_may_take(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    one = configured("one", call_timeout=20.0, start_timeout=100.0)
    await learn(shelf, {"one": server}, entries={"one": one})
    server.scripts["initialize"] = silent
    async with supervised(stage, server, one, shelf):
        client, before = await stage.client(), stage.pump.now()
        problem = await failure(call(client, "one__echo"))
        assert stage.pump.now() == pytest.approx(before + 20, abs=0.1)
        assert json.loads(problem.error)["data"]["delivered"] == "no"
        assert "20 s" in str(problem)
        answer_initialize(server)
        await stage.until(lambda: "ready" in stage.states("one"))
        assert server.asked("tools/call") == [], "nobody waits for it any more"
        assert await call(client, "one__echo") == ECHO


async def test_a_call_that_is_cancelled_while_the_server_wakes_is_never_sent(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = silent
    async with supervised(stage, server, shelf=shelf):
        session = stage.greet({})
        intake = stage.pump.client_intake(session)
        params = b'{"name":"one__echo","arguments":{}}'
        intake.data(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + params + b"}\n")
        await server.until(lambda: bool(server.asked("initialize")))
        intake.data(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}\n')
        answer_initialize(server)
        await stage.until(lambda: "ready" in stage.states("one"))
        await anyio.sleep(60)
        assert server.asked("tools/call") == []


async def test_what_is_not_the_same_any_more_is_told_with_the_list(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo", "old")
    await learn(shelf, {"one": server})
    server.tools = ["echo", "older"]
    async with supervised(stage, server, shelf=shelf) as supervisor:
        client = await stage.client()
        assert await listed(client) == ["one__echo", "one__old"]
        problem = await failure(call(client, "one__old"))
        assert json.loads(problem.error)["code"] == INVALID_PARAMS
        words = "server 'one' no longer has the tool 'old'; it has one__older, one__echo. The list was corrected"
        assert str(problem) == words
        assert server.asked("tools/call") == []
        assert [method for method, _ in stage.notified] == [LIST_CHANGED]
        assert await listed(client) == ["one__echo", "one__older"]
        await supervisor.until_learned()
    async with supervised(Stage(), server, shelf=shelf) as later:
        assert [route.own for route in later.inventory.offering.of("tools").routes] == ["echo", "older"]


async def test_a_server_that_was_upgraded_meanwhile_says_so_to_who_wanted_what_is_gone(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("old")
    await learn(shelf, {"one": server})
    server.tools = ["new"]
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "8"},
    }
    server.scripts["initialize"] = lambda *_: result(hello)
    async with supervised(stage, server, shelf=shelf):
        problem = await failure(call(await stage.client(), "one__old"))
        assert "(it was scripted 7 and is s 8 now)" in str(problem)
        assert stage.notices("info") == ["it was scripted 7 and is s 8 now"]


# Starts that fail


async def test_a_start_that_fails_tells_each_call_why_and_the_server_sleeps_again(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = silent
    async with supervised(stage, server, shelf=shelf) as supervisor, anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        for _ in range(3):
            tasks.start_soon(told.take, call(client, "one__echo"))
        await server.until(lambda: bool(server.asked("initialize")))
        await anyio.sleep(1)
        server.last.end(ConnectionLost("one", "it exited with code 1"))
        await stage.until(lambda: len(told) == 3)
        assert all("'one'" in text and "it exited with code 1" in text for text in told)
        await stage.until(lambda: supervisor.lifecycle.state == "idle")
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "backoff", "idle"]
        assert len(server.connections) == 1
        server.scripts.clear()
        assert await call(client, "one__echo") == ECHO
        assert supervisor.problem == ""


async def test_a_server_that_never_comes_up_is_tried_again_whenever_somebody_needs_it(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = die
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        for _ in range(20):
            assert "it exited with code 1" in str(await failure(call(client, "one__echo")))
            await anyio.sleep(60)
        assert "failed" not in stage.states("one")
        assert len(server.connections) == 20
        delays = [event.delay for event in stage.of(ServerStateChanged) if event.delay is not None]
        assert delays[:3] == [0.1, 0.2, 0.4]
        assert delays[-1] == 30.0
        assert await listed(client) == ["one__echo"]


async def test_a_call_in_the_time_after_a_failed_start_waits_for_the_next_one(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = die
    async with supervised(stage, server, shelf=shelf), anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        for _ in range(6):
            await failure(call(client, "one__echo"))
        assert stage.states("one")[-1] == "backoff"
        tasks.start_soon(told.take, call(client, "one__echo", {"n": 1}))
        server.scripts.clear()
        await stage.until(lambda: bool(told))
        assert json.loads(told[0])["echo"] == {"n": 1}
        assert stage.states("one")[-3:] == ["backoff", "starting", "ready"]


async def test_a_command_that_was_not_there_may_be_there_when_the_server_is_needed_the_next_time(
    shelf: Listings,
) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.refuse = Hopeless("one", "the command 'x' was not found")
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        for times in range(1, 4):
            assert "the command 'x' was not found" in str(await failure(call(client, "one__echo")))
            await asleep(stage, times)
        await anyio.sleep(DAY)
        assert len(server.connections) == 3
        server.refuse = None
        assert await call(client, "one__echo") == ECHO


async def test_a_server_that_crashes_after_it_was_woken_comes_back_by_itself(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        await call(client, "one__echo")
        server.last.end(ConnectionLost("one", "it was killed"))
        await stage.until(lambda: stage.states("one") == ["starting", "ready", "backoff", "starting", "ready"])
        assert await call(client, "one__echo") == ECHO


async def test_a_server_that_fails_while_it_is_listed_the_first_time_is_tried_again_by_itself(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo", initialize=die)
    async with supervised(stage, server, shelf=shelf) as supervisor:
        await stage.until(lambda: stage.states("one").count("backoff") == 2)
        server.scripts.clear()
        await stage.until(lambda: supervisor.surveyed)
        assert await listed(await stage.client()) == ["one__echo"]


# Sleeping again

IDLE = 300.0


async def test_a_server_sleeps_when_it_has_not_been_needed_for_its_idle_time(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    one = configured("one", idle_stop=IDLE)
    await learn(shelf, {"one": server}, entries={"one": one})
    async with supervised(stage, server, one, shelf):
        client = await stage.client()
        for times in range(1, 11):
            await call(client, "one__echo")
            await anyio.sleep(IDLE - 1)
            assert await call(client, "one__echo") == ECHO
            last = stage.pump.now()
            assert await asleep(stage, times) == pytest.approx(last + IDLE, abs=0.1)
            await anyio.sleep(10)
            assert server.last.closed
            assert len(server.connections) == times
        assert stage.of(ServerStateChanged)[-1].reason == "nobody has needed it for 300 s"
        assert "failed" not in stage.states("one")
        assert stage.notified == []


async def test_afresh_nobody_sleeps_whatever_the_entry_says(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    one = configured("one", idle_stop=IDLE)
    async with fleet_of(stage, {"one": server}, entries={"one": one}, shelf=shelf, afresh=True):
        await stage.client()
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]


async def test_a_server_that_was_only_asked_since_it_might_know_sleeps_again_soon(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.capabilities["resources"] = {}
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        with pytest.raises(RequestFailed):
            await client.request("resources/read", b'{"uri":"notes://unlisted"}')
        assert stage.states("one") == ["starting", "ready"]
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready", "idle"]
        await call(client, "one__echo")
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready", "idle", "starting", "ready"]


async def test_a_call_while_it_may_stay_for_its_lists_gives_it_its_idle_time_and_no_more(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server, configured("one", idle_stop=10.0), shelf) as supervisor:
        client = await stage.client()
        await supervisor.until_learned()
        await anyio.sleep(1)
        await call(client, "one__echo")
        called = stage.pump.now()
        assert await asleep(stage) == pytest.approx(called + 10, abs=1.1)


@pytest.mark.parametrize("start", ["lazy", "eager"])
@pytest.mark.parametrize("remembers", [True, False])
async def test_the_next_call_starts_it_again_and_nothing_else_does(
    start: str, remembers: bool, shelf: Listings
) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    one = configured("one", idle_stop=IDLE, start=start)
    async with supervised(stage, server, one, shelf if remembers else None):
        client = await stage.client()
        await call(client, "one__echo")
        await asleep(stage)
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready", "idle"]
        assert await listed(client) == ["one__echo"]
        assert await call(client, "one__echo") == ECHO
        await asleep(stage, 2)
    assert len(server.connections) == 2


async def test_a_server_does_not_sleep_while_a_call_runs(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo", tools__call=silent)
    one = configured("one", idle_stop=IDLE, call_timeout=DAY, call_maximum=DAY)
    async with supervised(stage, server, one, shelf), anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        tasks.start_soon(told.take, call(client, "one__echo"))
        await server.until(lambda: bool(server.asked("tools/call")))
        await anyio.sleep(10 * IDLE)
        assert stage.states("one") == ["starting", "ready"]
        [asked] = server.asked("tools/call")
        server.last.respond(asked, result({"content": []}))
        await stage.until(lambda: bool(told))
        ended = stage.pump.now()
        assert await asleep(stage) == pytest.approx(ended + IDLE, abs=1.1)


async def test_a_server_does_not_sleep_while_somebody_is_subscribed(shelf: Listings) -> None:
    stage, server = Stage(), offering("echo")
    async with supervised(stage, server, configured("one", idle_stop=IDLE), shelf):
        client = await stage.client()
        await client.request("resources/subscribe", b'{"uri":"r://x"}')
        await anyio.sleep(10 * IDLE)
        assert stage.states("one") == ["starting", "ready"]
        server.last.notify("notifications/resources/updated", {"uri": "r://x"})
        await stage.until(lambda: bool(stage.notified))
        await client.request("resources/unsubscribe", b'{"uri":"r://x"}')
        ended = stage.pump.now()
        assert await asleep(stage) == pytest.approx(ended + IDLE, abs=1.1)


async def test_a_server_sleeps_when_who_was_subscribed_is_gone(shelf: Listings) -> None:
    stage, server = Stage(), offering("echo")
    async with supervised(stage, server, configured("one", idle_stop=IDLE), shelf):
        client = await stage.client()
        await client.request("resources/subscribe", b'{"uri":"r://x"}')
        await anyio.sleep(10 * IDLE)
        client.close()
        await asleep(stage)


async def test_a_server_does_not_sleep_while_a_task_of_it_goes_on(shelf: Listings) -> None:
    task = {"taskId": "t", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttl": None}
    task["lastUpdatedAt"] = task["createdAt"]
    stage, server = Stage(), ScriptedServer("echo")
    server.capabilities["tasks"] = {"requests": {"tools": {"call": {}}}}
    server.scripts["tools/call"] = lambda *_: result({"task": task})
    server.scripts["tasks/get"] = lambda *_: result({**task, "status": "completed"})
    server.scripts["tasks/result"] = lambda *_: result({"content": []})
    async with supervised(stage, server, configured("one", idle_stop=IDLE), shelf):
        client = await stage.client()
        params = {"name": "one__echo", "arguments": {}, "task": {}}
        begun = json.loads(await client.request("tools/call", json.dumps(params).encode()))["task"]
        await anyio.sleep(10 * IDLE)
        assert stage.states("one") == ["starting", "ready"]
        await client.request("tasks/result", json.dumps({"taskId": begun["taskId"]}).encode())
        await asleep(stage)


async def test_a_server_does_not_sleep_while_it_waits_for_an_answer_of_the_client(shelf: Listings) -> None:
    def ask(connection: Connection, message: Message) -> Outcome:
        connection.say(b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
        return result({"content": []})

    stage, server = Stage(), ScriptedServer("echo", tools__call=ask)
    one = configured("one", idle_stop=IDLE, ask_timeout=5 * IDLE)
    async with supervised(stage, server, one, shelf):
        session = stage.greet({"roots": {}})
        params = b'{"name":"one__echo","arguments":{}}'
        request = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + params + b"}\n"
        stage.pump.client_intake(session).data(request)
        await server.until(lambda: bool(server.asked("tools/call")))
        called = stage.pump.now()
        await anyio.sleep(4 * IDLE)
        assert stage.states("one")[-1] == "ready"
        assert await asleep(stage) >= called + 5 * IDLE


async def test_a_call_in_the_moment_in_which_it_falls_asleep_wakes_it_again(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server, configured("one", idle_stop=IDLE), shelf), anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        await call(client, "one__echo")

        def look(event: object) -> None:
            if isinstance(event, ServerStateChanged) and event.new == "idle":
                tasks.start_soon(told.take, call(client, "one__echo", {"n": 1}))

        stage.listener = look
        await stage.until(lambda: bool(told))
        assert json.loads(told[0])["echo"] == {"n": 1}
        assert stage.states("one") == ["starting", "ready", "idle", "starting", "ready"]


# Eager ones


async def test_an_eager_server_is_started_at_once_and_listed_from_memory_until_it_is_up(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    one = configured("one", start="eager")
    await learn(shelf, {"one": server}, entries={"one": one})
    server.scripts["initialize"] = silent
    server.tools.append("late")
    async with supervised(stage, server, one, shelf):
        client, before = await stage.client(), stage.pump.now()
        assert await listed(client) == ["one__echo"]
        assert stage.pump.now() == before
        await server.until(lambda: bool(server.asked("initialize")))
        server.scripts.clear()
        answer_initialize(server)
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["one__echo", "one__late"]
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]


# A client with other capabilities

ROOTS: dict[str, Any] = {"roots": {}}


def lists(client_can: dict[str, Any]) -> Callable[[Connection, Message], Outcome]:
    """A server that lists another tool for each kind of client."""

    def listing(connection: Connection, message: Message) -> Outcome:
        [hello] = [one for one in connection.received if one.method == "initialize"]
        tool = "for_able" if hello.params["capabilities"] == client_can else "for_plain"
        return result({"tools": [{"name": tool, "inputSchema": {"type": "object"}}]})

    return listing


async def test_a_sleeping_server_is_started_to_be_listed_for_a_client_that_can_do_something_else(
    shelf: Listings,
) -> None:
    stage, server = Stage(), ScriptedServer(tools__list=lists(ROOTS))
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf) as supervisor:
        client = await stage.client()
        assert await listed(client) == ["one__for_plain"]
        stage.events.clear()
        stage.greet(ROOTS)
        assert await listed(client) == ["one__for_able"], "the list waits for it"
        assert [asked.params["capabilities"] for asked in server.asked("initialize")] == [ROOTS]
        assert [event.outcome for event in stage.of(ListingRecalled)] == ["miss"]
        await supervisor.until_learned()
        await stage.until(lambda: supervisor.lifecycle.state == "idle")
    server.connections.clear()
    stage = Stage()
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        assert await listed(client) == ["one__for_plain"]
        stage.greet(ROOTS)
        assert await listed(client) == ["one__for_able"]
        assert [method for method, _ in stage.notified] == [LIST_CHANGED]
        await anyio.sleep(DAY)
    assert server.connections == [], "both are known now"


async def test_a_server_that_runs_for_another_client_sleeps_until_it_is_needed_for_this_one(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer(tools__list=lists(ROOTS))
    await learn(shelf, {"one": server})
    async with fleet_of(stage, {"one": server}, shelf=shelf) as fleet:
        stage.greet(ROOTS)
        await fleet.supervisors[0].until_learned()
    server.connections.clear()
    stage = Stage()
    async with fleet_of(stage, {"one": server}, shelf=shelf) as fleet:
        client = await stage.client()
        assert (await call(client, "one__for_plain"))["echo"] == {}
        stage.greet(ROOTS)
        assert await listed(client) == ["one__for_able"]
        await server.until(lambda: server.last.closed)
        await anyio.sleep(DAY)
        assert len(server.connections) == 1
        assert fleet.supervisors[0].lifecycle.state == "idle"
        assert (await call(client, "one__for_able"))["echo"] == {}
        assert [asked.params["capabilities"] for asked in server.asked("initialize")] == [{}, ROOTS]


async def test_a_client_of_the_kind_that_was_here_last_changes_nothing(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf):
        stage.greet({})
        stage.greet({})
        await anyio.sleep(DAY)
        assert stage.of(ServerStateChanged) == []
    assert server.connections == []


async def test_another_client_while_a_start_is_tried_again_gets_its_listing_in_the_end(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer(tools__list=lists(ROOTS))
    await learn(shelf, {"one": server})
    server.refuse = ConnectionLost("one", "out of processes")
    async with supervised(stage, server, shelf=shelf):
        client = await stage.client()
        for _ in range(4):
            await failure(call(client, "one__for_plain"))
        assert stage.states("one")[-1] == "backoff"
        server.refuse = None
        stage.greet(ROOTS)
        await stage.until(lambda: "ready" in stage.states("one"))
        assert await listed(client) == ["one__for_able"]


# Another configuration


async def test_other_rules_hold_at_once_for_a_server_that_sleeps_on(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("read", "write")
    before = configured("one")
    await learn(shelf, {"one": server})
    async with fleet_of(stage, {"one": server}, shelf=shelf) as fleet:
        client = await stage.client()
        assert await listed(client) == ["one__read", "one__write"]
        after = Server("one", "uno", ServerEntry(command=before.entry.command, tools=ToolRules(deny=("write",))))
        began = stage.pump.now()
        turn(fleet, [before], [after])
        await stage.until(lambda: bool(stage.notified))
        assert stage.pump.now() - began < 1, "there is nothing to wait for"
        assert await listed(client) == ["uno__read"]
        await anyio.sleep(DAY)
        assert len(stage.notified) == 1
        assert server.connections == []
        assert await call(client, "uno__read") == ECHO


async def test_another_command_is_another_server_and_is_started_to_be_listed(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("old")
    await learn(shelf, {"one": server})
    async with fleet_of(stage, {"one": server}, shelf=shelf) as fleet:
        client = await stage.client()
        assert await listed(client) == ["one__old"]
        server.tools = ["new"]
        turn(fleet, [configured("one")], [Server("one", "one", ServerEntry(command="another"))])
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["one__new"]
        await stage.until(lambda: fleet.supervisors[0].lifecycle.state == "idle")
        turn(fleet, [Server("one", "one", ServerEntry(command="another"))], [configured("one")])
        await stage.until(lambda: len(stage.notified) == 2)
        assert await listed(client) == ["one__old"], "as it was remembered"
        await anyio.sleep(DAY)
    assert len(server.connections) == 1


async def test_a_server_that_is_added_and_known_sleeps_and_one_that_is_not_is_listed(shelf: Listings) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abc"}
    await learn(shelf, {key: servers[key] for key in "ab"})
    a, b, c = (configured(key) for key in "abc")
    running = {"a": servers["a"]}
    async with fleet_of(stage, running, shelf=shelf) as fleet:
        client = await stage.client()
        assert await listed(client) == ["a__t"]
        running |= servers
        turn(fleet, [a], [a, b, c])
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["a__t", "b__t", "c__t"]
        await anyio.sleep(DAY)
        assert len(stage.notified) == 1
    assert {key: len(server.connections) for key, server in servers.items()} == {"a": 0, "b": 0, "c": 1}


async def test_a_server_that_is_removed_in_its_sleep_is_gone(shelf: Listings) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "ab"}
    await learn(shelf, servers)
    a, b = (configured(key) for key in "ab")
    async with fleet_of(stage, servers, shelf=shelf) as fleet:
        client = await stage.client()
        assert await listed(client) == ["a__t", "b__t"]
        turn(fleet, [a, b], [b])
        assert await listed(client) == ["b__t"]
        await failure(call(client, "a__t"))
        turn(fleet, [b], [a, b])
        await stage.until(lambda: len(stage.notified) == 2)
        assert await call(client, "a__t") == ECHO
    assert {key: len(server.connections) for key, server in servers.items()} == {"a": 1, "b": 0}


def need(stage: Stage, tool: str) -> None:
    """A client calls a tool, and the call has arrived when this returns."""
    intake = stage.pump.client_intake(stage.greet({}))
    params = json.dumps({"name": tool, "arguments": {}}).encode()
    intake.data(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + params + b"}\n")


@pytest.mark.parametrize("stays", [True, False])
async def test_a_server_may_be_changed_or_removed_in_the_moment_in_which_it_is_woken(
    stays: bool, shelf: Listings
) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "ab"}
    await learn(shelf, servers)
    a, b = (configured(key) for key in "ab")
    async with fleet_of(stage, servers, shelf=shelf) as fleet:
        client = await stage.client()
        assert await listed(client) == ["a__t", "b__t"]
        need(stage, "a__t")
        turn(fleet, [a, b], [configured("a", call_timeout=7), b] if stays else [b])
        await anyio.sleep(DAY)
        assert stage.notices("error") == []
        assert await call(client, "b__t") == ECHO
        if stays:
            assert await call(client, "a__t") == ECHO
            assert len(servers["a"].connections) == 1
        else:
            assert stage.states("a") == ["stopped"]
            assert servers["a"].connections == []


@pytest.mark.parametrize("moment", ["falls asleep", "is tried again"])
@pytest.mark.parametrize("late", [0.0, 2e-10, 5e-10])
async def test_a_server_may_be_removed_in_the_moment_in_which_it_falls_asleep(
    moment: str, late: float, shelf: Listings
) -> None:
    """The loop takes timers that are due within a nanosecond together."""
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "ab"}
    a, b = configured("a", idle_stop=IDLE), configured("b")
    await learn(shelf, servers, entries={"a": a})
    if moment == "is tried again":
        servers["a"].refuse = ConnectionLost("a", "out of processes")
    async with fleet_of(stage, servers, entries={"a": a}, shelf=shelf) as fleet:
        client = await stage.client()
        with contextlib.suppress(RequestFailed):
            await call(client, "a__t")
        [timer] = [event for event in stage.of(ServerStateChanged) if event.new in ("ready", "backoff")][-1:]
        due = stage.pump.now() + (IDLE if timer.delay is None else timer.delay)
        asyncio.get_running_loop().call_at(due + late, turn, fleet, [a, b], [b])
        await anyio.sleep(DAY)
        assert stage.notices("error") == []
        assert stage.states("a")[-1] == "stopped"
        assert await call(client, "b__t") == ECHO


# Looking again


async def test_a_refresh_lists_it_anew_and_it_sleeps_at_once(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("old")
    await learn(shelf, {"one": server})
    server.tools = ["new"]
    async with supervised(stage, server, shelf=shelf) as supervisor:
        client = await stage.client()
        assert await listed(client) == ["one__old"]
        await supervisor.refresh()
        assert await listed(client) == ["one__new"]
        assert [method for method, _ in stage.notified] == [LIST_CHANGED]
        before = stage.pump.now()
        await stage.until(lambda: supervisor.lifecycle.state == "idle")
        assert stage.pump.now() - before < 1
        await supervisor.refresh()
        await stage.until(lambda: stage.states("one") == ["starting", "ready", "idle"] * 2)
    assert len(server.connections) == 2


async def test_a_call_during_a_refresh_keeps_the_server_up(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = silent
    async with supervised(stage, server, shelf=shelf) as supervisor, anyio.create_task_group() as tasks:
        client, told = await stage.client(), Told(stage)
        tasks.start_soon(supervisor.refresh)
        await server.until(lambda: bool(server.asked("initialize")))
        tasks.start_soon(told.take, call(client, "one__echo"))
        await anyio.sleep(1)
        answer_initialize(server)
        await stage.until(lambda: bool(told))
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]


async def test_a_server_that_runs_needs_no_refresh(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    async with supervised(stage, server, shelf=shelf) as supervisor:
        await call(await stage.client(), "one__echo")
        await supervisor.refresh()
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "ready"]


async def test_a_refresh_ends_when_the_start_fails_and_the_server_sleeps_on(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = die
    async with supervised(stage, server, shelf=shelf) as supervisor:
        with anyio.fail_after(60):
            await supervisor.refresh()
        await stage.until(lambda: supervisor.lifecycle.state == "idle")
        await anyio.sleep(DAY)
        assert len(server.connections) == 1
        server.refuse = Hopeless("one", "the command is gone")
        with anyio.fail_after(60):
            await supervisor.refresh()
        assert supervisor.problem == "the command is gone"


@pytest.mark.parametrize("stays", [True, False])
async def test_a_refresh_ends_when_the_server_is_changed_or_removed(stays: bool, shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    await learn(shelf, {"one": server})
    server.scripts["initialize"] = silent
    async with fleet_of(stage, {"one": server}, shelf=shelf) as fleet:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fleet.supervisors[0].refresh)
                await server.until(lambda: bool(server.asked("initialize")))
                turn(fleet, [configured("one")], [configured("one", call_timeout=7)] if stays else [])


async def test_who_waits_until_a_server_was_listed_hears_of_a_start_that_failed(shelf: Listings) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.refuse = Hopeless("one", "the command is gone")
    async with fleet_of(stage, {"one": server}, shelf=shelf, afresh=True) as fleet:
        with anyio.fail_after(60):
            await fleet.supervisors[0].until_learned()
        assert fleet.supervisors[0].problem
