"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from .asgi import Header, Reply, Request

READING: Final = ("GET", "HEAD")
"""The methods that only read."""

CONTENT: Final = (b"content-type", b"application/problem+json")


class Problem(Exception):
    """A request that can't be done. `more` are further members of the document."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def document(self) -> bytes:
        """The answer's body."""
        told = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        return msgspec.json.encode({**told, "detail": self.detail, **self.more})

    async def answer(self, reply: Reply) -> None:
        """Say so."""
        head: list[Header] = [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in self.headers.items()
        ]
        await reply.whole(self.status, self.document(), CONTENT, *head)


def only_read(request: Request, hint: str = "") -> None:
    """Refuse what would do more than read; `hint` is told of where to go instead."""
    if request.method not in READING:
        raise Problem(405, f"this is only there to be read{hint}", headers={"Allow": ", ".join(READING)})
