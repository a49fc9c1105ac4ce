"""What a client may cost that neither sends nor reads, sends without end, or is one of thousands."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.web import connection, server
from proxy.web.asgi import Reply, Request, Send
from proxy.web.server import Server
from tests.support.bare import UPGRADE, Line, a_site, head, line_to, sent_as_is
from tests.support.client import PATIENCE

HOST = {"Host": "127.0.0.1"}
FEW = 16
"""MiB that go before one side's system notices that the other does not read any more; of 64."""

OK = b'{"ok":true}'
FRAME = b"\x81\x84\x00\x00\x00\x00ping"
"""A WebSocket's, masked with zeros."""
FRAMES = 10_000


async def at_once(request: Request, reply: Reply) -> None:
    """An answer that needs nothing."""
    await reply.json(200, OK)


async def of_the_body(request: Request, reply: Reply) -> None:
    """The length of the body."""
    await reply.json(200, b"%d" % len(await request.body(1000)))


class Held:
    """Requests that are answered when the test says so."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.go = anyio.Event()
        self.left = 0
        self.gone = anyio.Event()

    async def __call__(self, request: Request, reply: Reply) -> None:
        await request.body(1000)
        self.began.set()
        try:
            await request.unless_left(self.go.wait)
        finally:
            self.left += 1
            self.gone.set()
        await reply.json(200, OK)


async def in_thread(work: Any, *args: Any) -> Any:
    with anyio.fail_after(PATIENCE):
        return await anyio.to_thread.run_sync(partial(work, *args))


def connections(site: Server) -> list[object]:
    """Those that are open."""
    return list(site._server.server_state.connections)


LIMITS = ("HEAD_WITHIN", "SILENT_FOR", "KEEP_ALIVE")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From when it is called on, whoever is waited for by these limits is given up at the next look."""
    monkeypatch.setattr(server, "_LOOK_EVERY", 0.01)

    def call(*limits: str) -> None:
        for limit in limits or LIMITS:
            monkeypatch.setattr(connection, limit, 0.0)

    return call


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ],
    ids=["nothing", "half-a-line", "half-a-head", "no-body", "half-a-body", "half-the-chunks"],
)
async def test_a_client_that_does_not_go_on_is_cut_off(sent: bytes, hurry: Callable[..., None]) -> None:
    hurry()
    async with a_site({"": of_the_body}) as site:
        assert await in_thread(sent_as_is, site.url, sent) == b""


@pytest.mark.parametrize(("more", "limit"), [(b"GET / HT", "HEAD_WITHIN"), (b"\r\n\r\n", "KEEP_ALIVE")])
async def test_neither_half_a_head_nor_line_ends_keep_an_idle_connection(
    more: bytes, limit: str, hurry: Callable[..., None]
) -> None:
    async with a_site({"": at_once}) as site:
        with line_to(site.url) as line:
            assert (await in_thread(line.ask, "GET", "/")).body == OK
            line.send(more)
            hurry(limit)
            assert await in_thread(line.rest) == b""


async def test_a_request_that_is_here_may_take_its_time(hurry: Callable[..., None]) -> None:
    held = Held()
    looks = 0
    async with a_site({"": held}) as site, anyio.create_task_group() as tasks:

        async def ask() -> None:
            with line_to(site.url) as line:
                assert (await in_thread(line.ask, "GET", "/")).body == OK

        tasks.start_soon(ask)
        await held.began.wait()
        hurry()
        while looks < 5:  # as many as would end it
            looks += 1
            await anyio.sleep(server._LOOK_EVERY)
        held.go.set()


async def test_a_client_that_does_not_read_its_answer_is_cut_off_and_holds_nobody(hurry: Callable[..., None]) -> None:
    hurry("SILENT_FOR")
    big = b"x" * (32 << 20)
    began = anyio.Event()

    async def much(request: Request, reply: Reply) -> None:
        began.set()
        await reply.whole(200, big)

    async with a_site({"": at_once, "big": much}) as site:
        with line_to(site.url) as deaf:
            deaf.send(head("GET", "/big", HOST))
            with anyio.fail_after(PATIENCE):
                await began.wait()
                [first] = connections(site)
                while first in connections(site):
                    with line_to(site.url) as other:
                        assert (await in_thread(other.ask, "GET", "/")).body == OK
            assert len(await in_thread(deaf.rest)) < len(big)


async def test_a_head_without_end_is_cut_off() -> None:
    async with a_site({"": at_once}) as site:
        for begin in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"):
            assert await in_thread(_flood, site.url, begin, b"a: b\r\n" if begin.endswith(b"\n") else b"a" * 1024) < FEW


