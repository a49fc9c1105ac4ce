"""MCP over Streamable HTTP: sessions, answers as JSON or as events, the GET stream, and what is refused."""

import json
from typing import Any

import anyio
import pytest

from proxy.eras.handshake import BATCHING, LATEST
from proxy.events import CallFinished
from proxy.web import streamable
from proxy.web.streamable import COMMIT_AFTER, KEEP_ALIVE, MOST_SESSIONS, RESUME_WITHIN, RETRY
from tests.support.asgi import Exchange
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer
from tests.support.streamable import SlowServer, Web, call, echo, initialize, request, value, web
from tests.support.virtual_time import VIRTUAL

OLDER = "2025-06-18"
PROGRESS = "notifications/progress"
CHANGED = "notifications/tools/list_changed"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def quick() -> ScriptedServer:
    return ScriptedServer("t", tools__call=echo)


def refusal(exchange: Exchange) -> str:
    """The text of an error that concerns HTTP."""
    assert exchange.message.members["id"] == b"null"
    return str(exchange.message.error["message"])


def steps(exchange: Exchange) -> list[Any]:
    """Values of progress, and then of answers, as they came over a stream."""
    return [m.params["progress"] if m.method == PROGRESS else value(m) for m in exchange.messages]


# Sessions


async def test_initialize_begins_a_session_and_is_answered_as_json() -> None:
    async with web({"one": quick()}) as site:
        hello = await site.ask("POST", initialize())
        assert hello.status == 200
        assert hello.message.result["protocolVersion"] == LATEST
        id = hello.headers["mcp-session-id"]
        assert len(id) >= 32
        assert all(0x21 <= ord(char) <= 0x7E for char in id)
        assert (await site.ask("POST", initialize())).headers["mcp-session-id"] != id


async def test_an_initialize_that_is_refused_leaves_no_session() -> None:
    async with web({"one": quick()}) as site:
        hello = await site.ask("POST", request("initialize", {"capabilities": {}}))
        assert hello.message.error["code"] == -32602
        assert "mcp-session-id" not in hello.headers
        assert site.front.sessions == {}
        assert len(site.stage.relay._state.sessions) == 0


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_without_a_session_nothing_is_to_be_had(method: str) -> None:
    async with web({"one": quick()}) as site:
        without = await site.ask(method, call() if method == "POST" else b"")
        assert without.status == 400
        assert "Mcp-Session-Id" in refusal(without)
        unknown = await site.ask(method, call() if method == "POST" else b"", mcp_session_id="nobody")
        assert unknown.status == 404
        assert "initialize" in refusal(unknown)


async def test_a_deleted_session_is_over_and_so_are_its_calls() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        waits, listens = client.call(), client.listen()
        await server.call()
        assert (await client.delete()).status == 204
        await server.cancelled()
        await waits.end()
        assert waits.status == 404
        await listens.end()
        assert listens.is_whole
        assert (await client.post(call())).status == 404
        assert (await client.delete()).status == 404
        assert [event.outcome for event in site.stage.of(CallFinished)] == ["cancelled"]


async def test_a_second_initialize_in_a_session_is_answered_there() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        again = await client.post(initialize(OLDER))
        assert again.message.result["protocolVersion"] == OLDER
        assert list(site.front.sessions) == [client.id]


async def test_one_session_too_many_ends_the_one_of_least_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_SESSIONS >= 200
    monkeypatch.setattr(streamable, "MOST_SESSIONS", 3)
    async with web({"one": quick()}) as site:
        used, never, later = await site.client(), await site.client(), await site.client()
        assert (await used.post(request("tools/list"))).status == 200
        await anyio.sleep(1)
        assert (await site.ask("POST", initialize())).status == 200
        assert (await never.post(request("tools/list"))).status == 404, "it was there for longest, and had done nothing"
        assert (await later.post(request("tools/list"))).status == 200
        assert (await site.ask("POST", initialize())).status == 200
        assert (await used.post(request("tools/list"))).status == 200


