"""Clients of MCP over Streamable HTTP in this process, before a relay with scripted servers."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from anyio import create_task_group
from anyio.abc import TaskGroup

from proxy.eras.handshake import LATEST, SHARED
from proxy.web.sessions import HttpSession
from proxy.web.streamable import StreamableHttp
from tests.support.asgi import Exchange
from tests.support.message import Message
from tests.support.scripted import Connection, ScriptedServer, result, silent
from tests.support.stage import Stage, fleet_of

BOTH = "application/json, text/event-stream"


class Web:
    """The handler, and who asks it."""

    def __init__(self, stage: Stage, front: StreamableHttp, tasks: TaskGroup) -> None:
        self.stage = stage
        self.front = front
        self._tasks = tasks

    def start(self, method: str, body: Any = b"", **headers: str) -> Exchange:
        """A request; underscores in names of headers stand for hyphens.

        A body is bytes, or a tuple of them as it comes in parts, of which there may be none; all else goes as JSON.
        """
        sent = body if isinstance(body, bytes | tuple) else json.dumps(body).encode()
        told = {"accept": BOTH} | ({"content-type": "application/json"} if method == "POST" else {})
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        exchange = Exchange(method, sent, {name: value for name, value in told.items() if value})
        self._tasks.start_soon(exchange.run, self.front.serve)
        return exchange

    async def ask(self, method: str, body: Any = b"", **headers: str) -> Exchange:
        """A request, and all of its answer."""
        exchange = self.start(method, body, **headers)
        await exchange.end()
        return exchange

    async def client(self, protocol: str = LATEST, **capabilities: Any) -> "WebClient":
        """A client that has shaken hands."""
        hello = await self.ask("POST", initialize(protocol, **capabilities))
        assert hello.status == 200, repr(hello)
        client = WebClient(self, hello.headers["mcp-session-id"], protocol)
        assert (await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})).status == 202
        return client


class WebClient:
    """One session of a client's."""

    def __init__(self, web: Web, id: str, protocol: str) -> None:
        self.web = web
        self.id = id
        self._headers = {"mcp_session_id": id, "mcp_protocol_version": protocol}

    @property
    def session(self) -> HttpSession:
        """The other side of it."""
        return self.web.front.sessions[self.id]

    def start(self, body: Any, **headers: str) -> Exchange:
        return self.web.start("POST", body, **{**self._headers, **headers})

    async def post(self, body: Any, **headers: str) -> Exchange:
        exchange = self.start(body, **headers)
        await exchange.end()
        return exchange

    def call(self, id: Any = 1, arguments: Any = None, *, token: Any = None, **headers: str) -> Exchange:
        """A call of the tool that all servers of these tests have, of the server "one"."""
        return self.start(call(id, arguments, token=token), **headers)

    def listen(self, last: str = "", **headers: str) -> Exchange:
        """GET; `last` resumes behind that event."""
        return self.web.start("GET", **{**self._headers, "last_event_id": last, **headers})

    async def delete(self) -> Exchange:
        return await self.web.ask("DELETE", **self._headers)

    async def cancel(self, id: Any) -> Exchange:
        params = {"requestId": id}
        return await self.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


@contextlib.asynccontextmanager
async def web(
    servers: Mapping[str, ScriptedServer], *, idle: float = 600.0, largest: int = 100_000, most: int = 64
) -> AsyncIterator[Web]:
    """The handler before these servers, all of which are up; sessions end after `idle` seconds without a word."""
    stage = Stage(offer=SHARED)
    async with fleet_of(stage, servers) as fleet, create_task_group() as tasks:
        for supervisor in fleet.supervisors:
            await supervisor.until_learned()
        front = StreamableHttp(stage.pump, timeout=idle, largest=largest, most=most)
        tasks.start_soon(front.expire)
        yield Web(stage, front, tasks)
        front.close()
        tasks.cancel_scope.cancel()


def initialize(protocol: str = LATEST, **capabilities: Any) -> dict[str, Any]:
    params = {"protocolVersion": protocol, "capabilities": capabilities, "clientInfo": {"name": "web", "version": "1"}}
    return request("initialize", params, id=0)


def request(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


def call(id: Any = 1, arguments: Any = None, *, token: Any = None) -> dict[str, Any]:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return request("tools/call", {"name": "one__t", "arguments": arguments or {}, **meta}, id=id)


class SlowServer(ScriptedServer):
    """Its tool answers when the test says so. Calls are known by the number of their coming, from 0."""

    def __init__(self) -> None:
        super().__init__("t", tools__call=silent)
        self.capabilities = {"tools": {"listChanged": True}, "logging": {}}

    async def call(self, number: int = 0) -> Message:
        """Wait for a call to come."""
        await self.until(lambda: len(self.asked("tools/call")) > number, f"call {number}")
        return self.asked("tools/call")[number]

    async def cancelled(self, number: int = 0) -> None:
        """Wait until a call is cancelled."""
        id = json.loads((await self.call(number)).id or b"")
        await self.until(
            lambda: id in [m.params["requestId"] for m in self.asked("notifications/cancelled")], "a cancellation"
        )

    async def progress(self, value: Any, number: int = 0, **more: Any) -> None:
        token = (await self.call(number)).params["_meta"]["progressToken"]
        self.last.notify("notifications/progress", {"progressToken": token, "progress": value, **more})

    async def finish(self, value: Any, number: int = 0) -> None:
        self.last.respond(await self.call(number), result({"content": [], "value": value}))

    def log(self, data: Any) -> None:
        self.last.notify("notifications/message", {"level": "error", "data": data})

    def ask(self, id: Any, method: str, params: Any = None) -> None:
        """Ask the client something."""
        self.last.say(json.dumps(request(method, params, id=id)).encode())

    async def told(self, id: Any) -> Message:
        """Wait for the answer to what was asked."""

        def answers() -> list[Message]:
            mine = json.dumps(id).encode()
            return [m for m in self.last.received if m.id == mine and m.method is None]

        await self.until(lambda: bool(answers()), f"an answer to {id}")
        return answers()[0]


def echo(connection: Connection, message: Message) -> bytes:
    """A script: an answer at once, with the arguments as its value."""
    return result({"content": [], "value": message.params["arguments"]})


def value(message: Message) -> Any:
    """What a server of these tests answered."""
    return message.result["value"]
