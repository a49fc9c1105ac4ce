"""Servers and calls for the page and for scripts: `/servers`, `/calls`, and `/live`, which tells what changes."""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs

import anyio
import msgspec

from ..overview import EVERY, PATIENCE, Changes, Overview
from ..status import MOST_CALLS
from .asgi import Reply, Request, Send
from .guard import PROTOCOL
from .problems import READING, Problem, only_read

_TOO_SLOW: Final = 1008
_LONGEST_WORD: Final = 1000
_LONGEST_NUMBER: Final = 9
_NO_STORE: Final = (b"cache-control", b"no-store")


class Live:
    """Answers for the overview of this process."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    # REST

    async def servers(self, request: Request, reply: Reply) -> None:
        """`GET /servers`, `GET /servers/{key}`, `POST /servers/{key}/restart`."""
        key = request.path.removeprefix("/servers").removeprefix("/")
        if request.method == "POST":
            await self._restart(key, reply)
            return
        only_read(request)
        overview = self._overview
        body = overview.server(key) if key else {"problem": overview.problem, "servers": overview.servers()}
        if body is None:
            raise _unknown(key)
        await reply.json(200, msgspec.json.encode(body), _NO_STORE)

    async def _restart(self, path: str, reply: Reply) -> None:
        key, slash, action = path.rpartition("/")
        if not slash or action != "restart":
            raise Problem(405, "POST goes to /servers/{key}/restart", headers={"Allow": ", ".join(READING)})
        if not self._overview.restart(key):
            raise _unknown(key)
        await reply.json(202, msgspec.json.encode({"restarting": key}), _NO_STORE)

    async def calls(self, request: Request, reply: Reply) -> None:
        """`GET /calls?limit=`: the last calls, the newest first, and those under way."""
        only_read(request)
        given = parse_qs(request.query.decode("latin-1")).get("limit", ["100"])[-1]
        limit = int(given) if given.isdecimal() and len(given) <= _LONGEST_NUMBER else 0
        if not 1 <= limit <= MOST_CALLS:
            raise Problem(400, f"limit is a number from 1 to {MOST_CALLS}")
        body = {"calls": self._overview.status.calls(limit), **self._overview.under_way()}
        await reply.json(200, msgspec.json.encode(body), _NO_STORE)

    # WebSocket

    async def live(self, request: Request, send: Send) -> None:
        """All there is, and then what changes, a few times a second, until the reader is gone or too slow.

        A reader who says `{"watch": key}` is told what this server prints, too.
        """
        await request.receive()  # "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in request.protocols else None})
        changes = Changes(self._overview)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell, changes, send, tasks.cancel_scope)
            while (message := await request.receive())["type"] == "websocket.receive":
                _hear(changes, message.get("text") or "")
            tasks.cancel_scope.cancel()


async def _tell(changes: Changes, send: Send, scope: anyio.CancelScope) -> None:
    while True:
        news = changes.news()
        if news:
            with anyio.move_on_after(PATIENCE) as taken:
                await send({"type": "websocket.send", "text": news.decode()})
            if taken.cancelled_caught:
                break
        await anyio.sleep(EVERY)
    with anyio.move_on_after(1.0):
        await send({"type": "websocket.close", "code": _TOO_SLOW, "reason": "you do not read what you are sent"})
    scope.cancel()


def _hear(changes: Changes, text: str) -> None:
    """The reader says what it wants to see."""
    if len(text) > _LONGEST_WORD:
        return
    with suppress(msgspec.DecodeError):  # a word that we don't know may be one of a later version
        changes.watch(msgspec.json.decode(text, type=dict[str, str | None]).get("watch") or "")


def _unknown(key: str) -> Problem:
    return Problem(404, f"no server {key[:200]!r} is configured, or it is disabled")
