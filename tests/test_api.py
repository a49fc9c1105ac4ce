"""The Python way in: the same whether the servers are in this process or behind a hub that runs elsewhere."""

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import proxy
from proxy import HubError, connect
from proxy.api import ConfigError, Hub, HubClosed, NotFound, ServerUnavailable, Tool
from tests.support import raw_http, servers
from tests.support.changing import Changing
from tests.support.client import PATIENCE
from tests.support.hub import serving
from tests.support.manifold import write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left
from tests.support.raw_http import Reply, Request, Site

KINDS = ("file", "mapping", "url")
ASKING = ("asks", "begs", "nags", "pries")
"""A server for each test of questions: of one that has just served another client, a hub can't tell whom it asks."""


@dataclass(frozen=True)
class Setup:
    """What `connect` takes, and where a server records all that it hears."""

    source: Any
    record: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def heard(self, *words: str) -> bool:
        """Whether one line to the server has all these words."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return any(all(word in line for word in words) for line in lines)


@pytest.fixture(scope="module", params=KINDS)
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("hub")
    record = folder / "record"
    config = write_config(
        folder,
        {
            "raw": servers.script("raw_echo.py", "--record", str(record)),
            "full": servers.script("full.py", "ask"),
            "curious": servers.script("curious.py"),
            "stairs": servers.script("curious.py", "2"),
            **{name: servers.script("curious.py") for name in ASKING},
        },
    )
    match request.param:
        case "file":
            yield Setup(config, record)
        case "mapping":
            yield Setup(json.loads(config.read_text()), record)
        case "url":
            with serving(config) as hub:
                yield Setup(hub.url, record, {"token": hub.token})


@pytest.fixture
async def hub(setup: Setup) -> AsyncIterator[Hub]:
    with anyio.fail_after(PATIENCE):
        async with connect(setup.source, **setup.options) as hub:
            yield hub


async def soon(check: Callable[[], bool], what: str) -> None:
    """Until another process has done something, while the hub works."""
    await anyio.to_thread.run_sync(eventually, check, what)


def by_name(tools: list[Tool]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}


def as_hex(result: str) -> dict[str, str]:
    return {"hex": result.encode().hex()}


async def test_tools_are_listed_with_all_that_is_known_of_them(hub: Hub) -> None:
    tools = by_name(await hub.list_tools())
    assert {"raw__verbatim", "full__pid", "stairs__climb"} <= tools.keys()
    tool = tools["raw__verbatim"]
    assert (tool.title, tool.description) == ("Verbatim", "Gives back what it gets")
    assert tool.input_schema["type"] == "object"
    assert tool.output_schema == {"type": "object", "additionalProperties": True}
    assert tool.annotations["readOnlyHint"] is True
    assert "example.com/odd" in tool.meta
    assert tools["full__pid"].output_schema is None


async def test_a_call_gets_its_result(hub: Hub) -> None:
    told = '{"content":[{"type":"text","text":"one"},{"type":"image","data":"","mimeType":"image/png"},'
    told += '{"type":"text","text":"two"}],"structuredContent":{"a":[1]},"_meta":{"m":1},"odd":1e400}'
    result = await hub.call_tool("raw__give", as_hex(told))
    assert result.text == "one\ntwo"
    assert [block["type"] for block in result.content] == ["text", "image", "text"]
    assert (result.structured, result.is_error) == ({"a": [1]}, False)
    assert result.meta["m"] == 1
    assert b'"odd":1e400' in result.raw


async def test_a_tool_that_fails_says_so_in_its_result(hub: Hub) -> None:
    told = '{"content":[{"type":"text","text":"out of paper"}],"isError":true}'
    result = await hub.call_tool("raw__give", as_hex(told))
    assert result.is_error
    assert result.text == "out of paper"


async def test_calls_at_once_get_each_their_own_answer(hub: Hub) -> None:
    await hub.list_tools()
    answers: dict[int, Any] = {}

    async def ask(number: int) -> None:
        result = await hub.call_tool("raw__verbatim", {"number": number})
        answers[number] = json.loads(result.raw)["params"]["arguments"]["number"]

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    assert answers == {number: number for number in range(50)}


async def test_an_unknown_tool_is_not_found(hub: Hub) -> None:
    await hub.list_tools()
    with pytest.raises(NotFound, match="raw__verbatim") as caught:
        await hub.call_tool("raw__verbatimm")
    assert caught.value.delivered == "no"
    assert caught.value.code == -32602


async def test_an_error_of_the_servers_own_keeps_its_code(hub: Hub) -> None:
    await hub.list_tools()
    with pytest.raises(HubError, match=r"^out of paper$") as caught:
        await hub.call_tool("curious__refuse", {"code": -32602, "message": "out of paper", "data": {"trays": [1, 2]}})
    assert type(caught.value) is HubError
    assert (caught.value.code, caught.value.data, caught.value.delivered) == (-32602, {"trays": [1, 2]}, None)


async def test_a_server_that_dies_during_a_call_may_have_done_it(hub: Hub) -> None:
    await hub.list_tools()
    with pytest.raises(ServerUnavailable, match="went away during the call") as caught:
        await hub.call_tool("raw__die")
    assert (caught.value.server, caught.value.delivered) == ("raw", "maybe")


async def test_arguments_that_are_no_mapping_are_the_programs_mistake(hub: Hub) -> None:
    for given in ("UTC", "", [("timezone", "UTC")], 5):
        with pytest.raises(TypeError, match=f"a mapping of names to values, not {type(given).__name__}"):
            await hub.call_tool("raw__verbatim", given)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a mapping of names to values"):
            await hub.get_prompt("full__ask", given)  # type: ignore[arg-type]


async def test_prompts_and_resources_are_listed_and_read(hub: Hub) -> None:
    [prompt] = await hub.list_prompts()
    [resource] = await hub.list_resources()
    assert (prompt.name, resource.uri) == ("full__ask", "full://ask")
    assert await hub.list_resource_templates() == []
    assert (await hub.get_prompt(prompt.name)).messages == []
    assert await hub.read_resource(resource.uri) == []
    with pytest.raises(NotFound):
        await hub.get_prompt("full__tell")


async def test_progress_comes_in_order_and_before_the_result(hub: Hub) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def later(*report: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(report)

    expected = [(step, 5, f"at {step}") for step in range(1, 6)]
    result = await hub.call_tool("stairs__climb", {"steps": 5}, progress=lambda *report: seen.append(report))
    assert (seen, result.text) == (expected, "on top")
    seen.clear()
    await hub.call_tool("stairs__climb", {"steps": 5}, progress=later)
    assert seen == expected


async def test_what_a_progress_callback_raises_ends_the_call(hub: Hub) -> None:
    def refuse(*report: Any) -> None:
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        await hub.call_tool("stairs__climb", {"steps": 1, "returns": False}, progress=refuse)
    assert (await hub.call_tool("stairs__climb", {"steps": 1}, progress=lambda *_: None)).text == "on top"


async def test_a_progress_callback_that_is_cancelled_ends_the_call(hub: Hub) -> None:
    async def give_up(*report: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await hub.call_tool("stairs__climb", {"steps": 1, "returns": False}, progress=give_up)
    assert (await hub.call_tool("full__pid")).text


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(hub: Hub, setup: Setup) -> None:
    async def call() -> None:
        await hub.call_tool("raw__never", {"nonce": "given up"})

    task = asyncio.create_task(call())
    await soon(lambda: setup.heard("given up"), "the call never came")
    before = setup.record.read_text().count("notifications/cancelled")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await soon(
        lambda: setup.record.read_text().count("notifications/cancelled") == before + 1, "the server was not told"
    )
    assert (await hub.call_tool("full__pid")).text


async def test_a_change_of_a_list_is_told(hub: Hub) -> None:
    changes = hub.changes()
    name = f"new{os.urandom(4).hex()}"
    assert f"curious__{name}" not in by_name(await hub.list_tools())
    await hub.call_tool("curious__learn", {"name": name})
    async for kind in changes:
        assert kind == "tools"
        if f"curious__{name}" in by_name(await hub.list_tools()):
            break
    assert (await hub.call_tool(f"curious__{name}", {"a": 1})).text == '{"a": 1}'


async def test_servers_ask_what_there_is_a_handler_for(setup: Setup, tmp_path: Path) -> None:
    async def elicit(params: dict[str, Any]) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"action": "accept", "content": {"said": params["message"]}}

    def sample(params: dict[str, Any]) -> dict[str, Any]:
        return {"role": "assistant", "model": "m", "content": params["messages"][0]["content"]}

    message = {"role": "user", "content": {"type": "text", "text": "hello"}}
    form = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {}}}
    with anyio.fail_after(PATIENCE):
        async with connect(
            setup.source, **setup.options, on_elicitation=elicit, on_sampling=sample, roots=[tmp_path]
        ) as hub:
            ask = partial(asked, hub, "asks")
            assert await ask("elicitation/create", form) == {"action": "accept", "content": {"said": "asks: Name?"}}
            assert (await ask("sampling/createMessage", {"messages": [message], "maxTokens": 9}))["model"] == "m"
            assert await ask("roots/list", {}) == {"roots": [{"uri": tmp_path.as_uri(), "name": tmp_path.name}]}


async def test_what_there_is_no_handler_for_is_refused(hub: Hub) -> None:
    answer = await asked(hub, "begs", "sampling/createMessage", {"messages": [], "maxTokens": 9})
    assert answer["code"] == -32601


async def test_servers_are_told_of_what_there_is_a_handler_for_alone() -> None:
    config = {"mcpServers": {"curious": servers.script("curious.py")}}
    async with connect(config) as hub:
        assert json.loads((await hub.call_tool("curious__told")).text) == {}
    async with connect(config, roots=["/"]) as hub:
        assert json.loads((await hub.call_tool("curious__told")).text) == {"roots": {}}
    async with connect(config, on_elicitation=lambda _: {}, on_sampling=lambda _: {}) as hub:
        told = json.loads((await hub.call_tool("curious__told")).text)
        assert told == {"elicitation": {"form": {}}, "sampling": {}}


async def test_a_handler_that_fails_is_an_error_for_the_server_alone(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(params: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("secret")

    with anyio.fail_after(PATIENCE):
        async with connect(setup.source, **setup.options, on_sampling=fail) as hub:
            answer = await asked(hub, "nags", "sampling/createMessage", {"messages": [], "maxTokens": 9})
            assert answer["code"] == -32603
            assert "secret" not in answer["message"]
            assert (await hub.call_tool("full__pid")).text
    assert "the handler of sampling/createMessage failed" in caplog.text


@pytest.mark.parametrize("answer", [None, "yes", [("model", "m")], {"content": float("nan")}])
async def test_what_is_no_answer_is_an_error_for_the_server(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    config = {"mcpServers": {"curious": servers.script("curious.py")}}
    with anyio.fail_after(PATIENCE):
        async with connect(config, on_sampling=lambda _: answer) as hub:
            assert (await asked(hub, "curious", "sampling/createMessage", {"messages": [], "maxTokens": 9}))[
                "code"
            ] == -32603
    assert "the handler of sampling/createMessage failed" in caplog.text


async def test_servers_ask_programs_that_know_nothing_of_anyio(setup: Setup) -> None:
    """Where sniffio is installed, as it mostly is, anyio knows the loop of such a program within tasks alone."""

    async def use() -> Any:
        async with connect(setup.source, **setup.options, on_sampling=lambda _: {"model": "m"}) as hub:
            return await asked(hub, "pries", "sampling/createMessage", {"messages": [], "maxTokens": 9})

    with anyio.fail_after(PATIENCE):
        assert await anyio.to_thread.run_sync(asyncio.run, use()) == {"model": "m"}


async def asked(hub: Hub, server: str, method: str, params: dict[str, Any]) -> Any:
    """What the server was answered."""
    return json.loads((await hub.call_tool(f"{server}__ask", {"method": method, "params": params})).text)


async def test_a_hub_that_was_left_is_closed(setup: Setup) -> None:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, connect(setup.source, **setup.options) as hub:
            changes = hub.changes()

            async def call() -> None:
                with pytest.raises(HubClosed):
                    await hub.call_tool("raw__never", {"nonce": f"left {id(hub)}"})

            tasks.start_soon(call)
            await soon(lambda: setup.heard(f"left {id(hub)}"), "the call never came")
        with pytest.raises(HubClosed):
            await hub.list_tools()
        assert [kind async for kind in changes] == []
        assert [kind async for kind in hub.changes()] == []


async def test_servers_are_told_wherever_they_run(hub: Hub) -> None:
    await hub.call_tool("full__pid")
    told = {one.name: one for one in await hub.servers()}
    assert told.keys() == {"raw", "full", "curious", "stairs", *ASKING}
    assert {(one.transport, one.problem) for one in told.values()} == {("stdio", "")}
    assert (told["full"].state, told["full"].tools) == ("ready", 2)


async def test_servers_of_a_hub_elsewhere_have_their_problems(tmp_path: Path) -> None:
    entries = {"gone": {"command": str(tmp_path / "gone")}, "full": servers.script("full.py", "x")}
    config = write_config(tmp_path, entries)
    with anyio.fail_after(PATIENCE):
        async with connect(config) as hub:
            await hub.list_tools()
            here = {one.name: one for one in await hub.servers()}
        with serving(config) as running:
            async with connect(running.url, token=running.token) as hub:
                await hub.list_tools()
                there = {one.name: one for one in await hub.servers()}
            left = await hub.servers()
    assert (there["gone"].state, there["gone"].tools) == ("failed", -1)
    assert here["gone"].problem in there["gone"].problem
    assert there["full"] == here["full"]
    assert [one.name for one in left] == ["hub"]


async def test_of_a_hub_that_does_not_tell_of_its_servers_there_is_the_connection() -> None:
    answers: list[tuple[bytes, int]] = []
    asked_for: set[str] = set()

    async def get(request: Request, reply: Reply) -> None:
        asked_for.add(request.path)
        if request.path == "/servers":
            assert request.headers["authorization"] == "Bearer t"
            await reply.json(*answers.pop(0))

    with anyio.fail_after(PATIENCE):
        async with raw_http.serving(Site(GET=get)) as site, connect(site.url, token="t") as hub:
            for answer in [
                (b"{}", 404),
                (b'{"servers":[]}', 403),
                (b"<html>", 200),
                (b'{"servers":[1]}', 200),
                (b"\xff", 200),
                (b'{"detail":"x"}', 200),
            ]:
                answers.append(answer)
                [server] = await hub.servers()
                assert (server.name, server.transport, server.state) == ("hub", "streamable-http", "ready")
            answers.append((b"{}", 503))
            with pytest.raises(ServerUnavailable, match="HTTP 503"):
                await hub.servers()
            assert not answers
        async with raw_http.serving(Site(GET=get)) as site, connect(f"{site.url}/there", token="t") as hub:
            assert [server.name for server in await hub.servers()] == ["hub"]
    assert asked_for <= {"/mcp", "/servers", "/mcp/there"}


async def test_without_waiting_a_list_is_what_is_known(tmp_path: Path) -> None:
    server = Changing(tmp_path / "server", gates={"tools/list": str(tmp_path / "gate")})
    gate = server.gate(str(tmp_path / "gate"))
    with anyio.fail_after(PATIENCE):
        async with connect(write_config(tmp_path, {"it": server.entry()})) as hub:
            await anyio.to_thread.run_sync(gate.reached)
            assert await hub.list_tools(wait=False) == []
            assert [one.state for one in await hub.servers()] == ["starting"]
            gate.open()
            assert by_name(await hub.list_tools()).keys() == {"it__pid"}
            assert by_name(await hub.list_tools(wait=False)).keys() == {"it__pid"}
            [server_now] = await hub.servers()
            assert (server_now.name, server_now.state, server_now.tools) == ("it", "ready", 1)


async def test_long_lists_come_whole(tmp_path: Path) -> None:
    names = [f"tool{number}" for number in range(25)]
    server = Changing(tmp_path / "server", tools=names)
    async with connect(write_config(tmp_path, {"it": server.entry()}, pageSize=10)) as hub:
        assert [tool.name for tool in await hub.list_tools()] == [f"it__{name}" for name in names]


async def test_names_by_url_are_those_of_the_hub(tmp_path: Path) -> None:
    server = Changing(tmp_path / "server", tools=["x" * 100, "y" * 51, "odd/name", "a__b"])
    config = write_config(tmp_path, {"it": server.entry()}, name="h")
    with anyio.fail_after(PATIENCE), serving(config) as running:
        async with connect(f"{running.url}/", headers=running.headers) as hub:
            names = [tool.name for tool in await hub.list_tools()]
        async with connect(config) as hub:
            assert names == [tool.name for tool in await hub.list_tools()]
    assert max(map(len, names)) == 56


# What goes wrong at the start


async def test_a_bad_configuration_is_told_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mcpServers\.time"):
        await connect({"mcpServers": {"time": {"comand": "x"}}}).__aenter__()
    with pytest.raises(ConfigError, match="there is no such file"):
        await connect(tmp_path / "nothing.json").__aenter__()
    with pytest.raises(ConfigError, match="url"):
        await connect("http://").__aenter__()
    with pytest.raises(ConfigError, match=r"^connect\(\): mcpServers: is missing$"):
        await connect({}).__aenter__()
    with pytest.raises(TypeError, match="token"):
        await connect(tmp_path / "nothing.json", token="t").__aenter__()
    for source in (5, None, b"servers.json", ["servers.json"]):
        with pytest.raises(TypeError, match=f"the URL of a hub, not {type(source).__name__}"):
            await connect(source).__aenter__()  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"token": "t"}])
async def test_an_address_without_its_scheme_is_told_so(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in ("127.0.0.1:18933", "localhost:8765/mcp", "[::1]:8765", "hub.example.com:443"):
        with pytest.raises(ConfigError, match=re.escape(f"did you mean http://{source.partition('/')[0]}?")):
            await connect(source, **options).__aenter__()
    with pytest.raises(ConfigError, match=r"begins with http:// or https://$"):
        await connect("ws://127.0.0.1:8765/ws", **options).__aenter__()
    write_config(tmp_path, {}).rename(tmp_path / "127.0.0.1:18933")
    if not options:
        async with connect("127.0.0.1:18933") as hub:
            assert await hub.servers() == []


async def test_whatever_connect_raises_on_purpose_is_a_hub_error() -> None:
    sources: list[Any] = [{}, "nothing.json", "127.0.0.1:1", "http://", "http://127.0.0.1:1"]
    for source in sources:
        with pytest.raises(HubError) as caught:
            await connect(source).__aenter__()
        assert caught.value.delivered == "no"
        assert not isinstance(caught.value, ConfigError) or caught.value.problems == (str(caught.value),)


async def test_a_hub_that_refuses_or_is_not_there_is_told(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"full": servers.script("full.py", "x")})
    with anyio.fail_after(PATIENCE):
        with serving(config) as running:
            for wrong in ({"token": "wrong"}, {"headers": {"authorization": "Bearer wrong"}}):
                with pytest.raises(ServerUnavailable, match="refuses the token; `mcp-manifold token`"):
                    await connect(running.url, **wrong).__aenter__()
            for none in ({}, {"token": ""}, {"headers": {"x": "y"}}):
                with pytest.raises(
                    ServerUnavailable, match=r"wants a token, and was given none: .*`mcp-manifold token`"
                ):
                    await connect(running.url, **none).__aenter__()
        with pytest.raises(ServerUnavailable, match="nobody listens"):
            await connect(running.url, token=running.token).__aenter__()


async def test_a_server_that_cannot_start_is_told_to_the_logger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"mcpServers": {"gone": {"command": str(tmp_path / "gone")}, "full": servers.script("full.py", "x")}}
    with caplog.at_level(logging.INFO, "mcp_manifold"):
        async with connect(config) as hub:
            assert by_name(await hub.list_tools()).keys() == {"full__pid", "full__wait"}
            with pytest.raises(ServerUnavailable) as caught:
                await hub.call_tool("gone__x")
            assert caught.value.server == "gone"
    told = [record for record in caplog.records if record.name == "mcp_manifold" and "'gone'" in record.getMessage()]
    assert max(record.levelno for record in told) == logging.WARNING


async def test_calls_are_told_to_the_logger_with_their_facts_and_without_what_they_carry(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "nobody may see this"
    failed = as_hex(json.dumps({"content": [{"type": "text", "text": secret}], "isError": True}))
    with caplog.at_level(logging.DEBUG, "mcp_manifold"), anyio.fail_after(PATIENCE):
        async with connect(setup.source, **setup.options) as hub:
            await hub.list_tools()
            caplog.clear()
            await hub.call_tool("raw__verbatim", {"text": secret})
            await hub.call_tool("raw__give", failed)
            with pytest.raises(HubError):
                await hub.call_tool("curious__refuse", {"code": 5, "message": secret})
            with pytest.raises(NotFound):
                await hub.call_tool("raw__nothing", {"text": secret})
            await hub.read_resource("full://ask")
    told = [vars(record) for record in caplog.records if hasattr(record, "outcome")]
    assert [(one["levelname"], one["method"], one["tool"].rpartition("__")[2], one["outcome"]) for one in told] == [
        ("DEBUG", "tools/call", "verbatim", "ok"),
        ("INFO", "tools/call", "give", "tool_error"),
        ("WARNING", "tools/call", "refuse", "error"),
        ("WARNING", "tools/call", "nothing", "error"),
        ("DEBUG", "resources/read", "full://ask", "ok"),
    ]
    assert all(one["seconds"] >= 0 and one["bytes_in"] > 0 and one["delivered"] for one in told)
    assert told[0]["server"] == ("hub" if setup.options else "raw")
    assert "did you mean raw__" in told[3]["reason"]
    assert not any(secret in str(one) or failed["hex"] in str(one) for one in told)
    assert "tool_error after" in caplog.text


# The end


@pytest.mark.parametrize("ending", [None, ValueError("mine"), SystemExit(3), pytest.fail.Exception("a failure")])
async def test_leaving_ends_all_servers_and_raises_what_the_block_raised(ending: BaseException | None) -> None:
    mark, raised = new_mark(), None
    with nothing_left(mark), anyio.fail_after(PATIENCE):
        try:
            async with connect({"mcpServers": {"full": servers.script("full.py", "x") | {"env": mark}}}) as hub:
                await hub.list_tools()
                assert marked(mark)
                if ending is not None:
                    raise ending
        except BaseException as problem:
            raised = problem
        assert raised is ending
        assert not marked(mark)


async def test_a_block_that_is_cancelled_ends_all_servers() -> None:
    mark = new_mark()
    listed, ended = anyio.Event(), False

    async def use() -> None:
        nonlocal ended
        async with connect({"mcpServers": {"full": servers.script("full.py", "x") | {"env": mark}}}) as hub:
            await hub.list_tools()
            listed.set()
            await asyncio.Event().wait()

    with nothing_left(mark), anyio.fail_after(PATIENCE):
        task = asyncio.create_task(use())
        await listed.wait()
        assert marked(mark)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not marked(mark)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), connect({"mcpServers": {"full": servers.script("full.py", "x")}}) as hub:
                await hub.list_tools()


async def test_of_a_mapping_and_of_a_hub_elsewhere_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = {"mcpServers": {"full": servers.script("full.py", "x")}}
    with anyio.fail_after(PATIENCE), serving(write_config(tmp_path / "other", config["mcpServers"])) as running:
        elsewhere = connect(running.url, token=running.token)
        for connecting in (connect(config), elsewhere):
            async with connecting as hub:
                await hub.list_tools()
                assert (await hub.call_tool("full__pid")).text
    assert not (tmp_path / "state").exists()


QUIET = """
import asyncio, gc, logging, signal, sys
from proxy import connect

