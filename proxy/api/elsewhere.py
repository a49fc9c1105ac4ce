"""A hub that runs elsewhere: what it says of its servers, for which MCP has no words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ..errors import SERVER_UNAVAILABLE
from .errors import ServerUnavailable
from .results import ServerStatus

_PATIENCE: Final = 30.0
_AWAY: Final = ("backoff", "failed")
"""States of a server that should run and does not; in others the reason of the last change is no problem."""


class _Row(msgspec.Struct):
    key: str
    transport: str
    state: str
    reason: str
    tools: int


class _Answer(msgspec.Struct):
    servers: list[_Row]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The hub whose MCP endpoint is `url`; `headers` let us in."""

    url: str
    headers: Mapping[str, str] = field(repr=False)

    async def servers(self) -> list[ServerStatus] | None:
        """Its servers; None where it is another kind of hub, which does not tell. Raises ServerUnavailable."""
        parts = urlsplit(self.url)
        folder, _, last = parts.path.rstrip("/").rpartition("/")
        if last != "mcp":
            return None
        import httpx2  # here: a second, which only this costs

        try:
            async with httpx2.AsyncClient(headers=dict(self.headers), timeout=_PATIENCE) as client:
                answer = await client.get(urlunsplit(parts._replace(path=f"{folder}/servers")))
        except httpx2.HTTPError as problem:
            raise _unavailable(str(problem) or type(problem).__name__) from None
        if answer.status_code == 429 or answer.is_server_error:
            raise _unavailable(f"it answered HTTP {answer.status_code}")
        try:
            rows = msgspec.json.decode(answer.content, type=_Answer).servers if answer.is_success else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            rows = None
        return None if rows is None else [_status(row) for row in rows]


def _status(row: _Row) -> ServerStatus:
    return ServerStatus(
        name=row.key,
        transport=row.transport,
        state=row.state,
        problem=row.reason if row.state in _AWAY else "",
        tools=row.tools if row.state == "ready" else -1,
    )


def _unavailable(why: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"the hub does not say how its servers are: {why}", code=SERVER_UNAVAILABLE, delivered="no"
    )
