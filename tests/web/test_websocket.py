"""MCP over a WebSocket: one message a frame, with a handshake or without one."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from proxy.eras.handshake import LATEST, SHARED
from proxy.events import CallFinished, ClientConnected, ClientGone, NotificationsDropped
from proxy.web.websocket import DROPPED_FROM, TOO_SLOW, WebSocketFront
from tests.support import servers
from tests.support.asgi import Socket
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.message import Message
from tests.support.scripted import ScriptedServer
from tests.support.stage import Stage, fleet_of
from tests.support.streamable import SlowServer, call, echo, initialize, request, value
from tests.support.virtual_time import VIRTUAL

INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
CHANGED = "notifications/tools/list_changed"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


class Sockets:
    """The handler, and who connects to it."""

    def __init__(self, stage: Stage, front: WebSocketFront, tasks: TaskGroup) -> None:
        self.stage = stage
        self.front = front
        self._tasks = tasks

    def connect(self, *protocols: str, address: str = "") -> Socket:
        socket = Socket(list(protocols), address)
        self._tasks.start_soon(socket.run, self.front.serve)
        return socket

    async def client(self, **capabilities: Any) -> Socket:
        """A connection that has shaken hands; what was said so far is forgotten."""
        socket = self.connect("mcp")
        socket.say(initialize(**capabilities))
        socket.say(INITIALIZED)
        await socket.until_messages(1)
        socket.frames.clear()
        return socket


@contextlib.asynccontextmanager
async def sockets(server: ScriptedServer, *, most: int = 64) -> AsyncIterator[Sockets]:
    """The handler before one server, which is up."""
    stage = Stage(offer=SHARED)
    async with fleet_of(stage, {"one": server}) as fleet, anyio.create_task_group() as tasks:
        await fleet.supervisors[0].until_learned()
        yield Sockets(stage, WebSocketFront(stage.pump, most=most), tasks)
        tasks.cancel_scope.cancel()


def quick() -> ScriptedServer:
    return ScriptedServer("t", tools__call=echo)


def by_id(messages: list[Message]) -> dict[bytes | None, Message]:
    return {message.id: message for message in messages}


async def one(socket: Socket, message: Any) -> Message:
    """What comes back for this."""
    socket.frames.clear()
    socket.say(message)
    return (await socket.until_messages(1))[0]


async def test_where_a_client_came_from_is_told() -> None:
    async with sockets(quick()) as site:
        await one(site.connect(address="10.0.0.7"), initialize())
        event = site.stage.of(ClientConnected)[-1]
        assert (event.front, event.peer) == ("websocket", "10.0.0.7")


# Without a handshake


async def test_tools_are_listed_and_called_without_a_handshake() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        listed = await one(socket, request("tools/list", id=1))
        assert [tool["name"] for tool in listed.result["tools"]] == ["one__t"]
        assert value(await one(socket, call(id=1, arguments={"a": "ä"}))) == {"a": "ä"}
        assert len(socket.frames) == 1
        assert [event.client for event in site.stage.of(ClientConnected)][-1] == "websocket"


async def test_the_first_call_needs_no_list_before_it() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        assert value(await one(socket, call(arguments={"n": 1}))) == {"n": 1}


async def test_the_handshake_made_for_a_client_is_never_seen_even_by_one_with_its_id() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        for number in range(3):
            assert value(await one(socket, call(id="mcp-manifold-opens", arguments={"n": number}))) == {"n": number}
            assert len(socket.frames) == 1


@pytest.mark.parametrize("first", ["{", "[]", "5", '{"jsonrpc":"2.0","id":7'])
async def test_a_first_frame_that_is_no_message_is_told_so_and_the_next_one_counts(first: str) -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        assert (await one(socket, first)).error["code"] in (-32700, -32600)
        hello = await one(socket, initialize())
        assert hello.result["protocolVersion"] == LATEST


async def test_a_ping_before_the_handshake_is_answered_and_does_not_take_its_place() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        assert (await one(socket, request("ping", id="p"))).result == {}
        assert (await one(socket, initialize(roots={}))).result["protocolVersion"] == LATEST
        assert [event.client for event in site.stage.of(ClientConnected)] == ["web"]


async def test_who_did_not_shake_hands_is_asked_nothing() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = site.connect()
        socket.say(call())
        await server.call()
        server.ask("q", "roots/list")
        assert (await server.told("q")).error["code"] == -32601
        await server.finish("done")
        assert [value(message) for message in await socket.until_messages(1)] == ["done"]


# Frames


async def test_binary_frames_are_messages_too() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        assert value(await one(socket, json.dumps(call(arguments={"a": "ä"})).encode())) == {"a": "ä"}


async def test_bytes_that_are_no_text_are_refused() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        assert (await one(socket, b'{"jsonrpc":"2.0","id":1,"method":"\xff"}')).error["code"] == -32700
        assert (await one(socket, request("ping"))).result == {}


async def test_line_ends_between_the_parts_of_a_message_are_no_matter() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        frame = json.dumps(call(arguments={"a": [1, "b"]}), indent=2).replace("\n", "\r\n")
        assert value(await one(socket, frame)) == {"a": [1, "b"]}


async def test_line_ends_within_a_text_are_no_json() -> None:
    async with sockets(quick()) as site:
        socket = site.connect()
        broken = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"one__t","arguments":{"a":"\n"}}}'
        refused = await one(socket, broken)
        assert (refused.id, refused.error["code"]) == (b"7", -32700)
        await one(socket, request("ping"))
        assert len(socket.frames) == 1


@pytest.mark.parametrize("frame", ["", " ", "\n"])
async def test_an_empty_frame_is_no_message(frame: str) -> None:
    async with sockets(quick()) as site:
        socket = await site.client()
        socket.say(frame)
        assert (await one(socket, request("ping"))).result == {}
        assert len(socket.frames) == 1


async def test_a_result_comes_byte_for_byte() -> None:
    payload = b'{"content":[],\r"big":12345678901234567890.123,"huge":1e400, "half":"\\ud800","u":"\xe2\x98\x83"}'
    async with sockets(ScriptedServer("t", tools__call=lambda *_: b'"result":' + payload)) as site:
        assert (await one(site.connect(), call())).raw_result == payload


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["mcp"], "mcp"), (["x", "mcp"], "mcp"), ([], None), (["x"], None), (["MCP"], None)]
)
async def test_the_subprotocol_is_chosen_only_if_it_is_offered(offered: list[str], chosen: str | None) -> None:
    async with sockets(quick()) as site:
        socket = site.connect(*offered)
        await one(socket, request("ping"))
        assert socket.accepted == chosen


# A whole session


async def test_progress_comes_before_the_answer() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = await site.client()
        socket.say(call(token="mine"))
        for step in range(3):
            await server.progress(step)
        await server.finish("done")
        heard = await socket.until_messages(4)
        assert [message.params["progress"] for message in heard[:3]] == [0, 1, 2]
        assert {message.params["progressToken"] for message in heard[:3]} == {"mine"}
        assert value(heard[3]) == "done"


async def test_log_messages_questions_and_list_changes_flow() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = await site.client(elicitation={})
        await one(socket, request("tools/list"))
        socket.frames.clear()
        socket.say(call())
        await server.call()
        server.log("working")
        server.ask("q", "elicitation/create", {"message": "?", "requestedSchema": {"type": "object"}})
        log, question = await socket.until_messages(2)
        assert log.params["data"] == "working"
        socket.say({"jsonrpc": "2.0", "id": json.loads(question.id or b""), "result": {"action": "decline"}})
        assert (await server.told("q")).result == {"action": "decline"}
        server.tools.append("new")
        server.last.notify(CHANGED)
        assert (await socket.until_messages(3))[2].method == CHANGED


async def test_what_a_server_says_reaches_the_owner_of_the_call_alone() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        owner, other = await site.client(roots={}), await site.client(roots={})
        owner.say(call())
        await server.call()
        server.ask("q", "roots/list")
        server.log("working")
        question, log = await owner.until_messages(2)
        assert (question.method, log.params["data"]) == ("roots/list", "working")
        other.say({"jsonrpc": "2.0", "id": json.loads(question.id or b""), "result": {"from": "the wrong one"}})
        await one(other, request("ping"))
        owner.say({"jsonrpc": "2.0", "id": json.loads(question.id or b""), "result": {"roots": []}})
        assert (await server.told("q")).result == {"roots": []}
        assert len(other.frames) == 1


async def test_a_cancelled_call_is_cancelled_at_the_server_and_gets_no_answer() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = await site.client()
        socket.say(call(id=1))
        await server.call()
        socket.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        await server.cancelled()
        await one(socket, request("ping", id=2))
        assert by_id(socket.messages).keys() == {b"2"}


async def test_two_clients_with_one_id_get_each_its_own_answer() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        first, second = site.connect(), await site.client()
        first.say(call(id=1))
        await server.call(0)
        second.say(call(id=1))
        await server.finish("second", 1)
        assert [value(message) for message in await second.until_messages(1)] == ["second"]
        assert first.frames == []
        await server.finish("first", 0)
        assert [value(message) for message in await first.until_messages(1)] == ["first"]


async def test_a_client_has_no_more_calls_in_flight_than_it_may() -> None:
    server = SlowServer()
    async with sockets(server, most=2) as site:
        socket = site.connect()
        for id in (1, 2, 3):
            socket.say(call(id=id))
        [refused] = await socket.until_messages(1)
        assert refused.id == b"3"
        assert "2 calls" in refused.error["message"]


# Ends


async def test_a_client_that_leaves_has_its_calls_cancelled() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = await site.client()
        socket.say(call(id=1))
        socket.say(call(id=2))
        await server.call(1)
        socket.leave()
        await server.cancelled(0)
        await server.cancelled(1)
        await socket.end()
        assert [event.outcome for event in site.stage.of(CallFinished)] == ["cancelled"] * 2
        assert len(site.stage.of(ClientGone)) == 1
        assert not site.front.sessions


async def test_a_client_that_does_not_read_loses_notifications_but_no_answer_and_holds_up_nobody() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        deaf, other = await site.client(), await site.client()
        deaf.stop_reading()
        deaf.say(call(id=1, token="p"))
        deaf.say(call(id=2))
        await server.call(1)
        for step in range(3000):
            await server.progress(step, message="x" * 1000)
            server.log("y" * 1000)
            await checkpoint()  # they come in parts, as from a pipe
        await server.finish("kept", 1)
        other.say(call())
        await server.finish("other", 2)
        await other.until(lambda: b"1" in by_id(other.messages), "its answer")
        assert value(by_id(other.messages)[b"1"]) == "other"
        deaf.read_on()
        await deaf.until(lambda: b"2" in by_id(deaf.messages), "what was kept")
        await server.finish("done", 0)
        await deaf.until(lambda: b"1" in by_id(deaf.messages), "the answer")
        heard = [message.params["progress"] for message in deaf.messages if message.method == "notifications/progress"]
        assert heard == sorted(heard)
        assert heard[-1] == 2999
        assert value(by_id(deaf.messages)[b"2"]) == "kept"
        assert sum(map(len, deaf.frames)) < 4 * 1024 * 1024
        assert sum(event.number for event in site.stage.of(NotificationsDropped)) > 1000


async def test_a_client_that_reads_again_hears_all_that_comes_then() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = await site.client()
        socket.stop_reading()
        socket.say(call(id=1, token="p"))
        await server.finish("x" * 2_000_000)
        await site.stage.until(lambda: bool(site.stage.of(CallFinished)))
        socket.read_on()
        await socket.until_messages(1)
        socket.frames.clear()
        socket.say(call(id=2, token="p"))
        for step in range(3):
            await server.progress(step, 1)
        await socket.until_messages(3)


async def test_a_client_that_never_reads_is_cut_off_and_learns_why_if_it_reads_at_last() -> None:
    server = SlowServer()
    size = 1_000_000
    async with sockets(server) as site:
        deaf, other = site.connect(), site.connect()
        await one(deaf, request("ping"))
        deaf.stop_reading()
        enough = DROPPED_FROM // size + 3
        for number in range(enough):
            deaf.say(call(id=number))
            await server.finish("x" * size, number)
        await site.stage.until(lambda: bool(site.stage.of(ClientGone)), "its end")
        other.say(call())
        await server.finish("other", enough)
        assert [value(message) for message in await other.until_messages(1)] == ["other"]
        assert not deaf.is_over
        deaf.read_on()
        await deaf.end()
        assert deaf.code == TOO_SLOW
        assert len(site.front.sessions) == 1


async def test_a_client_that_was_cut_off_and_does_not_read_then_either_is_waited_for_no_longer() -> None:
    server = SlowServer()
    size = 6_000_000
    async with sockets(server) as site:
        deaf = site.connect()
        await one(deaf, request("ping"))
        deaf.stop_reading()
        for number in range(DROPPED_FROM // size + 3):
            deaf.say(call(id=number))
            await server.finish("x" * size, number)
        await deaf.end()
        assert deaf.code is None
        assert not site.front.sessions


async def test_one_answer_may_be_longer_than_what_may_wait() -> None:
    server = SlowServer()
    async with sockets(server) as site:
        socket = site.connect()
        socket.say(call())
        await server.finish("x" * (DROPPED_FROM + 1000))
        [answer] = await socket.until_messages(1)
        assert len(value(answer)) == DROPPED_FROM + 1000
        assert (await one(socket, request("ping"))).result == {}


# Over the network


LARGEST = 200_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("websocket")
    config = write_config(folder, {"demo": servers.script("raw_echo.py")}, http={"maxBody": LARGEST})
    with serving(config) as hub:
        yield hub


def address(hub: Hub) -> str:
    return hub.url.replace("http", "ws", 1) + "/ws"


def test_the_library_that_everybody_has_is_served(hub: Hub) -> None:
    with connect(address(hub), additional_headers=hub.headers, subprotocols=[Subprotocol("mcp")]) as socket:
        assert socket.subprotocol == "mcp"
        socket.send(json.dumps(request("tools/list")))
        listed = json.loads(socket.recv(30))
        assert listed["id"] == 1
        assert listed["result"]["tools"]


def test_the_token_may_come_as_a_subprotocol(hub: Hub) -> None:
    offered = [Subprotocol("mcp"), Subprotocol(f"bearer.{hub.token}")]
    with connect(address(hub), subprotocols=offered) as socket:
        assert socket.subprotocol == "mcp"
        socket.send(json.dumps(request("ping")))
        assert json.loads(socket.recv(30)) == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_pings_are_answered(hub: Hub) -> None:
    with connect(address(hub), additional_headers=hub.headers) as socket:
        assert socket.ping(b"here?").wait(30)


def test_a_frame_that_is_too_large_closes_the_connection(hub: Hub) -> None:
    with connect(address(hub), additional_headers=hub.headers) as socket:
        socket.send(json.dumps(request("ping", {"x": "x" * (LARGEST - 100)})))
        assert json.loads(socket.recv(30))["result"] == {}
        socket.send(json.dumps(request("ping", {"x": "x" * LARGEST})))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009
