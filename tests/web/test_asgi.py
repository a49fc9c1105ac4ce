"""Requests and replies as our handlers see them."""

from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from proxy.web.asgi import SOON, Left, Reply, Request, TooLarge
from tests.support.asgi import Exchange
from tests.support.virtual_time import VIRTUAL


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def request(*messages: MutableMapping[str, Any], headers: list[tuple[bytes, bytes]] | None = None) -> Request:
    """A request whose handler receives these messages, and then that the client is gone."""
    left = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0) if left else {"type": "http.disconnect"}

    return Request({"path": "/p", "query_string": b"a=b", "scheme": "http", "headers": headers or []}, receive)


def part(body: bytes, *, more: bool = False) -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_head_is_read_with_two_headers_of_one_name_as_a_list() -> None:
    head = request(headers=[(b"accept", b"a"), (b"host", b"here"), (b"accept", b"b")])
    assert head.headers == {"accept": "a, b", "host": "here"}
    assert (head.method, head.path, head.query, head.peer) == ("GET", "/p", b"a=b", "")


async def test_a_body_in_parts_is_put_together() -> None:
    assert await request(part(b"ab", more=True), part(b"", more=True), part(b"c")).body(3) == b"abc"


@pytest.mark.parametrize("parts", [[part(b"abcd")], [part(b"ab", more=True), part(b"cd", more=True)]])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(parts: list[MutableMapping[str, Any]]) -> None:
    with pytest.raises(TooLarge):
        await request(*parts).body(3)


async def test_a_body_that_says_that_it_is_too_large_is_not_read_at_all() -> None:
    with pytest.raises(TooLarge):
        await request(headers=[(b"content-length", b"4")]).body(3)  # nothing is there to be read


async def test_a_client_that_goes_before_the_end_of_its_body_has_left() -> None:
    with pytest.raises(Left):
        await request(part(b"ab", more=True)).body(3)


async def test_work_is_cancelled_when_its_client_leaves() -> None:
    exchange, begun, cancelled = Exchange("GET", b"", {}), anyio.Event(), anyio.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async def handler(request: Request, reply: Reply) -> None:
        await request.body(0)
        await request.unless_left(work)
        raise AssertionError("it has left")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, handler)
        await begun.wait()
        exchange.leave()
        await exchange.end()
    assert cancelled.is_set()
    assert exchange.status == 0


async def test_work_that_ends_before_its_client_leaves_returns_what_it_found() -> None:
    exchange, found = Exchange("GET", b"", {}), list[str]()

    async def work() -> str:
        await anyio.sleep(5)
        return "found"

    async def handler(request: Request, reply: Reply) -> None:
        await request.body(0)
        found.append(await request.unless_left(work))

    await exchange.run(handler)
    assert found == ["found"]


async def test_waiting_for_an_event_may_have_an_end() -> None:
    exchange, found = Exchange("GET", b"", {}), list[float]()

    async def handler(request: Request, reply: Reply) -> None:
        await request.body(0)
        began = anyio.current_time()
        assert not await request.wait(anyio.Event(), 5.0)
        found.append(anyio.current_time() - began)

    await exchange.run(handler)
    assert found == [pytest.approx(5.0 + SOON)]


@pytest.mark.parametrize("after", [0.0, SOON * 3])
async def test_waiting_for_an_event_ends_with_it(after: float) -> None:
    exchange, event = Exchange("GET", b"", {}), anyio.Event()

    async def handler(request: Request, reply: Reply) -> None:
        await request.body(0)
        await request.wait(event)
        await reply.json(200, b"1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, handler)
        await anyio.sleep(after)
        event.set()
    assert exchange.json == 1


async def test_waiting_for_an_event_ends_when_the_client_leaves() -> None:
    exchange = Exchange("GET", b"", {})

    async def handler(request: Request, reply: Reply) -> None:
        await request.body(0)
        await request.wait(anyio.Event())
        raise AssertionError("it has left")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, handler)
        exchange.leave()
    assert exchange.is_over


@pytest.mark.parametrize(("status", "headers"), [(202, {"content-length": "0"}), (204, {}), (304, {})])
async def test_an_answer_without_content_says_so_where_it_may(status: int, headers: dict[str, str]) -> None:
    exchange = Exchange("GET", b"", {})

    async def handler(request: Request, reply: Reply) -> None:
        assert not reply.has_begun
        await reply.empty(status)
        assert reply.has_begun

    await exchange.run(handler)
    assert (exchange.status, exchange.headers, exchange.body) == (status, headers, b"")
    assert exchange.is_whole


async def test_a_whole_answer_has_its_length_and_a_stream_has_none() -> None:
    whole, stream = Exchange("GET", b"", {}), Exchange("GET", b"", {})

    async def say(request: Request, reply: Reply) -> None:
        await reply.json(400, b"{}", (b"x", b"y"))

    async def tell(request: Request, reply: Reply) -> None:
        await reply.begin_events((b"x", b"y"))
        await reply.more(b"data: 1\n\n")
        await reply.end()

    await whole.run(say)
    await stream.run(tell)
    assert whole.headers == {
        "content-type": "application/json",
        "content-length": "2",
        "x": "y",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    assert whole.status == 400
    assert stream.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x": "y",
    }
    assert [event.data for event in stream.events] == ["1"]
    assert stream.is_whole
