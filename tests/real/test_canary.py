"""Secrets of the configuration, driven through every path on which something goes wrong, are seen nowhere.

Each begins alike, so that even a piece of one would be found: in the log and what was moved aside of it, the audit, the
series, the spans, the output of commands, what the hub shows, what is remembered, and the environment of another
server's child.
"""

import base64
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.commands import apart
from tests.support.hub import serving
from tests.support.manifold import Manifold, log_lines, running, tools_until, write_config
from tests.support.otlp import collecting
from tests.support.processes import eventually
from tests.support.servers import Entry

BEGIN = "canary.sings"
ENV, ARGUMENT, OPTION, HEADER, QUERY, USER, VARIABLE, COMMAND, TRACES = (
    f"{BEGIN}/of+{place}" for place in ("env", "arg", "option", "header", "query", "user", "var", "command", "traces")
)
KEY = f"-----BEGIN PRIVATE KEY-----\n{BEGIN}/in a key\n{BEGIN}/and+more\n-----END PRIVATE KEY-----"
TYPED = f"{BEGIN}/typed+by-the-model"
CONFIGURED = (ENV, ARGUMENT, OPTION, HEADER, QUERY, USER, VARIABLE, COMMAND, TRACES)

HOWS = (
    "stderr", "traceback", "stdout", "text", "json in text", "structured", "tool error", "error", "odd error",
    "odd result", "no result", "broken json", "glued", "unknown request", "bad request", "log message",
    "bad notification", "new tools", "silence", "exit",
)  # fmt: skip
WEB_HOWS = ("html", "json", "redirect", "hang up", "events", "result", "error", "404", "500", "403", "401")


class Web(BaseHTTPRequestHandler):
    """Echoes what it was sent, address and headers and all, with one kind of trouble for each path."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        how = self.path.partition("?")[0].strip("/").replace("-", " ")
        asked = json.loads(body)
        if how == "later":
            how = asked.get("params", {}).get("arguments", {}).get("how", "")
        if not how and "id" in asked:
            self._say(200, "application/json", self._well(asked))
        elif not how:
            self._say(202, "text/plain", "")
        else:
            self._trouble(how, asked)

    do_GET = do_DELETE = lambda self: self._say(405, "text/plain", self._all())  # noqa: N815 (as the library calls them)

    def _all(self) -> str:
        sent = f"{self.path} {self.headers.get('Authorization', '')} {self.headers.get('X-Key', '')}"
        return f"{sent} {quote(sent)} {base64.b64encode(sent.encode()).decode()}"

    def _well(self, asked: dict[str, object]) -> str:
        info = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": self._all(), "version": "1"},
        }
        results = {"initialize": info, "tools/list": {"tools": [{"name": "leak", "inputSchema": {"type": "object"}}]}}
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results.get(str(asked["method"]), {})})

    def _trouble(self, how: str, asked: dict[str, object]) -> None:
        said, id = self._all(), asked.get("id")
        if how.isdecimal():
            self._say(int(how), "text/plain", said, **{"WWW-Authenticate": f'Bearer error="{said}"'})
        elif how == "html":
            self._say(200, f"text/html; x={self.headers.get('X-Key')}", f"<p>{said}")
        elif how == "json":
            self._say(200, "application/json", f'{{"broken": "{said}')
        elif how == "redirect":
            self._say(307, "text/plain", said, Location=f"http://127.0.0.1:1{self.path}")
        elif how == "hang up":
            self.close_connection = True
        elif how == "events":
            self._say(200, "text/event-stream", f"data: {said}\n\nid: {said}\n\n")
        elif how == "result":
            done = {"content": [{"type": "text", "text": said}], "isError": True}
            self._say(200, "application/json", json.dumps({"jsonrpc": "2.0", "id": id, "result": done}))
        else:
            error = {"code": -32000, "message": said, "data": said}
            self._say(200, "application/json", json.dumps({"jsonrpc": "2.0", "id": id, "error": error}))

    def _say(self, status: int, kind: str, body: str, **headers: str) -> None:
        self.send_response(status, " ".join(body.split()) or None)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body.encode())), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Not here."""


