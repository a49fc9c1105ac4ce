"""What a hub answers, as plain Python values. What servers send is passed on as it is where no field here names it."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from .errors import HubError

Json = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as it is listed; `name` is what `call_tool` takes.

    `input_schema` and `output_schema` are JSON schemas, `annotations` the server's hints (`readOnlyHint` and such).
    """

    name: str
    title: str | None
    description: str
    input_schema: Json
    output_schema: Json | None
    annotations: Json
    meta: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What a tool answered.

    `content` are blocks as the specification has them: `{"type": "text", "text": ...}`, `{"type": "image", "data":
    <base64>, "mimeType": ...}` and so on. `structured` is what fits the tool's output schema. With `is_error` the tool
    ran and failed, and the content says why. `raw` is the whole result as the server wrote it, for numbers that no
    float can hold.
    """

    content: list[Json]
    structured: Any = None
    is_error: bool = False
    meta: Json = field(default_factory=dict)
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def text(self) -> str:
        """All text blocks, one after another."""
        return "\n".join(texts_of(self.content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as it is listed. Of each argument there are `name`, and perhaps `description` and `required`."""

    name: str
    title: str | None
    description: str
    arguments: list[Json]
    meta: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptResult:
    """A prompt, filled in: messages of `role` and one block of `content`."""

    description: str
    messages: list[Json]
    meta: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource as it is listed; `size` is in bytes."""

    uri: str
    name: str
    title: str | None
    description: str
    mime_type: str | None
    size: int | None
    annotations: Json
    meta: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTemplate:
    """A URI template (RFC 6570) from which URIs of resources are made."""

    uri_template: str
    name: str
    title: str | None
    description: str
    mime_type: str | None
    annotations: Json
    meta: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """One part of a resource that was read: either `text` or `blob`, which is base64."""

    uri: str
    mime_type: str | None
    text: str | None
    blob: str | None
    meta: Json

    @property
    def data(self) -> bytes:
        """The bytes: those of the text in UTF-8, or of the blob. Raises ValueError where the blob is no base64."""
        if self.text is not None:
            return self.text.encode(errors="surrogatepass")
        try:
            return base64.b64decode(self.blob or "")
        except binascii.Error as problem:
            raise ValueError(f"{self.uri}: the server's blob is no base64: {problem}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server of the configuration. `state` is "ready" where it runs, "idle" where it starts when it is needed.

    `problem` says why it does not run, if it should. `tools` counts those that are shown; it is -1 while it does not
    run.
    """

    name: str
    transport: str
    state: str
    problem: str
    tools: int


def read(raw: bytes) -> Json:
    """A raw result as Python values. Raises HubError where Python can't hold it."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as problem:
        raise HubError(f"the answer can't be read: {problem}", delivered="maybe") from None
    return _object(value)


def tool(entry: Json) -> Tool:
    """An entry of `tools`."""
    annotations = _object(entry.get("annotations"))
    output = entry.get("outputSchema")
    return Tool(
        name=str(entry["name"]),
        title=_text(entry.get("title")) or _text(annotations.get("title")),
        description=_text(entry.get("description")) or "",
        input_schema=_object(entry.get("inputSchema")),
        output_schema=output if isinstance(output, dict) else None,
        annotations=annotations,
        meta=_object(entry.get("_meta")),
    )


def call_result(raw: bytes) -> CallResult:
    """The result of `tools/call`."""
    result = read(raw)
    return CallResult(
        content=objects(result, "content"),
        structured=result.get("structuredContent"),
        is_error=result.get("isError") is True,
        meta=_object(result.get("_meta")),
        raw=raw,
    )


def prompt(entry: Json) -> Prompt:
    """An entry of `prompts`."""
    return Prompt(
        name=str(entry["name"]),
        title=_text(entry.get("title")),
        description=_text(entry.get("description")) or "",
        arguments=objects(entry, "arguments"),
        meta=_object(entry.get("_meta")),
    )


def prompt_result(raw: bytes) -> PromptResult:
    """The result of `prompts/get`."""
    result = read(raw)
    return PromptResult(
        description=_text(result.get("description")) or "",
        messages=objects(result, "messages"),
        meta=_object(result.get("_meta")),
    )


def resource(entry: Json) -> Resource:
    """An entry of `resources`."""
    size = entry.get("size")
    return Resource(
        uri=str(entry["uri"]),
        name=_text(entry.get("name")) or "",
        title=_text(entry.get("title")),
        description=_text(entry.get("description")) or "",
        mime_type=_text(entry.get("mimeType")),
        size=size if isinstance(size, int) else None,
        annotations=_object(entry.get("annotations")),
        meta=_object(entry.get("_meta")),
    )


def template(entry: Json) -> ResourceTemplate:
    """An entry of `resourceTemplates`."""
    return ResourceTemplate(
        uri_template=str(entry["uriTemplate"]),
        name=_text(entry.get("name")) or "",
        title=_text(entry.get("title")),
        description=_text(entry.get("description")) or "",
        mime_type=_text(entry.get("mimeType")),
        annotations=_object(entry.get("annotations")),
        meta=_object(entry.get("_meta")),
    )


def contents(raw: bytes) -> list[Contents]:
    """The result of `resources/read`."""
    return [
        Contents(
            uri=_text(part.get("uri")) or "",
            mime_type=_text(part.get("mimeType")),
            text=_text(part.get("text")),
            blob=_text(part.get("blob")),
            meta=_object(part.get("_meta")),
        )
        for part in objects(read(raw), "contents")
    ]


def objects(members: Json, key: str) -> list[Json]:
    """A list of objects, without whatever is none."""
    value = members.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts_of(content: list[Json]) -> list[str]:
    """The texts of the text blocks."""
    return [text for block in content if block.get("type") == "text" and isinstance(text := block.get("text"), str)]


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