async def test_sessions_that_are_read_or_work_are_not_ended_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable, "MOST_SESSIONS", 1)
    async with web({"one": quick()}) as site:
        client = await site.client()
        listening = client.listen()
        await listening.until(lambda: listening.status == 200)
        refused = await site.ask("POST", initialize())
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        listening.leave()
        await client.delete()
        assert (await site.ask("POST", initialize())).status == 200


# What is refused


@pytest.mark.parametrize("content", ["text/plain", "application/json-seq", ""])
async def test_a_body_has_to_be_json(content: str) -> None:
    async with web({"one": quick()}) as site:
        assert (await site.ask("POST", initialize(), content_type=content)).status == 415


async def test_the_type_of_the_body_may_have_parameters() -> None:
    async with web({"one": quick()}) as site:
        assert (await site.ask("POST", initialize(), content_type="Application/JSON; charset=utf-8")).status == 200


async def test_a_body_may_not_be_larger_than_configured() -> None:
    async with web({"one": quick()}, largest=500) as site:
        client = await site.client()
        refused = await client.post(call(arguments={"a": "x" * 500}))
        assert refused.status == 413
        assert "500" in refusal(refused)
        assert value((await client.post(call(arguments={"a": "x"}))).message) == {"a": "x"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    async with web({"one": quick()}) as site:
        refused = await site.ask(method)
        assert refused.status == 405
        assert refused.headers["allow"] == "POST, GET, DELETE"


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_revision_that_nobody_knows_is_refused(method: str) -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        body = call() if method == "POST" else b""
        refused = await site.ask(method, body, mcp_session_id=client.id, mcp_protocol_version="1999-01-01")
        assert refused.status == 400
        assert "1999-01-01" in refusal(refused)
        assert LATEST in refusal(refused)
        assert list(site.front.sessions) == [client.id]


async def test_a_client_that_tells_no_revision_is_served() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        assert (await client.post(call(), mcp_protocol_version="")).status == 200


@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"", -32700, b"null"),
        (b"{", -32700, b"null"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping"', -32700, b"7"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\nb"}}', -32700, b"1"),
        (b'"text"', -32600, b"null"),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', -32600, b"7"),
        (b'{"jsonrpc":"2.0","id":[],"method":"ping"}', -32600, b"null"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"\xff"}', -32700, b"1"),
    ],
)
async def test_what_is_no_message_is_refused_with_an_error(body: bytes, code: int, id: bytes) -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        refused = await client.post(body)
        assert refused.status == 400
        assert refused.message.error["code"] == code
        assert refused.message.id == id


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"jsonrpc": "2.0"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "?"}},
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
    ],
)
async def test_a_message_that_says_nothing_is_refused_while_a_call_of_its_id_goes_on(body: Any) -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        waits = client.call(id=1)
        await server.call()
        refused = await client.post(body)
        assert refused.status == 400
        assert refusal(refused)
        await server.finish("mine")
        await waits.end()
        assert value(waits.message) == "mine"


async def test_line_ends_between_the_parts_of_a_message_are_no_matter() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        answer = await client.post(json.dumps(call(arguments={"a": [1, "b"]}), indent=2).replace("\n", "\r\n").encode())
        assert value(answer.message) == {"a": [1, "b"]}


async def test_a_body_may_come_in_many_parts() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        body = json.dumps(call(arguments={"a": "ä"}), ensure_ascii=False).encode()
        parts = tuple(body[at : at + 1] for at in range(len(body)))
        answer = site.start("POST", parts, mcp_session_id=client.id)
        await answer.end()
        assert value(answer.message) == {"a": "ä"}


# Answers as JSON


async def test_a_quick_answer_is_json() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        answer = await client.post(call(id="x", arguments={"n": 1}))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.message.id == b'"x"'
        assert value(answer.message) == {"n": 1}
        assert client.session.streams.waiting == 0


