"""`mcp-manifold serve`: what it says, why it does not start, and how it ends."""

import contextlib
import json
import queue
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.bare import UPGRADE, ask, head, line_to
from tests.support.client import PATIENCE, ChildWire
from tests.support.commands import PROXY, Here, sample
from tests.support.hub import serving
from tests.support.manifold import write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left
from tests.support.tls import make_certificate, trusting

ACCEPT = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.fixture
def mark() -> Iterator[dict[str, str]]:
    """What servers of a test carry; none of them is left behind."""
    mark = new_mark()
    with nothing_left(mark):
        yield mark


def is_free(url: str) -> bool:
    """Whether the hub's port can be had."""
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        return True


def test_it_says_where_it_is_and_how_to_get_in_and_not_the_token(tmp_path: Path) -> None:
    with serving(write_config(tmp_path, {})) as hub:
        assert ask(hub.url, "GET", "/healthz").status == 200
        hub.child.process.send_signal(signal.SIGTERM)
        assert hub.child.wait_for_exit() == 0
    token = tmp_path / "state" / "token"
    assert token.read_text().strip() == hub.token
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert hub.token not in hub.child.stderr()


@contextlib.contextmanager
def printed(config: Path, number: int) -> Iterator[list[str]]:
    """A hub at the address of its configuration, and the first lines that it prints."""
    child = ChildWire([*PROXY, "serve", "--config", str(config)])
    lines: queue.Queue[bytes | None] = queue.Queue()
    try:
        child.open(lines.put)
        yield [(lines.get(timeout=PATIENCE) or b"it ended").decode() for _ in range(number)]
    finally:
        child.close()
    assert child.process.returncode == 0


def test_what_it_prints_first_is_for_a_person(config: Path) -> None:
    with printed(config, 4) as lines:
        url = lines[0].removeprefix("mcp-manifold serves 1 server on ")
        shows, opens = f"mcp-manifold token --config {config}", f"mcp-manifold ui --config {config}"
        assert lines == [
            f"mcp-manifold serves 1 server on {url}",
            f"  MCP    {url}/mcp",
            f"  page   {url}/",
            f"  token  `{shows}` shows it; `{opens}` opens the page with it",
        ]


def test_it_says_which_servers_are_not_ready(tmp_path: Path) -> None:
    entries = {
        "fine": sample("clock"),
        "none": {"command": str(tmp_path / "nothing")},
        "off": {"command": "${MISSING}"},
    }
    with printed(write_config(tmp_path, entries, http={"port": 0}), 5) as lines:
        assert lines[0].startswith("mcp-manifold serves 3 servers on ")
        assert lines[4] == "  2 servers are not ready, of 3: none, off (the log and `check` say why)"


def test_it_warns_where_others_may_come_without_a_token(tmp_path: Path) -> None:
    config = write_config(tmp_path, {}, http={"host": "0.0.0.0", "port": 0, "insecure": True, "auth": "none"})
    with printed(config, 4) as lines:
        assert lines[3] == (
            "  It listens at 0.0.0.0, for other machines too, ASKS NOBODY FOR A TOKEN: they may call every tool, "
            "and speaks to them without encryption."
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "ctrl-C"])
def test_a_signal_ends_it_with_its_servers_and_its_connections(
    tmp_path: Path, number: signal.Signals, mark: dict[str, str]
) -> None:
    entries = {"one": sample("clock", env=mark), "two": servers.script("raw_echo.py") | {"env": mark}}
    with serving(write_config(tmp_path, entries)) as hub:
        eventually(lambda: ask(hub.url, "GET", "/readyz").status == 200, "not ready")
        assert len(marked(mark)) == 2
        with line_to(hub.url) as stream, line_to(hub.url) as ws, line_to(hub.url) as call, line_to(hub.url) as idle:
            begun = stream.ask("POST", "/mcp", {**hub.headers, **ACCEPT}, json.dumps(INITIALIZE).encode())
            session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "Accept": "text/event-stream"}
            stream.send(head("GET", "/mcp", {"Host": stream.host, **hub.headers, **session}))
            assert stream.socket.recv(15) == b"HTTP/1.1 200 OK"
            assert ws.ask("GET", "/ws", {**hub.headers, **UPGRADE}).status == 101
            body = b'{"name":"two__never","arguments":{}}'
            own = {"Host": call.host, **hub.headers, **ACCEPT, "Content-Length": str(len(body))}
            call.send(head("POST", "/tools/call", own) + body)
            metrics = 'mcp_manifold_calls_in_flight{server="two"} 1.0'
            eventually(
                lambda: metrics in ask(hub.url, "GET", "/metrics", hub.headers).body.decode(), "the call is not there"
            )
            hub.child.process.send_signal(number)
            assert hub.child.wait_for_exit() == 0
            for line in (stream, ws, call, idle):
                line.rest()  # which ends
        assert marked(mark) == {}
        assert is_free(hub.url)


