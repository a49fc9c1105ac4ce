"""Several servers together: what one does concerns that one, and the catalogue has what all of them list."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.config.changes import compare
from proxy.config.models import Server, ServerEntry, ToolRules
from proxy.eras.handshake import SHARED
from proxy.errors import ConnectionLost, Hopeless, Unreachable
from proxy.events import CallFinished, CatalogueChanged, ServerRemoved
from proxy.fleet import Fleet
from proxy.fronts.local import LocalClient, RequestFailed
from proxy.store.listings import Listings
from proxy.transports.channel import Intake, Output
from tests.support.message import Message
from tests.support.scripted import PATIENCE, Connection, Outcome, Script, ScriptedServer, configured, error, result
from tests.support.stage import Apart, Stage, call, configuration, fleet_of, listed
from tests.support.virtual_time import VIRTUAL

LIST_CHANGED = "notifications/tools/list_changed"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def silent(connection: Connection, message: Message) -> Outcome:
    return None


def answer_initialize(slow: ScriptedServer) -> None:
    """At last."""
    [question] = slow.asked("initialize")
    slow.last.respond(question, ScriptedServer().answer(slow.last, question) or b"")


async def test_all_servers_are_started_together() -> None:
    """None is waited for: here each answers only once all have been asked."""
    servers = {key: ScriptedServer("t") for key in ("a", "b", "c")}

    def when_all_are_asked(connection: Connection, message: Message) -> Outcome:
        questions.append((connection, message))
        if len(questions) == len(servers):
            for asker, question in questions:
                asker.respond(question, ScriptedServer().answer(asker, question) or b"")
        return None

    questions: list[tuple[Connection, Message]] = []
    for server in servers.values():
        server.scripts["initialize"] = when_all_are_asked
    stage = Stage()
    async with fleet_of(stage, servers) as fleet:
        with anyio.fail_after(PATIENCE):
            await fleet.until_settled()
        assert {report.state for report in fleet.reports()} == {"ready"}


async def test_tools_stand_in_the_order_of_the_configuration_whoever_was_first() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage()
    async with fleet_of(stage, {"slow": slow, "quick": ScriptedServer("t")}) as fleet:
        await stage.until(lambda: stage.states("quick") == ["starting", "ready"])
        answer_initialize(slow)
        await fleet.until_settled()
        assert await listed(await stage.client()) == ["slow__t", "quick__t"]


async def test_the_first_list_waits_for_servers_that_are_starting() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage()
    servers = {"slow": slow, "quick": ScriptedServer("t")}
    async with fleet_of(stage, servers), anyio.create_task_group() as tasks:
        client = await stage.client()
        found: list[list[str]] = []

        async def ask() -> None:
            found.append(await listed(client))

        tasks.start_soon(ask)
        await stage.until(lambda: "ready" in stage.states("quick"))
        assert found == []
        answer_initialize(slow)
        await stage.until(lambda: "ready" in stage.states("slow"))
        await anyio.sleep(0.001)
        assert found == [["slow__t", "quick__t"]]
        assert stage.notified == []


async def test_a_list_that_has_waited_long_enough_goes_out_and_the_rest_is_announced() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage(list_wait=10.0)
    async with fleet_of(stage, {"slow": slow, "quick": ScriptedServer("t")}):
        client = await stage.client()
        began = stage.pump.now()
        assert await listed(client) == ["quick__t"]
        assert stage.pump.now() == pytest.approx(began + 10, abs=0.01)
        answer_initialize(slow)
        await stage.until(lambda: bool(stage.notified))
        assert stage.notified == [(LIST_CHANGED, None)]
        assert await listed(client) == ["slow__t", "quick__t"]


async def test_a_list_does_not_wait_for_a_server_that_has_failed() -> None:
    gone, stage = ScriptedServer(), Stage()
    gone.refuse = Hopeless("gone", "no such command")
    async with fleet_of(stage, {"gone": gone, "quick": ScriptedServer("t")}) as fleet:
        client = await stage.client()
        began = stage.pump.now()
        assert await listed(client) == ["quick__t"]
        assert stage.pump.now() - began < 1
        assert fleet.settled


async def test_a_crash_costs_only_the_calls_of_its_own_server() -> None:
    servers = {key: ScriptedServer("t", tools__call=silent) for key in ("a", "b")}
    stage, outcomes = Stage(), dict[str, str]()
    async with fleet_of(stage, servers) as fleet, anyio.create_task_group() as tasks:
        await fleet.until_settled()
        client = await stage.client()

        async def wait(key: str) -> None:
            try:
                outcomes[key] = json.dumps(await call(client, f"{key}__t", {"n": 1}))
            except RequestFailed as problem:
                outcomes[key] = str(problem)

        for key in servers:
            tasks.start_soon(wait, key)
        for server in servers.values():
            await server.until(lambda server=server: bool(server.asked("tools/call")))  # type: ignore[misc]
        servers["a"].last.end(ConnectionLost("a", "it exited with code 1"))
        await stage.until(lambda: "backoff" in stage.states("a"))
        await anyio.sleep(0.001)
        assert list(outcomes) == ["a"]
        assert "'a'" in outcomes["a"]
        [asked] = servers["b"].asked("tools/call")
        servers["b"].last.respond(asked, result({"content": []}))
    assert outcomes["b"] == '{"content": []}'
    assert stage.states("b") == ["starting", "ready"]


async def test_a_defect_while_connecting_to_one_server_is_not_felt_by_the_others() -> None:
    broken, stage = ScriptedServer(), Stage()
    broken.refuse = ZeroDivisionError("a bug")
    async with fleet_of(stage, {"broken": broken, "fine": ScriptedServer("t")}) as fleet:
        await fleet.until_settled()
        assert await call(await stage.client(), "fine__t") == {"content": [], "echo": {}}
        await anyio.sleep(24 * 3600)
        assert await call(await stage.client(), "fine__t") == {"content": [], "echo": {}}


async def test_a_server_that_is_switched_off_does_not_exist() -> None:
    stage, off = Stage(), ScriptedServer("t")
    entries = {"off": configured("off", enabled=False)}
    async with fleet_of(stage, {"off": off, "on": ScriptedServer("t")}, entries=entries) as fleet:
        await fleet.until_settled()
        assert [report.server for report in fleet.reports()] == ["on"]
        assert off.connections == []
        assert await listed(await stage.client()) == ["on__t"]


async def test_without_any_server_everything_is_settled_and_the_list_is_empty() -> None:
    stage = Stage()
    async with fleet_of(stage, {}) as fleet:
        assert fleet.settled
        assert await listed(await stage.client()) == []


async def test_prefixes_make_the_names() -> None:
    entries = {
        "my server": configured("my server"),
        "bare": configured("bare", prefix=""),
        "long": configured("long", prefix="short"),
    }
    stage = Stage()
    async with fleet_of(stage, {key: ScriptedServer(f"{key[0]}t") for key in entries}, entries=entries) as fleet:
        await fleet.until_settled()
        client = await stage.client()
        assert await listed(client) == ["my_server__mt", "bt", "short__lt"]
        for name in await listed(client):
            assert await call(client, name, {"x": name}) == {"content": [], "echo": {"x": name}}


async def test_instructions_are_the_configs_and_the_servers_with_their_prefix() -> None:
    one, two = ScriptedServer(), ScriptedServer()
    one.instructions, two.instructions = "Ask me for time.", ""
    stage = Stage()
    async with fleet_of(stage, {"one": one, "two": two}, instructions="House rules.") as fleet:
        await fleet.until_settled()
        assert instructions_of(stage) == "House rules.\n\none: Ask me for time."


def instructions_of(stage: Stage) -> str:
    """What a client that comes now is told."""
    session = stage.relay.open_session("late")
    said: list[bytes] = []
    session.sink = lambda data: said.append(bytes(data))
    stage.pump.client_intake(session).data(
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}\n'
    )
    return str(Message.of(said[0].rstrip()).result["instructions"])


async def test_a_report_says_what_is_known_of_each_server() -> None:
    full, gone = ScriptedServer("a", "b"), ScriptedServer()
    full.capabilities |= {"prompts": {}, "resources": {}}
    full.scripts["prompts/list"] = lambda *_: result({"prompts": [{"name": "p"}]})
    full.scripts["resources/list"] = lambda *_: result({"resources": []})
    gone.refuse = Hopeless("gone", "no such command")
    unset = Server("unset", "unset", ServerEntry(url="http://localhost/mcp"), problem="TOKEN is not set")
    stage = Stage()
    async with fleet_of(
        stage, {"full": full, "gone": gone, "unset": ScriptedServer()}, entries={"unset": unset}
    ) as fleet:
        await stage.until(lambda: fleet.supervisors[0].surveyed and fleet.settled)
        ready, failed, never = fleet.reports()
    assert (ready.server, ready.transport, ready.state, ready.protocol) == ("full", "stdio", "ready", "2025-11-25")
    assert (ready.tools, ready.resources, ready.prompts, ready.problem) == (2, 0, 1, "")
    assert (failed.state, failed.protocol, failed.problem) == ("failed", "", "no such command")
    assert (failed.tools, failed.resources, failed.prompts) == (-1, -1, -1)
    assert (never.state, never.transport, never.problem) == ("failed", "streamable-http", "TOKEN is not set")


async def test_leaving_closes_every_connection() -> None:
    servers = {"up": ScriptedServer("t"), "starting": ScriptedServer(initialize=silent)}
    stage = Stage()
    async with fleet_of(stage, servers):
        await stage.until(lambda: "ready" in stage.states("up"))
    assert all(connection.closed for server in servers.values() for connection in server.connections)


# Another configuration


class LingeringServer(ScriptedServer):
    """Takes its time to end: until `gone` is set, or an hour."""

    def __init__(self, *tools: str, **scripts: Script) -> None:
        super().__init__(*tools, **scripts)
        self.gone = anyio.Event()

    @asynccontextmanager
    async def __call__(self, server: Server, intake: Intake, output: Output) -> AsyncIterator[Connection]:
        try:
            async with super().__call__(server, intake, output) as connection:
                yield connection
        finally:
            with anyio.move_on_after(3600, shield=True):
                await self.gone.wait()


def offering(*tools: str, **scripts: Script) -> ScriptedServer:
    """A server with a prompt and a resource, too."""
    server = ScriptedServer(*tools, **scripts)
    server.capabilities |= {"prompts": {}, "resources": {}}
    server.scripts["prompts/list"] = lambda *_: result({"prompts": [{"name": "p"}]})
    server.scripts["resources/list"] = lambda *_: result({"resources": [{"uri": "r://x", "name": "x"}]})
    server.scripts["resources/templates/list"] = lambda *_: result({"resourceTemplates": []})
    return server


def apply(fleet: Fleet, before: Sequence[Server], after: Sequence[Server], **proxy: Any) -> None:
    """Let the second file take the first one's place."""
    new = configuration(*after, **proxy)
    fleet.apply(new, compare(configuration(*before), new))


