"""Servers behind HTTP, of good and bad habits, byte by byte."""

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.errors import ConnectionLost, Hopeless, ServerError, Unreachable
from proxy.transports.channel import MOST_BUFFERED, Graces
from proxy.transports.http import HttpChannel, open_http
from tests.support.client import PATIENCE
from tests.support.collector import Collector
from tests.support.raw_http import (
    EVENTS,
    JSON,
    RawHttp,
    Reply,
    Request,
    Site,
    answer,
    cut_off,
    fails,
    refused_url,
    says,
    serving,
)

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
SECRET = {"Authorization": "Bearer abc"}
CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"t"}}\n'
ODD = (
    rb'{"big":12345678901234567890.123,"huge":1e400,"tiny":-0.0,"half":"\ud800","slash":"\/","escaped":"\u00e9",'
    rb'"plain":"' + "é\u2028".encode() + rb'","content":[],"_meta":{"x":{}},"deep":' + b"[" * 50 + b"]" * 50 + b"}"
)


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def heard() -> Collector:
    return Collector()


@asynccontextmanager
async def opened(
    url: str, heard: Collector, headers: Mapping[str, str] | None = None, *, sse: bool = False, quiet: float = 5.0
) -> AsyncIterator[HttpChannel]:
    """An open channel, nothing said yet."""
    with anyio.fail_after(PATIENCE):
        async with open_http("web", url, headers or {}, sse=sse, intake=heard, graces=Graces(quiet)) as channel:
            yield channel


@asynccontextmanager
async def greeted(
    site: Site, heard: Collector, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[HttpChannel, RawHttp]]:
    """A channel to a site after the handshake."""
    async with serving(site) as server, opened(server.url, heard, headers) as channel:
        channel.write(INITIALIZE)
        assert (await heard.answer(1)).result["protocolVersion"] == "2025-11-25"
        channel.agreed("2025-11-25")
        channel.write(INITIALIZED)
        await server.until(lambda: bool(server.asked("notifications/initialized")))
        yield channel, server


async def end_of(channel: HttpChannel) -> ServerError:
    with anyio.fail_after(PATIENCE):
        return await channel.ended()


def has_ended(channel: HttpChannel) -> bool:
    return channel._end.is_noted


# The good habits


async def test_a_session_is_kept_named_and_ended(heard: Collector) -> None:
    async with greeted(Site("my-session"), heard, SECRET) as (channel, server):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).result["content"] == []
    first, *later = server.requests
    assert "mcp-session-id" not in first.headers
    assert [request.headers["mcp-session-id"] for request in later] == ["my-session"] * len(later)
    assert "mcp-protocol-version" not in first.headers
    assert {request.headers["mcp-protocol-version"] for request in later} == {"2025-11-25"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer abc"}
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}
    assert later[-1].method == "DELETE"


async def test_a_server_without_sessions_is_fine(heard: Collector) -> None:
    async with greeted(Site(None), heard) as (channel, server):
        channel.write(CALL % 2)
        await heard.answer(2)
    assert not any("mcp-session-id" in request.headers for request in server.requests)
    assert server.asked("DELETE") == []


async def test_answers_come_in_whatever_order_they_are_ready(heard: Collector) -> None:
    waiting: list[tuple[Request, Reply]] = []
    go = anyio.Event()

    async def all_at_once(request: Request, reply: Reply) -> None:
        waiting.append((request, reply))
        if len(waiting) == 64:
            go.set()
        await go.wait()

    async with greeted(Site(tools__call=all_at_once), heard) as (channel, _):
        channel.write(b"".join(CALL % id for id in range(2, 66)))
        for id in range(2, 66):
            await heard.answer(id)
    assert len(heard.lines) == 65


async def test_a_redirect_within_the_origin_is_followed(heard: Collector) -> None:
    site = Site()

    async def slash(request: Request, reply: Reply) -> None:
        if request.path == "/mcp":
            await reply.whole(b"", 307, {"Location": "/mcp/"})
        else:
            await site(request, reply)

    async with serving(slash) as server, opened(server.url, heard) as channel:
        channel.write(INITIALIZE)
        assert (await heard.answer(1)).result["serverInfo"]["name"] == "site"
    assert server.requests[1].body == INITIALIZE.rstrip()


