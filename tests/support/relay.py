"""A relay driven by hand: lines in, lines out, and a clock that moves only when it is told to.

Everything that the relay says is cut into messages by `tests.support.spans`, which shares nothing with its own codec.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from msgspec import Raw

from proxy.catalogue import KINDS, Catalogue, Listing, Offering, compile_listing
from proxy.config.models import ToolRules
from proxy.eras.handshake import LATEST
from proxy.events import CallFinished, Event
from proxy.names import Namer
from proxy.policy import ToolPolicy
from proxy.relay import Link, Peer, Relay, Session, Target
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.spans import elements

P = ParamSpec("P")
EventT = TypeVar("EventT", bound=Event)

LONGEST_NAME = 57


def dump(value: object) -> bytes:
    """Compact JSON, ASCII only, so that a lone surrogate is an escape."""
    return json.dumps(value, separators=(",", ":")).encode()


def message(method: str, params: bytes | None = None, id: bytes | None = None) -> bytes:
    """A request or notification; `params` and `id` are raw JSON."""
    parts = [b'{"jsonrpc":"2.0"']
    if id is not None:
        parts.append(b',"id":' + id)
    parts.append(b',"method":' + dump(method))
    if params is not None:
        parts.append(b',"params":' + params)
    return b"".join(parts) + b"}"


def call(id: bytes, name: str, arguments: bytes = b"{}", *, meta: bytes | None = None) -> bytes:
    """A tools/call; `id`, `arguments` and `meta` are raw JSON."""
    tail = b',"_meta":' + meta if meta is not None else b""
    return message("tools/call", b'{"name":' + dump(name) + b',"arguments":' + arguments + tail + b"}", id)


def hello(protocol: str, client: str, capabilities: dict[str, Any] | None = None) -> bytes:
    """The params of `initialize`."""
    info = {"name": client, "version": "1"}
    return dump({"protocolVersion": protocol, "capabilities": capabilities or {}, "clientInfo": info})


def entry(kind: str, own: str) -> bytes:
    """A definition in a listing."""
    return {
        "tools": dump({"name": own, "inputSchema": {"type": "object"}}),
        "prompts": dump({"name": own}),
        "resources": dump({"name": "r", "uri": own}),
        "templates": dump({"name": "t", "uriTemplate": own}),
    }[kind]


class World:
    """A relay whose servers have their keys as prefixes. After each step everything it said is with its peers."""

    def __init__(
        self, *servers: str, list_wait: float = 10.0, call_timeout: float = 300.0, page_size: int = 1000
    ) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        self.relay = Relay(emit=self.events.append, name="hub", version="7", list_wait=list_wait, page_size=page_size)
        self.targets = {key: Target(key, key, Limits(call=call_timeout)) for key in servers}
        self.clients: list[Client] = []
        self.servers: list[Server] = []
        self.instructions = ""
        self._listings: dict[str, dict[str, Listing]] = {}
        self._attempted: set[str] = set()
        for target in self.targets.values():
            self.do(self.relay.add_target, target)

    def do(self, step: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """One step of the relay, and the delivery of what it says."""
        step(*args, **kwargs)
        dirty = self.relay.dirty
        assert len(set(map(id, dirty))) == len(dirty), "a peer is to be served twice"
        for peer in dirty:
            peer.deliver()
        dirty.clear()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, with a tick whenever the relay asked for one."""
        end = self.now + seconds
        while self.relay.wake_at <= end:
            self.now = max(self.now, self.relay.wake_at)
            self.do(self.relay.tick, self.now)
            assert self.relay.wake_at > self.now, "it wants to be woken for what it has just done"
        self.now = end

    def client(
        self,
        label: str = "s1",
        protocol: str = LATEST,
        *,
        initialized: bool = True,
        capabilities: dict[str, Any] | None = None,
    ) -> "Client":
        """A client, and unless told otherwise its handshake."""
        client = Client(self, self.relay.open_session(label))
        self.clients.append(client)
        if initialized:
            client.send(message("initialize", hello(protocol, f"client of {label}", capabilities), b'"hello"'))
            assert client.one().id == b'"hello"'
            client.send(message("notifications/initialized"))
        return client

    def connect(self, key: str, **capabilities: Any) -> "Server":
        """A connection to a server that declares these capabilities, ready for calls."""
        server = self.open(key)
        declared = {name: dump(value) for name, value in capabilities.items()}
        self.do(self.relay.greet, server.link, capabilities=declared)
        self.do(self.relay.ready, server.link, self.now)
        assert server.first().method == "notifications/initialized"
        return server

    def open(self, key: str) -> "Server":
        """A connection that is not ready yet."""
        server = Server(self, self.relay.open_link(key))
        self.servers.append(server)
        return server

    def publish(self, key: str, *tools: str, rules: ToolRules | None = None, settled: bool | None = None) -> None:
        """A server was listed; `settled` is whether all were, or were given up, unless told otherwise."""
        self.list_more(key, rules=rules, settled=settled, tools=tools)

    def list_more(
        self, key: str, *, rules: ToolRules | None = None, settled: bool | None = None, **owns: Iterable[str | bytes]
    ) -> None:
        """A server lists these, by kind: own names and URIs, or whole definitions as bytes."""
        others = [other for other in self.targets if other != key]
        namer, policy = Namer(key, key, others, LONGEST_NAME), ToolPolicy(rules or ToolRules())
        for kind, found in owns.items():
            items = [Raw(own if isinstance(own, bytes) else entry(kind, own)) for own in found]
            capability = self.targets[key].capabilities.get("tasks", b"")
            listing = compile_listing(kind, key, items, namer, policy, tasks=b"requests" in capability)
            self._listings.setdefault(key, {})[kind] = listing
        self._attempted.add(key)
        self.publish_all(settled=settled)

    def publish_all(self, *, settled: bool | None = None) -> None:
        """The same listings again."""
        if settled is None:
            settled = self._attempted >= self.targets.keys()
        self.do(
            self.relay.publish,
            Catalogue(Offering(key, key, self._listings[key]) for key in self.targets if key in self._listings),
            listed=frozenset(self._listings),
            settled=frozenset(KINDS if settled else ()),
            instructions=self.instructions,
            now=self.now,
        )

    def start(self, key: str, *tools: str, **capabilities: Any) -> "Server":
        """A server that comes up with these tools."""
        server = self.connect(key, **capabilities)
        self.publish(key, *tools)
        return server

    def lose(self, server: "Server", reason: str = "it exited with code 1") -> None:
        """A connection ends."""
        self.do(self.relay.close_link, server.link, reason, self.now)

    def away(self, key: str, reason: str = "no such command", *, coming: bool = False) -> None:
        """A server is given up, or is tried again."""
        self._attempted.add(key)
        self.do(self.relay.away, key, reason, coming=coming, now=self.now)
        self.publish_all()

    def retire(self, key: str, reason: str = "it is no longer in the configuration") -> None:
        """A server is taken out of the configuration."""
        self.do(self.relay.retire_target, key, reason, self.now)
        self.targets.pop(key)
        self._listings.pop(key, None)
        self.publish_all()

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Every event of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def outcomes(self) -> list[str]:
        """How each call ended, in order."""
        return [event.outcome for event in self.of(CallFinished)]

    def assert_at_rest(self) -> None:
        """Nothing is pending anywhere, and nobody needs to be woken."""
        self.do(self.relay.tick, self.now)
        assert self.relay.wake_at == float("inf")
        assert dict(self.relay.in_flight()) == dict.fromkeys(self.targets, 0)
        assert [target.parked for target in self.targets.values() if target.parked] == []
        for client in self.clients:
            session = client.session
            assert (session.calls, session.lists, session.batches, session.questions) == ({}, {}, {}, {})
        assert [server.link.questions for server in self.servers if server.link.questions] == []


