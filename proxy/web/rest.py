"""Tools, resources and prompts as plain HTTP: JSON in, MCP's result out, byte for byte.

    GET  /tools/list               GET  /resources/list              GET  /prompts/list
    POST /tools/call               GET  /resources/templates         POST /prompts/get
    POST /tools/{name}             GET  /resources/read?uri=         POST /prompts/{name}
                                   POST /resources/read

A tool that failed is a result too: 200, with `isError`. All other errors are problem documents: 400 for a body that is
not what it has to be, 422 for arguments that do not fit, and what `outcome` makes of the relay's. `call`, `list` and
`get` are these operations, whatever tools and prompts are called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Raw

from .. import wire
from ..errors import WireError
from ..fronts.local import LocalClient, RequestFailed
from ..relay import Relay
from .arguments import Arguments
from .asgi import Reply, Request
from .outcome import problem_of
from .problems import READING, Problem

_NO_ARGUMENTS: Final = b"{}"


class Rest:
    """The handlers. All requests go through `client`, at most `most` at a time, in bodies of `largest` bytes."""

    def __init__(self, client: LocalClient, relay: Relay, arguments: Arguments, *, largest: int, most: int) -> None:
        self._client = client
        self._relay = relay
        self._arguments = arguments
        self._largest = largest
        self._most = most
        self._in_flight = 0

    async def tools(self, request: Request, reply: Reply) -> None:
        """`/tools/...`"""
        name = _below(request.path)
        if name == "list":
            await self._list(request, reply, "tools/list", "tools")
            return
        allow(request, "POST")
        body = await self._body(request)
        if name == "call":
            members = _members(body, {"tool_name", "name", "arguments", "_meta"})
            raw = _name(members, "tool_name", "name")
            given = _object(members, "arguments") or _NO_ARGUMENTS
            meta = _object(members, "_meta")
        else:
            raw, given, meta = wire.encode_text(name), _arguments(body), b""
        await self._call_tool(request, reply, raw, given, meta)

    async def resources(self, request: Request, reply: Reply) -> None:
        """`/resources/...`"""
        name = _below(request.path)
        if name == "list":
            await self._list(request, reply, "resources/list", "resources")
        elif name == "templates":
            await self._list(request, reply, "resources/templates/list", "templates")
        elif name == "read":
            allow(request, *READING, "POST")
            params = await self._reading(request)
            await reply.json(200, await self._ask(request, "resources/read", params))
        else:
            raise Problem(404, f"there is nothing at {request.path[:200]}")

    async def prompts(self, request: Request, reply: Reply) -> None:
        """`/prompts/...`"""
        name = _below(request.path)
        if name == "list":
            await self._list(request, reply, "prompts/list", "prompts")
            return
        allow(request, "POST")
        body = await self._body(request)
        if name == "get":
            members = _members(body, {"name", "arguments", "_meta"})
            params = _params(_name(members, "name"), _object(members, "arguments"), _object(members, "_meta"))
        else:
            params = _params(wire.encode_text(name), _arguments(body))
        await reply.json(200, await self._ask(request, "prompts/get", params))

    async def _call_tool(self, request: Request, reply: Reply, raw: bytes, given: bytes, meta: bytes) -> None:
        name = wire.text(raw) or ""
        if not self._arguments.knows(name):
            await self._ask(request, "tools/list")  # its server may still be starting, and then say what it takes
        mismatches = await self._arguments.mismatches(name, given)
        if mismatches:
            errors = [mismatch._asdict() for mismatch in mismatches]
            raise Problem(422, "the arguments do not fit the tool's inputSchema", delivered="no", errors=errors)
        await reply.json(200, await self._ask(request, "tools/call", _params(raw, given, meta)))

    async def _list(self, request: Request, reply: Reply, method: str, kind: str) -> None:
        """A whole list: asked for as any client does, which may have to wait for servers, and then not page by page."""
        allow(request, *READING)
        await self._ask(request, method)
        await reply.json(200, self._relay.catalogue.sheet(kind).whole)

    async def _ask(self, request: Request, method: str, params: bytes = b"") -> bytes:
        """The raw result of a request. Raises Problem, and Left where the client goes: then it is cancelled."""
        if self._in_flight >= self._most:
            text = (
                f"{self._most} calls are under way already (`proxy.http.maxInFlight`); try again when some have ended"
            )
            raise Problem(429, text, headers={"Retry-After": "1"}, delivered="no")
        self._in_flight += 1
        try:
            pending = self._client.begin(method, _in_its_trace(params, request.headers), peer=request.peer)
            try:
                await request.wait(pending.answered)
            finally:
                pending.give_up()
            return pending.result()
        except RequestFailed as failed:
            raise problem_of(failed, method, self._takes_calls) from None
        finally:
            self._in_flight -= 1

    def _takes_calls(self, server: str) -> bool:
        """Whether a server is there and answers; "" stands for no server, but us."""
        if not server:
            return True
        target = self._relay.targets.get(server)
        return target is not None and target.link is not None and not target.link.shut_until

    async def _reading(self, request: Request) -> bytes:
        """The params of `resources/read`: the URI is in the query, or in a body."""
        if request.method == "POST":
            members = _members(await self._body(request), {"uri", "_meta"})
            meta = _object(members, "_meta")
            return wire.close_object({"uri": _name(members, "uri"), **({"_meta": meta} if meta else {})})
        found = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)
        if len(found) != 1 or found[0][0] != "uri":
            raise Problem(400, "the query has to be `uri=` and a percent-encoded URI, and nothing else")
        return wire.close_object({"uri": wire.encode_text(found[0][1])})

    async def _body(self, request: Request) -> bytes:
        """A body of JSON, as one line; b"" where there is none. Raises Problem, TooLarge and Left."""
        kind = request.headers.get("content-type")
        if kind is not None and kind.partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "the body has to be application/json", headers={"Accept": "application/json"})
        if "content-encoding" in request.headers:
            raise Problem(415, "a compressed body is not understood", headers={"Accept-Encoding": "identity"})
        body = await request.body(self._largest)
        if body and kind is None:
            raise Problem(415, "the body needs `Content-Type: application/json`")
        if b"\n" in body or b"\r" in body:  # between the tokens of JSON a line end is a space; within, there is none
            body = body.replace(b"\n", b" ").replace(b"\r", b" ")
        return body


def allow(request: Request, *methods: str) -> None:
    """Refuse all other methods."""
    if request.method not in methods:
        listed = ", ".join(methods)
        raise Problem(405, f"only {listed} is understood here", headers={"Allow": listed})


def _below(path: str) -> str:
    """What follows the first part of a path."""
    below = path[1:].partition("/")[2]
    if not below:
        raise Problem(404, f"there is nothing at {path[:200]}")
    return below


def _members(body: bytes, known: Collection[str]) -> dict[str, Raw]:
    """The members of a body. One that is not known is most likely misspelt: better to say so than to leave it out."""
    try:
        members = wire.open_object(body)
    except WireError as problem:
        raise _no_object(problem) from None
    unknown = members.keys() - known
    if unknown:
        names = ", ".join(sorted(repr(name[:100]) for name in unknown))
        raise Problem(400, f"the body may have {', '.join(sorted(known))}, but not {names}")
    return members


def _no_object(problem: WireError) -> Problem:
    return Problem(400, f"the body has to be a JSON object: {str(problem).replace('this line', 'it')}")


def _arguments(body: bytes) -> bytes:
    """A body that is the arguments; an empty one stands for none."""
    if not body:
        return _NO_ARGUMENTS
    try:
        wire.open_object(body)
    except WireError as problem:
        raise _no_object(problem) from None
    return body


def _name(members: dict[str, Raw], *keys: str) -> bytes:
    """The raw string that one of these members is; where there are two, they have to be the same."""
    given = [members[key] for key in keys if key in members]
    texts = {wire.text(raw) for raw in given}
    if len(texts) != 1 or None in texts:
        raise Problem(400, f"the body needs {' or '.join(f'`{key}`' for key in keys)}, a string")
    return bytes(given[0])


def _object(members: dict[str, Raw], key: str) -> bytes:
    """The raw object that a member is; b"" where it is missing or null."""
    raw = wire.given(members.get(key))
    if raw is None:
        return b""
    if not bytes(memoryview(raw)[:1]) == b"{":
        raise Problem(400, f"`{key}` has to be an object")
    return bytes(raw)


def _in_its_trace(params: bytes, headers: Mapping[str, str]) -> bytes:
    """The params with the trace context of the headers, as MCP has it (SEP-414), unless they have one of their own."""
    if "traceparent" not in headers or not params:
        return params
    members = wire.open_object(params)
    meta = wire.open_object(members["_meta"]) if "_meta" in members else {}
    if "traceparent" in meta:
        return params
    context = {key: wire.encode_text(headers[key]) for key in ("traceparent", "tracestate") if key in headers}
    return wire.close_object({**members, "_meta": wire.close_object({**meta, **context})})


def _params(name: bytes, given: bytes, meta: bytes = b"") -> bytes:
    members = {"name": name}
    if given:
        members["arguments"] = given
    if meta:
        members["_meta"] = meta
    return wire.close_object(members)
