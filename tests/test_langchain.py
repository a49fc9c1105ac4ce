"""The tools of a hub in LangChain, as people use them: bound to a model, run by a LangGraph agent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import Field

from proxy import HubError, connect
from proxy.api import Hub, HubClosed
from proxy.langchain import ToolSet, load_tools
from tests.support import servers
from tests.support.changing import Changing
from tests.support.client import PATIENCE

PICTURE = "iVBORw0KGgo="
ENTRIES = {
    "raw": servers.script("raw_echo.py"),
    "full": servers.script("full.py", "x"),
    "curious": servers.script("curious.py"),
}
Step = tuple[str, dict[str, Any]]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    with anyio.fail_after(PATIENCE):
        async with connect({"mcpServers": ENTRIES}) as hub:
            yield hub


class ScriptedModel(GenericFakeChatModel):
    """Says its messages in turn; keeps the tools that it was offered at each, in the form a model is told of them."""

    offered: list[set[str]] = Field(default_factory=list)
    heard: list[list[AnyMessage]] = Field(default_factory=list)

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "ScriptedModel":
        self.offered.append({convert_to_openai_tool(tool)["function"]["name"] for tool in tools})
        return self


def following(plan: Iterable[Step]) -> ScriptedModel:
    """A model that asks for these calls, one a turn."""
    calls = [[{"name": name, "args": given, "id": f"call-{turn}"}] for turn, (name, given) in enumerate(plan)]
    return ScriptedModel(messages=iter([*(AIMessage("", tool_calls=call) for call in calls), AIMessage("done")]))


async def run_agent(
    model: ScriptedModel, tools: Callable[[], Awaitable[Sequence[BaseTool]]], node: ToolNode
) -> list[ToolMessage]:
    """Let a LangGraph agent run to its end; what its tools answered."""

    async def think(state: MessagesState) -> dict[str, list[AnyMessage]]:
        bound = model.bind_tools(await tools())
        model.heard.append(state["messages"])
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", think)
    graph.add_node("tools", node)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "model")
    final = await graph.compile().ainvoke({"messages": [HumanMessage("go")]})
    assert final["messages"][-1].content == "done"
    return [message for message in final["messages"] if isinstance(message, ToolMessage)]


def giving(result: str) -> dict[str, str]:
    """Arguments for raw__give."""
    return {"hex": result.encode().hex()}


def without_ids(content: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in block.items() if key != "id"} for block in content]


async def named(hub: Hub, name: str, **options: bool) -> StructuredTool:
    [tool] = [tool for tool in await load_tools(hub, **options) if tool.name == name]
    return tool


async def call(tool: BaseTool, arguments: dict[str, Any]) -> ToolMessage:
    message = await tool.ainvoke({"name": tool.name, "args": arguments, "id": "1", "type": "tool_call"})
    assert isinstance(message, ToolMessage)
    return message


async def test_tools_have_their_own_schema_and_hints(hub: Hub) -> None:
    tool = await named(hub, "raw__verbatim")
    assert tool.description == "Gives back what it gets"
    assert isinstance(tool.args_schema, dict)
    assert tool.args_schema["x-odd"]["plain"] == "é\u2028"
    assert tool.metadata is not None
    assert tool.metadata["readOnlyHint"] is True
    assert "example.com/odd" in tool.metadata["_meta"]
    assert tool.args == {}
    with pytest.raises(NotImplementedError):
        tool.invoke({})


async def test_an_agent_uses_tools_of_two_servers_in_one_run_and_hears_of_errors(hub: Hub) -> None:
    tools = await load_tools(hub)
    model = following(
        [
            ("full__pid", {}),
            ("raw__give", giving('{"content":[{"type":"text","text":"out of paper"}],"isError":true}')),
            ("curious__climb2", {}),
            ("raw__die", {}),
            ("raw__give", giving('{"content":[{"type":"text","text":"printed"}],"structuredContent":{"pages":2}}')),
        ]
    )

    async def same() -> list[StructuredTool]:
        return tools

    answers = await run_agent(model, same, ToolNode(tools))
    assert {"full__pid", "raw__give", "curious__climb"} <= model.offered[0]
    assert [(answer.name, answer.status) for answer in answers] == [
        ("full__pid", "success"),
        ("raw__give", "error"),
        ("curious__climb2", "error"),
        ("raw__die", "error"),
        ("raw__give", "success"),
    ]
    assert answers[0].text.isdigit()
    assert answers[1].text == "out of paper"
    assert "not a valid tool" in answers[2].text
    assert "went away during the call" in answers[3].text
    assert (answers[4].text, answers[4].artifact) == ("printed", {"structured_content": {"pages": 2}})
    assert [message.text for message in model.heard[2][-1:]] == ["out of paper"]


async def test_errors_are_raised_where_nobody_handles_them(hub: Hub) -> None:
    give, refuse = await named(hub, "raw__give", handle_tool_errors=False), await named(hub, "curious__refuse")
    with pytest.raises(ToolException, match=r"^one\ntwo$"):
        await give.ainvoke(
            giving('{"content":[{"type":"text","text":"one"},{"type":"text","text":"two"}],"isError":true}')
        )
    with pytest.raises(ToolException, match="does not say why"):
        await give.ainvoke(giving('{"content":[],"isError":true}'))
    refuse.handle_tool_error = False
    with pytest.raises(ToolException, match="out of paper") as caught:
        await refuse.ainvoke({"code": 7, "message": "out of paper"})
    assert isinstance(caught.value.__cause__, HubError)
    assert caught.value.__cause__.code == 7


async def test_an_error_keeps_its_pictures(hub: Hub) -> None:
    picture = f'{{"type":"image","data":"{PICTURE}","mimeType":"image/png"}}'
    answer = await call(await named(hub, "raw__give"), giving(f'{{"content":[{picture}],"isError":true}}'))
    assert answer.status == "error"
    assert without_ids(answer.content) == [{"type": "image", "base64": PICTURE, "mime_type": "image/png"}]
    nothing = await call(await named(hub, "raw__give"), giving('{"content":[],"isError":true}'))
    assert "does not say why" in nothing.text


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ('{"type":"text","text":"a"}', {"type": "text", "text": "a"}),
        (
            f'{{"type":"image","data":"{PICTURE}","mimeType":"image/png"}}',
            {"type": "image", "base64": PICTURE, "mime_type": "image/png"},
        ),
        (
            '{"type":"audio","data":"UklG","mimeType":"audio/wav"}',
            {"type": "file", "base64": "UklG", "mime_type": "audio/wav"},
        ),
        (
            '{"type":"resource_link","name":"n","uri":"file:///a.png","mimeType":"image/png"}',
            {"type": "image", "url": "file:///a.png", "mime_type": "image/png"},
        ),
        ('{"type":"resource_link","name":"n","uri":"file:///a"}', {"type": "file", "url": "file:///a"}),
        ('{"type":"resource","resource":{"uri":"a:b","text":"t"}}', {"type": "text", "text": "t"}),
        (
            '{"type":"resource","resource":{"uri":"a:b","blob":"AA==","mimeType":"application/pdf"}}',
            {"type": "file", "base64": "AA==", "mime_type": "application/pdf"},
        ),
        (
            '{"type":"resource","resource":{"uri":"a:b","blob":"AA==","mimeType":"image/gif"}}',
            {"type": "image", "base64": "AA==", "mime_type": "image/gif"},
        ),
        (
            '{"type":"resource","resource":{"uri":"a:b","blob":"AA=="}}',
            {"type": "file", "base64": "AA==", "mime_type": "application/octet-stream"},
        ),
        ('{"type":"smell","of":"roses"}', {"type": "text", "text": '{"type": "smell", "of": "roses"}'}),
    ],
)
async def test_content_comes_as_langchains_blocks(hub: Hub, block: str, expected: dict[str, str]) -> None:
    answer = await call(await named(hub, "raw__give"), giving(f'{{"content":[{block}]}}'))
    assert without_ids(answer.content) == [expected]
    assert answer.artifact is None


async def test_arguments_may_have_any_name(hub: Hub) -> None:
    """LangChain passes things of its own under some of them."""
    tools, changes = ToolSet(hub), hub.changes()
    await hub.list_tools()
    await hub.call_tool("curious__learn", {"name": "echo"})
    await anext(changes)
    [echo] = [tool for tool in await tools.current() if tool.name == "curious__echo"]
    given = {"config": "c", "callbacks": [1], "run_manager": "r", "self": {"a": None}, "args": 1, "kwargs": 2}
    answer = await call(echo, given)
    assert json.loads(answer.text) == given


async def test_a_closed_hub_is_no_answer_for_the_model() -> None:
    async with connect({"mcpServers": ENTRIES}) as hub:
        tool = await named(hub, "full__pid")
    with pytest.raises(HubClosed):
        await tool.ainvoke({})


async def test_new_tools_are_offered_and_found_after_a_list_change(tmp_path: Path) -> None:
    server = Changing(tmp_path / "server", tools=["pid"])
    model = following([("it__pid", {}), ("it__new", {}), ("it__newer", {}), ("own", {}), ("it__gone", {})])
    with anyio.fail_after(PATIENCE):
        async with connect({"mcpServers": {"it": server.entry()}}) as hub:
            tools, changes = ToolSet(hub), hub.changes()

            async def current() -> list[StructuredTool]:
                if len(model.offered) == 1:  # the first call is answered; now it becomes another one
                    server.becomes(tools=["new"])
                    os.kill(server.pids[-1], signal.SIGKILL)
                    assert await anext(changes) == "tools"
                return await tools.current()

            own = StructuredTool.from_function(lambda: "mine", name="own", description="")
            answers = await run_agent(model, current, ToolNode([own], awrap_tool_call=tools.run))
            assert await tools.current() is not await tools.current()
            assert (await tools.current())[0] is (await tools.current())[0]
    assert model.offered[:2] == [{"it__pid"}, {"it__new"}]
    assert [(answer.name, answer.status) for answer in answers] == [
        ("it__pid", "success"),
        ("it__new", "success"),
        ("it__newer", "error"),
        ("own", "success"),
        ("it__gone", "error"),
    ]
    assert answers[0].text != answers[1].text
    assert answers[2].text == "unknown tool 'it__newer'; did you mean it__new?"
    assert answers[3].text == "mine"
    assert "unknown tool 'it__gone'" in answers[4].text


def test_without_langchain_it_says_what_is_missing() -> None:
    program = "import sys; sys.modules['langchain_core'] = None; import proxy.langchain"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith("pip install 'mcp-manifold[langchain]'")