async def test_a_redirect_elsewhere_takes_no_secret_along(heard: Collector) -> None:
    async with (
        serving(Site()) as elsewhere,
        serving(fails(307, Location=elsewhere.url)) as server,
        opened(server.url, heard, SECRET) as channel,
    ):
        channel.write(INITIALIZE)
        assert "edirect" in (await heard.answer(1)).error["message"]
    assert elsewhere.requests == []


# Fidelity


async def test_what_is_sent_arrives_byte_for_byte(heard: Collector) -> None:
    lines = [
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","arguments":' + ODD + b"}}",
        b'{ "jsonrpc" : "2.0" , "method":"notifications/progress","params":' + ODD + b',"extra":1}',
        b'{"jsonrpc":"2.0","id":"\\u00e9","result":' + ODD + b"}",
        b'{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no","data":' + ODD + b"}}",
    ]
    async with greeted(Site(), heard) as (channel, server):
        before = len(server.requests)
        channel.write(b"".join(line + b"\n" for line in lines))
        await server.until(lambda: len([r for r in server.requests[before:] if r.method == "POST"]) == len(lines))
        assert {r.body for r in server.requests[before:] if r.method == "POST"} == set(lines)


async def by_json(reply: Reply, text: bytes) -> None:
    await reply.json(text)


async def by_event(reply: Reply, text: bytes) -> None:
    await reply.begin(200, EVENTS)
    await reply.event(text)
    await reply.finish()


async def by_event_with_crlf(reply: Reply, text: bytes) -> None:
    await reply.begin(200, EVENTS)
    await reply.event(text, end=b"\r\n")
    await reply.finish()


async def by_tiny_pieces(reply: Reply, text: bytes) -> None:
    await reply.begin(200, EVENTS)
    data = b": hello\n\nid: 7\nevent: message\ndata:" + text + b"\n\n"
    for start in range(0, len(data), 3):
        await reply.chunk(data[start : start + 3])
    await reply.finish()


async def by_several_data_lines(reply: Reply, text: bytes) -> None:
    """Cut where JSON has a comma between members, as a server that lays out its JSON would."""
    await reply.begin(200, EVENTS)
    lines = text.replace(b',"', b',\n  "').split(b"\n")
    await reply.chunk(b"".join(b"data: " + line + b"\r\n" for line in lines) + b"\r\n")
    await reply.finish()


WAYS = [by_json, by_event, by_event_with_crlf, by_tiny_pieces]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "member", [b'"result":' + ODD, b'"error":{"code":-32000,"message":"x","data":' + ODD + b',"y":1}']
)
async def test_what_is_answered_arrives_byte_for_byte(way: Any, member: bytes, heard: Collector) -> None:
    async def reply_oddly(request: Request, reply: Reply) -> None:
        await way(reply, b'{"jsonrpc":"2.0","id":2,' + member + b',"unknown":[1]}')

    async with greeted(Site(tools__call=reply_oddly), heard) as (channel, _):
        channel.write(CALL % 2)
        assert member in (await heard.answer(2)).line


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_json_laid_out_over_several_lines_becomes_one_line(line_end: bytes, heard: Collector) -> None:
    body = b'{\n  "jsonrpc": "2.0",\n  "id": 2,\n  "result": {\n    "content": [],\n    "n": 1e400\n  }\n}\n'

    async def pretty(request: Request, reply: Reply) -> None:
        await reply.json(body.replace(b"\n", line_end))

    async with greeted(Site(tools__call=pretty), heard) as (channel, _):
        channel.write(CALL % 2)
        got = await heard.answer(2)
        assert b"1e400" in got.raw_result
        assert got.raw_result.replace(b" ", b"").replace(b"\r", b"") == b'{"content":[],"n":1e400}'


async def test_one_message_over_several_data_lines_becomes_one_line(heard: Collector) -> None:
    async def spread(request: Request, reply: Reply) -> None:
        await by_several_data_lines(reply, answer(request.message, ODD))

    async with greeted(Site(tools__call=spread), heard) as (channel, _):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).raw_result.replace(b" ", b"") == ODD


@pytest.mark.parametrize("way", [by_json, by_event])
async def test_ten_megabytes_pass(way: Any, heard: Collector) -> None:
    large = b'{"content":["' + b"x" * 10_000_000 + b'"]}'

    async def reply_at_length(request: Request, reply: Reply) -> None:
        await way(reply, answer(request.message, large))

    async with greeted(Site(tools__call=reply_at_length), heard) as (channel, _):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).raw_result == large