class Side:
    """What one peer of the relay hears."""

    def __init__(self, world: World, peer: Peer) -> None:
        self.world = world
        self._data = bytearray()
        peer.sink = self._data.extend

    def lines(self) -> list[bytes]:
        """The lines that came since the last look, without their ends."""
        data = bytes(self._data)
        self._data.clear()
        assert data == b"" or data.endswith(b"\n")
        return data.split(b"\n")[:-1]

    def heard(self) -> list[Message]:
        """The messages that came since the last look."""
        return [Message.of(line) for line in self.lines()]

    def first(self) -> Message:
        """The first message that came since the last look; the others are still to be looked at."""
        line, _, rest = bytes(self._data).partition(b"\n")
        self._data[:] = rest
        return Message.of(line)

    def one(self) -> Message:
        """The only message that came since the last look."""
        [only] = self.heard()
        assert only.members["jsonrpc"] == b'"2.0"'
        return only


class Client(Side):
    """A client of the relay."""

    def __init__(self, world: World, session: Session) -> None:
        super().__init__(world, session)
        self.session = session

    def send(self, *lines: bytes) -> None:
        for line in lines:
            self.world.do(self.world.relay.client_line, self.session, line, self.world.now)

    def ask(self, method: str, params: bytes | None = None, id: bytes = b"1") -> Message:
        """A request that is answered at once."""
        self.send(message(method, params, id))
        answer = self.one()
        assert answer.id == id
        return answer

    def tools(self) -> list[str]:
        """The names in a tools/list that is answered at once."""
        return [tool["name"] for tool in self.ask("tools/list", id=b'"tools"').result["tools"]]

    def call(self, method: str, server: "Server", params: bytes | None = None, id: bytes = b"1") -> Message:
        """A request that is passed on; returns it as the server gets it."""
        self.send(message(method, params, id))
        asked = server.one()
        assert asked.method == method
        return asked

    def answer(self, request: Message, result: bytes = b"{}") -> None:
        """Answer what a server asked."""
        assert request.id is not None
        self.send(b'{"jsonrpc":"2.0","id":' + request.id + b',"result":' + result + b"}")

    def fail(self, request: Message, error: bytes = b'{"code":-1,"message":"no"}') -> None:
        """Refuse what a server asked."""
        assert request.id is not None
        self.send(b'{"jsonrpc":"2.0","id":' + request.id + b',"error":' + error + b"}")

    def cancel(self, id: bytes, reason: str = "changed my mind") -> None:
        self.send(message("notifications/cancelled", b'{"requestId":' + id + b',"reason":' + dump(reason) + b"}"))

    def leave(self) -> None:
        self.world.do(self.world.relay.close_session, self.session, self.world.now)

    def batch(self, *items: bytes) -> None:
        self.send(b"[" + b",".join(items) + b"]")

    def one_batch(self) -> list[Message]:
        """The only line that came, an array."""
        [line] = self.lines()
        return [Message.of(element) for element in elements(line)]

    def answers(self) -> list[Message]:
        """The messages that came since the last look, alone or in arrays."""
        found: list[Message] = []
        for line in self.lines():
            found += [Message.of(one) for one in (elements(line) if line.startswith(b"[") else [line])]
        return found