async def test_a_result_comes_byte_for_byte() -> None:
    payload = b'{"content":[],\r"big":12345678901234567890.123,"huge":1e400, "half":"\\ud800"}'
    server = ScriptedServer("t", tools__call=lambda *_: b'"result":' + payload)
    async with web({"one": server}) as site:
        client = await site.client()
        assert (await client.post(call())).message.raw_result == payload


async def test_notifications_and_answers_are_accepted_without_content() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        for message in ({"method": "notifications/roots/list_changed"}, {"id": 99, "result": {}}):
            accepted = await client.post({"jsonrpc": "2.0", **message})
            assert (accepted.status, accepted.body) == (202, b"")


async def test_two_sessions_with_one_id_get_each_its_own_answer() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        first, second = await site.client(), await site.client()
        one = first.call(id=1)
        await server.call(0)
        other = second.call(id=1)
        await server.finish("second", 1)
        await other.end()
        assert not one.status
        await server.finish("first", 0)
        await one.end()
        assert (value(one.message), value(other.message)) == ("first", "second")


async def test_one_id_twice_at_a_time_in_one_session_is_refused() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        first = client.call(id=1)
        await server.call()
        second = await client.post(call(id=1))
        assert second.status == 400
        assert "in flight" in refusal(second)
        other = client.call(id="1")
        await server.finish("text", 1)
        await other.end()
        assert value(other.message) == "text"
        await server.finish("first", 0)
        await first.end()
        assert value(first.message) == "first"
        again = client.call(id=1)
        await server.finish("again", 2)
        await again.end()
        assert value(again.message) == "again"


async def test_a_client_has_no_more_calls_in_flight_than_it_may() -> None:
    server = SlowServer()
    async with web({"one": server}, most=2) as site:
        client, other = await site.client(), await site.client()
        first, second = client.call(id=1), client.call(id=2)
        await server.call(1)
        third = await client.post(call(id=3))
        assert "2 calls" in third.message.error["message"]
        assert third.message.error["data"]["delivered"] == "no"
        others = other.call(id=1)
        for number, exchange in enumerate((first, second, others)):
            await server.finish(number, number)
            await exchange.end()
            assert value(exchange.message) == number


async def test_a_cancelled_call_is_answered_no_more_and_its_id_is_free() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        waits = client.call(id=1)
        await server.call()
        assert (await client.cancel(1)).status == 202
        await waits.end()
        assert (waits.status, waits.body) == (202, b"")
        await server.cancelled()
        again = client.call(id=1)
        await server.finish("again", 1)
        await again.end()
        assert value(again.message) == "again"
        assert client.session.streams.unread() == []


async def test_the_stream_of_a_cancelled_call_ends_and_is_not_resumed() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        waits = client.call(id=1, token="p")
        await server.progress(1)
        await waits.until_messages(1)
        await client.cancel(1)
        await waits.end()
        assert waits.is_whole
        assert steps(waits) == [1]
        resumed = client.listen(last=waits.last_id)
        await resumed.end()
        assert resumed.status == 400


# Answers as events


async def test_with_progress_before_it_an_answer_comes_as_events_in_order() -> None:
    def script(connection: Connection, message: Message) -> Outcome:
        for step in range(3):
            token = message.params["_meta"]["progressToken"]
            connection.notify(PROGRESS, {"progressToken": token, "progress": step})
        return echo(connection, message)

    async with web({"one": ScriptedServer("t", tools__call=script)}) as site:
        client = await site.client()
        exchange = await client.post(call(arguments={"n": 1}, token="mine"))
        assert exchange.is_stream
        assert exchange.is_whole
        assert steps(exchange) == [0, 1, 2, {"n": 1}]
        assert {m.params["progressToken"] for m in exchange.messages[:3]} == {"mine"}
        ids = [event.id for event in exchange.events if event.id]
        assert len(set(ids)) == len(ids) == 5


