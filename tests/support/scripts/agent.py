"""A LangGraph agent with the tools of one MCP server, driven by a scripted model; prints what happened as JSON.

Runs in the environment of the older clients: argv[1] is a JSON object with the server's `connection`, as the adapters
want it, and `plan`, the list of [tool name, arguments] that the model asks for, one a turn.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import Field


class ScriptedModel(GenericFakeChatModel):
    """Says its messages in turn; keeps the tools it was offered, in the form a model is told of them."""

    offered: list[str] = Field(default_factory=list)

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "ScriptedModel":
        self.offered = [convert_to_openai_tool(tool)["function"]["name"] for tool in tools]
        return self


async def main() -> None:
    task = json.loads(sys.argv[1])
    client = MultiServerMCPClient({"hub": task["connection"]})
    async with client.session("hub") as session:
        tools = await load_mcp_tools(session)
        model = ScriptedModel(messages=iter([*map(wish, range(len(task["plan"])), task["plan"]), AIMessage("done")]))
        bound = model.bind_tools(tools)

        async def think(state: MessagesState) -> dict[str, list[BaseMessage]]:
            return {"messages": [await bound.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", think)
        graph.add_node("tools", ToolNode(tools))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
        graph.add_edge("tools", "model")
        start: Any = {"messages": [("user", "go")]}
        final = await graph.compile().ainvoke(start)
    answers = [
        {"tool": message.name, "status": message.status, "content": message.content}
        for message in final["messages"]
        if isinstance(message, ToolMessage)
    ]
    print(json.dumps({"offered": sorted(bound.offered), "answers": answers, "last": final["messages"][-1].content}))


def wish(turn: int, step: tuple[str, dict[str, Any]]) -> AIMessage:
    name, arguments = step
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{turn}", "type": "tool_call"}])


asyncio.run(main())
