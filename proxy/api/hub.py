"""A hub as a Python program uses it: lists, calls, and what changes."""

from __future__ import annotations

import inspect
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .. import app
from ..fronts.local import LocalClient, RequestFailed
from . import results
from .asking import Asking
from .elsewhere import Elsewhere
from .errors import failure
from .results import CallResult, Contents, Json, Prompt, PromptResult, Resource, ResourceTemplate, ServerStatus, Tool

Progress = Callable[[float, float | None, str | None], Awaitable[object] | object]
"""Gets (progress, total, message) while a call runs, in order. Of total and message the server may have said none."""

Entry = TypeVar("Entry")

_MOST_WAITING: Final = 1000
"""Reports of progress that wait for a slow callback."""


class Changes(AsyncIterator[str]):
    """The kinds of lists that changed: "tools", "prompts", "resources". Ends when the hub is closed.

    A change is told of a list that was asked for since the last one. Several at once are told as one.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, None] = {}
        self._changed = anyio.Event()
        self._over = False

    def take(self) -> set[str]:
        """The kinds that changed since they were last taken or iterated over; never waits."""
        kinds, self._kinds = set(self._kinds), {}
        return kinds

    async def __anext__(self) -> str:
        while not self._kinds:
            if self._over:
                raise StopAsyncIteration
            await self._changed.wait()
        kind = next(iter(self._kinds))
        del self._kinds[kind]
        return kind

    def note(self, kind: str | None) -> None:
        """A list changed, or with None the hub was closed."""
        if kind is None:
            self._over = True
        else:
            self._kinds[kind] = None
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Hub:
    """An open hub; `connect` makes one. Any number of tasks of its event loop may use it at once.

    Every request raises HubError where it fails. Where its task is cancelled, as by `asyncio.timeout`, it is cancelled
    at the server.
    """

    def __init__(self, parts: app.Hub, asking: Asking, elsewhere: Elsewhere | None = None) -> None:
        self._parts = parts
        self._elsewhere = elsewhere
        self._closed = False
        self._listeners: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._client = LocalClient(
            parts.pump,
            "python",
            self._notified,
            asking.offer,
            asked=asking.ask,
            name="mcp-manifold-python",
        )

    async def list_tools(self, *, wait: bool = True) -> list[Tool]:
        """All tools of all servers.

        The first list waits for servers that are starting, at most `listWait` seconds; without `wait` it is what is
        known now.
        """
        return await self._list("tools/list", "tools", "tools", results.tool, wait=wait)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> CallResult:
        """Call a tool by its listed name. A tool that fails does not raise: the result says `is_error`.

            async with asyncio.timeout(10):
                result = await hub.call_tool("files__search", {"pattern": "*.py"}, progress=print)

        What `progress` raises ends the call, and is raised here. `meta` is sent as the request's `_meta`.
        """
        params: Json = {"name": name, "arguments": _arguments(arguments)}
        if meta is not None:
            params["_meta"] = dict(meta)
        if progress is None:
            return results.call_result(await self._request("tools/call", params))
        return results.call_result(await self._with_progress("tools/call", params, progress))

    async def list_prompts(self, *, wait: bool = True) -> list[Prompt]:
        """All prompts; `wait` is as in `list_tools`."""
        return await self._list("prompts/list", "prompts", "prompts", results.prompt, wait=wait)

    async def get_prompt(self, name: str, arguments: Mapping[str, str] | None = None) -> PromptResult:
        """A prompt with these arguments filled in."""
        return results.prompt_result(
            await self._request("prompts/get", {"name": name, "arguments": _arguments(arguments)})
        )

    async def list_resources(self, *, wait: bool = True) -> list[Resource]:
        """All resources; `wait` is as in `list_tools`."""
        return await self._list("resources/list", "resources", "resources", results.resource, wait=wait)

    async def list_resource_templates(self, *, wait: bool = True) -> list[ResourceTemplate]:
        """All templates of resources; `wait` is as in `list_tools`."""
        return await self._list(
            "resources/templates/list", "templates", "resourceTemplates", results.template, wait=wait
        )

    async def read_resource(self, uri: str) -> list[Contents]:
        """What is in a resource, which may have several parts.

        [note] = await hub.read_resource("file:///home/me/note.txt")
        print(note.text)
        """
        return results.contents(await self._request("resources/read", {"uri": uri}))

    def changes(self) -> Changes:
        """What changes from now on.

        async for kind in hub.changes():
            if kind == "tools":
                tools = await hub.list_tools()
        """
        changes = Changes()
        if self._closed:
            changes.note(None)
        self._listeners.add(changes)
        return changes

    async def servers(self) -> list[ServerStatus]:
        """The servers of the configuration, or of the hub elsewhere, as they are now.

        Where that can't be reached, or is another kind of hub that does not tell, it is the connection to it alone.
        """
        known = [
            ServerStatus(name=it.server, transport=it.transport, state=it.state, problem=it.problem, tools=it.shown)
            for it in self._parts.fleet.reports()
        ]
        if self._elsewhere is None or self._closed or known[0].state != "ready":
            return known
        told = await self._elsewhere.servers()
        return known if told is None else told

    async def open(self) -> None:
        """For `connect`: shake hands."""
        await self._client.initialize()

    def close(self) -> None:
        """For `connect`: end the session; who waits for an answer gets HubClosed."""
        self._closed = True
        self._client.close()
        for listener in list(self._listeners):
            listener.note(None)

    async def _list(
        self, method: str, kind: str, key: str, make: Callable[[Json], Entry], *, wait: bool
    ) -> list[Entry]:
        if not wait and not self._closed:
            now = results.read(self._parts.relay.catalogue.sheet(kind).whole)
            return [make(entry) for entry in results.objects(now, key)]
        entries: list[Json] = []
        page: Json = {}
        while True:
            page = results.read(await self._request(method, {"cursor": page["nextCursor"]} if page else {}))
            entries += results.objects(page, key)
            if not page.get("nextCursor"):
                return [make(entry) for entry in entries]

    async def _request(self, method: str, params: Json, progress: Callable[[bytes], None] | None = None) -> bytes:
        text = json.dumps(params, separators=(",", ":"), allow_nan=False).encode()
        try:
            return await self._client.request(method, text, progress)
        except RequestFailed as problem:
            raise failure(problem, closed=self._closed) from None

    async def _with_progress(self, method: str, params: Json, progress: Progress) -> bytes:
        """The callback runs beside the request, in a task of its own: the relay does not wait for it."""
        send, receive = anyio.create_memory_object_stream[bytes](_MOST_WAITING)
        result: bytes | None = None
        problem: BaseException
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_tell, receive, progress)
                with send:
                    result = await self._request(method, params, partial(_put, send))
            if result is not None:
                return result
            problem = anyio.get_cancelled_exc_class()("the progress callback was cancelled")
        except BaseExceptionGroup as group:
            problem = group.exceptions[0]
        raise problem

    def _notified(self, method: str, params: bytes) -> None:
        if method.endswith("/list_changed"):
            for listener in list(self._listeners):
                listener.note(method.split("/")[1])


def _arguments(given: Mapping[str, Any] | None) -> Json:
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"arguments are a mapping of names to values, not {type(given).__name__}")
    return dict(given or {})


def _put(stream: MemoryObjectSendStream[bytes], params: bytes) -> None:
    with suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
        stream.send_nowait(params)


async def _tell(receive: MemoryObjectReceiveStream[bytes], progress: Progress) -> None:
    async with receive:
        async for raw in receive:
            report = results.read(raw)
            done, total, message = report.get("progress"), report.get("total"), report.get("message")
            outcome = progress(
                done if isinstance(done, (int, float)) else 0,
                total if isinstance(total, (int, float)) else None,
                message if isinstance(message, str) else None,
            )
            if inspect.isawaitable(outcome):
                await outcome