async def test_what_a_server_says_during_a_call_comes_before_its_answer_as_it_was_said(heard: Collector) -> None:
    progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":' + ODD + b"}"
    question = b'{"jsonrpc":"2.0","id":"\\u00e9","method":"ping","params":' + ODD + b"}"

    async def talk(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        await reply.event(progress)
        await reply.event(question)
        await reply.event(answer(request.message, b"{}"))
        await reply.finish()

    async with greeted(Site(tools__call=talk), heard) as (channel, server):
        channel.write(CALL % 2)
        await heard.answer(2)
        said, asked = heard.messages[1:3]
        assert (said.method, said.members["params"]) == ("notifications/progress", ODD)
        assert (asked.method, asked.id, asked.members["params"]) == ("ping", b'"\\u00e9"', ODD)
        assert [id for id, _ in heard.within] == [b"2"] * 3
        channel.write(b'{"jsonrpc":"2.0","id":"\\u00e9","result":{}}\n')
        await server.until(lambda: server.requests[-1].body == b'{"jsonrpc":"2.0","id":"\\u00e9","result":{}}')


async def test_what_a_server_says_on_its_own_comes_too(heard: Collector) -> None:
    async def announce(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        await reply.event(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
        await reply.event(b'{"jsonrpc":"2.0","method":"notifications/message","params":' + ODD + b"}")
        await reply.until_gone()

    async with greeted(Site(GET=announce), heard):
        await heard.until(lambda: len(heard.lines) == 3)
    assert heard.within == []
    assert heard.messages[1].method == "notifications/tools/list_changed"
    assert heard.messages[2].members["params"] == ODD


@pytest.mark.parametrize("way", [by_json, by_event])
async def test_compression_against_our_wish_still_gives_the_answer(way: Any, heard: Collector) -> None:
    async def squeeze(request: Request, reply: Reply) -> None:
        text = answer(request.message, b'{"content":[{"type":"text","text":"hello"}],"unknown":{"a":1}}')
        kind = JSON if way is by_json else EVENTS
        data = text if way is by_json else b"data: " + text + b"\n\n"
        await reply.whole(gzip.compress(data), 200, {**kind, "Content-Encoding": "gzip"})

    async with greeted(Site(tools__call=squeeze), heard) as (channel, _):
        channel.write(CALL % 2)
        got = (await heard.answer(2)).result
        assert got == {"content": [{"type": "text", "text": "hello"}], "unknown": {"a": 1}}


# Requests that fail alone


async def html(request: Request, reply: Reply) -> None:
    await reply.whole(b"<h1>Please log in</h1>", 200, {"Content-Type": "text/html"})


async def reset_before(request: Request, reply: Reply) -> None:
    await reply.hang_up()


async def reset_within_json(request: Request, reply: Reply) -> None:
    await reply.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    await anyio.lowlevel.checkpoint()
    await reply.hang_up()


async def reset_within_events(request: Request, reply: Reply) -> None:
    await reply.begin(200, EVENTS)
    await reply.chunk(b"data: {")
    await anyio.lowlevel.checkpoint()
    await reply.hang_up()


async def cut_json(request: Request, reply: Reply) -> None:
    await reply.json(answer(request.message, b"{}")[:-4])


async def no_events(request: Request, reply: Reply) -> None:
    await reply.begin(200, EVENTS)
    await reply.finish()


async def nonsense_event(request: Request, reply: Reply) -> None:
    await reply.begin(200, EVENTS)
    await reply.event(b"{nonsense}")
    await reply.finish()


BAD_ANSWERS = {
    "500": fails(500, b"Internal Server Error", Content_Type="text/plain"),
    "500-without-type": fails(500, b"oops"),
    "500-json": fails(500, b'{"detail":"oops"}', Content_Type="application/json"),
    "403-oauth": fails(403, b'{"error":"insufficient_scope"}', Content_Type="application/json; charset=utf-8"),
    "429": fails(429, b"slow down", Retry_After="1"),
    "502-html": fails(502, b"<h1>Bad Gateway</h1>", Content_Type="text/html"),
    "html": html,
    "202": fails(202),
    "200-empty": fails(200, b"", Content_Type="application/json"),
    "204": fails(204),
    "batch": fails(200, b"[]", Content_Type="application/json"),
    "cut-json": cut_json,
    "no-json": fails(200, b"hello", Content_Type="application/json"),
    "no-events": no_events,
    "nonsense-event": nonsense_event,
    "reset-before": reset_before,
    "reset-within-json": reset_within_json,
    "reset-within-events": reset_within_events,
}
BROKEN = {
    "500",
    "500-without-type",
    "500-json",
    "502-html",
    "no-events",
    "reset-before",
    "reset-within-json",
    "reset-within-events",
}
"""Those after which the server may well be ill: the others show that it is there, and what it thinks of the request."""


@pytest.mark.parametrize("bad", BAD_ANSWERS)
async def test_an_answer_of_no_use_fails_its_own_call_and_no_other(bad: str, heard: Collector) -> None:
    """Another call is in flight meanwhile, and a third comes afterwards."""
    release, begun = anyio.Event(), anyio.Event()

    async def call(request: Request, reply: Reply) -> None:
        match request.message.id:
            case b"2":
                begun.set()
                await release.wait()
            case b"3":
                await BAD_ANSWERS[bad](request, reply)

    async with greeted(Site(tools__call=call), heard) as (channel, _):
        channel.write(CALL % 2)
        await begun.wait()
        channel.write(CALL % 3)
        if bad in BROKEN:
            assert (await heard.failure(3))[1] == "maybe"
        else:
            error = (await heard.answer(3)).error
            assert isinstance(error["code"], int)
            assert "'web'" in error["message"]
            assert error["data"] == {"origin": "mcp-manifold", "server": "web", "delivered": "maybe"}
        assert len(heard.failures) == (bad in BROKEN)
        release.set()
        assert (await heard.answer(2)).result["content"] == []
        channel.write(CALL % 4)
        assert (await heard.answer(4)).result["content"] == []
        assert not has_ended(channel)


@pytest.mark.parametrize("bad", ["500", "500-json", "403-oauth", "429", "502-html"])
async def test_the_error_names_the_status(bad: str, heard: Collector) -> None:
    async with greeted(Site(tools__call=BAD_ANSWERS[bad]), heard) as (channel, _):
        channel.write(CALL % 2)
        told = (await heard.failure(2))[0] if bad in BROKEN else (await heard.answer(2)).error["message"]
        assert bad[:3] in told


@pytest.mark.parametrize("id", [b"2", b"null", None])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_servers_own_error_passes_unchanged_whatever_its_status_and_id(
    id: bytes | None, status: int, heard: Collector
) -> None:
    own = b'{"code":-32602,"message":"Bad Request: no such thing","data":' + ODD + b"}"
    member = b"" if id is None else b'"id":' + id + b","
    body = b'{"jsonrpc":"2.0",' + member + b'"error":' + own + b"}"
    async with greeted(Site(tools__call=fails(status, body, Content_Type="application/json")), heard) as (channel, _):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).members["error"] == own
        assert not has_ended(channel)


async def test_a_stream_that_breaks_off_is_resumed_where_it_was(heard: Collector) -> None:
    async def break_off(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        await reply.chunk(b"id: 41\nretry: 1\ndata: \n\n")
        await reply.finish()

    async def resume(request: Request, reply: Reply) -> None:
        if request.headers.get("last-event-id") == "41":
            await reply.begin(200, EVENTS)
            await reply.event(b'{"jsonrpc":"2.0","id":2,"result":' + ODD + b"}")
            await reply.finish()

    async with greeted(Site(tools__call=break_off, GET=resume), heard) as (channel, _):
        channel.write(CALL % 2)
        assert (await heard.answer(2)).raw_result == ODD


async def test_a_server_that_takes_its_time_with_a_notification_delays_no_call(heard: Collector) -> None:
    release = anyio.Event()

    async def slow(request: Request, reply: Reply) -> None:
        await release.wait()

    site = Site(notifications__cancelled=slow, answer=slow)
    async with greeted(site, heard) as (channel, server):
        channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}\n')
        channel.write(b'{"jsonrpc":"2.0","id":"q","result":{}}\n')
        await server.until(lambda: bool(server.asked("notifications/cancelled")))
        channel.write(CALL % 2)
        assert (await heard.answer(2)).result["content"] == []
        release.set()


@pytest.mark.parametrize("bad", ["500", "html", "reset-before", "reset-within-json"])
async def test_a_notification_that_fails_is_of_no_consequence(bad: str, heard: Collector) -> None:
    async with greeted(Site(notifications__cancelled=BAD_ANSWERS[bad]), heard) as (channel, server):
        channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}\n')
        await server.until(lambda: bool(server.asked("notifications/cancelled")))
        channel.write(CALL % 2)
        await heard.answer(2)
        assert not has_ended(channel)
        assert len(heard.lines) == 2


@pytest.mark.parametrize("status", [200, 400, 404, 405, 500])
async def test_a_server_without_a_stream_of_its_own_is_fine(status: int, heard: Collector) -> None:
    """404 is what a web framework says of a GET that nobody wrote."""
    async with greeted(Site(GET=fails(status)), heard) as (channel, server):
        await server.until(lambda: bool(server.asked("GET")))
        channel.write(CALL % 2)
        await heard.answer(2)
        assert not has_ended(channel)


# A server that does not read


LONG = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"' + b"x" * 20_000_000 + b'"}}\n'
"""More than what a socket holds on its two ends."""


