"""The client inside this process: it takes the same path as any other."""

import json

import anyio
import pytest

from proxy.eras.handshake import LATEST, Offer
from proxy.events import CallFinished, ClientConnected, ClientGone
from proxy.fronts.local import LocalClient, RequestFailed, Respond
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer
from tests.support.stage import Stage, call, fleet_of, listed
from tests.support.virtual_time import VIRTUAL


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def raw(outcome: bytes) -> ScriptedServer:
    """A server with one tool, which answers a call with these bytes."""
    return ScriptedServer("t", tools__call=lambda *_: outcome)


async def test_it_lists_and_calls() -> None:
    stage = Stage()
    async with fleet_of(stage, {"one": ScriptedServer("t")}):
        client = await stage.client()
        assert await listed(client) == ["one__t"]
        assert await call(client, "one__t", {"deep": [1, {"a": None}]}) == {
            "content": [],
            "echo": {"deep": [1, {"a": None}]},
        }
    assert [event.client for event in stage.of(ClientConnected)] == ["mcp-manifold-cli"]
    assert [event.outcome for event in stage.of(CallFinished)] == ["ok"]


async def test_a_result_comes_byte_for_byte() -> None:
    payload = b'{"content":[],\r"big":12345678901234567890.123,"huge":1e400, "half":"\\ud800"}'
    stage = Stage()
    async with fleet_of(stage, {"one": raw(b'"result":' + payload)}):
        client = await stage.client()
        assert await client.request("tools/call", b'{"name":"one__t","arguments":{}}') == payload


async def test_a_large_result_comes_whole() -> None:
    payload = b'{"content":["' + b"x" * 5_000_000 + b'"]}'
    stage = Stage()
    async with fleet_of(stage, {"one": raw(b'"result":' + payload)}):
        client = await stage.client()
        assert await client.request("tools/call", b'{"name":"one__t"}') == payload
        assert await client.request("ping") == b"{}"


async def test_an_error_is_raised_with_its_message_and_its_bytes() -> None:
    own = b'{"code":-32000,"message":"out of paper", "data":{"huge":1e400}}'
    stage = Stage()
    async with fleet_of(stage, {"one": raw(b'"error":' + own)}):
        client = await stage.client()
        with pytest.raises(RequestFailed, match=r"^out of paper$") as caught:
            await client.request("tools/call", b'{"name":"one__t"}')
    assert caught.value.error == own


@pytest.mark.parametrize("outcome", [b'"error":"just text"', b'"error":[1]', b'"error":{"code":1}', b'"other":1'])
async def test_an_answer_of_no_use_is_raised_with_the_name_of_its_server(outcome: bytes) -> None:
    stage = Stage()
    async with fleet_of(stage, {"one": raw(outcome)}):
        client = await stage.client()
        with pytest.raises(RequestFailed, match="'one'"):
            await client.request("tools/call", b'{"name":"one__t"}')


@pytest.mark.parametrize("error", [b"{}", b"5", b'"text"', b"nonsense"])
def test_an_error_without_a_message_is_shown_as_it_is(error: bytes) -> None:
    assert str(RequestFailed(error)) == error.decode()


async def test_answers_find_their_requests_in_whatever_order_they_come() -> None:
    waiting: list[Message] = []

    def backwards(connection: Connection, message: Message) -> Outcome:
        waiting.append(message)
        if len(waiting) == 10:
            for each in reversed(waiting):
                connection.respond(each, ScriptedServer().answer(connection, each) or b"")
        return None

    stage, order = Stage(), list[int]()
    async with fleet_of(stage, {"one": ScriptedServer("t", tools__call=backwards)}):
        client = await stage.client()

        async def ask(number: int) -> None:
            assert (await call(client, "one__t", number))["echo"] == number
            order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, number)
    assert order == list(reversed(range(10)))


async def test_each_call_ends_with_the_peer_that_it_began_with() -> None:
    stage, server = Stage(), ScriptedServer("t", tools__call=lambda *_: None)
    async with fleet_of(stage, {"one": server}):
        client = LocalClient(stage.pump, "test", front="rest")
        await client.initialize()
        for peer in ("10.0.0.1", "10.0.0.2"):
            client.begin("tools/call", b'{"name":"one__t"}', peer=peer)
        await server.until(lambda: len(server.asked("tools/call")) == 2)
        for asked in server.asked("tools/call"):
            server.last.respond(asked, b'"result":{"content":[]}')
    assert [(event.front, event.peer) for event in stage.of(CallFinished)] == [
        ("rest", "10.0.0.1"),
        ("rest", "10.0.0.2"),
    ]


async def test_notifications_are_passed_on_with_their_params() -> None:
    def progress(connection: Connection, message: Message) -> Outcome:
        token = message.params["_meta"]["progressToken"]
        connection.notify("notifications/progress", {"progressToken": token, "progress": 1, "total": 2})
        return ScriptedServer().answer(connection, message)

    stage = Stage()
    async with fleet_of(stage, {"one": ScriptedServer("t", tools__call=progress)}):
        client = await stage.client()
        params = {"name": "one__t", "arguments": {}, "_meta": {"progressToken": "mine"}}
        await client.request("tools/call", json.dumps(params).encode())
    assert stage.notified == [("notifications/progress", {"progressToken": "mine", "progress": 1, "total": 2})]


