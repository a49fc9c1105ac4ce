"""Ended requests -> spans, as the OTLP message that a collector takes; never arguments or results.

Each request that was passed on makes two: SERVER for what somebody asked of us, and CLIENT, its child, for what we
asked for it, from the first time that it was sent. The time that it waited lies between their starts. Names and
attributes are those of OpenTelemetry's semantic conventions for MCP; what those do not have is in `mcp_manifold.*`.

The SDK makes spans for code that is traced while it runs: of the same facts its encoder needs twenty times as long.
"""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

# Costly, and from an optional extra: who needs this module imports it late, and says so where it is missing.
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from .. import __version__

if TYPE_CHECKING:
    from .ended import Ended, Way
    from .redact import Redactor

SCHEMA: Final = "https://opentelemetry.io/schemas/1.41.0"
"""The last release of the conventions that MCP was part of, before they moved to a repository of their own."""

_RESOURCES: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_ID: Final = "jsonrpc.request.id"
_KEY: Final = _ID.encode()
_SHORT: Final = 0x7F - len(_KEY) - 6
"""Bytes of an id with which all lengths are of one byte."""
_BILLION: Final = 1_000_000_000
_PARENT_KNOWN: Final = 0x100
_PARENT_REMOTE: Final = 0x200

Attributes = dict[str, str | int | float]


# The parts of a span that each has of its own, as protobuf writes them: the number of the field and how long it is.
_OWN: Final = Struct("<2s16s2s8scQcQ")
_TRACE: Final = b"\x0a\x10"
_SPAN: Final = b"\x12\x08"
_PARENT: Final = b"\x22\x08"
_START: Final = b"\x39"
_END: Final = b"\x41"


class Encoder:
    """Makes one message of some requests. `redact` sees every text; `offset` is what Unix time is ahead of ours.

    What many spans share is encoded by the library, once. What each has of its own is put before it as bytes: parts of
    a message that stand one behind the other are one message. The library takes three times as long.
    """

    def __init__(self, redact: Redactor, offset: Callable[[], float]) -> None:
        self._redact = redact
        self._offset = offset
        self._resource: bytes = ResourceSpans(resource=Resource(attributes=_pairs(_process()))).SerializeToString()
        scope = InstrumentationScope(name="mcp-manifold", version=__version__)
        self._scope: bytes = ScopeSpans(scope=scope, schema_url=SCHEMA).SerializeToString()

    def __call__(self, items: Sequence[Ended]) -> bytes:
        """The message, for any number of requests."""
        offset = self._offset()
        # Of each message anew: what has become a secret meanwhile is hidden in the next one.
        patterns: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        spans = [self._scope]
        for item in items:
            # All but what differs from one to the next.
            trace = item.trace
            key = (
                *(item.near, item.far, item.method, item.server, item.outcome, item.target, item.client, item.reason),
                *(trace.name, trace.flags, trace.state, not trace.parent, trace.code, trace.ours),
            )
            pattern = patterns.get(key)
            if pattern is None:
                pattern = patterns[key] = self._served(item).SerializeToString(), self._asked(item).SerializeToString()
            self._add(spans, item, pattern, offset)
        return _field(1, self._resource + _field(2, b"".join(spans)))

    def _add(self, spans: list[bytes], item: Ended, pattern: tuple[bytes, bytes], offset: float) -> None:
        """The two spans of one request: what is its own, and what it shares with those like it."""
        trace = item.trace
        trace_id, served = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.served)
        end = trace.ended + offset
        start = end - item.seconds
        until = int(end * _BILLION)
        own = _OWN.pack(_TRACE, trace_id, _SPAN, served, _START, int(start * _BILLION), _END, until)
        if trace.parent:
            own += _PARENT + bytes.fromhex(trace.parent)
        own += _with_id(self._redact.number(_plain(item.request_id)))
        if trace.sent_after:
            own += _with("mcp_manifold.waited", trace.sent_after)
        spans.append(_field(2, own + pattern[0]))
        if trace.sent_after is None:
            return
        began = int((start + trace.sent_after) * _BILLION)
        own = _OWN.pack(_TRACE, trace_id, _SPAN, bytes.fromhex(trace.asked), _START, began, _END, until)
        own += _PARENT + served + _with_id(str(trace.asked_id))
        if trace.sends > 1:
            own += _with("mcp_manifold.sends", trace.sends)
        spans.append(_field(2, own + pattern[1]))

    def _served(self, item: Ended) -> Span:
        """What somebody asked of us."""
        trace = item.trace
        attributes = self._common(item, trace.name, item.near) | {"mcp_manifold.client": item.client}
        if trace.code is not None:
            attributes["rpc.response.status_code"] = str(trace.code)
        attributes["error.type"] = _error(item)
        flags = _PARENT_KNOWN | (_PARENT_REMOTE if trace.parent else 0) | trace.flags
        return self._span(item, trace.name, Span.SPAN_KIND_SERVER, flags, attributes)

    def _asked(self, item: Ended) -> Span:
        """What we asked for it."""
        trace = item.trace
        attributes = self._common(item, item.target, item.far)
        if item.far.address:
            attributes |= {"server.address": item.far.address, "server.port": item.far.port}
        if trace.code is not None and not trace.ours:
            attributes["rpc.response.status_code"] = str(trace.code)
        attributes["error.type"] = _error_of_the_other(item)
        return self._span(item, item.target, Span.SPAN_KIND_CLIENT, _PARENT_KNOWN | trace.flags, attributes)

    def _common(self, item: Ended, target: str, way: Way) -> Attributes:
        attributes: Attributes = {
            "mcp.method.name": item.method,
            "mcp.session.id": way.session,
            "mcp.protocol.version": way.protocol,
            "network.transport": way.transport,
            "network.protocol.name": way.network,
            "mcp_manifold.server": item.server,
            "mcp_manifold.outcome": item.outcome,
        }
        if item.method == "tools/call":
            attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": target}
        elif item.method == "prompts/get":
            attributes["gen_ai.prompt.name"] = target
        elif item.method in _RESOURCES:
            attributes["mcp.resource.uri"] = target
        return attributes

    def _span(
        self, item: Ended, target: str, kind: Span.SpanKind.ValueType, flags: int, attributes: Attributes
    ) -> Span:
        """A span without ids and times. Only what is known to be there is part of its name."""
        named = item.target and item.method in ("tools/call", "prompts/get")
        shown = {
            key: self._redact(value) if isinstance(value, str) else value for key, value in attributes.items() if value
        }
        name = self._redact(f"{item.method} {target}" if named else item.method)
        state = self._redact(item.trace.state)
        span = Span(name=name, kind=kind, flags=flags, trace_state=state, attributes=_pairs(shown))
        if "error.type" in shown:
            said = self._redact(item.reason) if item.trace.ours or item.trace.code is None else ""
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=said))
        return span