async def test_a_server_that_does_not_read_is_told_of_and_again_when_it_has_read(heard: Collector) -> None:
    told: list[bool] = []
    async with greeted(Site(), heard) as (channel, server):
        channel.choked = told.append
        channel.write(CALL % 2)
        await heard.answer(2)
        assert told == []
        server.stop_reading()
        channel.write(LONG % 3)
        assert told == [True]
        channel.write(CALL % 4)
        server.read_on()
        await heard.answer(3)
        await heard.answer(4)
        assert told == [True, False]


async def test_what_was_answered_is_kept_no_more(heard: Collector) -> None:
    told: list[bool] = []
    async with greeted(Site(tools__call=says(b"{}")), heard) as (channel, _):
        channel.choked = told.append
        for id in range(2, 7):
            channel.write(LONG % id)
            await heard.answer(id)
        assert told == [True, False] * 5


async def test_a_server_that_does_not_read_is_given_up_before_it_eats_the_memory(heard: Collector) -> None:
    async with greeted(Site(), heard) as (channel, server):
        server.stop_reading()
        for id in range(2, 3 + MOST_BUFFERED // len(LONG)):
            channel.write(LONG % id)
        assert "does not take what it is sent" in (await end_of(channel)).reason


async def test_a_connection_that_is_over_takes_no_more_and_says_so_before_its_end_is_known(heard: Collector) -> None:
    told: list[bool] = []
    async with greeted(Site(tools__call=fails(404)), heard) as (channel, _):
        channel.choked = told.append
        channel.write(LONG % 2)
        await end_of(channel)
        assert told == [True, False, True]


async def test_requests_that_have_not_left_can_be_taken_back(heard: Collector) -> None:
    async with greeted(Site(), heard) as (channel, server):
        channel.write(CALL % 2)
        await heard.answer(2)
        server.stop_reading()
        channel.write(LONG % 3)
        channel.write(CALL % 4)
        assert channel.take_back() == [3, 4]
        server.read_on()
        channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}\n')
        await server.until(lambda: bool(server.asked("notifications/cancelled")))
    assert len(server.asked("tools/call")) == 1


