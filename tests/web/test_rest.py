"""Tools, resources and prompts over plain HTTP: handlers, relay and servers are real, sockets and time are not."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from proxy.errors import ConnectionLost, StartFailed
from proxy.events import CallFinished
from proxy.fronts.local import LocalClient
from proxy.web.arguments import Arguments
from proxy.web.guard import Guard
from proxy.web.rest import Rest
from proxy.web.site import Site
from tests.support.asking import Answer, ask
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer, configured, error, result, silent
from tests.support.stage import Stage, fleet_of
from tests.support.virtual_time import VIRTUAL

LARGEST = 1000
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "b/c": {"type": "string"}},
    "required": ["a"],
}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


@dataclass
class Bed:
    """A site with these handlers alone, before a fleet of scripted servers."""

    stage: Stage
    site: Site
    client: LocalClient

    async def ask(self, method: str, url: str, body: Any = b"", **headers: str | None) -> Answer:
        answer = await ask(self.site, method, url, body, {name.replace("_", "-"): headers[name] for name in headers})
        assert answer is not None
        return answer

    async def call(self, name: str, arguments: Any = None) -> Answer:
        return await self.ask("POST", "/tools/call", {"tool_name": name, "arguments": arguments or {}})


@contextlib.asynccontextmanager
async def bed(servers: dict[str, ScriptedServer], *, most: int = 100, **entries: Any) -> AsyncIterator[Bed]:
    stage = Stage()
    configured_entries = {key: configured(key, **entry) for key, entry in entries.items()}
    async with fleet_of(stage, servers, entries=configured_entries):
        client = LocalClient(stage.pump, "rest", most=most)
        await client.initialize()
        rest = Rest(
            client,
            stage.relay,
            Arguments(lambda: stage.relay.catalogue, stage.emit),
            largest=LARGEST,
            most=most,
        )
        handlers = {"tools": rest.tools, "resources": rest.resources, "prompts": rest.prompts}
        yield Bed(stage, Site(Guard(host="127.0.0.1", token=None), handlers, {}), client)
        client.close()


def saying(outcome: bytes) -> ScriptedServer:
    """A server with one tool, which answers a call with these bytes."""
    return ScriptedServer("t", tools__call=lambda *_: outcome)


def full() -> ScriptedServer:
    """A server with something of each kind, which answers with what it was asked."""

    def echo(connection: Connection, message: Message) -> Outcome:
        if message.params.get("uri", "note:").startswith("note:"):
            return result({"asked": message.params})
        return error(-32602, "there is no such resource")

    server = ScriptedServer(
        "t",
        prompts__list=lambda *_: result({"prompts": [{"name": "p"}]}),
        prompts__get=echo,
        resources__list=lambda *_: result({"resources": [{"name": "r", "uri": "note://a b?x=1&y=2"}]}),
        resources__read=echo,
        resources__templates__list=lambda *_: result(
            {"resourceTemplates": [{"name": "t", "uriTemplate": "page://{name}"}]}
        ),
    )
    server.capabilities |= {"prompts": {}, "resources": {}}
    return server


def strict() -> ScriptedServer:
    """A server whose tool `t` says what it takes."""
    definition = {"name": "t", "inputSchema": SCHEMA}
    return ScriptedServer("t", tools__list=lambda *_: result({"tools": [definition]}))


async def test_a_result_comes_byte_for_byte_whichever_way_it_was_asked_for() -> None:
    payload = b'{"content":[],"big":12345678901234567890.123,"huge":1e400, "half":"\\ud800","_meta":{"a/b":-0.0}}'
    async with bed({"one": saying(b'"result":' + payload)}) as hub:
        for url, body in [
            ("/tools/call", {"tool_name": "one__t", "arguments": {}}),
            ("/tools/call", {"name": "one__t", "arguments": None}),
            ("/tools/call", {"name": "one__t", "tool_name": "one__t"}),
            ("/tools/one__t", {}),
            ("/tools/one%5F_t", b""),
        ]:
            answer = await hub.ask("POST", url, body)
            assert (answer.status, answer.body) == (200, payload)
            assert answer.headers["content-type"] == "application/json"


async def test_arguments_pass_as_they_came_but_for_line_ends() -> None:
    odd = b'{\r\n "big": 12345678901234567890.123, "huge":1e400,\n"half":"\\ud800"}'
    server = ScriptedServer("t", tools__call=lambda *_: result({"content": []}))
    async with bed({"one": server}) as hub:
        for url, body in [("/tools/one__t", odd), ("/tools/call", b'{"name":"one__t","arguments":' + odd + b"}")]:
            answer = await hub.ask("POST", url, body, content_type="application/json; charset=utf-8")
            assert answer.status == 200
    for message in server.asked("tools/call"):
        assert odd.replace(b"\r", b" ").replace(b"\n", b" ") in message.line


async def test_meta_passes_too() -> None:
    server = ScriptedServer("t", tools__call=lambda *_: result({"content": []}))
    async with bed({"one": server}) as hub:
        await hub.ask("POST", "/tools/call", {"name": "one__t", "_meta": {"traceparent": "00-ab"}})
    assert server.asked("tools/call")[0].params == {"name": "t", "arguments": {}, "_meta": {"traceparent": "00-ab"}}


async def test_the_trace_context_of_a_request_is_in_meta_unless_that_has_its_own() -> None:
    near, state, own = f"00-{'a' * 32}-{'b' * 16}-01", "vendor=1", f"00-{'c' * 32}-{'d' * 16}-01"
    server = full()
    async with bed({"one": server}) as hub:
        asked = [
            ("/tools/call", {"name": "one__t", "_meta": {"x": 1}}, {"x": 1, "traceparent": near, "tracestate": state}),
            ("/tools/call", {"name": "one__t", "_meta": {"traceparent": own}}, {"traceparent": own}),
            ("/prompts/one__p", b"", {"traceparent": near, "tracestate": state}),
        ]
        for url, body, meta in asked:
            await hub.ask("POST", url, body, traceparent=near, tracestate=state)
            assert server.asked("tools/call" if "tools" in url else "prompts/get")[-1].params["_meta"] == meta


async def test_each_call_is_told_with_where_it_came_from() -> None:
    async with bed({"one": full()}) as hub:
        await hub.call("one__t")
        [event] = hub.stage.of(CallFinished)
        assert event.peer == "127.0.0.1"


async def test_a_tool_that_failed_is_a_result() -> None:
    payload = b'{"content":[{"type":"text","text":"out of paper"}],"isError":true}'
    async with bed({"one": saying(b'"result":' + payload)}) as hub:
        answer = await hub.call("one__t")
        assert (answer.status, answer.body) == (200, payload)


async def test_lists_are_whole_and_as_clients_see_them() -> None:
    many = ScriptedServer(*(f"t{number}" for number in range(1500)))
    async with bed({"one": full(), "two": many}) as hub:
        tools = await hub.ask("GET", "/tools/list")
        assert [tool["name"] for tool in tools.json["tools"]] == ["one__t", *(f"two__t{n}" for n in range(1500))]
        assert tools.body == hub.stage.relay.catalogue.sheet("tools").whole
        assert (await hub.ask("GET", "/prompts/list")).json == {"prompts": [{"name": "one__p"}]}
        resources = (await hub.ask("GET", "/resources/list")).json["resources"]
        assert resources == [{"name": "r", "uri": "note://a b?x=1&y=2"}]
        templates = (await hub.ask("GET", "/resources/templates")).json["resourceTemplates"]
        assert templates == [{"name": "t", "uriTemplate": "page://{name}"}]


async def test_the_first_list_waits_for_servers_that_are_starting() -> None:
    slow = ScriptedServer("t", initialize=silent)
    async with bed({"one": ScriptedServer("t"), "slow": slow}) as hub:
        tools = await hub.ask("GET", "/tools/list")
        assert [tool["name"] for tool in tools.json["tools"]] == ["one__t"]
        assert hub.stage.pump.now() >= 1000.0 + 10.0, "the time for which a client waits for its first list"


async def test_resources_are_read_by_query_and_by_body() -> None:
    async with bed({"one": full()}) as hub:
        for method, url, body in [
            ("GET", "/resources/read?uri=note%3A%2F%2Fa%20b%3Fx%3D1%26y%3D2", b""),
            ("GET", "/resources/read?uri=note://a+b?x=1%26y=2", b""),
            ("POST", "/resources/read", {"uri": "note://a b?x=1&y=2"}),
        ]:
            answer = await hub.ask(method, url, body)
            assert (answer.status, answer.json) == (200, {"asked": {"uri": "note://a b?x=1&y=2"}})


async def test_prompts_are_got_by_body_and_by_path() -> None:
    async with bed({"one": full()}) as hub:
        for url, body, asked in [
            ("/prompts/get", {"name": "one__p", "arguments": {"city": "Bonn"}}, {"arguments": {"city": "Bonn"}}),
            ("/prompts/one__p", {"city": "Bonn"}, {"arguments": {"city": "Bonn"}}),
            ("/prompts/get", {"name": "one__p"}, {}),
        ]:
            answer = await hub.ask("POST", url, body)
            assert (answer.status, answer.json) == (200, {"asked": {"name": "p", **asked}})


async def test_what_nobody_has_is_404_and_tells_what_is_near() -> None:
    async with bed({"one": full()}) as hub:
        for method, url, body, said in [
            ("POST", "/tools/call", {"tool_name": "t"}, "did you mean one__t?"),
            ("POST", "/tools/one__u", {}, "did you mean one__t?"),
            ("POST", "/prompts/q", {}, "unknown prompt 'q'"),
            ("GET", "/resources/read?uri=other://x", b"", "there is no such resource"),
            ("GET", "/tools", b"", "/tools"),
            ("GET", "/tools/", b"", "/tools/"),
            ("GET", "/resources/nothing", b"", "/resources/nothing"),
        ]:
            answer = await hub.ask(method, url, body)
            assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json"), url
            assert said in answer.json["detail"]


async def test_arguments_that_do_not_fit_are_422_with_pointers_and_reach_no_server() -> None:
    server = strict()
    async with bed({"one": server}) as hub:
        for url, wrapped in [("/tools/one__t", False), ("/tools/call", True)]:
            given = {"a": [1, "x"], "b/c": 2}
            body = {"name": "one__t", "arguments": given} if wrapped else given
            answer = await hub.ask("POST", url, body)
            assert answer.status == 422
            assert answer.json["errors"] == [
                {"path": "/a/1", "message": "'x' is not of type 'integer'"},
                {"path": "/b~1c", "message": "2 is not of type 'string'"},
            ]
            assert answer.json["delivered"] == "no"
        answer = await hub.ask("POST", "/tools/one__t", b"")
        assert answer.json["errors"] == [{"path": "", "message": "'a' is a required property"}]
        assert server.asked("tools/call") == []
        assert (await hub.ask("POST", "/tools/one__t", {"a": [1]})).status == 200


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/tools/call", b""),
        ("/tools/call", b"{"),
        ("/tools/call", b'{"name":"one__t"} {}'),
        ("/tools/call", b"[]"),
        ("/tools/call", {}),
        ("/tools/call", {"name": 1}),
        ("/tools/call", {"name": "one__t", "tool_name": "other"}),
        ("/tools/call", {"name": "one__t", "arguments": []}),
        ("/tools/call", {"name": "one__t", "_meta": 1}),
        ("/tools/call", {"name": "one__t", "argument": {}}),
        ("/tools/one__t", b"3"),
        ("/tools/one__t", b'{"a":1,}'),
        ("/tools/one__t", b'{"a":"\xff"}'),
        ("/tools/one__t", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
        ("/prompts/get", {"arguments": {}}),
        ("/resources/read", {"url": "x"}),
        ("/resources/read", {"uri": None}),
    ],
)
async def test_a_body_that_is_not_what_it_has_to_be_is_400(url: str, body: Any) -> None:
    server = ScriptedServer("t")
    async with bed({"one": server}) as hub:
        answer = await hub.ask("POST", url, body)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
        assert server.asked("tools/call") == []


@pytest.mark.parametrize("query", ["", "?", "?url=x", "?uri=a&uri=b", "?uri=a&more=b"])
async def test_a_query_that_is_not_what_it_has_to_be_is_400(query: str) -> None:
    async with bed({"one": full()}) as hub:
        assert (await hub.ask("GET", f"/resources/read{query}")).status == 400


async def test_only_json_is_taken() -> None:
    wrong: list[dict[str, str | None]] = [
        {"content_type": "text/plain"},
        {"content_type": ""},
        {"content_type": None},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_encoding": "gzip"},
    ]
    async with bed({"one": ScriptedServer("t")}) as hub:
        for headers in wrong:
            assert (await hub.ask("POST", "/tools/one__t", {}, **headers)).status == 415
        answer = await hub.ask("POST", "/tools/one__t", b"", content_type="application/x-www-form-urlencoded")
        assert answer.status == 415


async def test_a_long_body_is_413() -> None:
    async with bed({"one": ScriptedServer("t")}) as hub:
        assert (await hub.ask("POST", "/tools/one__t", {"a": "x" * LARGEST})).status == 413


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("POST", "/tools/list", "GET, HEAD"),
        ("DELETE", "/resources/templates", "GET, HEAD"),
        ("GET", "/tools/call", "POST"),
        ("GET", "/tools/one__t", "POST"),
        ("PUT", "/resources/read", "GET, HEAD, POST"),
        ("GET", "/prompts/p", "POST"),
    ],
)
async def test_another_method_is_405_and_tells_which_are_allowed(method: str, url: str, allowed: str) -> None:
    async with bed({"one": ScriptedServer("t")}) as hub:
        answer = await hub.ask(method, url, b"")
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


async def test_a_tool_that_is_called_as_an_operation_is_reached_by_its_name_in_a_body() -> None:
    async with bed({"one": ScriptedServer("call", "list")}, one={"prefix": ""}) as hub:
        await hub.ask("GET", "/tools/list")
        for name in ("call", "list"):
            assert (await hub.call(name, {"a": 1})).json["echo"] == {"a": 1}
        assert (await hub.ask("POST", "/tools/list", {})).status == 405


async def test_a_server_that_is_down_is_502_and_its_reason() -> None:
    server = ScriptedServer("t")
    async with bed({"one": server, "two": ScriptedServer("t")}) as hub:
        await hub.ask("GET", "/tools/list")
        server.refuse = StartFailed("one", "no such command")
        server.last.end(ConnectionLost("one", "it went away"))
        await hub.stage.until(lambda: hub.stage.states("one")[-1] == "failed")
        answer = await hub.call("one__t")
        assert answer.status == 502
        assert "no such command" in answer.json["detail"]
        assert (answer.json["server"], answer.json["delivered"]) == ("one", "no")
        assert (await hub.call("two__t")).status == 200


async def test_a_server_that_goes_away_during_a_call_may_have_done_it() -> None:
    def die(connection: Connection, message: Message) -> Outcome:
        connection.end(ConnectionLost("one", "it crashed"))
        return None

    async with bed({"one": ScriptedServer("t", tools__call=die)}) as hub:
        answer = await hub.call("one__t")
        assert (answer.status, answer.json["delivered"], answer.json["server"]) == (502, "maybe", "one")
        assert "it crashed" in answer.json["detail"]


async def test_a_server_that_does_not_answer_is_504() -> None:
    async with bed({"one": ScriptedServer("t", tools__call=silent)}) as hub:
        answer = await hub.call("one__t")
        assert (answer.status, answer.json["delivered"]) == (504, "maybe")
        assert "callTimeout" in answer.json["detail"]


async def test_a_server_that_has_too_many_calls_is_429_with_the_time_to_wait() -> None:
    server = ScriptedServer("t", tools__call=silent)
    async with bed({"one": server}, one={"max_running": 1, "max_queued": 0}) as hub, anyio.create_task_group() as tasks:
        await hub.ask("GET", "/tools/list")
        tasks.start_soon(hub.call, "one__t")
        await server.until(lambda: len(server.asked("tools/call")) == 1)
        answer = await hub.call("one__t")
        assert (answer.status, answer.headers["retry-after"]) == (429, "10")
        assert "maxRunning" in answer.json["detail"]
        tasks.cancel_scope.cancel()


async def test_more_calls_than_may_be_under_way_are_429_and_room_comes_back() -> None:
    server = ScriptedServer("t", tools__call=silent)
    async with bed({"one": server}, most=2) as hub:
        await hub.ask("GET", "/tools/list")
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(hub.call, "one__t")
            await server.until(lambda: len(server.asked("tools/call")) == 2)
            answer = await hub.call("one__t")
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert "maxInFlight" in answer.json["detail"]
            tasks.cancel_scope.cancel()
        del server.scripts["tools/call"]
        assert (await hub.call("one__t")).status == 200


@pytest.mark.parametrize(
    ("code", "status"), [(-32602, 422), (-32601, 501), (-32002, 404), (-32603, 502), (-32000, 502), (0, 502)]
)
async def test_an_error_that_a_server_gave_is_passed_on_as_a_whole(code: int, status: int) -> None:
    own = b'{"code":%d,"message":"out of \\ud800 paper","data":{"huge":1e400}}' % code
    async with bed({"one": saying(b'"error":' + own)}) as hub:
        answer = await hub.call("one__t")
        assert answer.status == status
        assert own in answer.body
        assert answer.json["detail"] == "out of ? paper"
        assert "server" not in answer.json


async def test_a_client_that_leaves_cancels_its_call() -> None:
    server = ScriptedServer("t", tools__call=silent)
    async with bed({"one": server}) as hub:
        await hub.ask("GET", "/tools/list")
        leaving = anyio.Event()
        answers: list[Answer | None] = []

        async def call() -> None:
            answers.append(await ask(hub.site, "POST", "/tools/one__t", {}, leaving=leaving))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await server.until(lambda: len(server.asked("tools/call")) == 1)
            leaving.set()
        assert answers == [None]
        await server.until(lambda: len(server.asked("notifications/cancelled")) == 1)
        await hub.stage.until(lambda: [event.outcome for event in hub.stage.of(CallFinished)] == ["cancelled"])


async def test_a_request_after_the_end_of_its_client_is_refused() -> None:
    async with bed({"one": ScriptedServer("t")}) as hub:
        hub.client.close()
        assert (await hub.call("one__t")).status >= 500
        assert json.loads((await hub.ask("GET", "/tools/list")).body)["detail"]
