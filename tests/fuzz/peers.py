"""Whatever clients and servers say, the relay goes on, answers every request once, and forgets what has ended.

What they say is a script of lines: the first byte tells who does something or what happens, the rest is what is said.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from proxy.errors import WireError
from tests.fuzz.codec import due
from tests.support import strict_json
from tests.support.relay import Client, Server, World
from tests.support.strict_json import NotJson, Text, is_integer, is_string

SOME_STEPS = 60
BATCHING = "2025-03-26"
LATEST = "2025-11-25"
FOREVER = 100_000.0
DEEPEST = 100
"""Levels up to which it is plain that a message is taken."""

CLIENTS = {b"1": LATEST, b"2": BATCHING, b"3": ""}
"""The revision of each; that of the last one is for its script to agree on."""

SERVERS = {b"a": "a", b"b": "b"}
SERVER: dict[str, Any] = {
    "resources": {"subscribe": True},
    "prompts": {},
    "completions": {},
    "logging": {},
    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
}
CLIENT: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {
        "list": {},
        "cancel": {},
        "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}},
    },
}
TIMES = (0.0, 1.0, 6.0, 31.0, 61.0, 601.0)


class Account:
    """What one peer asked for and what it was answered, by raw id."""

    def __init__(self, side: Client | Server) -> None:
        self.side = side
        self.asked: Counter[bytes] = Counter()
        self.answered: Counter[bytes] = Counter()
        self.excused: set[bytes] = set()
        """Ids whose requests were cancelled, and may or may not be answered."""
        self.odd = 0
        """Messages that are no requests, and may be refused under any id."""

    def send(self, line: bytes) -> None:
        """What a line means may depend on what came before it, so it is looked at first."""
        self._said(line)
        self.side.send(line)

    def _said(self, line: bytes) -> None:
        try:
            text = strict_json.read(line)
        except NotJson:
            # Several objects behind each other, and an array with an element that is no UTF-8, are taken apart.
            self.odd += 1 + line.count(b"{")
            return
        if text.is_array and self._may_batch and text.depth <= DEEPEST:
            self.odd += not text.items
            for item in text.items:
                self._said_one(strict_json.read(item))
        else:
            self._said_one(text)

    @property
    def _may_batch(self) -> bool:
        return isinstance(self.side, Server) or self.side.session.protocol == BATCHING

    def _said_one(self, text: Text) -> None:
        read = due(text) if text.depth <= DEEPEST else None
        if read is None or not read[1]:
            self.odd += 1 + text.value.count(b"{")
            return
        id, method, params, *_ = read
        if id and id != b"null":
            self.asked[id] += 1
        elif method == "notifications/cancelled" and params.startswith(b"{"):
            self.excused.add(strict_json.read(params).members.get("requestId", b""))

    def look(self) -> None:
        """Read what the peer got since the last look: whole messages, or arrays of them."""
        for line in self.side.lines():
            text = strict_json.read(line)
            assert text.is_object or (text.is_array and isinstance(self.side, Client)), line
            for one in text.items if text.is_array else (line,):
                self._heard(one)

    def _heard(self, one: bytes) -> None:
        members = strict_json.read(one).members
        assert members["jsonrpc"] == b'"2.0"', one
        if "method" in members:
            return
        assert ("result" in members) != ("error" in members), one
        id = members["id"]
        assert is_string(id) or is_integer(id) or id == b"null", one
        if id != b"null":
            self.answered[id] += 1

    def settle(self) -> None:
        """Every request was answered once; one that was cancelled at most once."""
        for id, asked in self.asked.items():
            assert id in self.excused or self.answered[id] >= asked, f"{id!r} was asked {asked} times"
        extra = self.answered - self.asked
        assert extra.total() <= self.odd, f"answered without being asked, or twice: {dict(extra)}"


class Stage:
    """A relay with two servers and the clients that the script brings."""

    def __init__(self) -> None:
        self.world = World("a", "b", page_size=2, call_timeout=30, list_wait=5)
        self.clients: dict[bytes, Account] = {}
        self.servers: dict[bytes, Account] = {}
        self.happenings: dict[bytes, Callable[[bytes], None]] = {
            b"-": self._server_lost,
            b"_": self._server_gone,
            b"=": self._listed_anew,
            b"t": self._time_passes,
            b"x": self._client_leaves,
        }

    def step(self, line: bytes) -> None:
        who, said = line[:1], line[1:]
        if who in CLIENTS:
            self._client(who).send(said)
        elif who in self.happenings:
            self.happenings[who](said)
        else:
            self._server(who).send(said)
        self._look()

    def end(self) -> None:
        """Let all time pass, and the servers end: nothing is open then, and nothing was left unanswered."""
        self.world.pass_time(FOREVER)
        self._look()
        for client in self.world.clients:
            # Who asks for the result of a task waits for as long as the task takes.
            assert all(call.method.endless for call in client.session.calls.values())
        for server in list(self.servers):
            self.servers[server].settle()
            self._lose(server, coming=False)
        self._look()
        for account in self.clients.values():
            account.settle()
        for client in self.world.clients:
            assert not client.session.calls
            client.leave()
        self.world.pass_time(FOREVER)
        self.world.assert_at_rest()

    def _client(self, who: bytes) -> Account:
        if who not in self.clients:
            revision = CLIENTS[who]
            label = f"client {len(self.world.clients)}"
            client = self.world.client(label, revision or LATEST, initialized=bool(revision), capabilities=CLIENT)
            self.clients[who] = Account(client)
        return self.clients[who]

    def _server(self, who: bytes) -> Account:
        who = who if who in SERVERS else b"a"
        if who not in self.servers:
            self.servers[who] = Account(self.world.connect(SERVERS[who], **SERVER))
            self._list(who, b"")
        return self.servers[who]

    def _list(self, who: bytes, said: bytes) -> None:
        more = ["test://y"] if len(said) & 1 else []
        self.world.list_more(
            SERVERS[who],
            tools=["t", "u"],
            prompts=["p"],
            resources=["test://x", *more],
            templates=["test://by/{i}"],
        )

    def _server_lost(self, said: bytes) -> None:
        self._lose(said[:1], coming=True)

    def _server_gone(self, said: bytes) -> None:
        self._lose(said[:1], coming=False)

    def _lose(self, who: bytes, *, coming: bool) -> None:
        account = self.servers.pop(who, None)
        if account is not None and isinstance(account.side, Server):
            self.world.lose(account.side)
            self.world.away(SERVERS[who], coming=coming)

    def _listed_anew(self, said: bytes) -> None:
        if said[:1] in self.servers:
            self._list(said[:1], said)

    def _time_passes(self, said: bytes) -> None:
        self.world.pass_time(TIMES[said[0] % len(TIMES)] if said else 0.0)

    def _client_leaves(self, said: bytes) -> None:
        account = self.clients.pop(said[:1], None)
        if account is not None and isinstance(account.side, Client):
            account.side.leave()

    def _look(self) -> None:
        for account in (*self.clients.values(), *self.servers.values()):
            account.look()


def check_script(script: bytes) -> None:
    """Play a script, and then let everything end."""
    stage = Stage()
    for line in script.split(b"\n")[:SOME_STEPS]:
        try:
            stage.step(line)
        except WireError as problem:
            raise AssertionError(f"{line!r} was not refused but raised: {problem}") from problem
    stage.end()