async def test_a_request_whose_connection_broke_before_it_had_left_was_not_delivered(heard: Collector) -> None:
    async with greeted(Site(), heard) as (channel, server):
        server.stop_reading()
        channel.write(LONG % 2)
        await server.until(lambda: bool(server.unread))
        cut_off(server.unread[0])
        assert (await heard.failure(2))[1] == "no"
        server.read_on()
        channel.write(CALL % 3)
        await heard.answer(3)
        assert not has_ended(channel)


# The end of a connection


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("body", [b"", b'{"error":"invalid_token"}'])
async def test_refused_credentials_are_hopeless_and_say_what_to_do(status: int, body: bytes, heard: Collector) -> None:
    async with (
        serving(fails(status, body, Content_Type="application/json")) as server,
        opened(f"{server.url}?key=hidden", heard, {"Authorization": "Bearer hidden"}) as channel,
    ):
        channel.write(INITIALIZE)
        problem = await end_of(channel)
        assert (await heard.answer(1)).error
    assert isinstance(problem, Hopeless)
    assert str(status) in problem.reason
    assert "headers" in problem.reason
    assert "hidden" not in problem.reason
    assert b"hidden" not in heard.bytes


async def test_a_forgotten_session_is_the_end_of_the_connection(heard: Collector) -> None:
    async with greeted(Site(tools__call=fails(404, b"no such session")), heard) as (channel, _):
        channel.write(CALL % 2)
        problem = await end_of(channel)
        assert heard.undeliverable == [b"2"], "who does not know the session has not looked at the request"
    assert isinstance(problem, ConnectionLost)
    assert "session" in problem.reason


