"""What happens in a hub, told to Python's logging; where that goes is the program's business."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from ..events import Event, Notice, RequestFinished, ServerOutput, ServerStateChanged

logger = logging.getLogger("mcp_manifold")
logger.addHandler(logging.NullHandler())  # silent, unless the program says where its logs go

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_OUTCOMES: Final = {
    "ok": logging.DEBUG,
    "cancelled": logging.DEBUG,
    "tool_error": logging.INFO,
    "error": logging.WARNING,
    "timeout": logging.WARNING,
}


class Log:
    """An observer of events; `redact` masks configured secrets in a text.

    A record of a call or another request has its facts as attributes (`extra`): `method`, `server`, `tool` (or what
    else was asked for), `outcome`, `seconds`, `bytes_in`, `bytes_out`, `delivered`, `reason`. None has arguments or
    results.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, event: Event, at: float | None = None) -> None:
        match event:
            case Notice():
                self._tell(_LEVELS[event.level], event.server, event.text)
            case ServerStateChanged():
                why = f" ({event.reason})" if event.reason else ""
                level = logging.WARNING if event.new in ("backoff", "failed") else logging.INFO
                self._tell(level, event.server, f"{event.old} -> {event.new}{why}")
            case ServerOutput():
                self._tell(logging.DEBUG, event.server, event.text)
            case RequestFinished() if logger.isEnabledFor(level := _OUTCOMES[event.outcome]):
                self._request(level, event)

    def _request(self, level: int, event: RequestFinished) -> None:
        fields: dict[str, Any] = {
            "method": event.method,
            "server": event.server,
            "tool": self._redact(event.tool or event.name),
            "outcome": event.outcome,
            "seconds": event.seconds,
            "bytes_in": event.bytes_in,
            "bytes_out": event.bytes_out,
            "delivered": event.delivered,
            "reason": self._redact(event.reason),
        }
        text = f"{event.method} {fields['tool']!r}: {event.outcome} after {event.seconds * 1000:.1f} ms"
        self._tell(level, event.server, f"{text} ({event.reason})" if event.reason else text, fields)

    def _tell(self, level: int, server: str, text: str, fields: dict[str, Any] | None = None) -> None:
        if logger.isEnabledFor(level):
            where = f"server {server!r}: " if server else ""
            logger.log(level, "%s", self._redact(where + text), extra=fields)
