"""Whatever a client sends, it is answered as JSON-RPC says, and the next request is served."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.wire import MAX_DEPTH, MAX_ID, MAX_LINE
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.manifold import RUN, Manifold, running, tools_until, write_config
from tests.support.message import Message
from tests.support.processes import eventually, marked, new_mark, nothing_left

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifold]:
    """One session for all that follows."""
    config = write_config(tmp_path_factory.mktemp("survival"), {"raw": servers.script("raw_echo.py")})
    with running(config) as hub:
        tools_until(hub, {"raw__verbatim"})
        yield hub


def is_well(hub: Manifold) -> None:
    """A ping and a call are answered."""
    assert hub.request("ping").result == {}
    assert hub.call("raw__verbatim", {"a": 1}).result["content"] == []


INITIALIZE = (
    b'{"jsonrpc":"2.0","id":%b,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"raw-client","version":"1"}}}'
)


def call(id: bytes, arguments: bytes = b"{}") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"tools/call","params":{"name":"raw__verbatim","arguments":%b}}' % (
        id,
        arguments,
    )


def ping(id: bytes, version: bytes = b'"2.0"') -> bytes:
    return b'{"jsonrpc":%b,"id":%b,"method":"ping"}' % (version, id)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


REFUSED: dict[str, tuple[bytes, int, bytes]] = {
    # What is sent, the code of the error, and the id that it comes under.
    "no-json": (b"hello", PARSE_ERROR, b"null"),
    "half-a-message": (b'{"jsonrpc":"2.0","id":"half","method":', PARSE_ERROR, b'"half"'),
    "two-messages": (ping(b'"one"') + ping(b'"two"'), PARSE_ERROR, b'"one"'),
    "invalid-utf8": (ping(b'"\xff"'), PARSE_ERROR, b"null"),
    "utf16": (ping(b"1").decode().encode("utf-16-le"), PARSE_ERROR, b"null"),
    "nul-bytes": (b"\0" * 100, PARSE_ERROR, b"null"),
    "nan": (call(b'"nan"', b"NaN"), PARSE_ERROR, b'"nan"'),
    "a-number": (b"42", INVALID_REQUEST, b"null"),
    "a-text": (b'"ping"', INVALID_REQUEST, b"null"),
    "null": (b"null", INVALID_REQUEST, b"null"),
    "an-empty-object": (b"{}", INVALID_REQUEST, b"null"),
    "an-id-alone": (b'{"jsonrpc":"2.0","id":"alone"}', INVALID_REQUEST, b'"alone"'),
    "a-method-that-is-a-number": (b'{"jsonrpc":"2.0","id":"m","method":1}', INVALID_REQUEST, b'"m"'),
    "id-null": (ping(b"null"), INVALID_REQUEST, b"null"),
    "id-fraction": (ping(b"1.5"), INVALID_REQUEST, b"null"),
    "id-array": (ping(b"[1]"), INVALID_REQUEST, b"null"),
    "id-of-a-megabyte": (ping(b'"' + b"i" * 1_000_000 + b'"'), INVALID_REQUEST, b"null"),
    "version-1": (ping(b'"v1"', b'"1.0"'), INVALID_REQUEST, b'"v1"'),
    "version-a-number": (ping(b'"v2"', b"2.0"), INVALID_REQUEST, b'"v2"'),
    "no-version": (b'{"id":"v0","method":"ping"}', INVALID_REQUEST, b'"v0"'),
    "an-empty-batch": (b"[]", INVALID_REQUEST, b"null"),
    "a-batch": (b"[%b,%b]" % (ping(b'"b1"'), call(b'"b2"')), INVALID_REQUEST, b"null"),
    "too-deep": (call(b'"deep"', nested(MAX_DEPTH)), INVALID_REQUEST, b'"deep"'),
    "far-too-deep": (call(b'"abyss"', nested(1_000_000)), INVALID_REQUEST, b'"abyss"'),
    "brackets-without-end": (b"[" * 1_000_000, INVALID_REQUEST, b"null"),
    "too-long": (call(b'"long"', b'{"x":"' + b"x" * MAX_LINE + b'"}'), INVALID_REQUEST, b'"long"'),
    "unknown-method": (b'{"jsonrpc":"2.0","id":"u","method":"no/such"}', METHOD_NOT_FOUND, b'"u"'),
    "params-array": (b'{"jsonrpc":"2.0","id":"p","method":"tools/call","params":[]}', INVALID_PARAMS, b'"p"'),
    "params-missing": (b'{"jsonrpc":"2.0","id":"q","method":"tools/call"}', INVALID_PARAMS, b'"q"'),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_request_is_refused_and_the_session_goes_on(what: str, hub: Manifold) -> None:
    line, code, id = REFUSED[what]
    since = len(hub.messages)
    hub.send(line)
    error = hub.wait_for(lambda message: "error" in message.members, "a refusal", since=since)
    assert error.error["code"] == code, error.error
    assert error.id == id
    is_well(hub)
    assert [message for message in hub.messages[since:] if "error" in message.members] == [error]


IGNORED: dict[str, bytes] = {
    "blank-lines": b"\n\r\n  \n\t",
    "unknown-notification": b'{"jsonrpc":"2.0","method":"notifications/of/mine","params":{}}',
    "notification-with-an-array": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}',
    "cancelling-what-is-not-there": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":404}}',
    "an-answer-to-nothing": b'{"jsonrpc":"2.0","id":"nothing","result":{}}',
    "an-error-to-nothing": b'{"jsonrpc":"2.0","id":12345,"error":{"code":1,"message":"x"}}',
    "initialized-again": b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
}


@pytest.mark.parametrize("what", IGNORED)
def test_what_asks_for_nothing_is_not_answered_and_the_session_goes_on(what: str, hub: Manifold) -> None:
    since = len(hub.messages)
    hub.send(IGNORED[what])
    is_well(hub)
    assert len(hub.messages) == since + 2, hub.messages[since:]


SERVED: dict[str, tuple[bytes, bytes]] = {
    "crlf": (ping(b'"crlf"') + b"\r", b'"crlf"'),
    "spaces": (b"  " + ping(b'"spaces"') + b"  ", b'"spaces"'),
    "as-deep-as-may-be": (call(b'"just"', nested(MAX_DEPTH - 4)), b'"just"'),
    "as-long-an-id-as-may-be": (ping(b'"' + b"i" * (MAX_ID - 2) + b'"'), b'"' + b"i" * (MAX_ID - 2) + b'"'),
    "as-long-as-may-be": (call(b'"max"', b'{"x":"' + b"x" * (MAX_LINE - 1000) + b'"}'), b'"max"'),
    "initialize-again": (INITIALIZE % b'"again"', b'"again"'),
}


@pytest.mark.parametrize("what", SERVED)
def test_what_is_only_unusual_is_served(what: str, hub: Manifold) -> None:
    line, id = SERVED[what]
    hub.send(line)
    assert "result" in hub.wait(id).members
    is_well(hub)


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[tuple[Manifold, Path]]:
    """A server whose call `gated__wait` waits at a gate."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with running(write_config(tmp_path, {"gated": servers.script("gated.py", str(gate))})) as hub:
        tools_until(hub, {"gated__wait"})
        yield hub, gate


