"""What of the OpenAPI document is the same for all hubs: the routes that are always there, and the parts they share."""

from __future__ import annotations

from typing import Any, Final

from .dialect import Schema

_OBJECT: Final[Schema] = {"type": "object"}
_TEXT: Final[Schema] = {"type": "string"}
_POINTER: Final = "#/components"

_REASONS: Final = {
    "400": "The body or query is not what it has to be.",
    "401": "The token is missing or wrong.",
    "404": "Nobody has what is asked for.",
    "405": "This takes another method; `Allow` says which.",
    "413": "The body is too long.",
    "415": "The body is not application/json.",
    "422": "The arguments do not fit; `errors` or `error` says where.",
    "429": "Too much is under way; `Retry-After` says when to try again.",
    "501": "The server does not offer this.",
    "502": "The server is down, or gave an error; `detail` and `error` say why.",
    "504": "The server did not answer in time.",
    "default": "Something else is wrong.",
}

PROBLEMS: Final[dict[str, Any]] = {status: {"$ref": f"{_POINTER}/responses/{status}"} for status in _REASONS}
"""The responses that all operations have beside their own."""


def content(schema: Schema, kind: str = "application/json") -> dict[str, Any]:
    """A body of JSON."""
    return {kind: {"schema": schema}}


def result_of(structured: Schema) -> Schema:
    """The result of a tool whose structured content is like this."""
    return {
        "type": "object",
        "properties": {
            "content": {"type": "array", "items": _OBJECT},
            "structuredContent": structured,
            "isError": {"type": "boolean"},
            "_meta": _OBJECT,
        },
    }


def _list_of(member: str) -> Schema:
    return {
        "type": "object",
        "properties": {member: {"type": "array", "items": _OBJECT}},
        "required": [member],
    }


def _body(*names: str, **more: Schema) -> Schema:
    """A body that names something by one of these."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {**dict.fromkeys(names, _TEXT), **more, "_meta": _OBJECT},
        "additionalProperties": False,
    }
    if len(names) == 1:
        return {**schema, "required": list(names)}
    return {**schema, "oneOf": [{"required": [name]} for name in names]}


def _operation(id: str, tag: str, summary: str, result: Schema, body: Schema | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": id, "tags": [tag], "summary": summary}
    if body is not None:
        told["requestBody"] = {"required": True, "content": content(body)}
    return {**told, "responses": {"200": {"description": "The result.", "content": content(result)}, **PROBLEMS}}


def _schema(name: str) -> Schema:
    return {"$ref": f"{_POINTER}/schemas/{name}"}


_TOOLS, _RESOURCES, _PROMPTS = "tools", "resources", "prompts"
_READ: Final = _schema("ReadResourceResult")
_PROMPT: Final = _schema("GetPromptResult")
_WORDS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}

FIXED: Final[dict[str, Any]] = {
    "/tools/list": {"get": _operation("listTools", _TOOLS, "All tools.", _list_of("tools"))},
    "/tools/call": {
        "post": _operation(
            "callTool",
            _TOOLS,
            "Call a tool by its name.",
            _schema("CallToolResult"),
            _body("tool_name", "name", arguments=_OBJECT),
        )
    },
    "/resources/list": {"get": _operation("listResources", _RESOURCES, "All resources.", _list_of("resources"))},
    "/resources/templates": {
        "get": _operation("listTemplates", _RESOURCES, "All templates of resources.", _list_of("resourceTemplates"))
    },
    "/resources/read": {
        "get": {
            **_operation("readResource", _RESOURCES, "Read a resource.", _READ),
            "parameters": [{"name": "uri", "in": "query", "required": True, "schema": _TEXT}],
        },
        "post": _operation("readResourceByBody", _RESOURCES, "Read a resource.", _READ, _body("uri")),
    },
    "/prompts/list": {"get": _operation("listPrompts", _PROMPTS, "All prompts.", _list_of("prompts"))},
    "/prompts/get": {
        "post": _operation("getPrompt", _PROMPTS, "Get a prompt by its name.", _PROMPT, _body("name", arguments=_WORDS))
    },
    "/prompts/{name}": {
        "post": {
            **_operation("getPromptByPath", _PROMPTS, "Get a prompt.", _PROMPT),
            "requestBody": {"required": False, "content": content(_WORDS)},
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}],
        }
    },
}
"""The paths that are always there."""

_RETRY: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_HEADERS: Final[dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"schema": _TEXT}},
    "405": {"Allow": {"schema": _TEXT}},
    "429": _RETRY,
    "502": _RETRY,
}

COMPONENTS: Final[dict[str, Any]] = {
    "schemas": {
        "CallToolResult": result_of(True),
        "ReadResourceResult": _list_of("contents"),
        "GetPromptResult": _list_of("messages"),
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "properties": {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "detail": _TEXT,
                "server": {"type": "string", "description": "The server that it concerns."},
                "delivered": {
                    "enum": ["no", "maybe"],
                    "description": "Whether the server may have seen the request; `maybe` forbids a blind retry.",
                },
                "errors": {
                    "type": "array",
                    "description": "What does not fit: JSON pointers into the arguments.",
                    "items": {"type": "object", "properties": {"path": _TEXT, "message": _TEXT}},
                },
                "error": {"type": "object", "description": "The JSON-RPC error that the server answered with."},
            },
            "required": ["type", "title", "status", "detail"],
        },
    },
    "responses": {
        status: {
            "description": reason,
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
            "content": content(_schema("Problem"), "application/problem+json"),
        }
        for status, reason in _REASONS.items()
    },
    "securitySchemes": {
        "token": {"type": "http", "scheme": "bearer", "description": "`mcp-manifold token` shows it."},
    },
}
"""Everything under `components` that does not depend on the tools."""
