"""What we ask a server for ourselves: the handshake and its listings, over the same link as the clients' calls."""

from __future__ import annotations

from typing import Final

import anyio
import msgspec
from msgspec import Raw

from . import __version__, texts, wire
from .catalogue import MEMBERS
from .eras import handshake
from .errors import INTERNAL_ERROR, METHOD_NOT_FOUND, ORIGIN, ConnectionLost, ManifoldError, StartFailed, WireError
from .pump import Pump
from .relay import Link
from .relay.peers import Reply

LISTINGS: Final = {
    "tools": ("tools", "tools/list"),
    "prompts": ("prompts", "prompts/list"),
    "resources": ("resources", "resources/list"),
    "templates": ("resources", "resources/templates/list"),
}
"""Kind of listing -> the capability that announces it, and the method that gets it."""

MOST_PAGES: Final = 1000
MOST_ENTRIES: Final = 20_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""What one listing may have in all; a server that goes on for ever must not fill the memory."""


class Refused(ManifoldError):
    """The server answered one of our requests with an error; `code` is its JSON-RPC code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Conversation:
    """Requests of our own on one link. All methods raise ConnectionLost when the link ends."""

    def __init__(self, link: Link, pump: Pump) -> None:
        self._link = link
        self._pump = pump

    async def ask(self, method: str, params: bytes = b"") -> bytes:
        """Send a request and wait for its raw result. Raises Refused. Cancelling tells the server, where it may."""
        replied = anyio.Event()
        replies: list[Reply | None] = []

        def done(reply: Reply | None) -> None:
            replies.append(reply)
            replied.set()

        id = self._link.ask(method, params, done)
        self._pump.flush()
        try:
            await replied.wait()
        finally:
            if not replies:
                self._link.abandon(id, tell=method != "initialize")  # which may not be cancelled
                self._pump.flush()
        reply = replies[0]
        if reply is None:
            raise ConnectionLost(self._link.server, "the connection ended")
        if reply.error or not reply.result:
            raise _refused(method, self._link.server, reply.error)
        return reply.result

    async def initialize(self, offer: handshake.Offer) -> handshake.ServerHello:
        """Shake hands, up to but not including `notifications/initialized`. Raises StartFailed with what to do.

        `offer` is what the server is told of the clients that we speak for.
        """
        server = self._link.server
        try:
            result = await self.ask("initialize", handshake.client_params(__version__, offer))
            return handshake.read_server(result)
        except Refused as problem:
            hint = ""
            if problem.code == handshake.MODERN_ONLY:
                hint = f"; it seems to speak only revisions after {handshake.LATEST}, which are not supported yet"
            raise StartFailed(server, f"{problem}{hint}") from problem
        except WireError as problem:
            raise StartFailed(server, f"its answer to initialize can't be used: {problem}") from problem

    async def list_all(self, kind: str) -> list[Raw]:
        """All pages of one kind of listing. Raises Refused, or WireError where the answer is no listing."""
        method, member = LISTINGS[kind][1], MEMBERS[kind]
        items: list[Raw] = []
        params = b""
        seen: set[bytes] = set()
        size = 0
        for _ in range(MOST_PAGES):
            try:
                answer = await self.ask(method, params)
            except Refused as problem:
                if problem.code == METHOD_NOT_FOUND and not items:
                    return []  # announced, but not there: as good as empty
                raise
            size += len(answer)
            try:
                page = wire.open_object(answer)
                entries = wire.open_array(page[member]) if member in page else None
            except WireError as problem:
                raise WireError(f"its answer to {method} can't be used: {problem}") from problem
            if entries is None:
                raise WireError(f"its answer to {method} has no {member!r}")
            items.extend(entries)
            if len(items) > MOST_ENTRIES or size > MOST_BYTES:
                raise WireError(f"its list has more than {MOST_ENTRIES} entries or {MOST_BYTES >> 20} MiB")
            cursor = bytes(page.get("nextCursor", b"null"))
            if cursor in (b"null", b'""'):  # an empty one is what many write for none
                return items
            if cursor in seen:
                raise WireError(f"its pages of {method} go round in circles")
            seen.add(cursor)
            params = wire.close_object({"cursor": cursor})
        raise WireError(f"its answer to {method} has more than {MOST_PAGES} pages")


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Raw = Raw(b"")


def _refused(method: str, server: str, raw: bytes) -> Refused:
    try:
        error = msgspec.json.decode(raw, type=_Error)
    except msgspec.DecodeError:
        return Refused(f"its answer to {method} had neither a result nor a readable error", 0)
    if error.data and ORIGIN.encode() in bytes(error.data):  # made here, of an answer or in place of one
        text = error.message.removeprefix(f"server {server!r}: ")
        unusable = f"its answer to {method} can't be used: " if error.code == INTERNAL_ERROR else ""
        return Refused(unusable + text, error.code)
    text = texts.one_line(error.message, 300)
    return Refused(f"it answered {method} with error {error.code}{': ' if text else ''}{text}", error.code)