@contextmanager
def web() -> Iterator[int]:
    """Its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def entries(port: int) -> dict[str, Entry]:
    """Servers that have secrets, in every place where an entry can have one; and one that has none."""
    secret = {"env": {"LEAKY_TOKEN": ENV, "LEAKY_KEY": KEY, "LEAKY_VARIABLE": "${CANARY}"}}
    words = ["x", f"--token={ARGUMENT}", "--api-key", OPTION]
    leaky = servers.script("leaky.py", *words)
    address = f"127.0.0.1:{port}/{{}}?api_key={quote(QUERY, safe='')}"
    shown = {"headers": {"Authorization": f"Bearer {HEADER}", "X-Key": "${CANARY}"}}
    never = [how for how in WEB_HOWS if how not in ("hang up", "result", "error", "404")]  # those are tried for long
    web = {
        f"web-{how.replace(' ', '-')}": {"url": f"http://{address.format(how.replace(' ', '-'))}", **shown}
        for how in never
    }
    return {
        "leaky": {**leaky, **secret, "callTimeout": 0.5},
        "dies": {**leaky, "env": {**secret["env"], "NEVER_STARTS": "0"}},
        "hangs": {**leaky, "env": {**secret["env"], "NEVER_STARTS": "60"}, "startTimeout": 0.5},
        "nowhere": {"command": "/nowhere/${CANARY_COMMAND}", **secret},
        "no-folder": {**leaky, **secret, "cwd": "/nowhere/${CANARY_COMMAND}"},
        "refused": {"url": f"http://me:{quote(USER, safe='')}@127.0.0.1:1/?token={quote(QUERY, safe='')}", **shown},
        "not-served": {"type": "ws", "url": f"ws://127.0.0.1:1/?token={quote(QUERY, safe='')}"},
        "unset": {"command": "x", "args": [f"--token={ARGUMENT}", "${NO_SUCH_VARIABLE}"]},
        "later": {"url": f"http://{address.format('later')}", **shown, "callTimeout": 2},
        "witness": {"command": sys.executable, "args": ["-m", "proxy.samples.clock"]},
        **web,
    }


ENVIRONMENT = {"CANARY": VARIABLE, "CANARY_COMMAND": COMMAND}


FEW = ("leaky", "dies", "nowhere", "refused", "web-500", "web-json")


def configuration(folder: Path, port: int, only: Sequence[str] | None = None, **proxy: object) -> Path:
    log = {"file": "hub.log", "level": "debug", "payloads": "redacted", "maxBytes": 200_000, "keep": 9}
    chosen = {key: entry for key, entry in entries(port).items() if only is None or key in only}
    return write_config(folder, chosen, log=log, audit={"file": "audit.log"}, **proxy)


def assert_unseen(what: str, text: bytes) -> None:
    """No secret is in there, in any usual encoding, nor a piece of one."""
    forms = {BEGIN, quote(BEGIN, safe=""), TYPED}
    for secret in (*CONFIGURED, *KEY.splitlines()[1:3]):
        forms |= {secret, quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}
    found = [form for form in sorted(forms) if form.encode() in text]
    lines = [line[:2000] for line in text.splitlines() if any(form.encode() in line for form in found)]
    assert found == [], f"{what} shows {found}: {lines[:3]}"


def assert_files_unseen(folder: Path) -> None:
    """All but the configuration itself, and what is remembered of the lists: those are what servers say to clients."""
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "manifold.json" and "state" not in file.parts:
            assert_unseen(str(file), file.read_bytes())


def drive(hub: Manifold) -> None:
    """Calls that go wrong, and a client that does."""
    hub.send(f'{{"jsonrpc":"2.0","id":"{VARIABLE}","method":"{ENV}"}}'.encode())
    hub.send(f'{{"broken": "{ENV}'.encode())
    hub.notify(f"notifications/{ENV}", {"a": ENV})
    hub.call(f"leaky__{ENV}", {"a": ENV})
    hub.start("tools/call", {"name": "leaky__leak", "arguments": [ENV]}, id=json.dumps(f"id {ENV}").encode())
    for how in HOWS:
        hub.call("leaky__leak", {"how": how, "password": TYPED, "note": f"the {ENV} and token={TYPED}", ENV: QUERY})
    for how in WEB_HOWS:
        hub.call("later__leak", {"how": how, "headers": {"Authorization": f"Bearer {TYPED}"}, "x": quote(QUERY)})


def environments_of_witnesses(parent: int) -> list[bytes]:
    """What the children of this process were given that are the witness."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            ours = process.name.isdecimal() and f"\nPPid:\t{parent}\n" in (process / "status").read_text()
            if ours and b"proxy.samples.clock" in (process / "cmdline").read_bytes():
                found.append((process / "environ").read_bytes())
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
def test_a_proxy_for_one_client_shows_no_secret(tmp_path: Path) -> None:
    with web() as port, collecting() as collector:
        pushed = {"endpoint": collector.endpoint, "headers": {"X-Key": TRACES}}
        metrics = {"enabled": True, "port": 0, "textfile": str(tmp_path / "text"), "otlp": {**pushed, "interval": 1}}
        file = configuration(tmp_path, port, metrics=metrics, traces=pushed)
        (tmp_path / "text").mkdir()
        with running(file, ENVIRONMENT) as hub:
            tools_until(hub, {"leaky__leak", "later__leak", "witness__now"})
            drive(hub)
            hub.call("witness__now", {})
            [witness] = environments_of_witnesses(hub.pid)
            log = tmp_path / "hub.log"
            assert_unseen("the series", get(address_of_series(log), {}))
            good = file.read_text()
            file.write_text(good.replace('"mcpServers"', f'"{ENV}": "{ENV}", "mcpServers"') + ENV)
            eventually(lambda: b"manifold.json" in log.read_bytes(), "the log says that the file is bad")
            file.write_text(good)
            for options in ([], ["--json"]):
                assert_unseen("top", apart(["top", "--once", *options, "--config", file], env=ENVIRONMENT).out)
        pushes = b"\n".join(collector.raw)
        assert b"mcp.method.name" in pushes
        assert b"mcp_manifold_calls" in pushes
        assert_unseen("a span, or a figure that was pushed", pushes)
        assert_unseen("the environment of another server", witness)
        assert b"PATH=" in witness
        assert_unseen("stderr", hub.child.stderr().encode())
        assert_files_unseen(tmp_path)
        told = records(log)
        failed = {
            record["server"] for record in told if record["event"] == "server_state" and record["level"] != "debug"
        }
        assert {"leaky", "dies", "hangs", "nowhere", "refused", "web-401", "web-500"} <= failed
        calls = [record for record in told if record["event"] == "call"]
        assert len(calls) >= len(HOWS) + len(WEB_HOWS)
        assert sum("***" in record.get("arguments", "") for record in calls) >= len(HOWS)
        assert len((tmp_path / "audit.log").read_text().splitlines()) == len(calls)
        file = configuration(tmp_path, port, FEW)
        for command in (["logs"], ["logs", "--failed"], ["check"], ["cache"]):
            done = apart([*command, "--config", file], env=ENVIRONMENT)
            assert_unseen(" ".join(command), done.out + done.err)
            assert done.out


