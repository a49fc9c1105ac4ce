"""Codes of JSON-RPC as statuses of HTTP."""

import json

import pytest

from proxy import errors
from proxy.errors import refusal
from proxy.fronts.local import RequestFailed
from proxy.web.outcome import problem_of


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (errors.PARSE_ERROR, 400),
        (errors.INVALID_REQUEST, 400),
        (errors.INVALID_PARAMS, 404),
        (errors.RESOURCE_NOT_FOUND, 404),
        (errors.METHOD_NOT_FOUND, 501),
        (errors.INTERNAL_ERROR, 502),
        (errors.SERVER_UNAVAILABLE, 502),
        (errors.REQUEST_TIMED_OUT, 504),
    ],
)
def test_an_error_of_ours_is_told_with_its_facts(code: int, status: int) -> None:
    failed = RequestFailed(refusal(code, "no luck", server="git", delivered="maybe"))
    problem = problem_of(failed, "tools/call", lambda server: True)
    told = json.loads(problem.document())
    assert told == {
        "type": "about:blank",
        "title": told["title"],
        "status": status,
        "detail": "no luck",
        "server": "git",
        "delivered": "maybe",
    }
    assert problem.headers == {}


@pytest.mark.parametrize(
    ("server", "is_there", "milliseconds", "status", "seconds"),
    [
        (None, False, 1000, 429, "1"),
        ("git", True, 10_000, 429, "10"),
        ("git", False, 10_000, 502, "10"),
        ("git", True, 1, 429, "1"),
        ("git", True, 1001, 429, "2"),
    ],
)
def test_too_many_calls_are_429_unless_their_server_is_away(
    server: str | None, is_there: bool, milliseconds: int, status: int, seconds: str
) -> None:
    failed = RequestFailed(refusal(errors.SERVER_UNAVAILABLE, "later", server=server, retry_after_ms=milliseconds))
    problem = problem_of(failed, "tools/call", lambda key: is_there or key == "")
    assert (problem.status, problem.headers) == (status, {"Retry-After": seconds})


@pytest.mark.parametrize("data", ["", ',"data":null', ',"data":[1]', ',"data":{"origin":"x"}', ',"data":{"a":1e400}'])
def test_an_error_of_a_server_is_there_as_it_came(data: str) -> None:
    raw = ('{"code":-32602, "message":"nö"' + data + "}").encode()
    problem = problem_of(RequestFailed(raw), "tools/call", lambda server: True)
    assert problem.status == 422
    assert b'"error":' + raw in problem.document()


def test_a_resource_that_its_server_does_not_know_is_not_there() -> None:
    raw = b'{"code":-32602,"message":"unknown resource"}'
    assert problem_of(RequestFailed(raw), "resources/read", lambda server: True).status == 404
    assert problem_of(RequestFailed(raw), "prompts/get", lambda server: True).status == 422
