"""Real clients of other makers see one server with everybody's tools."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support import servers
from tests.support.manifold import RUN, write_config

AGENT = str(servers.ROOT / "tests/support/scripts/agent.py")
TOKYO = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
NAMES = {
    "time__get_current_time",
    "time__convert_time",
    "files__read_text_file",
    "files__list_directory",
}


class Setup:
    """A proxy's config, the client's entry for it, and a home of the client's own."""

    def __init__(self, folder: Path) -> None:
        (folder / "files").mkdir()
        self.note = folder / "files" / "note.txt"
        self.note.write_text("what the note says\n")
        self.home = folder
        behind = {"time": servers.time(), "files": servers.filesystem(folder / "files")}
        self.command = [*RUN, str(write_config(folder / "manifold", behind))]
        self.file = folder / "client.json"
        self.file.write_text(json.dumps({"mcpServers": {"hub": servers.entry(self.command)}}))

    def run(self, *command: str) -> str:
        """What a client prints; it must succeed."""
        path = f"{servers.BIN}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "HOME": str(self.home), "PATH": path, "NO_COLOR": "1"}
        environment.pop("FORCE_COLOR", None)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            cwd=self.home,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def names(tools: Sequence[dict[str, Any]]) -> set[str]:
    return {tool["name"] for tool in tools}


def check_agent(outcome: dict[str, Any]) -> None:
    """It was offered all tools, and did as planned: convert a time, read the note."""
    assert set(outcome["offered"]) >= NAMES
    assert [answer["tool"] for answer in outcome["answers"]] == ["time__convert_time", "files__read_text_file"]
    assert {answer["status"] for answer in outcome["answers"]} == {"success"}
    assert "+9.0h" in outcome["answers"][0]["content"][0]["text"]
    assert outcome["answers"][1]["content"][0]["text"] == "what the note says\n"
    assert outcome["last"] == "done"


def test_the_inspector_lists_and_calls(setup: Setup) -> None:
    inspector = [*servers.INSPECTOR, "--config", str(setup.file), "--server", "hub", "--format", "json", "--method"]
    assert names(json.loads(setup.run(*inspector, "tools/list"))["result"]["tools"]) >= NAMES
    call = [*inspector, "tools/call", "--tool-name"]
    answer = setup.run(*call, "time__convert_time", "--tool-args-json", json.dumps(TOKYO))
    assert json.loads(answer)["result"]["structuredContent"]["time_difference"] == "+9.0h"
    answer = setup.run(*call, "files__read_text_file", "--tool-args-json", json.dumps({"path": str(setup.note)}))
    assert json.loads(answer)["result"]["content"][0]["text"] == "what the note says\n"


def test_the_inspector_sets_a_log_level(setup: Setup) -> None:
    """Which it treats as fatal if refused."""
    setup.run(
        *servers.INSPECTOR, "--config", str(setup.file), "--server", "hub",
        "--method", "logging/setLevel", "--log-level", "warning",
    )  # fmt: skip


def test_mcporter_lists_and_calls(setup: Setup) -> None:
    mcporter = [*servers.MCPORTER, "--config", str(setup.file)]
    assert names(json.loads(setup.run(*mcporter, "list", "hub", "--json"))["tools"]) >= NAMES
    answer = setup.run(*mcporter, "call", "hub.time__convert_time", "--args", json.dumps(TOKYO), "--output", "json")
    assert json.loads(answer)["time_difference"] == "+9.0h"
    arguments = json.dumps({"path": str(setup.note)})
    assert "what the note says" in setup.run(*mcporter, "call", "hub.files__read_text_file", "--args", arguments)


def test_fastmcp_lists_and_calls(setup: Setup) -> None:
    listing = setup.run(*servers.FASTMCP, "list", str(setup.file), "--json")
    assert names(json.loads(listing)["tools"]) >= NAMES
    call = [*servers.FASTMCP, "call", str(setup.file)]
    answer = json.loads(setup.run(*call, "time__convert_time", "--input-json", json.dumps(TOKYO), "--json"))
    assert answer["structured_content"]["time_difference"] == "+9.0h"
    assert "what the note says" in setup.run(*call, "files__read_text_file", f"path={setup.note}", "--json")


def test_a_langgraph_agent_uses_tools_of_two_servers(setup: Setup) -> None:
    plan = [["time__convert_time", TOKYO], ["files__read_text_file", {"path": str(setup.note)}]]
    task = {"connection": {"transport": "stdio", **servers.entry(setup.command)}, "plan": plan}
    check_agent(json.loads(setup.run(servers.CLIENTS_PYTHON, AGENT, json.dumps(task))))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_lists_and_calls(mode: Any, setup: Setup) -> None:
    server = StdioServerParameters(command=setup.command[0], args=setup.command[1:])
    with anyio.fail_after(60):
        async with mcp.Client(server, mode=mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} >= NAMES
            converted = await client.call_tool("time__convert_time", TOKYO)
            assert converted.structured_content is not None
            assert converted.structured_content["time_difference"] == "+9.0h"
            read = await client.call_tool("files__read_text_file", {"path": str(setup.note)})
            assert isinstance(read.content[0], mcp.types.TextContent)
            assert read.content[0].text == "what the note says\n"


async def test_the_sdks_session_gets_errors_as_errors_and_answers_in_any_order(setup: Setup) -> None:
    server = StdioServerParameters(command=setup.command[0], args=setup.command[1:])
    answers: dict[int, str] = {}
    with anyio.fail_after(60):
        async with stdio_client(server) as (reading, writing), mcp.ClientSession(reading, writing) as session:
            await session.initialize()
            with pytest.raises(mcp.MCPError) as refused:
                await session.call_tool("time__no_such_tool", {})
            assert refused.value.error.code == -32602

            async def convert(hour: int) -> None:
                answer = await session.call_tool("time__convert_time", {**TOKYO, "time": f"{hour:02}:00"})
                assert answer.structured_content is not None
                answers[hour] = answer.structured_content["source"]["datetime"][11:16]

            async with anyio.create_task_group() as tasks:
                for hour in range(24):
                    tasks.start_soon(convert, hour)
            await session.send_ping()
    assert answers == {hour: f"{hour:02}:00" for hour in range(24)}
