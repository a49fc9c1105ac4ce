"""What goes wrong with a hub, as exceptions.

    HubError                 a request failed; what a server says of its own errors is in `code` and `data`
    |- ConfigError           `connect` can't use what it was given; `problems` has a line for each thing that is wrong
    |- NotFound              there is no tool, prompt or resource of this name
    |- ServerUnavailable     its server is down, starting, or overloaded; see `delivered` and `retry_after`; from
    |                        `connect`: no hub answers at the address, or it refuses the token
    |- TimedOut              its server did not answer within the time that its entry allows
    `- HubClosed             the `async with` block of the hub is over

A tool that ran and failed is none of these: its result says `is_error`. What no program should pass at all, such as
arguments that are no mapping, raises TypeError, and values that JSON does not have ValueError.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import (
    INVALID_PARAMS,
    ORIGIN,
    REQUEST_TIMED_OUT,
    RESOURCE_NOT_FOUND,
    SERVER_UNAVAILABLE,
    Delivered,
    ManifoldError,
)
from ..fronts.local import RequestFailed


class HubError(ManifoldError):
    """`connect` or a request failed; the text says why, and mostly what to do.

    `code` is that of JSON-RPC and `data` what came with it. `server` is the key of the server that was to do it, where
    there was one. `delivered` says whether that server may have seen the request: after "maybe" it may have been done.
    It is None where the server itself answered with an error. `retry_after` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        data: Any = None,
        server: str | None = None,
        delivered: Delivered | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        self.server = server
        self.delivered = delivered
        self.retry_after = retry_after


class ConfigError(HubError):
    """The configuration, or the address of a hub, can't be used.

    `problems` has one finished line for each thing that is wrong: file, JSON path, what to do.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems), delivered="no")
        self.problems = problems


class NotFound(HubError):
    """There is no tool, prompt or resource of this name; the text names similar ones."""


class ServerUnavailable(HubError):
    """The server can't do it now: it is down, still starting, or has too much to do."""


class TimedOut(HubError):
    """The server did not answer in time."""


class HubClosed(HubError):
    """The hub was closed, before the request or during it."""


_KINDS: dict[int, type[HubError]] = {
    INVALID_PARAMS: NotFound,  # all our requests are well-formed, so it is the name
    RESOURCE_NOT_FOUND: NotFound,
    SERVER_UNAVAILABLE: ServerUnavailable,
    REQUEST_TIMED_OUT: TimedOut,
}


def failure(problem: RequestFailed, *, closed: bool) -> HubError:
    """The error of a request as an exception of this tree."""
    try:
        data = json.loads(problem.data) if problem.data else None
    except (ValueError, RecursionError):
        data = None  # the text says what there is to say
    if not isinstance(data, dict) or data.get("origin") != ORIGIN:
        kind = NotFound if problem.code == RESOURCE_NOT_FOUND else HubError
        return kind(str(problem), code=problem.code, data=data)
    kind = HubClosed if closed else _KINDS.get(problem.code, HubError)
    later = data.get("retryAfterMs")
    return kind(
        str(problem),
        code=problem.code,
        data=data,
        server=data.get("server"),
        delivered=data.get("delivered"),
        retry_after=later / 1000 if isinstance(later, int) else None,
    )