async def test_a_stream_begins_with_an_event_that_tells_where_to_resume() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await server.progress(1)
        await exchange.until_messages(1)
        first = exchange.events[0]
        assert (first.data, first.retry) == ("", str(RETRY))
        assert first.id


async def test_clients_of_older_revisions_get_no_event_without_data() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(OLDER)
        exchange = client.call(token=1)
        await server.progress(1)
        await exchange.until_messages(1)
        assert [event.id for event in exchange.events if not event.data] == [None]
        assert all(event.data is None for event in exchange.events[:1])


async def test_who_takes_no_events_gets_the_answer_alone() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1, accept="application/json")
        await server.progress(1)
        server.log("said meanwhile")
        await anyio.sleep(COMMIT_AFTER * 3)
        await server.progress(2)
        assert not exchange.status
        await server.finish("done")
        await exchange.end()
        assert value(exchange.message) == "done"
        listens = client.listen()
        [heard] = await listens.until_messages(1)
        assert heard.params["data"] == "said meanwhile"


async def test_a_slow_answer_becomes_a_stream_that_says_that_it_is_alive() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call()
        await server.call()
        await anyio.sleep(COMMIT_AFTER - 1)
        assert not exchange.status
        await exchange.until(lambda: exchange.is_stream, "a stream")
        assert exchange.body.count(b":\n\n") == 0
        await anyio.sleep(KEEP_ALIVE * 2 + 1)
        assert exchange.body.count(b":\n\n") == 2
        await server.finish("late")
        await exchange.end()
        assert steps(exchange) == ["late"]


async def test_a_carriage_return_within_a_message_does_not_cut_its_event() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call()
        await exchange.until(lambda: exchange.is_stream, "a stream")
        server.last.respond(await server.call(), b'"result":{"content":[],\r"value":\r7}')
        await exchange.end()
        assert b"\r" not in exchange.body
        assert steps(exchange) == [7]


# Clients that leave


async def test_a_client_that_leaves_before_anything_was_said_has_its_call_cancelled_at_once() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(id=1)
        await server.call()
        before = site.stage.pump.now()
        exchange.leave()
        await server.cancelled()
        assert site.stage.pump.now() - before < 1
        assert exchange.status == 0
        assert client.session.streams.unread() == []
        again = client.call(id=1)
        await server.finish("again", 1)
        await again.end()
        assert value(again.message) == "again"


async def test_a_client_that_leaves_within_its_body_is_let_go() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        exchange = site.start("POST", (), mcp_session_id=client.id)
        exchange.leave()
        await exchange.end()
        assert exchange.status == 0
        assert not client.session.session.busy


async def begun(site: Web, server: SlowServer, exchange: Exchange, steps: int) -> None:
    """A stream that has said so many steps of progress."""
    for step in range(steps):
        await server.progress(step)
    await exchange.until_messages(steps)


async def test_who_resumes_hears_what_it_missed_and_the_answer_and_nothing_twice() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 3)
        exchange.leave()
        await exchange.end()
        await server.progress(3)  # nobody hears this
        second = [event.id for event in exchange.events if event.data][1]
        resumed = client.listen(last=str(second))
        await resumed.until_messages(2)
        assert resumed.events[0].id == second
        await server.progress(4)
        await server.finish("done")
        await resumed.end()
        assert steps(resumed) == [2, 3, 4, "done"]
        assert resumed.is_whole
        assert server.asked("notifications/cancelled") == []


async def test_a_stream_is_resumed_again_and_again() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 1)
        heard = steps(exchange)
        for step in range(1, 6):
            exchange.leave()
            await exchange.end()
            last = exchange.last_id
            await anyio.sleep(RESUME_WITHIN - 5)
            exchange = client.listen(last=last)
            await server.progress(step)
            await exchange.until_messages(1)
            heard += steps(exchange)
        assert heard == [0, 1, 2, 3, 4, 5]


