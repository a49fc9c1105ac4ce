"""The running hub against whoever should not get in: every route, odd requests, secrets, crowds."""

import ast
import itertools
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import proxy.serve
from proxy.web.guard import BEARER, OPEN
from tests.support import raw_http, servers
from tests.support.bare import UPGRADE, Answer, Line, ask, head, line_to, sent_as_is
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.processes import eventually, marked, new_mark

FRIEND = "https://app.example"
JSON = {"Content-Type": "application/json"}
ACCEPT = {**JSON, "Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "safe", "version": "1"}},
}

# Method, target, headers and body of a request that works -> the status that says so.
ROUTES: dict[tuple[str, str], tuple[dict[str, str], bytes, int]] = {
    ("POST", "/mcp"): (ACCEPT, json.dumps(INITIALIZE).encode(), 200),
    ("GET", "/mcp"): ({"Accept": "text/event-stream"}, b"", 400),
    ("DELETE", "/mcp"): ({}, b"", 400),
    ("GET", "/ws"): (UPGRADE, b"", 101),
    ("GET", "/live"): (UPGRADE, b"", 101),
    ("GET", "/tools/list"): ({}, b"", 200),
    ("POST", "/tools/call"): (JSON, b'{"tool_name":"raw__verbatim","arguments":{"mark":"by-call"}}', 200),
    ("POST", "/tools/raw__verbatim"): (JSON, b'{"mark":"by-name"}', 200),
    ("GET", "/resources/list"): ({}, b"", 200),
    ("GET", "/prompts/list"): ({}, b"", 200),
    ("GET", "/openapi.json"): ({}, b"", 200),
    ("GET", "/servers"): ({}, b"", 200),
    ("GET", "/servers/raw"): ({}, b"", 200),
    ("POST", "/servers/none/restart"): ({}, b"", 404),
    ("GET", "/calls"): ({}, b"", 200),
    ("POST", "/links"): ({}, b"", 200),
    ("POST", "/login"): (JSON, b'{"code":"none"}', 401),
    ("GET", "/"): ({}, b"", 200),
    ("GET", "/page/none"): ({}, b"", 404),
    ("GET", "/healthz"): ({}, b"", 200),
    ("GET", "/readyz"): ({}, b"", 200),
    ("GET", "/metrics"): ({}, b"", 200),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    """One for all; it logs all it can."""
    entry = servers.script("raw_echo.py", "--record", str(folder / "heard"))
    http = {"allowedOrigins": [FRIEND], "allowedHosts": ["hub.example"], "maxBody": 100_000}
    config = write_config(folder, {"raw": entry}, log={"level": "debug"}, http=http)
    with serving(config) as hub:
        eventually(lambda: ask(hub.url, "GET", "/readyz").status == 200, "no server is ready")
        yield hub


def part(target: str) -> str:
    return target.split("/")[1]


def test_the_matrix_has_every_route() -> None:
    """Those in the source where the hub is put together."""
    tree = ast.parse(Path(proxy.serve.__file__).read_text())
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    named = {key.value for key in keys if isinstance(key, ast.Constant)}
    assert named == {part(target) for _, target in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_only_the_right_host_origin_and_token_together_get_in(hub: Hub, folder: Path, route: tuple[str, str]) -> None:
    own = hub.url.removeprefix("http://")
    hosts = {own: True, "hub.example": True, "evil.example": False, f"evil.example:{own.rpartition(':')[2]}": False}
    origins = {None: True, "own": True, FRIEND: True, "https://evil.example": False, "null": False}
    shown = {
        "none": ({}, False),
        "wrong": ({"Authorization": "Bearer wrong-token-wrong-token-wrong-token"}, False),
        "header": (hub.headers, True),
        "subprotocol": ({"Sec-WebSocket-Protocol": f"mcp, {BEARER}{hub.token}"}, True),
    }
    method, target = route
    headers, body, works = ROUTES[route]
    with line_to(hub.url) as kept:
        for host, origin, how in itertools.product(hosts, origins, shown):
            token, is_right = shown[how]
            sent = {**headers, **token, "Host": host}
            if origin:
                sent["Origin"] = f"http://{host}" if origin == "own" else origin
            if not hosts[host]:
                expected = 421
            elif not origins[origin]:
                expected = 403
            else:
                expected = works if is_right or part(target) in OPEN else 401
            answer = (
                _once(hub, method, target, sent, body) if headers is UPGRADE else kept.ask(method, target, sent, body)
            )
            assert answer.status == expected, (host, origin, how, answer)
            is_shared = origin == FRIEND and headers is not UPGRADE
            assert answer.headers.get("access-control-allow-origin") == (FRIEND if is_shared else None)
    if route[1].startswith("/tools/") and body:
        mark = b"by-call" if route[1] == "/tools/call" else b"by-name"
        heard = (folder / "heard").read_bytes()
        assert heard.count(mark) == 2 * 3 * 2, "as many calls as were let in, and nothing of the others"


def _once(hub: Hub, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
    with line_to(hub.url) as line:
        return line.ask(method, target, headers, body)


# What a request line and head may try, and the statuses that answer it: nothing that needs a token is ever given.
SHAPES: dict[str, tuple[bytes, set[int]]] = {
    "doubled slash": (b"GET //metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "doubled slash, post": (b"POST //mcp HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n\r\n{}", {404, 405}),
    "encoded letter": (b"GET /%6detrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "encoded slash": (b"GET /page%2f..%2fmetrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "up from an open one": (b"GET /page/../metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "up, encoded": (b"GET /page/%2e%2e/metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "up and out": (b"GET /page/../../../../../../etc/passwd HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "up and out, encoded": (b"GET /page/..%2f..%2f..%2fserver.py HTTP/1.1\r\nHost: HOST\r\n\r\n", {404}),
    "backslash": (b"GET /page\\..\\metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {400, 401}),
    "a null byte": (b"GET /healthz%00/metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "a matrix parameter": (b"GET /healthz;/metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "twice encoded": (b"GET /page%252f..%252fmetrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "no path": (b"GET metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {400}),
    "the whole server": (b"OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n", {204}),
    "options on the figures": (b"OPTIONS /metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {204}),
    "absolute": (b"GET http://HOST/metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "absolute, of elsewhere": (b"GET http://evil.example/metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", {421}),
    "absolute, without a path": (b"GET http://HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", {400, 200}),
    "a tunnel": (b"CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", {400}),
    "a method of nobody's": (b"BREW /metrics HTTP/1.1\r\nHost: HOST\r\n\r\n", {400}),
    "old": (b"GET /metrics HTTP/1.0\r\nHost: HOST\r\n\r\n", {401}),
    "old, without a host": (b"GET /healthz HTTP/1.0\r\n\r\n", {421}),
    "older": (b"GET /metrics\r\n\r\n", {400, 421}),
    "without a host": (b"GET /healthz HTTP/1.1\r\n\r\n", {400, 421}),
    "an empty host": (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", {421}),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n", {400, 421}),
    "the same host twice": (b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", {400, 421}),
    "two origins": (b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nOrigin: null\r\n\r\n", {403}),
    "two tokens": (
        b"GET /metrics HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer x\r\nAuthorization: Bearer TOKEN\r\n\r\n",
        {401},
    ),
    "a folded line": (b"GET /metrics HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n", {400, 401}),
    "a space before the colon": (b"GET /metrics HTTP/1.1\r\nHost : HOST\r\n\r\n", {400}),
    "a token in the address": (b"GET /metrics?token=TOKEN&access_token=TOKEN HTTP/1.1\r\nHost: HOST\r\n\r\n", {401}),
    "both lengths": (
        b"POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "two lengths": (b"POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}),
    "a length that is none": (b"POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Length: -2\r\n\r\n{}", {400}),
    "a long length": (b"POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n{}", {400}),
    "an encoding of nobody's": (
        b"POST /login HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "a chunk that is none": (
        b"POST /login HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        {400},
    ),
    "lines without returns": (b"GET /healthz HTTP/1.1\nHost: HOST\n\n", {400, 200}),
    "letters beyond ascii": ("GET /h\u00e9 HTTP/1.1\r\nHost: HOST\r\n\r\n".encode(), {400, 401}),
    "no http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00", {400}),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "http 9": (b"GET /healthz HTTP/9.9\r\nHost: HOST\r\n\r\n", {400}),
    "another upgrade": (
        b"POST /calls HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
        {401},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_of_a_request_gets_past_the_guard(hub: Hub, shape: str) -> None:
    sent, statuses = SHAPES[shape]
    host = hub.url.removeprefix("http://")
    # A second request asks for the connection's end, where it is good still.
    data = sent.replace(b"HOST", host.encode()).replace(b"TOKEN", hub.token.encode())
    said = sent_as_is(hub.url, data + head("GET", "/healthz", {"Host": host, "Connection": "close"}))
    first = re.match(rb"HTTP/1.1 (\d{3}) ", said)
    assert first is not None, said
    assert int(first[1]) in statuses, said
    assert b"mcp_manifold" not in said, "figures"
    assert b"Traceback" not in said
    if 400 in statuses and int(first[1]) == 400:
        assert said.count(b"HTTP/1.1 ") == 1, "and nothing behind it is looked at"


def test_a_request_smuggled_in_the_body_of_a_refused_one_is_not_answered(hub: Hub) -> None:
    host = hub.url.removeprefix("http://")
    inner = head("POST", "/links", {"Host": host, **hub.headers})
    with line_to(hub.url) as line:
        refused = line.ask("POST", "/tools/call", {"Origin": "https://evil.example"}, inner)
        assert refused.status == 403
        assert line.ask("GET", "/healthz").body == b'{"status":"ok"}', "the next answer is that of the next request"


def test_a_body_over_the_limit_is_413_on_every_way_in(hub: Hub) -> None:
    limit = 100_000
    for target in ("/mcp", "/tools/call", "/tools/raw__verbatim"):
        headers = {**ACCEPT, **hub.headers}
        with line_to(hub.url) as line:
            declared = head("POST", target, {"Host": line.host, **headers, "Content-Length": str(limit + 1)})
            line.send(declared)
            assert line.answer().status == 413, target
        with line_to(hub.url) as line:
            line.send(head("POST", target, {"Host": line.host, **headers, "Transfer-Encoding": "chunked"}))
            line.send(b"%x\r\n" % (limit + 1) + b" " * (limit + 1) + b"\r\n")
            assert line.answer().status == 413, target


def test_thousands_who_only_connect_do_not_stop_others(hub: Hub) -> None:
    idle: list[Line] = []
    try:
        for _ in range(400):
            idle.extend(Line(hub.url) for _ in range(5) if len(idle) < _most_open())
            with line_to(hub.url) as line:
                assert line.ask("GET", "/tools/list", hub.headers).status == 200
    finally:
        for one in idle:
            one.close()


def _most_open() -> int:
    """As many as this process may open, and a few less."""
    import resource

    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300, 2000)


def test_no_token_is_in_the_log_the_output_or_an_address(hub: Hub) -> None:
    wrong = "not-the-token-but-somebody-tried-it-here"
    for token in (hub.token, wrong):
        shown = {"Authorization": f"Bearer {token}"}
        for target in ("/metrics", "/none", f"/metrics?token={token}"):
            ask(hub.url, "GET", target, shown)
        offered = {**UPGRADE, "Sec-WebSocket-Protocol": f"mcp, {BEARER}{token}"}
        for target in ("/ws", "/live", "/none", f"/ws?token={token}"):
            ask(hub.url, "GET", target, offered)
        ask(hub.url, "POST", "/mcp", {**ACCEPT, **shown}, json.dumps(INITIALIZE).encode())
        sent_as_is(hub.url, f"GET /{token} HTTP/9\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    link = json.loads(ask(hub.url, "POST", "/links", hub.headers).body)
    assert hub.token not in link["code"]
    eventually(lambda: '"client_gone"' in hub.child.stderr(), "the WebSocket's end is not in the log")
    log = hub.child.stderr()
    assert '"level":"debug"' in log
    for secret in (hub.token, wrong, link["code"]):
        assert secret not in log
        assert secret not in " ".join(hub.child.command)
    cmdline = Path(f"/proc/{hub.child.process.pid}/cmdline").read_bytes()
    assert hub.token.encode() not in cmdline


async def test_the_clients_authorization_reaches_no_server(tmp_path: Path) -> None:
    mark = new_mark()
    seen: list[bytes] = []

    def use(url: str) -> None:
        entries = {
            "far": {"url": url, "headers": {"X-Own": "own"}},
            "near": servers.script("raw_echo.py", "--record", str(tmp_path / "heard")) | {"env": mark},
        }
        with serving(write_config(tmp_path, entries)) as hub:
            shown = {**JSON, **hub.headers, "Cookie": f"a={hub.token}", "X-Client": "client"}
            for tool in ("far__t", "near__verbatim"):
                answer = ask(hub.url, "POST", f"/tools/{tool}", shown, b"{}")
                assert answer.status == 200, answer
                assert hub.token.encode() not in answer.body
            [pid] = marked(mark)
            seen.append(Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes())
            seen.append((tmp_path / "heard").read_bytes())
            seen.append(hub.token.encode())

    async with raw_http.serving(raw_http.Site()) as far:
        await anyio.to_thread.run_sync(partial(use, far.url))
        assert far.asked("tools/call")
        for request in far.requests:
            assert request.headers.get("x-own") == "own"
            assert not {"authorization", "cookie", "x-client"} & request.headers.keys()
            assert seen[2] not in request.body
    assert seen[2] not in seen[0]
    assert seen[2] not in seen[1]


def test_files_of_the_state_are_this_users_alone(hub: Hub, folder: Path) -> None:
    state = folder / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "token").stat().st_mode & 0o777 == 0o600
    assert (state / "token").read_text().strip() == hub.token
    assert (state / "token").stat().st_uid == os.geteuid()
