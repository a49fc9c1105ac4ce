"""A client of ASGI handlers in this process: one exchange, or one WebSocket, that can leave and read slowly."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import anyio

from proxy.web.asgi import Left, Reply, Request, Scope, Send
from tests.support.message import Message
from tests.support.scripted import PATIENCE


@dataclass(frozen=True)
class Event:
    """A server-sent event as it came; a comment alone has none of these."""

    id: str | None = None
    data: str | None = None
    retry: str | None = None
    name: str | None = None


class Peer:
    """The far end of a connection. What it receives is looked at in `until`; while it does not read, senders wait."""

    def __init__(self) -> None:
        self.is_over = False
        """The handler has returned."""
        self.has_left = False
        self._reads = True
        self._changed = anyio.Event()
        self._to_tell: list[MutableMapping[str, Any]] = []

    def stop_reading(self) -> None:
        """Take one more part at most, until `read_on`."""
        self._reads = False

    def read_on(self) -> None:
        self._reads = True
        self._note()

    def leave(self) -> None:
        """The connection is gone."""
        self.has_left = True
        self._note()

    async def until(self, check: Callable[[], bool], what: str = "") -> None:
        """Wait until the check holds; it is looked at whenever something comes or ends here."""
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; got {self!r}") from None

    async def end(self) -> None:
        """Wait until the handler is through."""
        await self.until(lambda: self.is_over, "the end")

    def tell(self, message: MutableMapping[str, Any]) -> None:
        """Let the handler receive this."""
        self._to_tell.append(message)
        self._note()

    async def _receive(self, gone: str) -> MutableMapping[str, Any]:
        while not (self._to_tell or self.has_left):
            await self._changed.wait()
        return self._to_tell.pop(0) if self._to_tell else {"type": gone}

    async def _drain(self) -> None:
        """As a server does: what was sent is on its way, and no more until it is read."""
        self._note()
        while not (self._reads or self.has_left):
            await self._changed.wait()

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Exchange(Peer):
    """One HTTP request, and what has come back so far. A body may come in parts; of none it has no end."""

    def __init__(self, method: str, body: bytes | tuple[bytes, ...], headers: Mapping[str, str]) -> None:
        super().__init__()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        """The answer has come to its end."""
        self._scope: Scope = {
            "type": "http",
            "method": method,
            "path": "/mcp",
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        parts = (body,) if isinstance(body, bytes) else body
        for left, part in zip(reversed(range(len(parts))), parts, strict=True):
            self._to_tell.append({"type": "http.request", "body": part, "more_body": left > 0})

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[-500:]!r} whole={self.is_whole} over={self.is_over}>"

    async def run(self, handler: Callable[[Request, Reply], Awaitable[None]]) -> None:
        try:
            await handler(Request(self._scope, self._hear), Reply(self._take))
        except Left:
            assert self.has_left
        finally:
            self.is_over = True
            self._note()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> Message:
        """The one message of a JSON answer."""
        assert self.headers.get("content-type") == "application/json", repr(self)
        return Message.of(self.body)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type") == "text/event-stream"

    @property
    def events(self) -> list[Event]:
        """The whole events that have come, in order."""
        return [_event(block.decode()) for block in self.body.split(b"\n\n")[:-1]] if self.is_stream else []

    @property
    def messages(self) -> list[Message]:
        """The messages of a stream, in order."""
        return [Message.of(event.data.encode()) for event in self.events if event.data]

    @property
    def last_id(self) -> str:
        """What to resume with."""
        return [event.id for event in self.events if event.id is not None][-1]

    async def until_messages(self, number: int) -> list[Message]:
        """Wait for as many messages of a stream."""
        await self.until(lambda: len(self.messages) >= number, f"{number} messages")
        return self.messages

    async def _hear(self) -> MutableMapping[str, Any]:
        return await self._receive("http.disconnect")

    async def _take(self, message: MutableMapping[str, Any]) -> None:
        if self.has_left:
            return
        if message["type"] == "http.response.start":
            assert not self.status, "answered twice"
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            assert self.status, "a body before its head"
            assert not self.is_whole, "said something behind the end"
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
        await self._drain()


def _event(block: str) -> Event:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    return Event(fields.get("id"), fields.get("data"), fields.get("retry"), fields.get("event"))


class Socket(Peer):
    """One WebSocket, and the frames that have come."""

    def __init__(self, protocols: list[str], address: str = "") -> None:
        super().__init__()
        self.frames: list[str] = []
        self.accepted: str | None = None
        """The subprotocol that the handler took."""
        self.code: int | None = None
        """With which it was closed."""
        self._scope: Scope = {
            "type": "websocket",
            "path": "/ws",
            "query_string": b"",
            "scheme": "ws",
            "headers": [(b"sec-websocket-protocol", ", ".join(protocols).encode())],
            "client": (address, 1) if address else None,
        }
        self._to_tell.append({"type": "websocket.connect"})

    def __repr__(self) -> str:
        return f"<{self.frames[-5:]} code={self.code} over={self.is_over}>"

    async def run(self, handler: Callable[[Request, Send], Awaitable[None]]) -> None:
        try:
            await handler(Request(self._scope, self._hear), self._take)
        finally:
            self.is_over = True
            self._note()

    def say(self, message: Any) -> None:
        """One frame: bytes as a binary one, a text as it is, all else as JSON."""
        if isinstance(message, bytes):
            self.tell({"type": "websocket.receive", "bytes": message, "text": None})
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self.tell({"type": "websocket.receive", "text": text})

    @property
    def messages(self) -> list[Message]:
        return [Message.of(frame.encode()) for frame in self.frames]

    async def until_messages(self, number: int) -> list[Message]:
        """Wait for as many frames."""
        await self.until(lambda: len(self.frames) >= number, f"{number} frames")
        return self.messages

    async def _hear(self) -> MutableMapping[str, Any]:
        return await self._receive("websocket.disconnect")

    async def _take(self, message: MutableMapping[str, Any]) -> None:
        while not (self._reads or self.has_left):  # a server waits before it sends
            await self._changed.wait()
        if self.has_left:
            return
        assert self.code is None, "said something behind the end"
        if message["type"] == "websocket.accept":
            self.accepted = message["subprotocol"]
        elif message["type"] == "websocket.close":
            self.code = message["code"]
        else:
            self.frames.append(message["text"])
        self._note()
