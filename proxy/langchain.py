"""The tools of a hub for LangChain and LangGraph; needs the extra `langchain`.

    from proxy import connect
    from proxy.langchain import load_tools

    async with connect("servers.json") as hub:
        model = model.bind_tools(await load_tools(hub))

`load_tools` gives what there is now. Where servers come and go, `ToolSet` gives what there is at each turn.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from .api import CallResult, Hub, HubClosed, HubError, Tool
from .api.results import Json

try:
    from langchain_core.messages.content import (
        FileContentBlock,
        ImageContentBlock,
        TextContentBlock,
        create_file_block,
        create_image_block,
        create_text_block,
    )
    from langchain_core.tools import StructuredTool, ToolException
except ImportError as missing:
    raise ImportError("proxy.langchain needs langchain-core: pip install 'mcp-manifold[langchain]'") from missing

__all__ = ["Block", "ToolFailed", "ToolSet", "blocks", "load_tools"]

Answer = TypeVar("Answer")
Block = TextContentBlock | ImageContentBlock | FileContentBlock


async def load_tools(hub: Hub, *, handle_tool_errors: bool = True) -> list[StructuredTool]:
    """All tools that the hub lists now, each with its own JSON schema; they are async only.

    A result comes as content blocks of LangChain (text, image, file), and its structured content in the
    artifact, as {"structured_content": ...}. A tool that fails raises ToolException with what it said. So does a call
    that the hub could not bring to its end, since its server is down, say; the HubError is its `__cause__`. With
    `handle_tool_errors` the model gets that as a ToolMessage of status "error", and can try something else.

        graph.add_node("tools", ToolNode(await load_tools(hub)))
    """
    return [_structured(hub, tool, handle_tool_errors) for tool in await hub.list_tools()]


class ToolSet:
    """The tools of a hub as they are at each moment: lists are asked for again only after they changed.

    Bind them anew at each turn of the model, and let the tool node look them up here, since its own are fixed:

        tools = ToolSet(hub)

        async def think(state):
            bound = model.bind_tools(await tools.current())
            return {"messages": [await bound.ainvoke(state["messages"])]}

        graph.add_node("model", think)
        graph.add_node("tools", ToolNode([], awrap_tool_call=tools.run))
    """

    def __init__(self, hub: Hub, *, handle_tool_errors: bool = True) -> None:
        self._hub = hub
        self._handle_tool_errors = handle_tool_errors
        self._changes = hub.changes()
        self._tools: dict[str, StructuredTool] | None = None
        self._one_at_a_time = anyio.Lock()

    async def current(self) -> list[StructuredTool]:
        """All tools that there are now."""
        return list((await self._by_name()).values())

    async def run(self, request: Any, execute: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """For `ToolNode(..., awrap_tool_call=)`, and a middleware's `awrap_tool_call`: finds tools that are new.

        What the node was given by itself stays. Of a name that nobody knows the model hears what the hub says, with
        similar names: the node's own answer would list none of the hub's tools.
        """
        if request.tool is None:
            name = request.tool_call["name"]
            tool = (await self._by_name()).get(name) or _structured(self._hub, _unknown(name), self._handle_tool_errors)
            request = request.override(tool=tool)
        return await execute(request)

    async def _by_name(self) -> dict[str, StructuredTool]:
        async with self._one_at_a_time:
            if "tools" in self._changes.take():
                self._tools = None
            if self._tools is None:
                found = await load_tools(self._hub, handle_tool_errors=self._handle_tool_errors)
                self._tools = {tool.name: tool for tool in found}
            return self._tools


class ToolFailed(ToolException):
    """A tool failed, or could not be called. `content` are the blocks that say why."""

    def __init__(self, content: list[Block]) -> None:
        texts = [block["text"] for block in content if block["type"] == "text"]
        super().__init__("\n".join(texts) or f"the tool failed, and does not say why in words ({len(content)} blocks)")
        self.content = content or [create_text_block(str(self))]


class _HubTool(StructuredTool):
    """Takes all arguments as one: spread out, some would meet LangChain's own (`config`, `run_manager`)."""

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        return (), {"arguments": self._parse_input(tool_input, tool_call_id)}


def _unknown(name: str) -> Tool:
    """What stands for a tool that is not listed, so that a call of it goes to the hub."""
    return Tool(name=name, title=None, description="", input_schema={}, output_schema=None, annotations={}, meta={})


def _structured(hub: Hub, tool: Tool, handle_tool_errors: bool) -> StructuredTool:
    async def call(arguments: dict[str, Any]) -> tuple[list[Block], Json | None]:
        return await _call(hub, tool.name, arguments)

    metadata = {**tool.annotations, **({"_meta": tool.meta} if tool.meta else {})}
    return _HubTool(
        name=tool.name,
        description=tool.description,
        args_schema={"properties": {}, **tool.input_schema},  # LangChain looks for them without asking
        coroutine=call,
        response_format="content_and_artifact",
        metadata=metadata or None,
        # Typed for texts, but what it returns becomes a message's content, which may be blocks.
        handle_tool_error=_shown if handle_tool_errors else False,  # type: ignore[arg-type]
    )


async def _call(hub: Hub, name: str, arguments: dict[str, Any]) -> tuple[list[Block], Json | None]:
    try:
        result = await hub.call_tool(name, arguments)
    except HubClosed:
        raise  # no model can do anything about that
    except HubError as problem:
        raise ToolFailed([create_text_block(str(problem))]) from problem
    content = blocks(result)
    if result.is_error:
        raise ToolFailed(content)
    return content, None if result.structured is None else {"structured_content": result.structured}


def _shown(problem: ToolException) -> list[Block]:
    if isinstance(problem, ToolFailed):
        return problem.content
    raise problem


def blocks(result: CallResult) -> list[Block]:
    """The content of a result as LangChain's content blocks."""
    return [_block(one) for one in result.content]


def _block(block: Json) -> Block:
    match block:
        case {"type": "text", "text": str(text)}:
            return create_text_block(text)
        case {"type": "image", "data": str(data)}:
            return create_image_block(base64=data, mime_type=_type_of(block) or "image/png")
        case {"type": "audio", "data": str(data)}:
            # No audio block: a message of a tool is none with one in it, and becomes a text of all its blocks.
            return create_file_block(base64=data, mime_type=_type_of(block) or "audio/wav")
        case {"type": "resource_link", "uri": str(uri)}:
            create = create_image_block if _type_of(block).startswith("image/") else create_file_block
            return create(url=uri, mime_type=_type_of(block) or None)
        case {"type": "resource", "resource": {"text": str(text)}}:
            return create_text_block(text)
        case {"type": "resource", "resource": {"blob": str(blob)} as resource}:
            create = create_image_block if _type_of(resource).startswith("image/") else create_file_block
            return create(base64=blob, mime_type=_type_of(resource) or "application/octet-stream")
    return create_text_block(json.dumps(block))  # of a revision to come, or broken: the model may make sense of it


def _type_of(block: Json) -> str:
    mime_type = block.get("mimeType")
    return mime_type if isinstance(mime_type, str) else ""
