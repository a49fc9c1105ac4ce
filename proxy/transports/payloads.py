"""Keeps payloads away from the SDK: it sees each message's envelope, the bytes pass beside it.

The SDK's HTTP transports are good at sessions, streams and resumption, but they parse each message into models and
write it out again, which changes numbers, refuses lone surrogates and takes its time. So on the way out the SDK gets
a message whose payload is a ticket, and just before the request leaves the ticket is exchanged for the real bytes; on
the way in it is the other way round. The SDK's own EventSource limit of 1 MiB does not matter either then.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx2
import msgspec
from msgspec import Raw

from .. import wire
from ..errors import SERVER_UNAVAILABLE, Delivered, WireError
from .uploads import Upload

TICKET: Final = "mcp-manifold"
_NO_MESSAGE: Final = "its answer is no JSON-RPC message"
_TICKET_IN_BODY: Final = re.compile(rb'"mcp-manifold":\s*"(\d+)"')


class Incoming(msgspec.Struct, frozen=True):
    """A message that waits for the SDK to read it; `within` is the raw id of the request whose stream it came on."""

    envelope: wire.Envelope
    within: bytes


class Payloads:
    """The bytes that wait beside the SDK, by ticket."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._outgoing: dict[str, Upload] = {}
        self._incoming: dict[str, Incoming] = {}
        self.beside: Callable[[bytes], None] = lambda line: None
        """Takes a line that reaches us past the SDK."""

    def deposit(self, upload: Upload) -> dict[str, str]:
        """Keep an outgoing message; the ticket stands in for its payload."""
        number = str(next(self._numbers))
        self._outgoing[number] = upload
        return {TICKET: number}

    def withdraw(self, body: bytes) -> Upload | None:
        """The message that the ticket in an outgoing body stands for, once; None if there is none."""
        found = _TICKET_IN_BODY.search(body)
        return self._outgoing.pop(found.group(1).decode(), None) if found else None

    def strip(self, body: bytes, id: bytes = b"null", within: bytes = b"") -> bytes:
        """Keep an incoming message and return one for the SDK with a ticket in place of the payload.

        What is no message is returned as it is: the SDK says so in its own way. An error without an id answers `id`;
        `within` is the request on whose stream it came, if it was one's.
        """
        try:
            members = wire.open_object(body)
            # null is how a server refuses what it could not read; the SDK knows which request that was.
            if bytes(members.get("id", b"")) == b"null" and "method" not in members:
                envelope = wire.Envelope(error=members.get("error", Raw(b"")))
            else:
                envelope = wire.decode(body)
        except WireError:
            return body
        if envelope.error and not bytes(envelope.error).startswith(b"{"):
            return body
        number = str(next(self._numbers))
        ticket = {TICKET: number}
        stripped: dict[str, object] = {"jsonrpc": "2.0"}
        if envelope.id:
            stripped["id"] = envelope.id
        if envelope.method:
            stripped |= {"method": envelope.method, "params": ticket}
        elif envelope.result:
            stripped["result"] = ticket
        elif envelope.error:
            stripped.setdefault("id", Raw(id))
            stripped["error"] = {"code": 0, "message": "", "data": ticket}
        else:
            return body
        self._incoming[number] = Incoming(envelope, within)
        return msgspec.json.encode(stripped)

    def answers_another(self, body: bytes, id: bytes) -> bool:
        """Whether a message is the answer to another request than `id` (raw)."""
        try:
            envelope = wire.decode(body)
        except WireError:
            return False
        return not envelope.method and wire.given(envelope.id) is not None and bytes(envelope.id) != id

    def claim(self, payload: object) -> Incoming | None:
        """The incoming message that a ticket stands for, once; None if this is no ticket."""
        number = payload.get(TICKET) if isinstance(payload, dict) else None
        return self._incoming.pop(number, None) if isinstance(number, str) else None


def as_line(message: bytes) -> bytes:
    """One line: over HTTP, JSON may be laid out over several; between tokens a line end is a space."""
    if b"\n" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    return message + b"\n"


