"""A session of MCP over HTTP: how long it lives, and what it does with a client that does not read."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from proxy.events import ClientGone, NotificationsDropped
from proxy.web import sessions
from proxy.web.pressure import CHOKED_FROM
from proxy.web.sessions import GIVEN_UP_FROM, one_line
from proxy.web.streams import MOST_KEPT, MOST_UNHEARD
from tests.support.scripted import ScriptedServer
from tests.support.streamable import SlowServer, Web, WebClient, call, echo, request, value, web
from tests.support.virtual_time import VIRTUAL

TIMEOUT = 600.0
PROGRESS = "notifications/progress"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def quick() -> ScriptedServer:
    return ScriptedServer("t", tools__call=echo)


async def flood(server: SlowServer, number: int = 3000) -> None:
    """More progress and log messages of the first call than anybody has room for."""
    for step in range(number):
        await server.progress(step, message="x" * 1000)
        server.log("y" * 1000)
        await checkpoint()  # they come in parts, as from a pipe


def weight(client: WebClient) -> int:
    """Bytes that the session holds for its client."""
    return client.session.streams.waiting + client.session.streams.kept


async def is_well(site: Web, client: WebClient, server: SlowServer, number: int) -> None:
    """A new call of this client, the given one at the server, hears its progress and a question."""
    exchange = client.call(id="well", token="well")
    await server.progress(1, number)
    server.ask(f"well {number}", "roots/list")
    await exchange.until_messages(2)
    assert [m.method for m in exchange.messages] == [PROGRESS, "roots/list"]
    await server.finish("well", number)
    await exchange.end()
    assert value(exchange.messages[-1]) == "well"


# How long it lives


async def test_a_session_that_nobody_uses_ends() -> None:
    async with web({"one": quick()}, idle=TIMEOUT) as site:
        client = await site.client()
        await anyio.sleep(TIMEOUT - 10)
        assert (await client.post(request("ping"))).status == 200
        await anyio.sleep(TIMEOUT - 10)
        assert list(site.front.sessions) == [client.id]
        await anyio.sleep(20)
        assert site.front.sessions == {}
        assert len(site.stage.of(ClientGone)) == 1
        assert (await client.post(request("ping"))).status == 404


async def test_a_session_with_an_open_get_does_not_end() -> None:
    async with web({"one": quick()}, idle=TIMEOUT) as site:
        client = await site.client()
        listens = client.listen()
        await anyio.sleep(TIMEOUT * 5)
        assert list(site.front.sessions) == [client.id]
        listens.leave()
        await listens.end()
        await anyio.sleep(TIMEOUT - 10)
        assert list(site.front.sessions) == [client.id]
        await anyio.sleep(20)
        assert site.front.sessions == {}


async def test_a_session_with_a_call_does_not_end() -> None:
    server = SlowServer()
    async with web({"one": server}, idle=20) as site:
        client = await site.client()
        exchange = client.call(accept="application/json")
        await server.call()
        await anyio.sleep(200)
        await server.finish("late")
        await exchange.end()
        assert value(exchange.message) == "late"
        await anyio.sleep(30)
        assert site.front.sessions == {}


async def test_a_session_whose_call_may_still_be_resumed_does_not_end() -> None:
    server = SlowServer()
    async with web({"one": server}, idle=5) as site:
        client = await site.client()
        exchange = client.call(token=1)
        await server.progress(1)
        await exchange.until_messages(1)
        exchange.leave()
        await anyio.sleep(20)
        await server.finish("late")
        resumed = client.listen(last=exchange.last_id)
        await resumed.end()
        assert value(resumed.messages[-1]) == "late"


async def test_many_sessions_that_come_and_go_leave_nothing() -> None:
    server = SlowServer()
    async with web({"one": server}, idle=TIMEOUT) as site:
        for number in range(200):
            client = await site.client()
            exchange = client.call(token=1)
            await server.call(number)
            if number % 4 == 0:
                await server.progress(1, number)
                await exchange.until_messages(1)
            exchange.leave()
        await anyio.sleep(TIMEOUT + 60)
        assert site.front.sessions == {}
        assert site.stage.relay._state.sessions == {}
        assert not server.last.closed
        assert site.stage.relay.in_flight() == [("one", 0)]


# A client that does not read


async def test_a_client_that_does_not_read_loses_notifications_but_no_answer_and_holds_up_nobody() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        deaf, other = await site.client(), await site.client()
        exchange = deaf.call(token="p")
        await server.progress(-1)
        await exchange.until_messages(1)
        exchange.stop_reading()
        await flood(server)
        assert weight(deaf) < CHOKED_FROM + MOST_KEPT + 100_000
        quick = deaf.call(id=2)
        await server.finish("second", 1)
        await quick.end()
        assert value(quick.message) == "second"
        others = other.call()
        await server.finish("other", 2)
        await others.end()
        assert value(others.message) == "other"
        exchange.read_on()
        await exchange.until(lambda: exchange.messages[-1].params.get("progress") == 2999, "the newest")
        await server.finish("done")
        await exchange.end()
        heard = [m.params["progress"] for m in exchange.messages if m.method == PROGRESS]
        assert heard == sorted(set(heard))
        assert value(exchange.messages[-1]) == "done"
        assert sum(event.number for event in site.stage.of(NotificationsDropped)) > 1000


async def test_a_stream_that_broke_under_a_flood_holds_nothing_up_once_it_is_given_up() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        exchange = client.call(token="p")
        await server.progress(-1)
        await exchange.until_messages(1)
        exchange.leave()
        await exchange.end()
        await flood(server)
        await server.cancelled()
        assert client.session.streams.waiting <= MOST_UNHEARD
        await server.finish("too late")
        await is_well(site, client, server, 1)


async def test_after_a_large_answer_as_json_all_goes_on_as_before() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        for number, after in enumerate((0.0, 1.0, 1.0)):
            exchange = client.call(accept="application/json" if number else "*/*")
            await server.call(number)
            await anyio.sleep(after)
            await server.finish("x" * (CHOKED_FROM + 1000), number)
            await exchange.end()
            assert len(value(exchange.message)) == CHOKED_FROM + 1000
        await is_well(site, client, server, 3)


async def test_after_a_get_that_did_not_read_all_goes_on_as_before() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client(roots={})
        listens = client.listen()
        await listens.until(lambda: listens.is_stream)
        listens.stop_reading()
        call = client.call(id=1, token="p", accept="application/json")
        await server.call()
        await flood(server)
        assert client.session.streams.waiting > CHOKED_FROM
        listens.leave()
        await listens.end()
        assert client.session.streams.waiting <= MOST_UNHEARD
        await server.finish("done")
        await call.end()
        assert value(call.message) == "done"
        await is_well(site, client, server, 1)


async def test_what_nobody_listens_to_is_kept_within_bounds_and_the_newest_is_heard() -> None:
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(accept="application/json")
        await server.call()
        for number in range(1000):
            server.log(f"{number} " + "x" * 1000)
        await anyio.sleep(1)
        assert weight(client) <= MOST_UNHEARD
        listens = client.listen()
        await listens.until_messages(100)
        numbers = [int(m.params["data"].split()[0]) for m in listens.messages]
        assert numbers == list(range(numbers[0], 1000))
        await server.finish("done")
        await exchange.end()


async def test_a_client_that_reads_no_answers_at_all_has_its_session_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GIVEN_UP_FROM >= 64 * 1024 * 1024
    monkeypatch.setattr(sessions, "GIVEN_UP_FROM", 3_000_000)
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        calls = [client.call(id=number, token=number) for number in range(6)]
        for number, exchange in enumerate(calls):
            await server.progress(1, number)
            await exchange.until_messages(1)
            exchange.stop_reading()
            await server.progress(2, number)
            await exchange.until_messages(2)
        for number in range(6):
            await server.finish("x" * 1_000_000, number)
        await anyio.sleep(2)
        assert (await client.post(call())).status == 404
        assert site.front.sessions == {}


async def test_one_answer_may_be_longer_than_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "GIVEN_UP_FROM", 100_000)
    server = SlowServer()
    async with web({"one": server}) as site:
        client = await site.client()
        exchange = client.call(accept="application/json")
        await server.call()
        await anyio.sleep(1)
        await server.finish("x" * 200_000)
        await exchange.end()
        assert len(value(exchange.message)) == 200_000
        await anyio.sleep(2)
        assert (await client.post(request("ping"))).status == 200


@pytest.mark.parametrize(("message", "line"), [(b"{}", b"{}"), (b"{\r\n}", b"{  }"), (b"\n{\r}", b" { }")])
def test_a_message_becomes_one_line(message: bytes, line: bytes) -> None:
    assert one_line(message) == line
