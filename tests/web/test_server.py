"""The port: where it may be opened, in which ways that fails, and how it is closed."""

import os
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.config.models import HttpSettings
from proxy.web.asgi import Reply, Request, Send
from proxy.web.guard import Guard
from proxy.web.server import CantServe, Server
from proxy.web.site import Site
from tests.support.bare import UPGRADE, a_site, head, line_to
from tests.support.client import PATIENCE
from tests.support.tls import make_certificate, trusting

HOST = {"Host": "127.0.0.1"}


async def ok(request: Request, reply: Reply) -> None:
    """An answer that needs nothing."""
    await reply.json(200, b"{}")


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    with anyio.fail_after(PATIENCE):
        return await anyio.to_thread.run_sync(partial(work, *args))


def complaint(**settings: Any) -> str:
    """Why it can't be served with these settings, in one line."""
    site = Site(Guard(host="127.0.0.1", token=None), {}, {})
    with pytest.raises(CantServe) as found:
        Server(HttpSettings(**{"port": 0, **settings}), site)
    text = str(found.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_it_is_not_served_in_the_clear(host: str) -> None:
    text = complaint(host=host)
    assert text.startswith(f"{host} can be reached from other machines")
    assert "tlsCert" in text
    assert '"insecure": true' in text


@pytest.mark.parametrize("host", ["hub.invalid", "127.0.0.1.invalid", "no such host"])
def test_a_name_that_nobody_knows_is_told_as_such(host: str) -> None:
    assert complaint(host=host).startswith(f"can't listen on {host} port 0: ")


@pytest.mark.parametrize("half", ["tls_cert", "tls_key"])
def test_half_of_the_tls_files_is_not_enough(half: str, tmp_path: Path) -> None:
    assert "none of them" in complaint(**{half: tmp_path / "file.pem"})
    assert "none of them" in complaint(**{half: tmp_path / "file.pem"}, host="0.0.0.0", insecure=True)


def test_tls_files_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("")
    for cert, key in [(missing, missing), (empty, empty), make_certificate(tmp_path)[::-1]]:
        assert f"({cert} and {key})" in complaint(tls_cert=cert, tls_key=key)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_one(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, b"a password")
    ours, theirs = os.openpty()  # OpenSSL would ask there, and wait
    before = os.dup(0)
    try:
        os.dup2(theirs, 0)
        assert "can't be used" in complaint(tls_cert=cert, tls_key=key)
    finally:
        os.dup2(before, 0)
        for file in (ours, theirs, before):
            os.close(file)


def test_a_port_that_is_taken_is_named_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = complaint(port=port)
    assert text == f"can't listen on 127.0.0.1 port {port}: Address already in use; --port takes another"


def test_a_port_that_is_not_for_us_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)  # root may have them all
    assert complaint(port=80) == "can't listen on 127.0.0.1 port 80: Permission denied; --port takes another"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "300.0.0.1", "\u00e9..x"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    text = complaint(host=host, insecure=True)
    assert text.startswith(f"can't listen on {host} port 0: ")
    assert "--port" not in text


async def test_port_0_takes_any_free_one_and_the_url_has_it() -> None:
    async with a_site({"": ok}) as one, a_site({"": ok}) as other:
        assert one.port != other.port
        assert one.url == f"http://127.0.0.1:{one.port}"
        with line_to(other.url) as line:
            assert (await in_thread(line.ask, "GET", "/")).status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_it_listens_on_ipv6() -> None:
    async with a_site({"": ok}, host="::1") as site:
        assert re.fullmatch(r"http://\[::1\]:\d+", site.url)
        with line_to(site.url) as line:
            assert (await in_thread(line.ask, "GET", "/")).status == 200


async def test_with_tls_files_it_speaks_https_and_nothing_else(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    async with a_site({"": ok}, tls_cert=cert, tls_key=key) as site:
        assert site.url.startswith("https://")

        def ask() -> int:
            with line_to(site.url, trusting(cert)) as line:
                own = f"https://{line.host}"
                assert line.ask("GET", "/", {"Origin": own.replace("https", "http")}).status == 403
                return line.ask("GET", "/", {"Origin": own}).status

        assert await in_thread(ask) == 200

        def ask_in_the_clear() -> bytes:
            with line_to(site.url) as line:
                line.send(head("GET", "/", HOST))
                return line.rest()

        assert b"HTTP/1.1" not in await in_thread(ask_in_the_clear)


async def test_at_the_end_streams_are_ended_websockets_closed_and_the_port_is_free() -> None:
    """Gently: the stream has its last chunk, the WebSocket its close frame."""
    began = [anyio.Event(), anyio.Event()]
    leave = anyio.Event()

    async def stream(request: Request, reply: Reply) -> None:
        await reply.begin_events()
        began[0].set()
        await leave.wait()
        await reply.end()

    async def talk(request: Request, send: Send) -> None:
        await request.receive()
        await send({"type": "websocket.accept"})
        began[1].set()
        assert (await request.receive())["type"] == "websocket.disconnect"

    site = Site(Guard(host="127.0.0.1", token=None), {"": stream}, {"ws": talk})
    server = Server(HttpSettings(port=0), site)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, leave.set)
        with line_to(server.url) as http, line_to(server.url) as ws, line_to(server.url):
            http.send(head("GET", "/", HOST))
            ws.send(head("GET", "/ws", {**HOST, **UPGRADE}))
            for event in began:
                with anyio.fail_after(PATIENCE):
                    await event.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert (await in_thread(http.rest)).endswith(b"\r\n0\r\n\r\n")
                assert (await in_thread(ws.rest)).endswith(b"\x88\x02\x03\xf4")  # 1012, service restart
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_at_the_end_nobody_is_waited_for_who_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    began = anyio.Event()
    cancelled = anyio.Event()

    async def call(request: Request, reply: Reply) -> None:
        began.set()
        try:
            await request.unless_left(anyio.sleep_forever)
        finally:
            cancelled.set()

    async with a_site({"": call}) as site:
        with line_to(site.url) as line:
            line.send(head("GET", "/", HOST))
            with anyio.fail_after(PATIENCE):
                await began.wait()
    assert cancelled.is_set(), "and what it worked on has ended before we went on"
    assert [record.getMessage() for record in caplog.records] == []