def address_of_series(log: Path) -> str:
    found: list[str] = []

    def told() -> bool:
        texts = [record.get("text", "") for record in records(log)]
        found.extend(text.removeprefix("metrics on ") for text in texts if text.startswith("metrics on http"))
        return bool(found)

    eventually(told, "the log says where the series are")
    return found[0]


def records(log: Path) -> list[dict[str, str]]:
    """All lines of a log, with what was moved aside of it."""
    files = [log, *log.parent.glob(f"{log.name}.*")]
    return [line for file in files for line in log_lines(file)]


def test_a_hub_shows_no_secret(tmp_path: Path) -> None:
    with web() as port:
        file = configuration(tmp_path, port, FEW)
        with serving(file, ENVIRONMENT) as hub:
            for how in ("stderr", "traceback", "error", "tool error", "broken json", "silence", "exit", "odd error"):
                body = json.dumps({"how": how, "password": TYPED}).encode()
                get(f"{hub.url}/tools/leaky__leak", {**hub.headers, "Content-Type": "application/json"}, body)
            for path in ("servers", "calls", "metrics", "openapi.json", "tools", "readyz", "healthz"):
                assert_unseen(path, get(f"{hub.url}/{path}", hub.headers))
        assert_unseen("stderr", hub.child.stderr().encode())
        assert_files_unseen(tmp_path)
        calls = [record for record in records(tmp_path / "hub.log") if record["event"] == "call"]
        assert {record["server"] for record in calls} == {"leaky"}


def get(url: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
    """What is answered to a GET, or with a body to a POST; well or not."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 (our own)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 (our own)
            told: bytes = answer.read()
    except urllib.error.HTTPError as problem:
        told = problem.read()
    return told