async def test_fields_behind_a_body_have_an_end_and_are_not_taken_for_those_of_the_head() -> None:
    async with a_site({"": at_once}, token="the-token-of-this-test-is-long-enough") as site:
        chunked = head("POST", "/mcp", {**HOST, "Transfer-Encoding": "chunked"})
        assert await in_thread(_flood, site.url, chunked + b"0\r\n", b"a: b\r\n") < FEW
        assert await in_thread(_flood, site.url, chunked + b"0\r\na: ", b"a" * 1024) < FEW
        with line_to(site.url) as line:
            line.send(chunked + b"0\r\nAuthorization: Bearer the-token-of-this-test-is-long-enough\r\n\r\n")
            assert (await in_thread(line.answer)).status == 401


async def test_a_body_that_goes_on_after_its_request_was_refused_has_an_end() -> None:
    """Small pieces cost most; nobody without a token is to keep us busy."""
    async with a_site({"": at_once}, token="the-token-of-this-test-is-long-enough") as site:
        begun = head("POST", "/mcp", {**HOST, "Transfer-Encoding": "chunked"})
        assert await in_thread(_flood, site.url, begun, b"1\r\na\r\n") < FEW


async def test_a_head_of_too_many_fields_is_cut_off() -> None:
    async with a_site({"": at_once}) as site:
        sent = head("GET", "/", {**HOST, **{f"X-{n}": "a" for n in range(connection.MOST_FIELDS)}})
        assert not (await in_thread(sent_as_is, site.url, sent)).startswith(b"HTTP/1.1 200")


async def test_others_have_their_turn_amid_thousands_of_small_messages() -> None:
    """They all come with one read."""
    turns: list[int] = []
    heard, done = 0, anyio.Event()

    async def count(request: Request, send: Send) -> None:
        nonlocal heard
        await request.receive()
        await send({"type": "websocket.accept"})
        while (await request.receive())["type"] == "websocket.receive":
            heard += 1
            if heard == 1:
                asyncio.get_running_loop().call_soon(another)
            elif heard == FRAMES:
                done.set()

    def another() -> None:
        turns.append(heard)
        if heard < FRAMES:
            asyncio.get_running_loop().call_soon(another)

    async with a_site({}, {"ws": count}) as site:
        with line_to(site.url) as line:
            line.send(head("GET", "/ws", {**HOST, **UPGRADE}))
            await in_thread(line.answer)
            line.send(FRAME * FRAMES)
            with anyio.fail_after(PATIENCE):
                await done.wait()
    assert max(after - before for before, after in pairwise(turns)) <= connection.SLICE // len(FRAME) + 1


async def test_a_message_of_endless_frames_is_cut_off() -> None:
    async def take(request: Request, send: Send) -> None:
        await request.receive()
        await send({"type": "websocket.accept"})
        while (await request.receive())["type"] == "websocket.receive":
            pass

    async with a_site({}, {"ws": take}) as site:
        first = b"\x01\x81\x00\x00\x00\x00a"
        more = b"\x00\x81\x00\x00\x00\x00a"
        upgrade = head("GET", "/ws", {**HOST, **UPGRADE})
        with line_to(site.url) as line:
            line.send(upgrade)
            await in_thread(line.answer)
            line.send(first + more * 2000)
            with pytest.raises((ConnectionError, EOFError, AssertionError)):
                await in_thread(line.answer)