async def test_who_resumes_takes_the_stream_from_a_connection_that_seems_alive() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        dead = client.call(token=1)
        await begun(site, server, dead, 2)
        dead.stop_reading()  # the network is gone, which nobody has told us
        await server.progress(2)
        await dead.until(lambda: len(dead.messages) == 3)
        resumed = client.listen(last=str(dead.events[1].id))
        await resumed.until_messages(2)
        await server.progress(3)
        await resumed.until_messages(3)
        dead.leave()
        await dead.end()
        await server.finish("done")
        await resumed.end()
        assert steps(resumed) == [1, 2, 3, "done"]
        assert steps(dead) == [0, 1, 2]


async def test_a_connection_whose_stream_was_taken_ends_at_once() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        before = client.call(token=1)
        await begun(site, server, before, 2)
        now = site.stage.pump.now()
        resumed = client.listen(last=before.last_id)
        await before.end()
        assert before.is_whole
        assert site.stage.pump.now() - now < 1
        await server.progress(2)
        await resumed.until_messages(1)
        await anyio.sleep(RESUME_WITHIN * 2)
        await server.finish("done")
        await resumed.end()
        assert steps(resumed) == [2, "done"]
        assert steps(before) == [0, 1]


async def test_a_call_that_nobody_resumes_is_cancelled() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 1)
        exchange.leave()
        await exchange.end()
        await anyio.sleep(RESUME_WITHIN - 2)
        assert server.asked("notifications/cancelled") == []
        await server.cancelled()
        refused = client.listen(last=exchange.last_id)
        await refused.end()
        assert refused.status == 400
        assert client.session.streams.unread() == []


async def test_a_finished_stream_is_heard_again_for_a_while() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 1)
        await server.finish("done")
        await exchange.end()
        first = str(exchange.events[0].id)
        await anyio.sleep(RESUME_WITHIN - 2)
        again = client.listen(last=first)
        await again.end()
        assert steps(again) == [0, "done"]
        await anyio.sleep(RESUME_WITHIN + 2)
        refused = client.listen(last=first)
        await refused.end()
        assert refused.status == 400
        assert client.session.streams.kept == 0


@pytest.mark.parametrize("last", ["x", "1", "1-", "-1", "99-0", "0-99", "1-2-3", "²-0", "1" * 100 + "-0"])
async def test_an_event_that_is_not_known_can_not_be_resumed_behind(last: str) -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 1)
        refused = client.listen(last=last)
        await refused.end()
        assert refused.status == 400
        assert "Last-Event-ID" in refusal(refused)
        await server.finish("done")
        await exchange.end()
        assert steps(exchange) == [0, "done"]


async def test_the_events_of_one_session_are_not_to_be_had_in_another() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client, other = await site.client(), await site.client()
        exchange = client.call(token=1)
        await begun(site, server, exchange, 1)
        refused = other.listen(last=str(exchange.events[0].id))
        await refused.end()
        assert refused.status == 400


async def test_a_post_that_is_answered_as_json_can_not_be_taken_over() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(accept="application/json")
        await server.call()
        for number in range(5):
            refused = client.listen(last=f"{number}-0")
            await refused.end()
            assert refused.status == 400
        await server.finish("mine")
        await exchange.end()
        assert value(exchange.message) == "mine"


# GET


async def test_get_carries_what_belongs_to_no_call() -> None:
    server, other = SlowServer(), quick()
    async with web({"one": server, "two": other}) as site:
        client = await site.client()
        await client.post(request("tools/list"))
        listens, waits = client.listen(), client.call()
        await server.call()
        other.tools.append("new")
        other.last.notify(CHANGED)
        [heard] = await listens.until_messages(1)
        assert heard.method == CHANGED
        await server.finish("quick")
        await waits.end()
        assert value(waits.message) == "quick"