def failure(id: bytes, text: str, delivered: Delivered, *, answered: bool = False) -> bytes:
    """A body that fails request `id` (raw), in place of an answer that did not come, or (`answered`) is of no use."""
    data = {"delivered": delivered, "answered": answered}
    error = {"code": SERVER_UNAVAILABLE, "message": text, "data": data}
    return wire.error(id, wire.encode(error))


class StrippedJson(httpx2.AsyncByteStream):
    """A response body that is one message, the answer to request `id` (raw).

    Where it breaks off, or is no message though the server `refused` (which says how), an error takes its place.
    `answered` tells whether what is no message shows all the same that the server is well.
    """

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        payloads: Payloads,
        id: bytes,
        refused: str | None = None,
        *,
        answered: bool = True,
    ) -> None:
        self._inner = inner
        self._payloads = payloads
        self._id = id
        self._refused = refused
        self._answered = answered

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: list[bytes] = []
        size = 0
        try:
            async for part in self._inner:
                parts.append(part)
                size += len(part)
                if size > wire.MAX_LINE:
                    raise httpx2.ReadError(f"its answer was longer than {wire.MAX_LINE >> 20} MiB")
        except httpx2.TransportError as problem:
            # Left alone it would end the SDK's task group, and every other request with it.
            yield failure(self._id, str(problem) or type(problem).__name__, "maybe")
            return
        body = b"".join(parts)
        if self._id != b"null" and self._payloads.answers_another(body, self._id):
            self._payloads.beside(as_line(body))
            yield failure(self._id, "it answered another request in place of this one", "maybe", answered=True)
            return
        stripped = self._payloads.strip(body, self._id)
        if stripped is body:  # no message: the SDK would log and pass on pieces of it
            stripped = failure(self._id, self._refused or _NO_MESSAGE, "maybe", answered=self._answered)
        yield stripped

    async def aclose(self) -> None:
        await self._inner.aclose()


class StrippedEvents(httpx2.AsyncByteStream):
    """A response body that is a stream of server-sent events, each with one message.

    `id` (raw) is the request that the stream answers, if it is one: an event that is no message fails it.
    """

    def __init__(self, inner: httpx2.AsyncByteStream, payloads: Payloads, id: bytes = b"") -> None:
        self._inner = inner
        self._payloads = payloads
        self._id = id
        self._partial: list[bytes] = []
        self._size = 0
        self._fields: list[bytes] = []
        self._data: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            first, *others = part.split(b"\n")
            self._keep(first)
            out: list[bytes] = []
            for line in others:
                out.append(self._line(b"".join(self._partial)))
                self._partial.clear()
                self._keep(line)
            joined = b"".join(out)
            if joined:
                yield joined

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _message(self, data: bytes) -> bytes:
        if self._id and self._payloads.answers_another(data, self._id):
            # The SDK takes the first answer on a request's stream for that request's, and closes the stream.
            self._payloads.beside(as_line(data))
            return b""
        stripped = self._payloads.strip(data, within=self._id)
        if stripped is not data:
            return stripped
        if self._id:
            return failure(self._id, _NO_MESSAGE, "maybe", answered=True).rstrip()
        if wire.readable_id(data):
            self._payloads.beside(as_line(data))  # the relay fails the request that it was meant for
        return b""

    def _keep(self, part: bytes) -> None:
        self._partial.append(part)
        self._size += len(part)
        if self._size > wire.MAX_LINE:
            raise httpx2.ReadError(f"an event was longer than {wire.MAX_LINE >> 20} MiB")

    def _line(self, line: bytes) -> bytes:
        """Take one line; returns what can be passed on because an event is complete."""
        line = line.rstrip(b"\r")
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return b""
        if line:
            if not line.startswith(b":"):  # a comment keeps the connection alive and says nothing
                self._fields.append(line)
            return b""
        out = [*self._fields]
        named = any(field.startswith(b"event:") and field[6:].strip() != b"message" for field in out)
        data = b"\n".join(self._data)
        if self._data:
            message = data if named or not data else self._message(data)
            out.extend(b"data: " + piece for piece in message.split(b"\n"))
        self._fields.clear()
        self._data.clear()
        self._size = 0
        return b"\n".join([*out, b"", b""])