def around():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    root = logging.getLogger()
    streams = [sys.stdin, sys.stdout, sys.stderr, sys.excepthook]
    return handlers, list(root.handlers), root.level, streams, gc.get_freeze_count()

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # how busy the machine is is nothing to tell
    before = around()
    async with connect(sys.argv[1]) as hub:
        await hub.list_tools()
        assert "uvloop" not in type(asyncio.get_running_loop()).__module__
        print((await hub.call_tool("noisy__give", {"hex": b'{"content":[{"type":"text","text":"hello"}]}'.hex()})).text)
        assert [one.name for one in await hub.servers() if one.problem] == ["gone"]
        assert around()[1:] == before[1:], (before, around())
        assert around()[0][1:] == before[0][1:]

asyncio.run(main())
"""


def test_a_program_stays_as_it_was(tmp_path: Path) -> None:
    """With a server that prints on stderr, one that can't be started, and settings for a process of our own."""
    entries = {
        "noisy": servers.script("raw_echo.py", "--noise"),
        "gone": {"command": str(tmp_path / "gone")},
    }
    config = write_config(
        tmp_path, entries, log={"level": "debug", "file": "log"}, metrics={"enabled": True, "port": 0}
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", QUIET, str(config)],
        capture_output=True,
        timeout=PATIENCE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert not (tmp_path / "log").exists()


def test_an_interrupt_ends_the_program_and_its_servers(tmp_path: Path) -> None:
    mark = new_mark()
    config = write_config(tmp_path, {"full": servers.script("full.py", "x") | {"env": mark}})
    program = """
import asyncio, sys
from proxy import connect
async def main():
    async with connect(sys.argv[1]) as hub:
        await hub.list_tools()
        print("up", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    with nothing_left(mark):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            child.send_signal(signal.SIGINT)
            _, printed = child.communicate(timeout=PATIENCE)
        assert printed.rstrip().endswith(b"KeyboardInterrupt")
        assert not marked(mark)


def test_the_package_has_what_it_says_and_nothing_else() -> None:
    assert proxy.connect is connect
    with pytest.raises(AttributeError, match="no attribute 'disconnect'"):
        proxy.disconnect  # type: ignore[attr-defined]  # noqa: B018
