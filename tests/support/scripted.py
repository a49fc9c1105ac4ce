"""A server that does what the test says, without a process: it is passed as `Connect` to supervisors and fleets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from proxy.config.models import Server, ServerEntry
from proxy.errors import ServerError
from proxy.relay.peers import Buffer
from proxy.transports.channel import End, Intake, Output, nobody
from tests.support.message import Message

Outcome = bytes | None
"""`"result":...` or `"error":...` as JSON text; None for silence."""

Script = Callable[["Connection", Message], Outcome]

PATIENCE = 3600.0
"""Seconds of virtual time."""


def result(value: Any) -> bytes:
    return b'"result":' + json.dumps(value).encode()


def error(code: int, message: str) -> bytes:
    return b'"error":' + json.dumps({"code": code, "message": message}).encode()


def configured(key: str, **entry: Any) -> Server:
    """A server as the configuration gives it to a supervisor."""
    return Server(key, entry.pop("prefix", key), ServerEntry(command=f"scripted {key}", **entry))


class ScriptedServer:
    """Answers the handshake, lists `tools`, echoes a call's arguments. `scripts` take the place of any of that.

    `refuse` is raised instead of connecting, as often as it is set. `connections` are all there were.
    """

    def __init__(self, *tools: str, **scripts: Script) -> None:
        self.tools = list(tools)
        self.capabilities: dict[str, Any] = {"tools": {"listChanged": True}}
        self.instructions = ""
        self.protocol = "2025-11-25"
        self.scripts = {name.replace("__", "/"): script for name, script in scripts.items()}
        self.refuse: Exception | None = None
        self.connections: list[Connection] = []
        self._changed = anyio.Event()

    @asynccontextmanager
    async def __call__(self, server: Server, intake: Intake, output: Output) -> "AsyncIterator[Connection]":
        connection = Connection(self, intake, output)
        self.connections.append(connection)
        self.note()
        if self.refuse is not None:
            raise self.refuse
        try:
            yield connection
        finally:
            connection.closed = True
            self.note()

    @property
    def last(self) -> "Connection":
        return self.connections[-1]

    def asked(self, method: str) -> list[Message]:
        """All messages of this method that came, over all connections."""
        return [m for connection in self.connections for m in connection.received if m.method == method]

    async def until(self, check: Callable[[], bool], what: str = "") -> None:
        """Wait until the check holds; it is looked at whenever something happens here."""
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; heard {[c.received for c in self.connections]}") from None

    def note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def answer(self, connection: "Connection", message: Message) -> Outcome:
        assert message.method is not None
        script = self.scripts.get(message.method)
        if script is not None:
            return script(connection, message)
        match message.method:
            case "initialize":
                hello = {
                    "protocolVersion": self.protocol,
                    "capabilities": self.capabilities,
                    "serverInfo": {"name": "scripted", "version": "7"},
                    "instructions": self.instructions,
                }
                return result(hello)
            case "tools/list":
                return result({"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]})
            case "tools/call":
                return result({"content": [], "echo": message.params["arguments"]})
            case "ping" | "logging/setLevel":
                return result({})
        return error(-32601, "Method not found")


class Connection:
    """One connection to the scripted server: a `Channel`, and what the test does with the other side."""

    def __init__(self, server: ScriptedServer, intake: Intake, output: Output) -> None:
        self.received: list[Message] = []
        self.agreed_on: str | None = None
        self.closed = False
        self.print = output
        """Say something on stderr."""
        self._server = server
        self._intake = intake
        self._end = End()
        self.choked: Callable[[bool], None] = nobody
        self.pid: int | None = None

    # As a channel

    def write(self, data: Buffer) -> None:
        for line in bytes(data).splitlines():
            message = Message.of(line)
            self.received.append(message)
            if message.id is not None and message.method is not None:
                outcome = self._server.answer(self, message)
                if outcome is not None:
                    self.respond(message, outcome)
        self._server.note()

    def agreed(self, protocol: str) -> None:
        self.agreed_on = protocol

    def take_back(self) -> list[int]:
        return []

    async def ended(self) -> ServerError:
        return await self._end.wait()

    # As a server

    def say(self, line: bytes) -> None:
        """A line, as given, and its end; it is heard a moment later, as from a pipe."""
        asyncio.get_running_loop().call_soon(self._intake.data, line + b"\n")

    def respond(self, request: Message, outcome: bytes) -> None:
        assert request.id is not None
        self.say(b'{"jsonrpc":"2.0","id":' + request.id + b"," + outcome + b"}")

    def notify(self, method: str, params: Any = None) -> None:
        self.say(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}}).encode())

    def end(self, reason: ServerError) -> None:
        """The connection is over, a moment later."""
        asyncio.get_running_loop().call_soon(self._end.note, reason)


def names(tools: Iterable[dict[str, Any]]) -> list[str]:
    return [tool["name"] for tool in tools]


def silent(connection: Connection, message: Message) -> Outcome:
    """A script that leaves a request unanswered."""
    return None


def answer_initialize(slow: ScriptedServer) -> None:
    """Answer what a `silent` server was asked first, at last."""
    question = slow.asked("initialize")[-1]
    slow.last.respond(question, ScriptedServer().answer(slow.last, question) or b"")
