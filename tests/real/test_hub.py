"""Real clients of other makers reach the hub by its URL, and see what they would see over stdio."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from websockets.asyncio.client import connect

from tests.conformance.conftest import EVERYTHING
from tests.real.test_clients import AGENT, NAMES, TOKYO, Setup, check_agent, names
from tests.support import servers
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.web import listening

PATIENCE = 60.0


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def hub(setup: Setup) -> Iterator[Hub]:
    """The same servers as over stdio; the clients' file names its URL."""
    with serving(Path(setup.command[-1])) as running:
        entry = {"type": "http", "url": f"{running.url}/mcp", "headers": running.headers}
        setup.file.write_text(json.dumps({"mcpServers": {"hub": entry}}))
        yield running


@asynccontextmanager
async def session_of(hub: Hub, **options: Any) -> AsyncIterator[mcp.ClientSession]:
    """The SDK's session, its handshake done."""
    with anyio.fail_after(PATIENCE):
        async with (
            httpx2.AsyncClient(headers=hub.headers, timeout=PATIENCE) as http,
            streamable_http_client(f"{hub.url}/mcp", http_client=http) as (reading, writing),
            mcp.ClientSession(reading, writing, **options) as session,
        ):
            await session.initialize()
            yield session


async def test_the_sdks_client_lists_and_calls(hub: Hub, setup: Setup) -> None:
    async with session_of(hub) as session:
        assert {tool.name for tool in (await session.list_tools()).tools} >= NAMES
        converted = await session.call_tool("time__convert_time", TOKYO)
        assert converted.structured_content is not None
        assert converted.structured_content["time_difference"] == "+9.0h"
        read = await session.call_tool("files__read_text_file", {"path": str(setup.note)})
        assert isinstance(read.content[0], mcp.types.TextContent)
        assert read.content[0].text == "what the note says\n"
        with pytest.raises(mcp.MCPError) as refused:
            await session.call_tool("time__no_such_tool", {})
        assert refused.value.error.code == -32602


async def test_the_sdks_client_finds_the_era_by_itself(hub: Hub) -> None:
    """Its first word is one of the era that the hub does not speak."""
    with anyio.fail_after(PATIENCE):
        async with httpx2.AsyncClient(headers=hub.headers, timeout=PATIENCE) as http:
            transport = streamable_http_client(f"{hub.url}/mcp", http_client=http)
            async with mcp.Client(transport, mode="auto") as client:
                assert {tool.name for tool in (await client.list_tools()).tools} >= NAMES


def test_the_inspector_lists_and_calls(hub: Hub, setup: Setup) -> None:
    inspector = [*servers.INSPECTOR, "--config", str(setup.file), "--server", "hub", "--format", "json", "--method"]
    assert names(json.loads(setup.run(*inspector, "tools/list"))["result"]["tools"]) >= NAMES
    call = [*inspector, "tools/call", "--tool-name", "time__convert_time", "--tool-args-json", json.dumps(TOKYO)]
    assert json.loads(setup.run(*call))["result"]["structuredContent"]["time_difference"] == "+9.0h"


def test_mcporter_lists_and_calls(hub: Hub, setup: Setup) -> None:
    mcporter = [*servers.MCPORTER, "--config", str(setup.file)]
    assert names(json.loads(setup.run(*mcporter, "list", "hub", "--json"))["tools"]) >= NAMES
    answer = setup.run(*mcporter, "call", "hub.time__convert_time", "--args", json.dumps(TOKYO), "--output", "json")
    assert json.loads(answer)["time_difference"] == "+9.0h"


def test_a_langgraph_agent_of_the_adapters_uses_tools_of_two_servers(hub: Hub, setup: Setup) -> None:
    plan = [["time__convert_time", TOKYO], ["files__read_text_file", {"path": str(setup.note)}]]
    connection = {"transport": "streamable_http", "url": f"{hub.url}/mcp", "headers": hub.headers}
    task = {"connection": connection, "plan": plan}
    check_agent(json.loads(setup.run(servers.CLIENTS_PYTHON, AGENT, json.dumps(task))))


async def test_a_web_page_calls_over_a_websocket_without_a_word_before(hub: Hub) -> None:
    protocols: Any = ["mcp", f"bearer.{hub.token}"]
    with anyio.fail_after(PATIENCE):
        async with connect(f"{hub.url.replace('http', 'ws', 1)}/ws", subprotocols=protocols) as socket:
            assert socket.subprotocol == "mcp"
            params = {"name": "time__convert_time", "arguments": TOKYO}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
            answer = json.loads(await socket.recv())
    assert answer["id"] == 1
    assert answer["result"]["structuredContent"]["time_difference"] == "+9.0h"


# What servers ask and tell, with several clients at once


async def test_each_of_two_clients_at_once_is_asked_what_its_own_call_needs(tmp_path: Path) -> None:
    """Behind HTTP a server says on which call's stream it asks; the hub goes by that."""
    both = anyio.Event()
    asked: dict[str, list[str]] = {"one": [], "other": []}

    async def play(name: str, running: Hub) -> None:
        async def fill_in(context: Any, params: Any) -> mcp.types.ElicitResult:
            asked[name].append(params.message)
            if all(asked.values()):
                both.set()
            await both.wait()  # the other's question comes while this one waits
            return mcp.types.ElicitResult(action="accept", content={"response": f"I am {name}"})

        async with session_of(running, elicitation_callback=fill_in) as session:
            result = await session.call_tool("x__test_elicitation", {"message": f"for {name}"})
            assert isinstance(result.content[0], mcp.types.TextContent)
            assert f'{{"response":"I am {name}"}}' in result.content[0].text

    with listening([*EVERYTHING, "http"]) as port:
        config = write_config(tmp_path, {"x": {"type": "http", "url": f"http://localhost:{port}/mcp"}})
        with serving(config) as running:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(play, "one", running)
                tasks.start_soon(play, "other", running)
    assert asked == {"one": ["x: for one"], "other": ["x: for other"]}