class Server(Side):
    """A server behind the relay, at the other end of one link. `noise` are the lines that were no messages."""

    def __init__(self, world: World, link: Link) -> None:
        super().__init__(world, link)
        self.link = link
        self.noise: list[bytes] = []
        self.announced: list[str] = []
        link.noise = self.noise.append
        link.listed = self.announced.append

    def send(self, *lines: bytes) -> None:
        for line in lines:
            self.world.do(self.world.relay.server_line, self.link, line, self.world.now)

    def send_within(self, call: Message, *lines: bytes) -> None:
        """Say something on the stream of a call, as over HTTP."""
        assert call.id is not None
        with self.world.relay.within(self.link, call.id):
            self.send(*lines)

    def answer(self, request: Message, result: bytes = b'{"content":[]}') -> None:
        assert request.id is not None
        self.send(b'{"jsonrpc":"2.0","id":' + request.id + b',"result":' + result + b"}")

    def fail(self, request: Message, error: bytes = b'{"code":-1,"message":"no"}') -> None:
        assert request.id is not None
        self.send(b'{"jsonrpc":"2.0","id":' + request.id + b',"error":' + error + b"}")

    def ask(self, method: str, client: Client, params: bytes | None = None, id: bytes = b"1") -> Message:
        """A request to a client that is passed on; returns it as the client gets it."""
        self.send(message(method, params, id))
        asked = client.one()
        assert asked.method == method
        return asked

    def requests(self, method: str) -> list[Message]:
        """Of what came since the last look, the requests of one method."""
        return [heard for heard in self.heard() if heard.method == method and heard.id is not None]


def ids(messages: Iterable[Message]) -> list[bytes | None]:
    """The ids of messages, raw."""
    return [one.id for one in messages]
