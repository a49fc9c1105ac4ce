"""How the page comes by the token: `mcp-manifold ui` asks for a link, whose code is good once and for a minute.

The token itself is in no link: links are seen in process lists, in histories, and over shoulders.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from .asgi import Reply, Request
from .problems import Problem

GOOD_FOR: Final = 60.0
"""Seconds in which a code has to be used."""

_MOST: Final = 16
_LARGEST: Final = 4096
_NO_STORE: Final = (b"cache-control", b"no-store")


class Login:
    """The codes that are out. `token` None: nobody needs one. `clock` gives seconds of any monotonic clock."""

    def __init__(self, token: str | None, clock: Callable[[], float]) -> None:
        self._token = token
        self._clock = clock
        self._codes: dict[str, float] = {}

    def make(self) -> str:
        """A new code; of many that nobody uses the oldest are good no more."""
        self._codes = dict(list(self._codes.items())[1 - _MOST :])
        code = secrets.token_urlsafe(24)
        self._codes[code] = self._clock() + GOOD_FOR
        return code

    def redeem(self, code: str) -> bool:
        """Whether this code is good; it is not from now on."""
        until = self._codes.pop(code, None)
        return until is not None and self._clock() < until

    async def links(self, request: Request, reply: Reply) -> None:
        """`POST /links`, with the token: a code for one page."""
        if request.method != "POST":
            raise Problem(405, "POST makes a link", headers={"Allow": "POST"})
        await reply.json(200, msgspec.json.encode({"code": self.make(), "seconds": GOOD_FOR}), _NO_STORE)

    async def login(self, request: Request, reply: Reply) -> None:
        """`POST /login {"code": ...}`: the token. `{}` is enough where nobody needs one."""
        if request.method != "POST":
            raise Problem(405, "POST has the code in its body", headers={"Allow": "POST"})
        try:
            code = msgspec.json.decode(await request.body(_LARGEST), type=dict[str, str]).get("code", "")
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Problem(400, 'the body has to be {"code": "..."}') from None
        if self._token is not None and not self.redeem(code):
            raise Problem(401, "this link was used already, or is too old: `mcp-manifold ui` makes another")
        await reply.json(200, msgspec.json.encode({"token": self._token}), _NO_STORE)
