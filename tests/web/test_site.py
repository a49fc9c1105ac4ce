"""The application: who answers, what is said where nobody does, and what pages of others are told."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

from proxy.web.asgi import Reply, Request, Send, TooLarge
from proxy.web.guard import BEARER
from proxy.web.problems import Problem
from proxy.web.site import Handler
from tests.support.bare import UPGRADE, Answer, a_site, ask, head, line_to
from tests.support.client import PATIENCE

TOKEN = "the-token-of-this-test-is-long-enough"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
FOREIGN = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


class Asked:
    """A handler that keeps what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[str] = []

    async def __call__(self, request: Request, reply: Reply) -> None:
        self.requests.append(f"{request.method} {request.path}")
        await reply.json(200, msgspec.json.encode(self.name))


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    with anyio.fail_after(PATIENCE):
        return await anyio.to_thread.run_sync(partial(work, *args))


async def answer_of(url: str, method: str, target: str, headers: Mapping[str, str] | None = None) -> Answer:
    answer = await in_thread(ask, url, method, target, headers)
    assert isinstance(answer, Answer)
    return answer


def shared(answer: Answer) -> dict[str, str]:
    """What it says of pages of others."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def test_the_first_part_of_the_path_says_who_answers() -> None:
    home, tools = Asked("home"), Asked("tools")
    async with a_site({"": home, "tools": tools}) as site:
        targets = {"/": home, "/tools": tools, "/tools/": tools, "/tools/call?a=/b": tools, "/%74ools/x": tools}
        targets |= {"//tools": home, "/tools%2Fcall": tools, "http://elsewhere.example/tools": tools}
        for target, who in targets.items():
            answer = await answer_of(site.url, "GET", target)
            assert (answer.status, answer.body) == (200, f'"{who.name}"'.encode()), target
        for target in ("/other", "/Tools", "/tool", "/tools.json", "/./tools", "/../tools", "/%2e/tools", "/%252e"):
            answer = await answer_of(site.url, "GET", target)
            assert answer.status == 404, target
            assert answer.headers["content-type"] == "application/problem+json"
            assert msgspec.json.decode(answer.body)["status"] == 404
    assert home.requests == ["GET /", "GET //tools"]


async def test_a_request_that_is_refused_reaches_nobody() -> None:
    tools = Asked("tools")
    async with a_site({"tools": tools}, token=TOKEN) as site:
        answer = await answer_of(site.url, "POST", "/tools")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="mcp-manifold"'
        assert (await answer_of(site.url, "POST", "/tools", {**SHOWN, "Host": "evil.example"})).status == 421
        assert (await answer_of(site.url, "POST", "/tools", {**SHOWN, "Origin": FOREIGN})).status == 403
        assert tools.requests == []
        assert (await answer_of(site.url, "POST", "/tools", SHOWN)).status == 200


async def test_asking_what_may_be_asked_reaches_nobody_and_needs_no_token() -> None:
    tools = Asked("tools")
    async with a_site({"tools": tools}, token=TOKEN) as site:
        for more in ({}, PREFLIGHT, SHOWN):
            answer = await answer_of(site.url, "OPTIONS", "/tools", more)
            assert (answer.status, answer.body, shared(answer)) == (204, b"", {})
        assert (await answer_of(site.url, "OPTIONS", "/tools", {"Origin": FOREIGN, **PREFLIGHT})).status == 403
    assert tools.requests == []


async def test_pages_of_others_are_told_nothing_unless_the_configuration_names_them() -> None:
    async with a_site({"": Asked("home")}) as site:
        for method in ("GET", "OPTIONS"):
            for headers in ({}, {"Origin": site.url}, {"Origin": FOREIGN}, {"Origin": "null"}):
                answer = await answer_of(site.url, method, "/", {**PREFLIGHT, **headers})
                assert shared(answer) == {}
                assert "vary" not in answer.headers


async def test_a_page_that_the_configuration_names_may_ask_and_read_and_no_other() -> None:
    async def stream(request: Request, reply: Reply) -> None:
        await reply.begin_events()
        await reply.end()

    sites: dict[str, Handler] = {"": Asked("home"), "stream": stream}
    async with a_site(sites, token=TOKEN, origins=(FOREIGN, "https://two.example")) as site:
        preflight = await answer_of(site.url, "OPTIONS", "/", {"Origin": FOREIGN, **PREFLIGHT})
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == FOREIGN
        assert "POST" in preflight.headers["access-control-allow-methods"]
        allowed = preflight.headers["access-control-allow-headers"].split(", ")
        assert {"authorization", "content-type", "mcp-session-id", "mcp-protocol-version"} <= set(allowed)
        assert "access-control-allow-credentials" not in preflight.headers, "there are no cookies"
        for target, headers in (("/", SHOWN), ("/stream", SHOWN), ("/none", SHOWN), ("/", {})):
            answer = await answer_of(site.url, "GET", target, {"Origin": FOREIGN, **headers})
            assert shared(answer) == {
                "access-control-allow-origin": FOREIGN,
                "access-control-expose-headers": "mcp-session-id, retry-after",
            }
            assert answer.headers["vary"] == "origin"
        for origin in ("https://two.example.evil.example", "http://app.example", "null"):
            for method in ("GET", "OPTIONS"):
                answer = await answer_of(site.url, method, "/", {"Origin": origin, **PREFLIGHT, **SHOWN})
                assert (answer.status, shared(answer)) == (403, {})
        assert shared(await answer_of(site.url, "GET", "/", {"Origin": site.url, **SHOWN})) == {}
        assert shared(await answer_of(site.url, "GET", "/", SHOWN)) == {}


async def test_what_a_handler_raises_becomes_a_problem_document_where_it_still_can() -> None:
    async def fails(request: Request, reply: Reply) -> None:
        raise Problem(418, "no coffee", headers={"Retry-After": "7"}, pots=0)

    async def too_large(request: Request, reply: Reply) -> None:
        raise TooLarge

    async def fails_late(request: Request, reply: Reply) -> None:
        await reply.begin_events()
        raise Problem(418, "no coffee")

    async with a_site({"fails": fails, "large": too_large}) as site:
        answer = await answer_of(site.url, "GET", "/fails")
        assert (answer.status, answer.headers["retry-after"]) == (418, "7")
        assert msgspec.json.decode(answer.body) == {
            "type": "about:blank",
            "title": "I'm a Teapot",
            "status": 418,
            "detail": "no coffee",
            "pots": 0,
        }
        assert (await answer_of(site.url, "GET", "/large")).status == 413


async def echo(request: Request, send: Send) -> None:
    """Says which subprotocols were offered."""
    await request.receive()
    await send({"type": "websocket.accept", "subprotocol": "mcp" if "mcp" in request.protocols else None})
    await send({"type": "websocket.send", "text": ",".join(request.protocols)})
    await request.receive()


def open_socket(url: str, target: str, headers: Mapping[str, str]) -> Answer:
    with line_to(url) as line:
        return line.ask("GET", target, {**UPGRADE, **headers})


async def test_a_websocket_passes_the_same_guard(caplog: pytest.LogCaptureFixture) -> None:
    async with a_site({}, {"ws": echo}, token=TOKEN, origins=(FOREIGN,)) as site:

        async def status(target: str = "/ws", **headers: str) -> int:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await in_thread(open_socket, site.url, target, sent)
            if answer.status >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert msgspec.json.decode(answer.body)["status"] == answer.status
            return int(answer.status)

        offered = f"mcp, {BEARER}{TOKEN}"
        assert await status(**SHOWN) == 101
        assert await status(Sec_WebSocket_Protocol=offered) == 101
        assert await status(Sec_WebSocket_Protocol=offered, Origin=site.url) == 101
        assert await status(Sec_WebSocket_Protocol=offered, Origin=FOREIGN) == 101
        assert await status() == 401
        assert await status(f"/ws?token={TOKEN}") == 401
        assert await status(Sec_WebSocket_Protocol=f"mcp, {BEARER}wrong") == 401
        assert await status(**SHOWN, Origin="https://evil.example") == 403
        assert await status(**SHOWN, Origin="null") == 403
        assert await status(**SHOWN, Origin=site.url.replace("http", "ws")) == 403
        assert await status(**SHOWN, Host="evil.example") == 421
        for target in ("/none", "/", "//ws", "/page/../ws", "http://elsewhere.example/ws"):
            assert await status(target, **SHOWN) == 404
    assert [record.getMessage() for record in caplog.records] == [], "a refusal is no error of ours"


async def test_a_websocket_is_answered_with_our_subprotocol_and_never_with_the_token() -> None:
    async with a_site({}, {"ws": echo}, token=TOKEN) as site:
        for offered, chosen in ((f"mcp, {BEARER}{TOKEN}", "mcp"), (f"{BEARER}{TOKEN}", None)):
            answer = await in_thread(open_socket, site.url, "/ws", {"Sec-WebSocket-Protocol": offered})
            assert answer.status == 101
            assert answer.headers.get("sec-websocket-protocol") == chosen


async def test_an_upgrade_with_another_method_opens_no_websocket() -> None:
    async with a_site({}, {"ws": echo}, token=TOKEN) as site:
        for method in ("POST", "OPTIONS", "DELETE"):

            def attempt(method: str = method) -> bytes:
                with line_to(site.url) as line:
                    line.send(head(method, "/ws", {"Host": line.host, **UPGRADE}))
                    return line.rest()

            assert (await in_thread(attempt)).startswith(b"HTTP/1.1 405 ")


async def test_a_client_of_a_websocket_that_goes_while_it_is_told_something_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def talkative(request: Request, send: Send) -> None:
        await request.receive()
        await send({"type": "websocket.accept"})
        began.set()

        async def talk() -> None:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk)
            while (await request.receive())["type"] != "websocket.disconnect":
                pass
            await send({"type": "websocket.send", "bytes": b"too late"})
            tasks.cancel_scope.cancel()
        ended.set()

    async with a_site({}, {"ws": talkative}) as site:
        with line_to(site.url) as line:
            line.send(head("GET", "/ws", {"Host": line.host, **UPGRADE}))
            with anyio.fail_after(PATIENCE):
                await began.wait()
        with anyio.fail_after(PATIENCE):
            await ended.wait()
    assert [record.getMessage() for record in caplog.records] == []