async def test_what_comes_before_get_waits_for_it() -> None:
    server = quick()
    async with web({"one": server}) as site:
        client = await site.client()
        await client.post(request("tools/list"))
        server.tools.append("new")
        server.last.notify(CHANGED)
        await site.stage.until(lambda: client.session.streams.waiting > 0, "news")
        listens = client.listen()
        [heard] = await listens.until_messages(1)
        assert heard.method == CHANGED


async def test_without_get_news_come_over_the_only_call() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        await client.post(request("tools/list"))
        waits = client.call()
        await server.call()
        server.tools.append("new")
        server.last.notify(CHANGED)
        [heard] = await waits.until_messages(1)
        assert heard.method == CHANGED


async def test_a_second_get_is_refused_while_the_first_is_open() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        first = client.listen()
        await first.until(lambda: first.is_stream)
        second = client.listen()
        await second.end()
        assert second.status == 409
        first.leave()
        await first.end()
        third = client.listen()
        await third.until(lambda: third.is_stream)
        assert third.status == 200


async def test_get_needs_a_client_that_takes_events() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client()
        refused = client.listen(accept="application/json")
        await refused.end()
        assert refused.status == 406


async def test_the_get_stream_is_resumed_as_well() -> None:
    server = quick()
    async with web({"one": server}) as site:
        client = await site.client()
        listens = client.listen()
        for name in ("a", "b"):
            await client.post(request("tools/list"))
            listens.leave()
            await listens.end()
            server.tools.append(name)
            server.last.notify(CHANGED)
            await site.stage.until(lambda: client.session.streams.waiting > 0, "news")
            listens = client.listen(last=listens.last_id)
            await listens.until_messages(1)
            assert [m.method for m in listens.messages] == [CHANGED]


# Batches


async def test_a_batch_gets_one_array_where_batches_exist() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client(BATCHING)
        batch = [call(id=1, arguments={"n": 1}), {"jsonrpc": "2.0", "method": "x"}, call(id="1", arguments={"n": 2})]
        answer = await client.post(batch)
        assert answer.headers["content-type"] == "application/json"
        assert {item["id"]: item["result"]["value"] for item in answer.json} == {1: {"n": 1}, "1": {"n": 2}}


async def test_a_batch_without_requests_is_accepted() -> None:
    async with web({"one": quick()}) as site:
        client = await site.client(BATCHING)
        accepted = await client.post([{"jsonrpc": "2.0", "method": "x"}, {"jsonrpc": "2.0", "id": 9, "result": {}}])
        assert (accepted.status, accepted.body) == (202, b"")


async def test_a_batch_of_which_one_is_cancelled_gets_the_rest() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(BATCHING)
        exchange = client.start([call(id=1), call(id=2)])
        await server.call(1)
        await client.cancel(1)
        await server.finish("two", 1)
        await exchange.end()
        assert [(item["id"], item["result"]["value"]) for item in exchange.json] == [(2, "two")]
        assert not client.session.streams.expects(b"1")