async def everything_seen(client: LocalClient) -> dict[str, list[str]]:
    """All lists, so that the client is told when one of them changes."""
    found = {}
    for method, member, key in (
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
    ):
        found[member] = [entry[key] for entry in json.loads(await client.request(method))[member]]
    return found


async def settled(stage: Stage, fleet: Fleet) -> None:
    await stage.until(lambda: all(one.surveyed or one.lifecycle.state == "failed" for one in fleet.supervisors))


def connections(servers: dict[str, ScriptedServer]) -> dict[str, int]:
    """How often each server was started."""
    return {key: len(server.connections) for key, server in servers.items()}


A, B, C = (configured(key) for key in "abc")


async def test_a_reload_starts_stops_and_restarts_exactly_what_changed() -> None:
    servers = {key: offering("t") for key in ("same", "changed", "removed", "added")}
    same, changed, removed, added = map(configured, servers)
    now_changed = configured("changed", call_timeout=7)
    stage = Stage()
    del servers["added"]
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        await everything_seen(client)
        servers["added"] = offering("t")
        apply(fleet, [same, changed, removed], [added, same, now_changed])
        await stage.until(lambda: len(stage.notified) == 3)
        await settled(stage, fleet)
        assert connections(servers) == {"same": 1, "changed": 2, "removed": 1, "added": 1}
        assert [server for server in servers if servers[server].last.closed] == ["removed"]
        assert stage.states("removed") == ["starting", "ready", "stopped"]
        assert [report.server for report in fleet.reports()] == ["added", "same", "changed"]
        assert stage.relay.targets["changed"].limits.call == 7
        assert sorted(method for method, _ in stage.notified) == [
            f"notifications/{kind}/list_changed" for kind in ("prompts", "resources", "tools")
        ]
        seen = await everything_seen(client)
        assert seen["tools"] == ["added__t", "same__t", "changed__t"]
        assert seen["prompts"] == ["added__p", "same__p", "changed__p"]
        assert seen["resources"] == ["r://x", "r://~same/x", "r://~changed/x"]
        await anyio.sleep(3600)
        assert len(stage.notified) == 3, "each kind is told once"


