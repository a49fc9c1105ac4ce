"""A request that failed, as HTTP has it: the codes of JSON-RPC as statuses, ours and those of servers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from ..errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    ORIGIN,
    PARSE_ERROR,
    REQUEST_TIMED_OUT,
    RESOURCE_NOT_FOUND,
    SERVER_UNAVAILABLE,
)
from ..fronts.local import RequestFailed
from .problems import Problem

_OURS: Final[Mapping[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 404,  # all else about a request was seen to before: nobody has what it names
    RESOURCE_NOT_FOUND: 404,
    METHOD_NOT_FOUND: 501,
    SERVER_UNAVAILABLE: 502,
    REQUEST_TIMED_OUT: 504,
}
_THEIRS: Final[Mapping[int, int]] = {INVALID_PARAMS: 422, RESOURCE_NOT_FOUND: 404, METHOD_NOT_FOUND: 501}
_ELSE: Final = 502


def problem_of(failed: RequestFailed, method: str, takes_calls: Callable[[str], bool]) -> Problem:
    """What a client of HTTP is told. `takes_calls` says of a server whether it is there and answers.

    An error of ours has its facts beside it (`server`, `delivered`); one that a server gave is there as a whole, as
    `error`. That a server refuses for the number of calls is 429, that it is away is 502, whenever to try again.
    """
    data = _data(failed)
    told = str(failed).encode(errors="replace").decode()  # half a character could not be encoded again
    if data.get("origin") != ORIGIN:
        status = _THEIRS.get(failed.code, _ELSE)
        if method == "resources/read" and status == 422:
            status = 404  # it has one parameter, the URI: some servers know no other code for one that does not exist
        return Problem(status, told, error=Raw(failed.error))
    more = {key: data[key] for key in ("server", "delivered") if key in data}
    status = _OURS.get(failed.code, _ELSE)
    headers: dict[str, str] = {}
    again = data.get("retryAfterMs")
    if isinstance(again, int):
        headers["Retry-After"] = str(max(1, math.ceil(again / 1000)))
        if status == 502 and takes_calls(data.get("server", "")):
            status = 429
    return Problem(status, told, headers=headers, **more)


def _data(failed: RequestFailed) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(failed.data) if failed.data else None
    except (msgspec.DecodeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
