"""Asks an ASGI application one thing, as a web server would, without a socket."""

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import anyio

from proxy.web.asgi import Scope
from proxy.web.site import Site


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    site: Site,
    method: str,
    url: str,
    body: Any = b"",
    headers: Mapping[str, str | None] | None = None,
    leaving: anyio.Event | None = None,
) -> Answer | None:
    """The answer to one request; None where there is none.

    A body that is no bytes goes as JSON. A header of None is not sent.
    """
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"content-type": "application/json"} if sent else {}
    shown: dict[str, str | None] = {"host": "localhost", **kind, **(headers or {})}
    path, _, query = url.partition("?")
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "query_string": query.encode(),
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in shown.items() if value is not None],
    }
    told: list[MutableMapping[str, Any]] = []
    was_read = False
    gone = leaving or anyio.Event()

    async def receive() -> MutableMapping[str, Any]:
        nonlocal was_read
        if not was_read:
            was_read = True
            return {"type": "http.request", "body": sent}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    await site(scope, receive, send)
    if not told:
        return None
    begin, *parts = told
    names = {name.decode(): value.decode() for name, value in begin["headers"]}
    whole = b"".join(part["body"] for part in parts)
    assert int(names.get("content-length", len(whole))) == len(whole)
    return Answer(begin["status"], names, whole)
