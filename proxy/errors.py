"""The one exception tree, and what a client is told of each.

    ManifoldError
    |- ConfigError            the file is bad; exit code 2, one line a problem
    |- WireError              a line that is not a JSON-RPC message of MCP
    |  |- ParseError          -32700: not JSON
    |  `- InvalidMessage      -32600: JSON, but not a message
    `- ServerError            a downstream server can't be used now (-32000), always named
       |- StartFailed         it never became ready: connection, handshake, time-out
       |  |- Unreachable       nobody answers at its address: it may come back without us
       |  `- Hopeless          and won't without a change: no such command, credentials refused
       `- ConnectionLost      it was ready and went away
          `- Hung             or said nothing any more

A request that can't be answered is no exception: the relay answers it with `refusal()`, whose
`data` tells an error made here from one passed through.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_UNAVAILABLE: Final = -32000
REQUEST_TIMED_OUT: Final = -32001
RESOURCE_NOT_FOUND: Final = -32002

ORIGIN: Final = "mcp-manifold"
Delivered = Literal["no", "maybe"]


class ManifoldError(Exception):
    """Whatever this project raises on purpose; its text is meant for the user."""


class ConfigError(ManifoldError):
    """A configuration that can't be used.

    `problems` holds one finished line for each thing that is wrong: file, JSON path, what to do.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class WireError(ManifoldError):
    """A line that is not a message. `id` is its id as raw JSON where that could still be read."""

    code: int = INVALID_REQUEST

    def __init__(self, message: str, id: bytes | None = None) -> None:
        super().__init__(message)
        self.id = id


class ParseError(WireError):
    """The line is not JSON."""

    code = PARSE_ERROR


class InvalidMessage(WireError):
    """The line is JSON, but no JSON-RPC 2.0 request, notification or response."""


class ServerError(ManifoldError):
    """A downstream server can't be used. `reason` is one line for the user, without its name.

    `words` are the server's own that tell most about it, where it said any; `reason` ends in them. `cause` is its kind
    in a word, for metrics.
    """

    cause = "lost"

    def __init__(self, server: str, reason: str, words: str = "") -> None:
        self.server = server
        self.words = words
        self.reason = f"{reason}; its last words: {words}" if words else reason
        super().__init__(f"server {server!r}: {self.reason}")


class StartFailed(ServerError):
    """The server did not become ready."""

    cause = "start_failed"


class Unreachable(StartFailed):
    """Nobody answers at the server's address. Asking again costs nothing and may help at any time."""

    cause = "unreachable"


class Hopeless(StartFailed):
    """Trying again does not help: no such command, credentials that are refused, an unset variable."""

    cause = "hopeless"


class ConnectionLost(ServerError):
    """A ready server went away."""


class Hung(ConnectionLost):
    """The connection was there, and the server said nothing any more."""

    cause = "hung"


def innermost(problem: BaseException) -> BaseException:
    """The exception itself, or the first one within a group: task groups wrap even a single one."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


def refusal(
    code: int,
    message: str,
    *,
    server: str | None = None,
    delivered: Delivered = "no",
    retry_after_ms: int | None = None,
) -> bytes:
    """The `error` member, as JSON, of an answer that was made here and not downstream.

    `delivered` says whether the server may have seen the request: "maybe" forbids a blind retry.
    """
    data: dict[str, str | int] = {"origin": ORIGIN}
    if server is not None:
        data["server"] = server
    data["delivered"] = delivered
    if retry_after_ms is not None:
        data["retryAfterMs"] = retry_after_ms
    return msgspec.json.encode({"code": code, "message": message, "data": data})
