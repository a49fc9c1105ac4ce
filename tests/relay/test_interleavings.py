"""Calls, answers, cancellations, time-outs and ends in any order: each call ends exactly once, at its own client.

Each call carries a number of its own as its arguments and each result carries it back, so that whatever reaches the
wrong client, or reaches one twice, is seen. Clients and servers choose their ids so that they collide.
"""

import json
from collections import Counter
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.errors import INVALID_REQUEST
from proxy.events import CallFinished
from proxy.relay import Link
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, message

KEYS = ("a", "a__b", "c")
TOOLS = ("x", "y", "b__x", "größe")
NAMES = ("a__x", "a__y", "a__b__x", "a__b__y", "c__x", "c__b__x", "c__nothing", "nobody__x")
IDS = (b"1", b'"1"', b"2", b"0")
TOKENS = (None, b"1", b'"1"')
BATCHING = "2025-03-26"
LIST_WAIT = 5.0
CALL_TIMEOUT = 30.0

HOW = {  # a server's way to answer -> the outcome of the call
    "ok": "ok",
    "tool_error": "tool_error",
    "error": "error",
    "broken": "error",
    "empty": "error",
    "text id": "ok",
    "batch": "ok",
}

some = st.integers(0, 999)


@dataclass(frozen=True)
class Asked:
    """A request whose answer a client waits for. `number` is that of a call, None of a list."""

    number: int | None
    at: float
    token: bytes | None = None


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(*KEYS, list_wait=LIST_WAIT, call_timeout=CALL_TIMEOUT)
        self.world.targets["c"].limits = Limits(call=CALL_TIMEOUT, running=1, queued=2)  # so that some take turns
        self.clients: dict[str, Client] = {}
        self.gone: list[Client] = []
        self.servers: list[Server] = []
        self.lost: list[Server] = []
        self.waiting: dict[tuple[str, bytes], Asked] = {}  # as the clients see it
        self.running: dict[tuple[str, bytes], int] = {}  # as the events tell it
        self.outcomes: dict[int, str] = {}
        self.begun = 0
        self.reached: set[int] = set()
        self.progressed: dict[int, float] = {}  # when there was progress last, from which on a call has its time anew
        self.working: dict[Link, dict[bytes, int]] = {}  # for each connection the calls it was sent, by id
        self.refusals: Counter[tuple[str, bytes]] = Counter()
        self.looked: set[str] = set()
        self.told = 0

    # What happens

    @initialize(late=st.sampled_from((None, None, *KEYS)), batching=st.booleans())
    def it_starts(self, late: str | None, batching: bool) -> None:
        self.a_client_comes(batching=batching)
        self.a_client_comes(batching=False)
        for key in KEYS:
            if key != late:
                self.a_server_comes_up(key)

    @rule(key=st.sampled_from(KEYS))
    def a_server_comes_up(self, key: str) -> None:
        if not any(server.link.server == key for server in self.servers):
            self.servers.append(self.world.start(key, *TOOLS))

    @precondition(lambda self: len(self.clients) < 3)
    @rule(batching=st.booleans())
    def a_client_comes(self, batching: bool) -> None:
        label = f"s{len(self.clients) + len(self.gone)}"
        self.clients[label] = self.world.client(label, BATCHING if batching else "2025-11-25")

    @precondition(lambda self: self.clients)
    @rule(which=some)
    def a_client_leaves(self, which: int) -> None:
        label = self.pick_label(which)
        client = self.clients.pop(label)
        client.leave()
        self.gone.append(client)
        self.waiting = {key: asked for key, asked in self.waiting.items() if key[0] != label}

    @rule(key=st.sampled_from(KEYS))
    def a_server_connects(self, key: str) -> None:
        if not any(server.link.server == key for server in self.servers):
            self.servers.append(self.world.open(key))

    @precondition(lambda self: self.servers)
    @rule(which=some, logs=st.booleans())
    def a_server_gets_ready(self, which: int, logs: bool) -> None:
        server = self.servers[which % len(self.servers)]
        if self.world.relay.targets[server.link.server].link is not server.link:
            capabilities = {"logging": b"{}"} if logs else {}
            self.world.do(self.world.relay.greet, server.link, capabilities=capabilities)
            self.world.do(self.world.relay.ready, server.link, self.world.now)

    @precondition(lambda self: self.servers)
    @rule(which=some, tools=st.permutations(TOOLS), most=st.integers(1, len(TOOLS)))
    def a_server_is_listed(self, which: int, tools: list[str], most: int) -> None:
        self.world.publish(self.servers[which % len(self.servers)].link.server, *tools[:most])

    @precondition(lambda self: self.servers)
    @rule(which=some, coming=st.booleans())
    def a_server_is_lost(self, which: int, coming: bool) -> None:
        server = self.servers.pop(which % len(self.servers))
        self.lost.append(server)
        self.world.lose(server)
        self.look()
        self.world.away(server.link.server, "it exited", coming=coming)

    @precondition(lambda self: self.clients)
    @rule(
        calls=st.lists(
            st.tuples(some, st.sampled_from(IDS), st.sampled_from(NAMES), st.sampled_from(TOKENS)), min_size=2
        )
    )
    def clients_call(self, calls: list[tuple[int, bytes, str, bytes | None]]) -> None:
        for which, id, name, token in calls:
            label = self.pick_label(which)
            if self.is_free(label, id):
                self.clients[label].send(self.new_call(label, id, name, token))

    @precondition(lambda self: self.clients)
    @rule(which=some, names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=len(IDS)), odd=st.booleans())
    def a_client_sends_a_batch(self, which: int, names: list[str], odd: bool) -> None:
        label = self.pick_label(which)
        client = self.clients[label]
        if client.session.protocol != BATCHING or not all(self.is_free(label, id) for id in IDS):
            return
        items = [self.new_call(label, id, name, None) for id, name in zip(IDS, names, strict=False)]
        client.batch(*items, b"7" if odd else message("notifications/x"))

    @precondition(lambda self: self.clients)
    @rule(which=some, id=st.sampled_from(IDS))
    def a_client_asks_for_the_list(self, which: int, id: bytes) -> None:
        label = self.pick_label(which)
        if self.is_free(label, id):
            self.waiting[label, id] = Asked(None, self.world.now)
            self.clients[label].send(message("tools/list", id=id))

    @precondition(lambda self: self.running)
    @rule(which=some)
    def an_id_in_flight_is_used_again(self, which: int) -> None:
        label, id = sorted(self.running)[which % len(self.running)]
        self.refusals[label, id] += 1
        self.clients[label].send(call(id, "c__x", b"-1"))

    @precondition(lambda self: self.clients)
    @rule(which=some, id=st.sampled_from(IDS))
    def a_client_cancels(self, which: int, id: bytes) -> None:
        label = self.pick_label(which)
        asked = self.waiting.get((label, id))
        # The answer of a call that has ended may still wait for its batch: it is too late to cancel that.
        if asked is not None and (asked.number is None or (label, id) in self.running):
            del self.waiting[label, id]
        self.clients[label].cancel(id)

    @rule(answers=st.lists(st.tuples(some, st.sampled_from(sorted(HOW))), min_size=1))
    def servers_answer(self, answers: list[tuple[int, str]]) -> None:
        for which, how in answers:
            going_on = [sent for sent in self.sent(self.servers) if self.number(*sent) not in self.outcomes]
            if going_on:
                server, id = going_on[which % len(going_on)]
                server.send(answer(how, id, self.number(server, id)))
                self.look()
                assert self.outcomes[self.number(server, id)] == HOW[how]

    @rule(which=some, how=st.sampled_from(sorted(HOW)))
    def a_server_answers_what_has_ended(self, which: int, how: str) -> None:
        """On a connection that is lost, or what was cancelled, timed out, or answered before."""
        ended = [sent for sent in self.sent(self.servers) if self.number(*sent) in self.outcomes] + self.sent(self.lost)
        if ended:
            server, id = ended[which % len(ended)]
            server.send(answer(how, id, self.number(server, id)))

    @precondition(lambda self: self.servers)
    @rule(which=some, id=st.integers(0, 9))
    def a_server_reports_progress(self, which: int, id: int) -> None:
        server = self.servers[which % len(self.servers)]
        number = self.working.get(server.link, {}).get(b"%d" % id, -1)
        self.progressed[number] = self.world.now
        server.send(message("notifications/progress", b'{"progressToken":%d,"message":%d}' % (id, number)))

    @precondition(lambda self: self.servers)
    @rule(which=some, line=st.sampled_from((b"hello", b'{"id":1}', b"[]", message("roots/list", id=b"1"), b"\xff")))
    def a_server_says_something_else(self, which: int, line: bytes) -> None:
        self.servers[which % len(self.servers)].send(line)

    @rule(seconds=st.sampled_from((0.0, 1.0, 4.0, 9.5, 29.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.look()
        for asked in self.waiting.values():
            if asked.number is None:
                assert self.world.now < asked.at + LIST_WAIT
            else:
                assert self.world.now < self.progressed.get(asked.number, asked.at) + CALL_TIMEOUT

    @rule(seconds=st.sampled_from((2.0, 11.0, 31.0)))
    def the_machine_stands_still(self, seconds: float) -> None:
        """Time passes and nobody says so: what was due happens with the next message, or never."""
        self.world.now += seconds

    # What must hold

    @invariant()
    def look(self) -> None:
        """Take in all that was said, and check each word of it."""
        self.hear_events()
        for server in self.servers:
            for heard in server.heard():
                self.hear_at_server(server, heard)
        for label, client in self.clients.items():
            for heard in client.answers():
                self.hear_at_client(label, heard)
        assert [client.lines() for client in self.gone if client.lines()] == []
        assert +self.refusals == Counter()

    def hear_events(self) -> None:
        finished = self.world.of(CallFinished)
        for event in finished[self.told :]:
            number = self.running.pop((event.session, event.request_id.encode()))
            assert number not in self.outcomes
            self.outcomes[number] = event.outcome
        self.told = len(finished)

    def hear_at_server(self, server: Server, heard: Message) -> None:
        sent = self.working.setdefault(server.link, {})
        if heard.method == "tools/call":
            assert heard.id is not None
            number = heard.params["arguments"]
            assert number not in self.reached, "a call was sent twice"
            assert heard.id not in sent
            self.reached.add(number)
            sent[heard.id] = number
        elif heard.method == "notifications/cancelled":
            number = sent[b"%d" % heard.params["requestId"]]
            assert self.outcomes[number] in ("cancelled", "timeout")

    def hear_at_client(self, label: str, heard: Message) -> None:
        if heard.method == "notifications/progress":
            token, number = heard.members["params"], heard.params["message"]
            assert any(
                asked.number == number and asked.token is not None and b'"progressToken":' + asked.token + b"," in token
                for (owner, _), asked in self.waiting.items()
                if owner == label
            )
        elif heard.method == "notifications/tools/list_changed":
            assert label in self.looked
            self.looked.remove(label)
        elif heard.id == b"null":
            assert heard.error["code"] < -32000
        elif heard.id is not None:
            self.hear_answer(label, heard.id, heard)

    def hear_answer(self, label: str, id: bytes, heard: Message) -> None:
        if self.refusals[label, id] and "error" in heard.members and heard.error["code"] == INVALID_REQUEST:
            self.refusals[label, id] -= 1
            return
        asked = self.waiting.pop((label, id))
        if asked.number is None:
            assert heard.result.keys() == {"tools"}
            self.looked.add(label)
            return
        outcome = self.outcomes[asked.number]
        if "result" in heard.members:
            assert heard.result["structuredContent"] == asked.number
            assert outcome == ("tool_error" if heard.result["isError"] else "ok")
        elif heard.error["data"] == asked.number:
            assert outcome == "error"
        else:
            assert heard.error["data"]["origin"] == "mcp-manifold"
            assert (heard.error["code"] == -32001) == (outcome == "timeout")
            assert outcome in ("error", "timeout")
            if heard.error["data"]["delivered"] == "no":
                assert asked.number not in self.reached

    @invariant()
    def the_relay_counts_what_is_in_flight(self) -> None:
        in_flight = dict(self.world.relay.in_flight())
        parked = sum(target.waiting for target in self.world.targets.values())
        waiting = sum(len(client.session.calls) for client in self.clients.values())
        assert sum(in_flight.values()) + parked <= waiting == len(self.running)

    def teardown(self) -> None:
        self.look()
        self.world.pass_time(0)
        self.world.pass_time(100)
        self.look()
        assert self.waiting == {}
        assert self.running == {}
        assert sorted(self.outcomes) == list(range(self.begun))
        for client in self.clients.values():
            session = client.session
            assert (session.calls, session.lists, session.batches, session.busy) == ({}, {}, {}, False)
        for server in self.servers:  # one that answered nothing is still asked whether it is back
            self.world.lose(server)
        self.world.assert_at_rest()

    # Helpers

    def pick_label(self, which: int) -> str:
        return sorted(self.clients)[which % len(self.clients)]

    def sent(self, servers: list[Server]) -> list[tuple[Server, bytes]]:
        """All calls that these servers were ever sent, with the ids that they have there."""
        return [(server, id) for server in servers for id in sorted(self.working.get(server.link, {}))]

    def number(self, server: Server, id: bytes) -> int:
        return self.working[server.link][id]

    def is_free(self, label: str, id: bytes) -> bool:
        return (label, id) not in self.waiting and (label, id) not in self.running

    def new_call(self, label: str, id: bytes, name: str, token: bytes | None) -> bytes:
        number = self.begun
        self.begun += 1
        self.waiting[label, id] = Asked(number, self.world.now, token)
        self.running[label, id] = number
        meta = None if token is None else b'{"progressToken":' + token + b"}"
        return call(id, name, b"%d" % number, meta=meta)


def answer(how: str, link_id: bytes, number: int) -> bytes:
    """A server's answer to one call, well or badly made."""
    result = json.dumps({"structuredContent": number, "isError": how == "tool_error"}).encode()
    head = b'{"jsonrpc":"2.0","id":' + link_id
    whole = head + b',"result":' + result + b"}"
    return {
        "error": head + b',"error":{"code":7,"data":%d}}' % number,
        "broken": whole[:-1],
        "empty": head + b"}",
        "text id": whole.replace(b'"id":' + link_id, b'"id":"' + link_id + b'"'),
        "batch": b"[" + whole + b",7]",
    }.get(how, whole)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=120, stateful_step_count=50)