async def test_without_a_listener_notifications_fall() -> None:
    stage, server = Stage(), ScriptedServer("t")
    async with fleet_of(stage, {"one": server}):
        client = LocalClient(stage.pump, "test")
        await client.initialize()
        await listed(client)
        server.last.notify("notifications/message", {"level": "info", "data": "hello"})
        assert await call(client, "one__t") == {"content": [], "echo": {}}


async def test_closing_cancels_what_is_in_flight() -> None:
    stage, server = Stage(), ScriptedServer("t", tools__call=lambda *_: None)
    async with fleet_of(stage, {"one": server}), anyio.create_task_group() as tasks:
        client = await stage.client()

        async def call() -> None:
            with pytest.raises(RequestFailed, match="the session was closed"):
                await client.request("tools/call", b'{"name":"one__t"}')

        tasks.start_soon(call)
        await server.until(lambda: bool(server.asked("tools/call")))
        client.close()
        await server.until(lambda: bool(server.asked("notifications/cancelled")))
        assert [event.outcome for event in stage.of(CallFinished)] == ["cancelled"]
        assert len(stage.of(ClientGone)) == 1


async def test_a_closed_client_asks_nothing_more() -> None:
    stage = Stage()
    async with fleet_of(stage, {"one": ScriptedServer("t")}):
        client = await stage.client()
        client.close()
        with pytest.raises(RequestFailed, match="the session was closed") as caught:
            await listed(client)
        assert json.loads(caught.value.data)["delivered"] == "no"


async def test_whoever_gives_up_cancels_the_call_and_nothing_else() -> None:
    def some(connection: Connection, message: Message) -> Outcome:
        return None if message.params["arguments"] == 1 else ScriptedServer().answer(connection, message)

    stage, server = Stage(), ScriptedServer("t", tools__call=some)
    async with fleet_of(stage, {"one": server}), anyio.create_task_group() as tasks:
        client = await stage.client()
        tasks.start_soon(client.request, "tools/call", b'{"name":"one__t","arguments":1}')
        await server.until(lambda: bool(server.asked("tools/call")))
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await server.until(lambda: bool(server.asked("notifications/cancelled")))
            [asked], [cancelled] = server.asked("tools/call"), server.asked("notifications/cancelled")
            assert str(cancelled.params["requestId"]).encode() == asked.id
            server.last.respond(asked, b'"result":{"content":["too late"]}')
            assert (await call(client, "one__t", 2))["echo"] == 2
    assert [event.outcome for event in stage.of(CallFinished)] == ["cancelled", "ok"]


async def test_progress_goes_to_whoever_asked_for_it_alone() -> None:
    def progress(connection: Connection, message: Message) -> Outcome:
        for step in range(2):
            told = {"progressToken": message.params["_meta"]["progressToken"], "progress": step, "odd": None}
            connection.notify("notifications/progress", told)
        return b'"result":{"kept":%s}' % json.dumps(message.params["_meta"].get("mine")).encode()

    stage = Stage()
    async with fleet_of(stage, {"one": ScriptedServer("t", tools__call=progress)}):
        client = await stage.client()
        seen: dict[int, list[tuple[int, object]]] = {1: [], 2: []}

        async def ask(number: int) -> None:
            def take(raw: bytes) -> None:
                params = json.loads(raw)
                seen[number].append((params["progress"], params["odd"]))

            params = b'{"name":"one__t","_meta":{"mine":1e2}}'
            assert await client.request("tools/call", params, take) == b'{"kept":100.0}'

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, 1)
            tasks.start_soon(ask, 2)
    assert seen == {1: [(0, None), (1, None)], 2: [(0, None), (1, None)]}
    assert stage.notified == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((b'{"action":"accept","odd":1e400}', b""), b'"result":{"action":"accept","odd":1e400}'),
        ((b"", b'{"code":7,"message":"no"}'), b'"error":{"code":7,"message":"no"}'),
        (None, b'"code":-32601'),
    ],
)
async def test_what_a_server_asks_is_answered_by_whoever_is_there(
    answer: tuple[bytes, bytes] | None, expected: bytes
) -> None:
    questions: list[tuple[str, bytes]] = []

    def asked(method: str, params: bytes, respond: Respond) -> None:
        questions.append((method, params))
        assert answer is not None
        respond(*answer)

    def ask(connection: Connection, message: Message) -> Outcome:
        connection.say(b'{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"Sure?"}}')
        return None

    stage, server = Stage(), ScriptedServer("t", tools__call=ask)
    offer = Offer(LATEST, b'{"elicitation":{"form":{}}}')
    async with fleet_of(stage, {"one": server}), anyio.create_task_group() as tasks:
        client = LocalClient(stage.pump, "test", offer=offer, asked=None if answer is None else asked)
        await client.initialize()
        await listed(client)
        tasks.start_soon(client.request, "tools/call", b'{"name":"one__t"}')
        await server.until(lambda: any(message.id == b'"q"' for message in server.last.received))
        tasks.cancel_scope.cancel()
    [said] = [message for message in server.last.received if message.id == b'"q"']
    assert expected in said.line
    assert questions == ([] if answer is None else [("elicitation/create", b'{"message":"one: Sure?"}')])
