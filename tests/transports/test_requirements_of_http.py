"""What each HTTP request of a client has to say of itself, whatever it is for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from proxy.transports.channel import Graces
from proxy.transports.http import open_http
from tests.support.client import PATIENCE
from tests.support.collector import Collector
from tests.support.raw_http import EVENTS, RawHttp, Reply, Request, Site, serving

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
NEWS = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


@asynccontextmanager
async def spoken_to() -> AsyncIterator[RawHttp]:
    """A server that was greeted and whose stream of its own was opened."""

    async def announce(request: Request, reply: Reply) -> None:
        await reply.begin(200, EVENTS)
        await reply.event(NEWS)
        await reply.until_gone()

    heard = Collector()
    async with serving(Site(GET=announce)) as server:
        with anyio.fail_after(PATIENCE):
            async with open_http("web", server.url, {}, sse=False, intake=heard, graces=Graces(5.0)) as channel:
                channel.write(INITIALIZE)
                await heard.answer(1)
                channel.agreed("2025-11-25")
                channel.write(INITIALIZED)
                await heard.until(lambda: len(heard.lines) == 2)
                yield server


def accepted(request: Request) -> set[str]:
    return {kind.partition(";")[0].strip() for kind in request.headers["accept"].split(",")}


async def test_each_message_says_that_json_and_events_are_accepted() -> None:
    async with spoken_to() as server:
        pass
    assert len(server.asked("POST")) == 2
    for request in server.asked("POST"):
        assert accepted(request) >= {"application/json", "text/event-stream"}


async def test_who_asks_for_the_servers_own_stream_says_that_events_are_accepted() -> None:
    async with spoken_to() as server:
        pass
    [request] = server.asked("GET")
    assert "text/event-stream" in accepted(request)