def test_an_id_that_is_in_flight_is_refused_and_its_first_request_is_answered(gated: tuple[Manifold, Path]) -> None:
    hub, gate = gated
    waiting = hub.start_call("gated__wait")
    for method in ("ping", "tools/list", "tools/call"):
        since = len(hub.messages)
        hub.start(method, {"name": "gated__pid", "arguments": {}}, id=waiting)
        refused = hub.wait_for(lambda message: message.id == waiting, "a refusal", since=since)
        assert refused.error["code"] == INVALID_REQUEST
        assert "in flight" in refused.error["message"]
    gate.write_text("open")
    answer = hub.wait_for(lambda message: message.id == waiting and "result" in message.members, "the answer")
    assert answer.result["content"][0]["text"] == "the gate is open"
    assert hub.request("ping", id=waiting).id == waiting, "it is free again"
    assert hub.call("gated__pid").result["content"]


def test_requests_before_initialize_are_refused_and_the_handshake_still_works(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py")}), handshake=False) as hub:
        assert hub.request("ping").result == {}, "which may come at any time"
        early: list[tuple[str, Any]] = [
            ("tools/list", None),
            ("tools/call", {"name": "raw__verbatim", "arguments": {}}),
            ("resources/read", {"uri": "test://x"}),
            ("logging/setLevel", {"level": "info"}),
        ]
        for method, params in early:
            error = hub.request(method, params).error
            assert error["code"] == INVALID_REQUEST
            assert "before initialize" in error["message"]
        hub.notify("notifications/initialized")
        hub.send(b"[%b]" % ping(b"77"))
        assert hub.wait(b"null").error["code"] == INVALID_REQUEST
        for params in (None, [], {"capabilities": {}}):
            assert hub.request("initialize", params).error["code"] == INVALID_PARAMS
        assert hub.initialize().result["protocolVersion"] == "2025-11-25"
        tools_until(hub, {"raw__verbatim"})
        is_well(hub)


def test_a_batch_of_the_revision_that_has_them_is_answered_as_one(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py")}), handshake=False) as hub:
        hub.initialize("2025-03-26")
        tools_until(hub, {"raw__verbatim"})
        hub.send(b"[%b,%b,5,%b]" % (ping(b'"a"'), call(b'"b"'), ping(b'"c"', b'"1.0"')))
        eventually(lambda: bool(hub.stray), "an array came")
        answers = hub.stray.pop()
        assert answers.startswith(b"[")
        for id in (b'"a"', b'"b"', b'"c"', b"null"):
            assert answers.count(b'"id":' + id) == 1
        is_well(hub)


@pytest.mark.parametrize("deaf", [False, True], ids=["good", "deaf"])
def test_a_client_that_closes_our_stdout_during_calls_ends_us_and_all_our_children(deaf: bool, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", new_mark()
    os.mkfifo(gate)
    options = ["--deaf", "--family"] if deaf else []
    entries = {"gated": servers.script("gated.py", str(gate), *options), "raw": servers.script("raw_echo.py")}
    config = write_config(tmp_path, entries)
    child = subprocess.Popen(
        [*RUN, str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **mark},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    with nothing_left(mark), child.stdin, child.stderr:
        wait = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"gated__wait","arguments":{}}}'
        initialized = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        child.stdin.write(b"\n".join([INITIALIZE % b"1", initialized, wait, call(b"3"), b""]))
        child.stdin.flush()
        with child.stdout:
            while Message.of(child.stdout.readline()).id != b"3":
                pass  # by now the other call is on its way too
        assert child.wait(PATIENCE) == 0
        assert b"Traceback" not in child.stderr.read()
        eventually(lambda: not marked(mark), lambda: marked(mark))