@pytest.mark.parametrize("body", [b"[]", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]'])
@pytest.mark.parametrize("protocol", [LATEST, OLDER])
async def test_batches_are_refused_in_other_revisions(body: bytes, protocol: str) -> None:
    async with web({"one": quick()}) as site:
        client = await site.client(protocol)
        refused = await client.post(body)
        assert refused.status == 400
        assert BATCHING in refusal(refused)


@pytest.mark.parametrize(
    "batch", [[], [call(id=1), call(id=1)], [call(id=1), 5], [call(id=1), {"jsonrpc": "2.0"}], [initialize(BATCHING)]]
)
async def test_a_batch_that_makes_no_sense_is_refused_as_a_whole(batch: list[Any]) -> None:
    server = quick()
    async with web({"one": server}) as site:
        client = await site.client(BATCHING)
        body = batch if batch != [initialize(BATCHING)] else None
        refused = await (client.post(body) if body is not None else site.ask("POST", batch))
        assert refused.status == 400
        assert server.asked("tools/call") == []
        assert list(site.front.sessions) == [client.id]


# What servers ask and log


FORM = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
ASKED: list[tuple[str, Any, Any, Any]] = [
    ("elicitation/create", FORM, {"action": "decline"}, {"elicitation": {}}),
    ("sampling/createMessage", {"messages": [], "maxTokens": 1}, {"role": "assistant"}, {"sampling": {}}),
    ("roots/list", None, {"roots": []}, {"roots": {}}),
]


@pytest.mark.parametrize(("method", "params", "answer", "capabilities"), ASKED)
async def test_what_a_server_asks_reaches_the_owner_of_the_call_alone(
    method: str, params: Any, answer: Any, capabilities: Any
) -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        owner, other = await site.client(**capabilities), await site.client(**capabilities)
        listens, waits = other.listen(), owner.call()
        await server.call()
        server.ask("q", method, params)
        [question] = await waits.until_messages(1)
        assert question.method == method
        assert question.id is not None
        wrong = {"jsonrpc": "2.0", "id": json.loads(question.id), "result": {"from": "the wrong one"}}
        assert (await other.post(wrong)).status == 202
        assert (await owner.post({"jsonrpc": "2.0", "id": json.loads(question.id), "result": answer})).status == 202
        assert (await server.told("q")).result == answer
        await server.finish("done")
        await waits.end()
        assert value(waits.messages[-1]) == "done"
        assert listens.messages == []


async def test_what_is_no_answer_ends_the_question() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        waits = client.call()
        await server.call()
        server.ask("q", "roots/list")
        [question] = await waits.until_messages(1)
        assert (await client.post({"jsonrpc": "2.0", "id": json.loads(question.id or b"")})).status == 202
        assert "no usable answer" in (await server.told("q")).error["message"]


@pytest.mark.parametrize(("method", "params"), [(method, params) for method, params, *_ in ASKED])
async def test_what_the_owner_can_not_do_is_refused_and_it_hears_nothing(method: str, params: Any) -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        owner, other = await site.client(), await site.client(elicitation={}, sampling={}, roots={})
        listens, hears, waits = other.listen(), owner.listen(), owner.call()
        await server.call()
        server.ask("q", method, params)
        assert (await server.told("q")).error["code"] == -32601
        await server.finish("done")
        await waits.end()
        assert value(waits.message) == "done"
        assert (listens.messages, hears.messages) == ([], [])


async def test_log_messages_reach_the_owner_of_the_call_alone() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        owner, other = await site.client(), await site.client()
        listens, waits = other.listen(), owner.call()
        await server.call()
        server.log("working")
        await server.finish("done")
        await waits.end()
        assert waits.messages[0].params["data"] == "working"
        assert value(waits.messages[1]) == "done"
        assert listens.messages == []


async def test_with_two_calls_in_flight_what_is_asked_comes_over_get() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        listens, one, two = client.listen(), client.call(id=1), client.call(id=2)
        await server.call(1)
        server.ask("q", "roots/list")
        [question] = await listens.until_messages(1)
        assert question.method == "roots/list"
        for number, exchange in enumerate((one, two)):
            await server.finish(number, number)
            await exchange.end()
            assert value(exchange.message) == number


async def test_what_is_asked_comes_over_a_stream_that_is_read() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        listens, waits = client.listen(), client.call(accept="application/json")
        await server.call()
        server.ask("q", "roots/list")
        [question] = await listens.until_messages(1)
        assert question.method == "roots/list"
        await server.finish("done")
        await waits.end()
        assert value(waits.message) == "done"


# The hub's end


async def test_closing_ends_all_sessions_and_their_streams() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client, other = await site.client(), await site.client()
        listens, waits = client.listen(), other.call()
        await server.call()
        await listens.until(lambda: listens.is_stream)
        now = site.stage.pump.now()
        site.front.close()
        await listens.end()
        await waits.end()
        assert site.stage.pump.now() - now < 1
        assert listens.is_whole
        assert waits.status == 404
        assert site.front.sessions == {}
        assert not site.stage.relay._state.sessions