def rejected(answer: bytes) -> tuple[int, str]:
    """How many spans a collector did not take although it answered well, and why."""
    try:
        response = ExportTraceServiceResponse.FromString(answer)
    except DecodeError:  # the status says that all is well
        return 0, ""
    return response.partial_success.rejected_spans, response.partial_success.error_message


def _error(item: Ended) -> str:
    """The class of the error that was the answer, or ""; whoever cancels knows, and it is no error of ours."""
    if item.trace.code is not None:
        return str(item.trace.code)
    return "tool_error" if item.outcome == "tool_error" else ""


def _error_of_the_other(item: Ended) -> str:
    """The same of the side that was asked, which perhaps did not answer at all."""
    if item.outcome in ("timeout", "cancelled"):
        return item.outcome
    return "_OTHER" if item.trace.ours else _error(item)


def _process() -> Attributes:
    return {
        "service.name": "mcp-manifold",
        "service.version": __version__,
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "host.name": socket.gethostname(),
    }


def _plain(id: str) -> str:
    """A request's id as the conventions show it: a string without its quotes."""
    try:
        return str(json.loads(id)) if id.startswith('"') else id
    except ValueError:
        return id


def _field(number: int, content: bytes) -> bytes:
    """One of a message: a text, bytes, or a message within it."""
    length, parts = len(content), [number << 3 | 2]
    while length > 0x7F:
        parts.append(length & 0x7F | 0x80)
        length >>= 7
    parts.append(length)
    return bytes(parts) + content


def _with_id(id: str) -> bytes:
    """The part of a span that has this id of a request."""
    text = id.encode()
    if len(text) > _SHORT:
        return _with(_ID, id)
    # The attribute, its key, its value, and the text within that.
    size = len(text)
    return b"\x4a%c\x0a%c%b\x12%c\x0a%c%b" % (len(_KEY) + size + 6, len(_KEY), _KEY, size + 2, size, text)


def _with(key: str, value: str | float) -> bytes:
    """The part of a span that has this attribute."""
    part: bytes = Span(attributes=[_pair(key, value)]).SerializeToString()
    return part


def _pairs(attributes: Attributes) -> Iterator[KeyValue]:
    return (_pair(key, value) for key, value in attributes.items())


def _pair(key: str, value: str | float) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(double_value=value))