async def test_a_restart_that_changes_nothing_for_clients_is_not_told() -> None:
    servers, stage = {"a": offering("t"), "b": offering("t")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        await everything_seen(await stage.client())
        apply(fleet, [A, B], [configured("a", call_timeout=7), B])
        await servers["a"].until(lambda: len(servers["a"].connections) == 2)
        await settled(stage, fleet)
        await anyio.sleep(60)
        assert stage.notified == []


async def test_calls_to_servers_that_stay_go_on() -> None:
    servers, stage = {key: ScriptedServer("t", tools__call=silent) for key in "ab"}, Stage()
    answers: list[Any] = []
    async with fleet_of(stage, servers) as fleet, anyio.create_task_group() as tasks:
        await settled(stage, fleet)
        client = await stage.client()

        async def wait() -> None:
            answers.append(await call(client, "a__t"))

        tasks.start_soon(wait)
        await servers["a"].until(lambda: bool(servers["a"].asked("tools/call")))
        apply(fleet, [A, B], [A])
        await servers["b"].until(lambda: servers["b"].last.closed)
        [asked] = servers["a"].asked("tools/call")
        servers["a"].last.respond(asked, result({"content": ["done"]}))
    assert answers == [{"content": ["done"]}]
    assert not servers["a"].asked("notifications/cancelled")


async def test_a_call_in_flight_on_a_removed_server_fails_and_says_why() -> None:
    removed, stage = LingeringServer("t", tools__call=silent), Stage()
    async with fleet_of(stage, {"a": removed}) as fleet, anyio.create_task_group() as tasks:
        await settled(stage, fleet)
        client = await stage.client()
        problems: list[str] = []

        async def wait() -> None:
            with pytest.raises(RequestFailed) as failed:
                await call(client, "a__t")
            problems.append(str(failed.value))

        tasks.start_soon(wait)
        await removed.until(lambda: bool(removed.asked("tools/call")))
        apply(fleet, [A], [])
        await stage.until(lambda: bool(problems))
        assert "'a'" in problems[0]
        assert "no longer in the configuration" in problems[0]
        assert not removed.gone.is_set(), "nobody waits for the server's end"
        with pytest.raises(RequestFailed, match="a__t"):
            await call(client, "a__t")
        assert await listed(client) == []
        removed.gone.set()


async def test_a_call_that_waits_for_a_server_fails_when_that_is_removed() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage()
    async with fleet_of(stage, {"a": ScriptedServer("t"), "b": slow}) as fleet:
        await stage.until(lambda: stage.states("a") == ["starting", "ready"])
        client = await stage.client()
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(RequestFailed):
                    await call(client, "b__t")

            tasks.start_soon(wait)
            await anyio.sleep(0.001)
            began = stage.pump.now()
            apply(fleet, [A, B], [A])
        assert stage.pump.now() - began < 1
        await slow.until(lambda: slow.last.closed)
        assert await listed(client) == ["a__t"]


async def test_a_call_that_waits_for_a_restart_fails_when_the_server_is_removed() -> None:
    server, stage = ScriptedServer("t"), Stage()
    async with fleet_of(stage, {"a": server, "b": ScriptedServer("t")}) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        server.scripts["initialize"] = silent
        server.last.end(ConnectionLost("a", "it exited with code 1"))
        await server.until(lambda: len(server.connections) == 2)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(RequestFailed, match="'a' is down: it is no longer in the configuration"):
                    await call(client, "a__t")

            tasks.start_soon(wait)
            await anyio.sleep(0.001)
            began = stage.pump.now()
            apply(fleet, [A, B], [B])
        assert stage.pump.now() - began < 1
        assert [server for server, _, _ in stage.relay.traffic()] == ["b"]


async def test_a_restart_waits_for_the_end_of_the_old_and_calls_wait_for_the_new() -> None:
    """Two of one server might fight over a port or a file."""
    server, stage = LingeringServer("t"), Stage()
    async with fleet_of(stage, {"a": server}) as fleet, anyio.create_task_group() as tasks:
        await settled(stage, fleet)
        client = await stage.client()
        answers: list[Any] = []

        async def wait() -> None:
            answers.append(await call(client, "a__t", {"n": 1}))
            stage.note()

        apply(fleet, [A], [configured("a", call_timeout=100)])
        tasks.start_soon(wait)
        await server.until(lambda: server.last.closed)
        await anyio.sleep(8)
        assert len(server.connections) == 1
        assert answers == []
        server.gone.set()
        await stage.until(lambda: bool(answers))
        assert answers == [{"content": [], "echo": {"n": 1}}]
        assert len(server.connections) == 2


async def test_the_catalogue_waits_for_a_new_server_so_that_clients_hear_once() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage()
    servers = {"a": ScriptedServer("t"), "b": ScriptedServer("t")}
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        await everything_seen(client)
        servers["c"] = slow
        apply(fleet, [A, B], [A, C])
        await slow.until(lambda: bool(slow.asked("initialize")))
        await anyio.sleep(5)
        assert stage.notified == []
        answer_initialize(slow)
        await stage.until(lambda: bool(stage.notified))
        assert stage.notified == [(LIST_CHANGED, None)]
        assert await listed(client) == ["a__t", "c__t"]


async def test_the_catalogue_does_not_wait_longer_than_a_list_does() -> None:
    slow, stage = ScriptedServer("t", initialize=silent), Stage()
    servers = {"a": ScriptedServer("t"), "b": ScriptedServer("t")}
    async with fleet_of(stage, servers, list_wait=4) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        await everything_seen(client)
        servers["c"] = slow
        began = stage.pump.now()
        apply(fleet, [A, B], [A, C])
        await stage.until(lambda: bool(stage.notified))
        assert stage.pump.now() - began == pytest.approx(4, abs=0.01)
        assert await listed(client) == ["a__t"]
        answer_initialize(slow)
        await stage.until(lambda: len(stage.notified) == 2)
        assert await listed(client) == ["a__t", "c__t"]


async def test_the_catalogue_does_not_wait_for_a_new_server_that_fails() -> None:
    gone, stage = ScriptedServer(), Stage()
    gone.refuse = Hopeless("c", "no such command")
    servers = {"a": ScriptedServer("t"), "b": ScriptedServer("t")}
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        await everything_seen(client)
        servers["c"] = gone
        began = stage.pump.now()
        apply(fleet, [A, B], [A, C])
        await stage.until(lambda: bool(stage.notified))
        assert stage.pump.now() - began < 1
        assert await listed(client) == ["a__t"]


async def test_another_order_restarts_nothing_and_is_told_once() -> None:
    servers, stage, asked = {"a": offering("t"), "b": offering("t")}, Stage(), list[str]()

    def refuse(key: str) -> Script:
        def note(connection: Connection, message: Message) -> Outcome:
            asked.append(key)
            return error(-32002, "no such resource")

        return note

    for key, server in servers.items():
        server.scripts["resources/read"] = refuse(key)
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        before = await everything_seen(client)
        assert before["resources"] == ["r://x", "r://~b/x"]
        apply(fleet, [A, B], [B, A])
        assert len(stage.notified) == 3
        after = await everything_seen(client)
        assert after["tools"] == ["b__t", "a__t"]
        assert after["resources"] == ["r://x", "r://~a/x"]
        assert connections(servers) == {"a": 1, "b": 1}
        with pytest.raises(RequestFailed):
            await client.request("resources/read", b'{"uri":"nobody://lists/this"}')
        assert asked == ["b", "a"], "who comes first is asked first"


async def test_a_name_once_given_stays_and_a_new_server_yields() -> None:
    """`a` has a tool `b__t`; its name would be that of `t` of the new server `a__b`, had both been there at first."""
    servers, stage = {"a": ScriptedServer("b__t", "u")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        assert await listed(client) == ["a__b__t", "a__u"]
        servers["a__b"] = ScriptedServer("t")
        apply(fleet, [A], [A, configured("a__b")])
        await stage.until(lambda: bool(stage.notified))
        old, plain, new = await listed(client)
        assert (old, plain) == ("a__b__t", "a__u")
        assert new.startswith("a__b__t_")
        assert connections(servers) == {"a": 1, "a__b": 1}
        for name, owner, own in ((old, "a", "b__t"), (plain, "a", "u"), (new, "a__b", "t")):
            await call(client, name)
            assert servers[owner].asked("tools/call")[-1].params["name"] == own
        apply(fleet, [A, configured("a__b")], [A])
        await stage.until(lambda: len(stage.notified) == 2)
        assert await listed(client) == ["a__b__t", "a__u"]


async def test_rules_of_a_changed_entry_hold_for_what_is_listed_then() -> None:
    servers, stage = {"a": ScriptedServer("s", "t")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        assert await listed(client) == ["a__s", "a__t"]
        apply(fleet, [A], [configured("a", prefix="z", tools=ToolRules(deny=("s",)))])
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["z__t"]
        assert await call(client, "z__t") == {"content": [], "echo": {}}


async def test_a_server_that_is_removed_and_comes_back_is_started_after_its_end() -> None:
    server, stage = LingeringServer("t"), Stage()
    async with fleet_of(stage, {"a": server}) as fleet:
        await settled(stage, fleet)
        client = await stage.client()
        apply(fleet, [A], [])
        assert await listed(client) == []
        apply(fleet, [], [A])
        await anyio.sleep(3)
        assert len(server.connections) == 1
        server.gone.set()
        await server.until(lambda: len(server.connections) == 2)
        await settled(stage, fleet)
        assert await listed(client) == ["a__t"]


@pytest.mark.parametrize("moment", ["its end", "its start"])
async def test_a_server_may_end_or_start_in_the_moment_in_which_it_is_removed(moment: str) -> None:
    """Both are known already, but not yet to who looks after it."""
    server, stage = ScriptedServer("t"), Stage()
    if moment == "its start":
        server.scripts["tools/list"] = silent
    async with fleet_of(stage, {"a": server, "b": ScriptedServer("t")}) as fleet:
        await stage.until(lambda: stage.states("b") == ["starting", "ready"])
        if moment == "its end":
            server.last.end(ConnectionLost("a", "it exited with code 1"))
        else:
            [question] = server.asked("tools/list")
            server.last.respond(question, ScriptedServer("t").answer(server.last, Message.of(question.line)) or b"")
        asyncio.get_running_loop().call_soon(apply, fleet, [A, B], [B])
        await server.until(lambda: server.last.closed)
        await anyio.sleep(3600)
        assert stage.states("a")[-1] == "stopped"
        assert stage.notices("error") == []
        assert len(server.connections) == 1
        assert await listed(await stage.client()) == ["b__t"]


async def test_a_start_that_fails_after_the_server_was_removed_is_nobodys_trouble() -> None:
    """Starting a process is nothing that can be broken off halfway."""

    class Slow(ScriptedServer):
        @asynccontextmanager
        async def __call__(self, server: Server, intake: Intake, output: Output) -> AsyncIterator[Connection]:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            async with super().__call__(server, intake, output) as connection:
                yield connection

    slow, stage = Slow(), Stage()
    slow.refuse = Hopeless("a", "no such command")
    async with fleet_of(stage, {"a": slow, "b": ScriptedServer("t")}) as fleet:
        await stage.until(lambda: stage.states("b") == ["starting", "ready"])
        apply(fleet, [A, B], [B])
        await anyio.sleep(60)
        assert stage.states("a") == ["starting", "stopped"]
        assert await listed(await stage.client()) == ["b__t"]


async def test_that_a_server_is_no_more_is_told_once_it_has_ended_and_nothing_after_it() -> None:
    lingering, stage = LingeringServer("t"), Stage()
    async with fleet_of(stage, {"a": lingering, "b": ScriptedServer("t")}) as fleet:
        await settled(stage, fleet)
        apply(fleet, [A, B], [B])
        await anyio.sleep(3)
        assert stage.of(ServerRemoved) == []
        lingering.gone.set()
        await stage.until(lambda: bool(stage.of(ServerRemoved)))
        apply(fleet, [B], [configured("b", prefix="z")])
        await anyio.sleep(60)
    assert [event.server for event in stage.of(ServerRemoved)] == ["a"]
    assert [event for event in stage.events if getattr(event, "server", "") == "a"][-1] == ServerRemoved("a")


async def test_what_a_removed_server_listed_is_told_as_gone() -> None:
    servers, stage = {"a": offering("s", "t"), "b": ScriptedServer("t")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        stage.events.clear()
        apply(fleet, [A, B], [B])
        gone = {(event.server, event.kind): (event.entries, event.removed) for event in stage.of(CatalogueChanged)}
        assert gone == {("a", "tools"): (0, 2), ("a", "prompts"): (0, 1), ("a", "resources"): (0, 1)}


async def test_a_configuration_that_comes_before_anything_was_started_is_the_one_that_is() -> None:
    servers, stage = {key: ScriptedServer("t") for key in "abc"}, Stage()
    fleet = Fleet(configuration(A, B), stage.pump, Apart(servers), stage.emit, random=lambda: 1.0)
    apply(fleet, [A, B], [configured("a", prefix="z"), C])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.run)
        client = await stage.client()
        with anyio.fail_after(PATIENCE):
            await fleet.until_settled()
        assert await listed(client) == ["z__t", "c__t"]
        assert connections(servers) == {"a": 1, "b": 0, "c": 1}
        tasks.cancel_scope.cancel()
    stage.pump.close()


async def test_other_instructions_are_there_at_once() -> None:
    stage = Stage()
    async with fleet_of(stage, {"a": ScriptedServer("t")}, instructions="Old.") as fleet:
        await settled(stage, fleet)
        apply(fleet, [A], [A], instructions="New.")
        assert instructions_of(stage) == "New."


# A client with other capabilities


async def test_servers_are_greeted_anew_for_a_client_that_can_do_more() -> None:
    servers, stage = {"a": LingeringServer("t"), "b": ScriptedServer("t")}, Stage()
    async with fleet_of(stage, servers) as fleet, anyio.create_task_group() as tasks:
        await settled(stage, fleet)
        client = await stage.client()
        assert await listed(client) == ["a__t", "b__t"]
        stage.greet({"sampling": {}})
        answers: list[Any] = []

        async def wait() -> None:
            answers.append(await call(client, "a__t", {"n": 1}))
            stage.note()

        tasks.start_soon(wait)
        await servers["b"].until(lambda: len(servers["b"].connections) == 2)
        assert await listed(client) == ["a__t", "b__t"], "what they listed stays meanwhile"
        assert len(servers["a"].connections) == 1
        servers["a"].gone.set()  # type: ignore[attr-defined]
        await stage.until(lambda: bool(answers))
        for server in servers.values():
            assert [asked.params["capabilities"] for asked in server.asked("initialize")] == [{}, {"sampling": {}}]
        await anyio.sleep(60)
        assert stage.notified == []


async def test_a_client_that_can_do_the_same_changes_nothing() -> None:
    servers, stage = {"a": ScriptedServer("t")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        stage.greet({})
        stage.greet({})
        await anyio.sleep(60)
        assert connections(servers) == {"a": 1}


async def test_a_server_that_was_not_greeted_yet_hears_of_the_latest_client_alone() -> None:
    servers, stage = {"a": ScriptedServer("t")}, Stage()
    async with fleet_of(stage, servers) as fleet:
        stage.greet({"roots": {}})
        await settled(stage, fleet)
        assert [asked.params["capabilities"] for asked in servers["a"].asked("initialize")] == [{"roots": {}}]


async def test_a_server_that_has_failed_for_good_is_not_tried_again_for_another_client() -> None:
    def die(connection: Connection, message: Message) -> Outcome:
        connection.end(ConnectionLost("a", "it exited with code 1"))
        return None

    server, stage = ScriptedServer(initialize=die), Stage()
    async with fleet_of(stage, {"a": server}) as fleet:
        await stage.until(lambda: fleet.supervisors[0].lifecycle.state == "failed")
        before = len(server.connections)
        stage.greet({"sampling": {}})
        await anyio.sleep(60)
        assert len(server.connections) == before


# Limits


async def test_the_limits_of_a_server_are_those_of_its_entry() -> None:
    held: list[Message] = []

    def hold(connection: Connection, message: Message) -> None:
        held.append(message)

    stage, server = Stage(), ScriptedServer("a", tools__call=hold)
    one = configured(
        "one", call_timeout=20.0, call_maximum=5.0, ask_timeout=7.0, max_running=2, max_queued=1, trust_hints=True
    )
    async with fleet_of(stage, {"one": server}, entries={"one": one}) as fleet:
        await fleet.until_settled()
        limits = stage.relay.targets["one"].limits
        assert (limits.call, limits.longest, limits.ask) == (20.0, 20.0, 7.0), "a maximum is never the shorter one"
        client = await stage.client()
        refused = []

        async def attempt(number: int) -> None:
            try:
                await call(client, "one__a", number)
            except RequestFailed as problem:
                refused.append(str(problem))

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(attempt, number)
            await stage.until(lambda: len(held) == 2, "two calls run")
            await anyio.sleep(1)
            assert len(refused) == 1
            assert "2 calls running, and 1 more wait" in refused[0]
            server.last.respond(held[0], result({"content": []}))
            await stage.until(lambda: len(held) == 3, "the one that waited is sent")
            for message in held[1:]:
                server.last.respond(message, result({"content": []}))
        assert len(refused) == 1


async def test_a_call_to_a_server_that_could_not_be_reached_is_answered_when_that_is_back() -> None:
    stage, server = Stage(), ScriptedServer("a")

    def unreachable(connection: Connection, message: Message) -> None:
        connection._intake.undelivered(message.id or b"", "no connection")
        connection.end(Unreachable("one", "no connection"))
        del server.scripts["tools/call"]

    server.scripts["tools/call"] = unreachable
    async with fleet_of(stage, {"one": server}) as fleet:
        await fleet.until_settled()
        client = await stage.client()
        assert (await call(client, "one__a", {"x": 1}))["echo"] == {"x": 1}
        assert len(server.connections) == 2
        assert [event.outcome for event in stage.of(CallFinished)] == ["ok"]


# Clients of many kinds at once


async def test_with_an_offer_given_up_front_servers_wait_for_no_client_and_none_changes_anything() -> None:
    servers, stage = {"a": ScriptedServer("t")}, Stage(offer=SHARED)
    async with fleet_of(stage, servers) as fleet:
        await settled(stage, fleet)
        stage.greet({})
        stage.greet({"sampling": {}})
        await anyio.sleep(60)
        [asked] = servers["a"].asked("initialize")
        assert asked.params["capabilities"] == json.loads(SHARED.capabilities)
        assert set(asked.params["capabilities"]) == {"roots", "sampling", "elicitation", "tasks"}


# By hand


async def test_a_restart_by_hand_fails_what_was_under_way_and_shows_the_tools_all_along() -> None:
    server, stage = LingeringServer("t"), Stage(offer=SHARED)
    async with fleet_of(stage, {"a": server}) as fleet, anyio.create_task_group() as tasks:
        await settled(stage, fleet)
        client = await stage.client()
        assert await listed(client) == ["a__t"]
        server.scripts["tools/call"] = silent
        failed: list[str] = []

        async def ask() -> None:
            with pytest.raises(RequestFailed) as refused:
                await call(client, "a__t")
            failed.append(str(refused.value))
            stage.note()

        tasks.start_soon(ask)
        await server.until(lambda: bool(server.asked("tools/call")))
        assert fleet.restart("a")
        await stage.until(lambda: bool(failed))
        assert "it was restarted by hand" in failed[0]
        assert await listed(client) == ["a__t"]
        assert len(server.connections) == 1, "the old one has not ended yet"
        server.gone.set()
        await stage.until(lambda: stage.states("a")[-1] == "ready")
        assert len(server.connections) == 2
        del server.scripts["tools/call"]
        assert await call(client, "a__t", {"n": 1}) is not None
        assert stage.notified == []


async def test_a_server_that_was_given_up_is_tried_again_by_hand() -> None:
    def die(connection: Connection, message: Message) -> Outcome:
        connection.end(ConnectionLost("a", "it exited with code 1"))
        return None

    server, stage = ScriptedServer("t", initialize=die), Stage(offer=SHARED)
    async with fleet_of(stage, {"a": server}) as fleet:
        await stage.until(lambda: fleet.supervisors[0].lifecycle.state == "failed")
        del server.scripts["initialize"]
        assert fleet.restart("a")
        await stage.until(lambda: stage.states("a")[-1] == "ready")
        assert await listed(await stage.client()) == ["a__t"]


async def test_a_server_that_sleeps_is_started_by_hand(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    servers = {"a": ScriptedServer("t")}
    first = Stage(offer=SHARED)
    async with fleet_of(first, servers, shelf=shelf) as fleet:
        await settled(first, fleet)
        await fleet.supervisors[0].until_learned()
    stage = Stage(offer=SHARED)
    async with fleet_of(stage, servers, shelf=shelf) as fleet:
        await fleet.until_settled()
        assert (fleet.supervisors[0].sleeps, len(servers["a"].connections)) == (True, 1)
        assert fleet.restart("a")
        await stage.until(lambda: stage.states("a")[-1:] == ["ready"])
        assert len(servers["a"].connections) == 2


async def test_what_nobody_knows_is_not_restarted() -> None:
    stage = Stage(offer=SHARED)
    async with fleet_of(stage, {"a": ScriptedServer("t")}) as fleet:
        assert not fleet.restart("b")