async def test_a_wrong_path_is_told_with_its_status(heard: Collector) -> None:
    not_found = fails(404, b"Not Found", Content_Type="text/plain")
    async with serving(not_found) as server, opened(server.url, heard) as channel:
        channel.write(INITIALIZE)
        assert "404" in (await heard.answer(1)).error["message"]


async def test_where_nobody_listens_is_unreachable_and_nothing_was_delivered(heard: Collector) -> None:
    async with opened(refused_url() + "?key=hidden", heard) as channel:
        channel.write(INITIALIZE)
        problem = await end_of(channel)
        assert heard.undeliverable == [b"1"], "said before the end, which would leave it open"
    assert isinstance(problem, Unreachable)
    assert "no connection" in problem.reason
    assert "hidden" not in problem.reason


async def test_a_name_that_nobody_knows_is_unreachable(heard: Collector) -> None:
    async with opened("http://no-such-host.invalid/mcp", heard) as channel:
        channel.write(INITIALIZE)
        assert isinstance(await end_of(channel), Unreachable)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/mcp", "http://[::1/mcp", "http://exa mple/mcp"])
@pytest.mark.parametrize("sse", [False, True])
async def test_a_url_that_is_none_is_hopeless(url: str, sse: bool, heard: Collector) -> None:
    async with opened(url, heard, sse=sse) as channel:
        channel.write(INITIALIZE)
        problem = await end_of(channel)
    assert not has_internals(problem)
    assert isinstance(problem, Hopeless | Unreachable)


async def answer_or_end(channel: HttpChannel, heard: Collector) -> str:
    """The answer to `initialize`, or why there is none, or no connection any more."""
    told: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def wait_for_answer() -> None:
            told.append((await heard.answer(1)).line.decode())
            tasks.cancel_scope.cancel()

        async def wait_for_failure() -> None:
            told.append((await heard.failure(1))[0])
            tasks.cancel_scope.cancel()

        async def wait_for_end() -> None:
            told.append((await end_of(channel)).reason)
            tasks.cancel_scope.cancel()

        tasks.start_soon(wait_for_answer)
        tasks.start_soon(wait_for_failure)
        tasks.start_soon(wait_for_end)
    return told[0]


def has_internals(problem: ServerError) -> bool:
    return "Traceback" in problem.reason or "RuntimeError" in problem.reason


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "ä☃"])
async def test_a_header_that_http_does_not_allow_fails_the_start_without_showing_it(
    value: str, heard: Collector
) -> None:
    async with serving(Site()) as server, opened(server.url, heard, {"X-Secret": value}) as channel:
        channel.write(INITIALIZE)
        assert value not in await answer_or_end(channel, heard)


async def test_writing_after_the_end_does_nothing(heard: Collector) -> None:
    async with opened(refused_url(), heard) as channel:
        channel.write(INITIALIZE)
        await end_of(channel)
        channel.write(CALL % 2)
    channel.write(CALL % 3)
    assert (heard.messages, heard.undeliverable) == ([], [b"1"])


async def test_leaving_during_a_call_ends_the_session_and_does_not_wait_for_the_answer(heard: Collector) -> None:
    begun = anyio.Event()

    async def never(request: Request, reply: Reply) -> None:
        begun.set()
        await reply.until_gone()

    async with greeted(Site(tools__call=never, GET=never), heard) as (channel, server):
        channel.write(CALL % 2)
        await begun.wait()
    assert [request.headers["mcp-session-id"] for request in server.asked("DELETE")] == ["session-1"]


async def test_a_server_that_does_not_let_go_is_left_after_the_grace(heard: Collector) -> None:
    async def never(request: Request, reply: Reply) -> None:
        await reply.until_gone()

    async with serving(Site(DELETE=never)) as server, opened(server.url, heard, quiet=0.05) as channel:
        channel.write(INITIALIZE)
        await heard.answer(1)
        channel.agreed("2025-11-25")


