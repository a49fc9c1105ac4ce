"""Ended requests -> spans, as the OTLP message that a collector takes; never arguments or results.

Each request that was passed on makes two: SERVER for what somebody asked of us, and CLIENT, its child, for what we
asked for it, from the first time that it was sent. The time that it waited lies between their starts. Names and
attributes are those of OpenTelemetry's semantic conventions for MCP; what those do not have is in `mcp_manifold.*`.

The SDK makes spans for code that is traced while it runs: of the same facts its encoder needs six times as long.
"""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

# Costly, and from an optional extra: who needs this module imports it late, and says so where it is missing.
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from .. import __version__

if TYPE_CHECKING:
    from .ended import Ended, Way
    from .redact import Redactor

SCHEMA: Final = "https://opentelemetry.io/schemas/1.41.0"
"""The last release of the conventions that MCP was part of, before they moved to a repository of their own."""

_RESOURCES: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_ID: Final = "jsonrpc.request.id"
_BILLION: Final = 1_000_000_000
_PARENT_KNOWN: Final = 0x100
_PARENT_REMOTE: Final = 0x200

Attributes = dict[str, str | int | float]


class Encoder:
    """Makes one message of some requests. `redact` sees every text; `offset` is what Unix time is ahead of ours."""

    def __init__(self, redact: Redactor, offset: Callable[[], float]) -> None:
        self._redact = redact
        self._offset = offset

    def __call__(self, items: Sequence[Ended]) -> bytes:
        """The message, for any number of requests."""
        request = ExportTraceServiceRequest()
        ours = request.resource_spans.add()
        ours.resource.attributes.extend(_pairs(_process()))
        scope = ours.scope_spans.add(schema_url=SCHEMA)
        scope.scope.name, scope.scope.version = "mcp-manifold", __version__
        offset = self._offset()
        # Of each message anew: what has become a secret meanwhile is hidden in the next one.
        patterns: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        for item in items:
            # All but the texts that differ from one to the next.
            trace = item.trace
            key = (
                *(item.near, item.far, item.method, item.server, item.outcome, item.target, item.client, item.reason),
                *(trace.name, trace.flags, not trace.parent),
            )
            pattern = patterns.get(key) if trace.code is None else None
            if pattern is None:
                # As bytes, which are merged in a third of the time that it takes to copy a span.
                pattern = self._served(item).SerializeToString(), self._asked(item).SerializeToString()
                patterns[key] = pattern
            self._add(scope, item, pattern, offset)
        message: bytes = request.SerializeToString()
        return message

    def _add(self, scope: ScopeSpans, item: Ended, pattern: tuple[bytes, bytes], offset: float) -> None:
        """The two spans of one request: what is its own, and what it shares with those like it."""
        trace = item.trace
        trace_id, id = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.served)
        state = self._redact(trace.state)
        end = trace.ended + offset
        start = end - item.seconds
        served = scope.spans.add(
            trace_id=trace_id,
            span_id=id,
            parent_span_id=bytes.fromhex(trace.parent),
            trace_state=state,
            start_time_unix_nano=int(start * _BILLION),
            end_time_unix_nano=int(end * _BILLION),
        )
        served.attributes.add(key=_ID).value.string_value = self._redact(_plain(item.request_id))
        if trace.sent_after:
            served.attributes.add(key="mcp_manifold.waited").value.double_value = trace.sent_after
        served.MergeFromString(pattern[0])
        if trace.sent_after is None:
            return
        asked = scope.spans.add(
            trace_id=trace_id,
            span_id=bytes.fromhex(trace.asked),
            parent_span_id=id,
            trace_state=state,
            start_time_unix_nano=int((start + trace.sent_after) * _BILLION),
            end_time_unix_nano=int(end * _BILLION),
        )
        asked.attributes.add(key=_ID).value.string_value = str(trace.asked_id)
        if trace.sends > 1:
            asked.attributes.add(key="mcp_manifold.sends").value.int_value = trace.sends
        asked.MergeFromString(pattern[1])

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
        span = Span(name=name, kind=kind, flags=flags, attributes=_pairs(shown))
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


def _pairs(attributes: Attributes) -> Iterator[KeyValue]:
    return (_pair(key, value) for key, value in attributes.items())


def _pair(key: str, value: str | float) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(double_value=value))
