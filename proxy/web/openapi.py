"""`GET /openapi.json`: the REST routes as OpenAPI 3.1, with one operation for each tool and its own schemas."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import anyio
import anyio.to_thread
from msgspec import Raw

from .. import __version__, wire
from ..catalogue import Catalogue, Route
from ..errors import WireError
from ..fronts.local import LocalClient
from ..relay import Relay
from . import schemas
from .asgi import Reply, Request
from .dialect import Schema, adapted
from .operations import COMPONENTS, FIXED, PROBLEMS, content, result_of
from .problems import READING
from .rest import allow

RESERVED: Final = frozenset({"call", "list"})
"""Tools of these names have no route of their own."""

Operation = tuple[dict[str, Any], dict[str, Schema]]
"""What is at a tool's route, and the schemas that it refers to, by name."""


class OpenApi:
    """The document, made anew for each catalogue of the relay, once. `with_token`: clients need one.

    The lists are asked for by `client`, which has to wait for servers that are still to be listed.
    """

    def __init__(self, client: LocalClient, relay: Relay, title: str, *, with_token: bool) -> None:
        self._client = client
        self._relay = relay
        self._title = title
        self._with_token = with_token
        self._making = anyio.Lock()
        self._made_of: Catalogue | None = None
        self._document = b""
        self._tag = b""
        self._operations: dict[bytes, Operation] = {}
        """By definition: most tools are in the next catalogue too."""

    async def serve(self, request: Request, reply: Reply) -> None:
        """Answer with the document, or that it is still the one that the client has."""
        allow(request, *READING)
        pending = self._client.begin("tools/list")
        try:
            await request.wait(pending.answered)
        finally:
            pending.give_up()
        async with self._making:
            catalogue = self._relay.catalogue
            if catalogue is not self._made_of:
                # In a thread: of thousands of tools this takes longer than calls should wait.
                self._document = await anyio.to_thread.run_sync(self._made, catalogue)
                self._tag = b'"%b"' % hashlib.sha256(self._document).hexdigest()[:32].encode()
                self._made_of = catalogue
            document, tag = self._document, self._tag
        head = ((b"etag", tag), (b"cache-control", b"no-cache"))
        if _has(request.headers.get("if-none-match", ""), tag.decode()):
            await reply.empty(304, *head)
        else:
            await reply.json(200, document, *head)

    def _made(self, catalogue: Catalogue) -> bytes:
        before, self._operations = self._operations, {}
        paths: dict[str, Any] = dict(FIXED)
        components = dict(COMPONENTS["schemas"])
        for route, definition in zip(catalogue.routes("tools"), catalogue.sheet("tools").definitions, strict=True):
            if route.public not in RESERVED:
                operation, named = before.get(definition) or _operation(route, definition)
                self._operations[definition] = operation, named
                paths[f"/tools/{route.public}"] = {"post": operation}
                components |= named
        owners = dict.fromkeys(route.server for route in catalogue.routes("tools"))
        info = {"title": self._title, "version": __version__, "description": "Tools, resources and prompts over HTTP."}
        document = {
            "openapi": "3.1.0",
            "info": info,
            "servers": [{"url": "/"}],
            "security": [{"token": []}] if self._with_token else [],
            "tags": [{"name": owner, "description": f"Tools of the server {owner}."} for owner in owners],
            "paths": paths,
            "components": {**COMPONENTS, "schemas": components},
        }
        return wire.encode(document)


def _operation(route: Route, definition: bytes) -> Operation:
    """One tool's."""
    members = _members(definition)
    schema, output = _read(members.get("inputSchema")), _read(members.get("outputSchema"))
    name = route.public
    base = "#/components/schemas/"
    named: dict[str, Schema] = {f"{name}.arguments": adapted(schema, f"{base}{name}.arguments")}
    result = f"{base}CallToolResult"
    if output is not None:
        named[f"{name}.output"] = adapted(output, f"{base}{name}.output")
        named[f"{name}.result"] = result_of({"$ref": f"{base}{name}.output"})
        result = f"{base}{name}.result"
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [route.server],
        "summary": wire.text(members.get("title")) or name,
        "description": wire.text(members.get("description")) or "",
        "requestBody": {
            "required": isinstance(schema, dict) and bool(schema.get("required")),
            "content": content({"$ref": f"{base}{name}.arguments"}),
        },
        "responses": {
            "200": {
                "description": "What the tool says; `isError` where it failed.",
                "content": content({"$ref": result}),
            },
            **PROBLEMS,
        },
    }
    return operation, named


def _members(definition: bytes) -> dict[str, Raw]:
    try:
        return wire.open_object(definition)
    except WireError:
        return {}


def _read(schema: Raw | None) -> Any:
    """A schema as Python has it; one that can't be read allows anything."""
    if schema is None:
        return None
    try:
        return schemas.read(bytes(schema))
    except (ValueError, RecursionError):
        return {}


def _has(header: str, tag: str) -> bool:
    """Whether the document is one of those that the client has (RFC 9110, 13.1.2)."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in header.split(","))