async def test_a_session_is_ended_where_its_owner_is_cancelled(heard: Collector) -> None:
    async with serving(Site()) as server:
        with anyio.CancelScope() as scope:
            async with opened(server.url, heard) as channel:
                channel.write(INITIALIZE)
                await heard.answer(1)
                channel.agreed("2025-11-25")
                scope.cancel()
                await anyio.sleep_forever()
        assert len(server.asked("DELETE")) == 1


async def test_a_server_that_never_answered_is_left_at_once(heard: Collector) -> None:
    begun = anyio.Event()

    async def never(request: Request, reply: Reply) -> None:
        begun.set()
        await reply.until_gone()

    async with serving(Site(GET=never)) as server:
        with anyio.move_on_after(PATIENCE) as patience, anyio.CancelScope() as scope:
            async with opened(server.url, heard, sse=True, quiet=2 * PATIENCE):
                await begun.wait()
                scope.cancel()
                await anyio.sleep_forever()
        assert not patience.cancel_called


async def test_what_was_queued_goes_out_before_leaving(heard: Collector) -> None:
    async with greeted(Site(), heard) as (channel, server):
        channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}\n')
    assert len(server.asked("notifications/cancelled")) == 1


@pytest.mark.parametrize("begun", [False, True], ids=["no-answer-yet", "in-the-middle-of-its-stream"])
async def test_a_cancelled_call_lets_its_connection_go(begun: bool, heard: Collector) -> None:
    """Or the connections of calls that never end would pile up."""
    called, let_go = anyio.Event(), anyio.Event()

    async def hang(request: Request, reply: Reply) -> None:
        if begun:
            await reply.begin(200, EVENTS)
            await reply.chunk(b": still here\n\n")
        called.set()
        await reply.until_gone()
        let_go.set()

    async with greeted(Site(tools__call=hang), heard) as (channel, server):
        channel.write(CALL % 2)
        with anyio.fail_after(PATIENCE):
            await called.wait()
            channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}\n')
            await let_go.wait()
        await server.until(lambda: bool(server.asked("notifications/cancelled")))
        assert not has_ended(channel)


async def test_each_of_two_answers_on_one_stream_reaches_its_own_call(heard: Collector) -> None:
    """The SDK takes the first one for the answer to the stream's own request, and hangs up."""
    replies: list[Reply] = []
    both = anyio.Event()

    async def answer_both(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        replies.append(reply)
        if len(replies) == 1:
            await both.wait()
            await reply.event(b'{"jsonrpc":"2.0","id":3,"result":{"of":3}}')
            await reply.event(b'{"jsonrpc":"2.0","id":2,"result":{"of":2}}')
            await reply.finish()
        else:
            both.set()
            await reply.until_gone()

    async with greeted(Site(tools__call=answer_both), heard) as (channel, server):
        channel.write(CALL % 2)
        await server.until(lambda: len(server.asked("tools/call")) == 1)
        channel.write(CALL % 3)
        assert (await heard.answer(3)).result == {"of": 3}
        assert (await heard.answer(2)).result == {"of": 2}


async def test_an_answer_to_another_call_in_place_of_its_own_fails_the_call_at_once(heard: Collector) -> None:
    async def confuse(request: Request, reply: Reply) -> None:
        await reply.json(b'{"jsonrpc":"2.0","id":7,"result":{"of":7}}')

    async with greeted(Site(tools__call=confuse), heard) as (channel, _):
        channel.write(CALL % 2)
        assert "another request" in (await heard.answer(2)).error["message"]
        assert (await heard.answer(7)).result == {"of": 7}


async def test_a_question_of_the_servers_with_the_id_of_a_call_is_not_taken_for_it(heard: Collector) -> None:
    """Either side counts its own requests."""
    let_go = anyio.Event()

    async def ask(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        await reply.event(b'{"jsonrpc":"2.0","id":2,"method":"ping"}')
        await reply.until_gone()
        let_go.set()

    async with greeted(Site(tools__call=ask), heard) as (channel, server):
        channel.write(CALL % 2)
        await heard.until(lambda: heard.messages[-1].method == "ping")
        channel.write(b'{"jsonrpc":"2.0","id":2,"result":{}}\n')
        await server.until(lambda: bool(server.requests[-1].body.endswith(b'"result":{}}')))
        channel.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}\n')
        with anyio.fail_after(PATIENCE):
            await let_go.wait()
