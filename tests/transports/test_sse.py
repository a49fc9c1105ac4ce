"""The transport of 2024-11-05: answers come on one long stream, whatever was asked in whatever POST."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from proxy.errors import ConnectionLost, Hopeless, ServerError, Unreachable
from proxy.transports.channel import Graces
from proxy.transports.http import HttpChannel, open_http
from tests.support.client import PATIENCE
from tests.support.collector import Collector
from tests.support.raw_http import (
    EVENTS,
    Handler,
    RawHttp,
    Reply,
    Request,
    answer,
    cut_off,
    fails,
    refused_url,
    result_of,
    serving,
)
from tests.transports.test_http import CALL, INITIALIZE, INITIALIZED, ODD, SECRET


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def heard() -> Collector:
    return Collector()


class SseSite:
    """A small MCP server over SSE. `endpoint` is what its first event says; `on` answers POSTs in its place."""

    def __init__(self, endpoint: bytes = b"/messages?session=1", **on: Handler) -> None:
        self.endpoint = endpoint
        self.on = {name.replace("__", "/"): handler for name, handler in on.items()}
        self.stream: Reply | None = None
        self.line_end = b"\n"
        self.left = anyio.Event()

    async def __call__(self, request: Request, reply: Reply) -> None:
        if request.method == "GET":
            await reply.begin(200, EVENTS)
            end = self.line_end
            await reply.chunk(b"event: endpoint" + end + b"data: " + self.endpoint + end + end)
            self.stream = reply
            await reply.until_gone()
            self.left.set()
            return
        handler = self.on.get(request.message.method or "answer")
        if handler is not None:
            await handler(request, reply)
            if reply.begun:
                return
        await reply.whole(b"Accepted", 202)
        if request.message.id is not None and request.message.method is not None:
            await self.say(answer(request.message, result_of(request.message)))

    async def say(self, message: bytes) -> None:
        """On the stream."""
        assert self.stream is not None
        await self.stream.event(message, end=self.line_end)


@asynccontextmanager
async def opened(
    url: str, heard: Collector, headers: Mapping[str, str] | None = None, quiet: float = 5.0
) -> AsyncIterator[HttpChannel]:
    with anyio.fail_after(PATIENCE):
        async with open_http("web", url, headers or {}, sse=True, intake=heard, graces=Graces(quiet)) as channel:
            yield channel


@asynccontextmanager
async def greeted(
    site: SseSite, heard: Collector, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[HttpChannel, RawHttp]]:
    async with serving(site, "/sse") as server, opened(server.url, heard, headers) as channel:
        channel.write(INITIALIZE)
        assert (await heard.answer(1)).result["protocolVersion"] == "2025-11-25"
        channel.agreed("2025-11-25")
        channel.write(INITIALIZED)
        yield channel, server


async def end_of(channel: HttpChannel) -> ServerError:
    with anyio.fail_after(PATIENCE):
        return await channel.ended()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_calls_go_to_the_endpoint_and_answers_come_on_the_stream(line_end: bytes, heard: Collector) -> None:
    site = SseSite()
    site.line_end = line_end
    async with greeted(site, heard, SECRET) as (channel, server):
        channel.write(b"".join(CALL % id for id in range(2, 12)))
        for id in range(2, 12):
            assert (await heard.answer(id)).result["params"] == {"name": "t"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer abc"}
    assert {request.path for request in server.requests if request.method == "POST"} == {"/messages?session=1"}


async def test_bytes_pass_unchanged_both_ways(heard: Collector) -> None:
    async def reply_oddly(request: Request, reply: Reply) -> None:
        await reply.whole(b"", 202)
        await site.say(b'{"jsonrpc":"2.0","method":"notifications/message","params":' + ODD + b"}")
        await site.say(b'{"jsonrpc":"2.0","id":2,"result":' + ODD + b"}")

    site = SseSite(tools__call=reply_oddly)
    line = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","arguments":' + ODD + b'},"extra":1}'
    async with greeted(site, heard) as (channel, server):
        channel.write(line + b"\n")
        assert (await heard.answer(2)).raw_result == ODD
        assert heard.messages[1].members["params"] == ODD
        assert server.asked("tools/call")[0].body == line


async def test_a_message_over_several_data_lines_and_ten_megabytes_pass(heard: Collector) -> None:
    large = b'{"content":["' + b"x" * 10_000_000 + b'"]}'

    async def reply_at_length(request: Request, reply: Reply) -> None:
        await reply.whole(b"", 202)
        assert site.stream is not None
        await site.stream.chunk(b'data: {"jsonrpc":"2.0",\ndata:  "id":2,\ndata: "result":' + large + b"}\n\n")

    site = SseSite(tools__call=reply_at_length)
    async with greeted(site, heard) as (channel, _):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).raw_result == large


async def test_a_question_of_the_servers_and_our_answer_keep_their_id(heard: Collector) -> None:
    site = SseSite()
    async with greeted(site, heard) as (channel, server):
        await site.say(b'{"jsonrpc":"2.0","id":"\\u00e9","method":"ping"}')
        await heard.until(lambda: len(heard.lines) == 2)
        assert heard.messages[1].id == b'"\\u00e9"'
        channel.write(b'{"jsonrpc":"2.0","id":"\\u00e9","result":{}}\n')
        await server.until(lambda: server.requests[-1].body == b'{"jsonrpc":"2.0","id":"\\u00e9","result":{}}')


async def test_an_event_that_is_no_message_is_passed_over(heard: Collector) -> None:
    site = SseSite()
    async with greeted(site, heard) as (channel, _):
        assert site.stream is not None
        await site.stream.chunk(b": ping - 2026\r\n\r\nevent: other\ndata: {}\n\ndata: nonsense\n\ndata:\n\n")
        channel.write(CALL % 2)
        await heard.answer(2)


# The end of a connection


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Hopeless, "headers"),
        (404, ConnectionLost, "404"),
        (500, ConnectionLost, "500"),
        (503, ConnectionLost, "503"),
    ],
)
async def test_a_stream_that_is_refused_is_told_with_its_status(
    status: int, kind: type[ServerError], words: str, heard: Collector
) -> None:
    async with serving(fails(status), "/sse") as server, opened(f"{server.url}?key=hidden", heard) as channel:
        channel.write(INITIALIZE)
        problem = await end_of(channel)
    assert isinstance(problem, kind)
    assert words in problem.reason
    assert "hidden" not in problem.reason


async def html(request: Request, reply: Reply) -> None:
    await reply.whole(b"<h1>Please log in</h1>", 200, {"Content-Type": "text/html"})


async def no_endpoint(request: Request, reply: Reply) -> None:
    await reply.begin(200, EVENTS)
    await reply.finish()


async def reset(request: Request, reply: Reply) -> None:
    await reply.hang_up()


@pytest.mark.parametrize("bad", [html, no_endpoint, reset])
async def test_what_is_no_stream_of_ours_is_a_connection_lost(bad: Handler, heard: Collector) -> None:
    async with serving(bad, "/sse") as server, opened(server.url, heard) as channel:
        channel.write(INITIALIZE)
        problem = await end_of(channel)
    assert isinstance(problem, ConnectionLost)
    assert "RuntimeError" not in problem.reason, "in words for the user"


async def test_an_endpoint_elsewhere_gets_nothing(heard: Collector) -> None:
    async with serving(fails(202)) as elsewhere, serving(SseSite(elsewhere.url.encode()), "/sse") as server:
        async with opened(server.url, heard, SECRET, quiet=0.2) as channel:
            channel.write(INITIALIZE)
            await server.until(lambda: bool(server.asked("GET")))
        assert elsewhere.requests == []


async def test_where_nobody_listens_is_unreachable(heard: Collector) -> None:
    async with opened(refused_url(), heard) as channel:
        channel.write(INITIALIZE)
        assert isinstance(await end_of(channel), Unreachable)


async def test_the_end_of_the_stream_is_the_end_of_the_connection(heard: Collector) -> None:
    site = SseSite()
    async with greeted(site, heard) as (channel, _):
        assert site.stream is not None
        await site.stream.hang_up()
        assert isinstance(await end_of(channel), ConnectionLost)


async def test_a_call_that_had_not_left_when_the_connection_broke_was_not_delivered(heard: Collector) -> None:
    async with greeted(SseSite(), heard) as (channel, server):
        await server.until(lambda: bool(server.asked("notifications/initialized")))
        server.stop_reading()
        channel.write(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"n":"' + b"x" * 20_000_000 + b'"}}\n')
        await server.until(lambda: bool(server.unread))
        cut_off(server.unread[0])
        assert isinstance(await end_of(channel), ConnectionLost)
        assert heard.undeliverable == [b"2"], "said before the end, which would leave it open"


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_call_that_is_not_accepted_ends_the_connection_since_its_answer_would_never_come(
    status: int, heard: Collector
) -> None:
    async with greeted(SseSite(tools__call=fails(status, b"no")), heard) as (channel, _):
        channel.write(CALL % 2)
        problem = await end_of(channel)
    assert isinstance(problem, ConnectionLost)
    assert str(status) in problem.reason


async def test_leaving_closes_the_stream(heard: Collector) -> None:
    site = SseSite()
    async with serving(site, "/sse") as server:
        async with opened(server.url, heard) as channel:
            channel.write(INITIALIZE)
            await heard.answer(1)
        with anyio.fail_after(PATIENCE):
            await site.left.wait()