def test_it_can_be_started_again_on_the_same_port_at_once(tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    with serving(config) as hub:
        port = hub.url.rpartition(":")[2]
        assert ask(hub.url, "GET", "/").status == 200
    config = write_config(tmp_path, {}, http={"port": int(port)})
    with printed(config, 1) as lines:
        assert lines[0].endswith(f":{port}")
        assert ask(hub.url, "GET", "/healthz").status == 200


def test_a_hangup_reads_the_configuration_again_and_keeps_the_clients(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"one": sample("clock")})
    with serving(config) as hub, line_to(hub.url) as line:
        names = '"one__now"'
        eventually(lambda: names in line.ask("GET", "/tools/list", hub.headers).body.decode(), "the first is not there")
        write_config(tmp_path, {"two": sample("clock")})
        hub.child.process.send_signal(signal.SIGHUP)
        eventually(lambda: '"two__now"' in line.ask("GET", "/tools/list", hub.headers).body.decode(), "no reload")
        assert names not in line.ask("GET", "/tools/list", hub.headers).body.decode()


def complaint(here: Here, config: Path, *words: str) -> str:
    """Why it does not start: one line, nothing on stdout, exit code 1."""
    done = here("serve", "--config", config, *words)
    assert (done.code, done.out) == (1, b"")
    [line] = [line for line in done.err.decode().splitlines() if not line.startswith("{")]
    return line


@pytest.fixture
def config(tmp_path: Path, mark: dict[str, str]) -> Path:
    return write_config(tmp_path, {"clock": sample("clock", env=mark)}, http={"port": 0})


def test_a_port_that_is_taken_is_one_line_and_no_server_is_started(
    here: Here, config: Path, mark: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = complaint(here, config, "--port", str(port))
    assert text == f"can't listen on 127.0.0.1 port {port}: Address already in use; --port takes another"
    assert marked(mark) == {}


def test_beyond_loopback_it_does_not_start_without_tls(here: Here, config: Path, mark: dict[str, str]) -> None:
    assert complaint(here, config, "--host", "0.0.0.0").startswith("0.0.0.0 can be reached from other machines: ")
    assert marked(mark) == {}


def test_a_host_that_is_none_is_one_line(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {}, http={"port": 0, "insecure": True})
    text = complaint(here, config, "--host", "no-such-host.invalid")
    assert text.startswith("can't listen on no-such-host.invalid port 0: ")


def test_a_token_that_can_not_be_kept_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    text = complaint(here, write_config(tmp_path, {}, http={"port": 0}))
    assert text.startswith(f"{tmp_path / 'state' / 'token'}: the access token can't be kept: ")


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "-1"], ["--port", "http"], ["--port", "\u00b2"]])
def test_a_port_that_is_none_is_a_wrong_argument(here: Here, config: Path, words: list[str]) -> None:
    done = here("serve", "--config", config, *words)
    assert (done.code, done.out) == (2, b"")
    assert len(done.err.splitlines()) == 1


def test_with_tls_files_it_serves_https(tmp_path: Path) -> None:
    """Their names are relative to the configuration, and so it may be open to other machines."""
    cert, key = make_certificate(tmp_path)
    http = {"tlsCert": cert.name, "tlsKey": key.name, "host": "0.0.0.0"}
    with serving(write_config(tmp_path, {}, http=http)) as hub:
        assert hub.url.startswith("https://127.0.0.1:"), "an address that can be called"
        with line_to(hub.url, trusting(cert)) as line:
            assert line.ask("GET", "/tools/list", hub.headers).status == 200
            assert line.ask("GET", "/tools/list").status == 401
            assert line.ask("GET", "/tools/list", {**hub.headers, "Host": "rebound.example"}).status == 421
            assert line.ask("GET", "/", {"Origin": hub.url}).status == 200


def test_without_a_token_it_says_nothing_of_one_and_makes_none(tmp_path: Path) -> None:
    with serving(write_config(tmp_path, {}, http={"auth": "none"})) as hub:
        assert ask(hub.url, "GET", "/tools/list").status == 200
        assert ask(hub.url, "GET", "/tools/list", {"Origin": "https://evil.example"}).status == 403
        assert ask(hub.url, "GET", "/tools/list", {"Host": "evil.example"}).status == 421
    assert not (tmp_path / "state" / "token").exists()


def test_two_hubs_of_one_user_take_the_same_token(tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    with serving(config) as one, serving(config) as other:
        assert one.url != other.url
        for hub in (one, other):
            assert ask(hub.url, "GET", "/tools/list", one.headers).status == 200