def _flood(url: str, begin: bytes, more: bytes) -> int:
    """Send without end; how many MiB went until the connection was cut off."""
    sent = 0
    with line_to(url) as line:
        try:
            line.send(begin)
            while sent < 64 << 20:
                line.send(more * (65536 // len(more)))
                sent += 65536
        except ConnectionError:
            pass
    return sent >> 20


async def test_a_body_may_come_in_many_small_chunks() -> None:
    async with a_site({"": of_the_body}) as site:
        with line_to(site.url) as line:
            line.send(head("POST", "/", {**HOST, "Transfer-Encoding": "chunked"}) + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
            assert (await in_thread(line.answer)).body == b"1000"


@pytest.mark.parametrize("framing", ["declared", "chunked"])
async def test_a_body_that_is_longer_than_it_may_be_is_answered_with_413(framing: str) -> None:
    async with a_site({"": of_the_body}) as site:
        with line_to(site.url) as line:
            if framing == "declared":
                line.send(head("POST", "/", {**HOST, "Content-Length": "1001"}))
                assert (await in_thread(line.answer)).status == 413, "before a byte of it was sent"
                line.send(b"x" * 1001)
            else:
                line.send(head("POST", "/", {**HOST, "Transfer-Encoding": "chunked"}) + b"3e9\r\n" + b"x" * 1001)
                assert (await in_thread(line.answer)).status == 413
                line.send(b"\r\n0\r\n\r\n")
            assert (await in_thread(line.ask, "POST", "/", None, b"x" * 1000)).body == b"1000", "the line is good still"


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0"])
async def test_an_offer_of_another_protocol_is_ignored(upgrade: str) -> None:
    """Java's clients offer HTTP/2 with every request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AAEAAEAA"}
    async with a_site({"": of_the_body, "a": at_once}) as site:
        with line_to(site.url) as line:
            assert (await in_thread(line.ask, "GET", "/a", offer)).body == OK
            if upgrade == "h2c":
                body = b"\r\nUpgrade: h2c\r\n\r\n"
                assert (await in_thread(line.ask, "POST", "/", offer, body)).body == b"%d" % len(body)
            else:
                assert await in_thread(line.rest) == b"", "what follows is not to be understood"


async def test_pipelined_requests_are_answered_in_order_and_not_without_end() -> None:
    held = Held()

    async def named(request: Request, reply: Reply) -> None:
        await reply.json(200, request.path.encode())

    async with a_site({"held": held, "a": named, "b": named}) as site:
        with line_to(site.url) as line:
            line.send(b"".join(head("GET", path, HOST) for path in ("/held", "/a", "/b")))
            with anyio.fail_after(PATIENCE):
                await held.began.wait()
            held.go.set()
            assert [(await in_thread(line.answer)).body for _ in range(3)] == [OK, b"/a", b"/b"]
        again = Held()
    async with a_site({"held": again, "a": named}) as site:
        assert await in_thread(_flood, site.url, head("GET", "/held", HOST), head("GET", "/a", HOST)) < FEW


async def test_a_client_that_goes_is_noticed_though_it_has_asked_for_more() -> None:
    held = Held()
    async with a_site({"held": held, "a": at_once}) as site:
        with line_to(site.url) as line:
            line.send(head("GET", "/held", HOST) + head("GET", "/a", HOST))
            with anyio.fail_after(PATIENCE):
                await held.began.wait()
        with anyio.fail_after(PATIENCE):
            await held.gone.wait()
    assert not held.go.is_set()


async def test_one_connection_too_many_ends_the_one_that_was_of_no_use_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "most_connections", lambda: 20)
    held = Held()
    async with a_site({"": at_once, "held": held}) as site:
        with line_to(site.url) as busy:
            busy.send(head("GET", "/held", HOST))
            with anyio.fail_after(PATIENCE):
                await held.began.wait()
            idle = [Line(site.url) for _ in range(100)]
            with line_to(site.url) as late:
                assert (await in_thread(late.ask, "GET", "/")).body == OK
                assert len(connections(site)) == 20
            assert await in_thread(idle[0].rest) == b""
            held.go.set()
            assert (await in_thread(busy.answer)).body == OK, "the one that is answered is kept"
            for line in idle:
                line.close()


def test_more_connections_than_half_of_all_files_are_never_open() -> None:
    assert 32 <= connection.most_connections() <= 4096


@pytest.mark.parametrize(
    "more",
    [{"X": "a" * 20_000}, {f"X-{n}": "a" for n in range(300)}],
    ids=["a-long-line", "many-lines"],
)
async def test_a_websocket_whose_head_is_too_long_is_refused(more: dict[str, str]) -> None:
    async with a_site({}) as site:
        sent = head("GET", "/ws", {**HOST, **UPGRADE, **more})
        assert (await in_thread(sent_as_is, site.url, sent)).startswith(b"HTTP/1.1 400 ")


async def test_a_websocket_whose_client_does_not_read_is_cut_off(hurry: Callable[..., None]) -> None:
    hurry("SILENT_FOR")
    sending = anyio.Event()

    async def much(request: Request, send: Send) -> None:
        await request.receive()
        await send({"type": "websocket.accept"})
        sending.set()
        await send({"type": "websocket.send", "bytes": b"x" * (32 << 20)})
        await request.receive()

    async with a_site({}, {"ws": much}) as site:
        with line_to(site.url) as line:
            line.send(head("GET", "/ws", {**HOST, **UPGRADE}))
            with anyio.fail_after(PATIENCE):
                await sending.wait()
                while connections(site):  # nothing tells it: the client's system holds what is unread
                    await in_thread(time.sleep, server._LOOK_EVERY)


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of what a client does is an error of ours."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
