"""Each way in which a start goes wrong is one line in `check` and one in the log: which server, what, what to do."""

import http.server
import json
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_habits import SCRIPT
from tests.support import servers
from tests.support.commands import Done, apart
from tests.support.manifold import log_lines, running, write_config
from tests.support.processes import eventually
from tests.support.raw_http import refused_url

FOREVER = "import time; time.sleep(600)"
QUICK: dict[str, Any] = {"startTimeout": 1}
HOPELESS = "error"
"""It is not tried again."""
MAY_PASS = "warning"


@dataclass(frozen=True)
class Case:
    """`says` is all in the one line, which has this level in the log."""

    name: str
    entry: dict[str, Any]
    says: tuple[str, ...]
    level: str = MAY_PASS


def habit(name: str, **more: Any) -> dict[str, Any]:
    return servers.entry([sys.executable, "-S", str(SCRIPT), "--habit", name], **more)


def python(code: str, **more: Any) -> dict[str, Any]:
    return servers.entry([sys.executable, "-S", "-u", "-c", code], **more)


def file(name: str, **more: Any) -> dict[str, Any]:
    """A command among the files of the `site`."""
    return {"command": f"SITE/{name}", **more}


def web(path: str, kind: str = "http", **more: Any) -> dict[str, Any]:
    """A URL of the `site`."""
    return {"type": kind, "url": f"URL/{path}/mcp?key=hidden", **more}


FILES: dict[str, tuple[bytes, int]] = {
    "plain": (b"#!/bin/sh\necho\n", 0o644),
    "no-first-line": (b"print(1)\n", 0o755),
    "no-interpreter": (b"#!/no/such/python\n", 0o755),
    "windows": (b"#!/bin/sh\r\necho\r\n", 0o755),
}

TRY_IT = "and printed nothing; try its command in a terminal"

CASES = [
    # What is not even started
    Case("not-found", {"command": "no-such-command"}, ("not found in PATH", "give its whole path"), HOPELESS),
    Case("not-there", {"command": "/no/such/path"}, ("'/no/such/path' was not found",), HOPELESS),
    Case("with-arguments", {"command": "npx -y server"}, ("not found", "belongs into `args`"), HOPELESS),
    Case("a-directory", file("folder"), ("is a directory, not a program",), HOPELESS),
    Case("not-executable", file("plain"), ("may not be executed; make it executable",), HOPELESS),
    Case("no-first-line", file("no-first-line"), ("is no program that can be run here", "#!/usr/bin/env"), HOPELESS),
    Case("no-interpreter", file("no-interpreter"), ("'/no/such/python', which was not found",), HOPELESS),
    Case("windows", file("windows"), ("its lines end as on Windows",), HOPELESS),
    Case("no-folder", {"command": "cat", "cwd": "/no/such"}, ("directory '/no/such' does not exist",), HOPELESS),
    Case("folder-is-file", {"command": "cat", "cwd": "SITE/plain"}, ("is not a directory",), HOPELESS),
    Case("unset", {"command": "cat", "args": ["${NO_SUCH_VAR}"]}, ("NO_SUCH_VAR is not set",), HOPELESS),
    # What ends
    Case("exits-with-0", habit("exits-at-once"), ("exited with code 0", TRY_IT)),
    Case("exits-with-1", python("raise SystemExit(1)"), ("exited with code 1", TRY_IT)),
    Case("is-killed", habit("is-killed-at-once"), ("was killed by SIGKILL", TRY_IT)),
    Case("says-why", habit("exits-with-a-banner"), ("code 3; its last words: Error: no token in the configuration",)),
    Case("traceback", python("import os; os.environ['TOKEN']"), ("code 1; its last words: KeyError: 'TOKEN'",)),
    Case("usage", python("print('Usage: x ROOT'); raise SystemExit(2)"), ("code 2; its last words: Usage: x ROOT",)),
    Case("crashes-when-greeted", habit("crashes-at-initialize"), ("code 1; its last words: KeyError: 'HOME_DIR'",)),
    Case("crashes-at-its-list", habit("crashes-at-the-list"), ("exited with code 4",)),
    Case("talks-to-us-no-more", habit("closes-stdout-at-once"), ("closed its output", "try its command")),
    Case("hears-us-no-more", habit("closes-stdin-at-once"), ("closed its input", "try its command")),
    Case("long-words", python(f"import sys; sys.exit('word ' * 9999 + '{'x' * 99}')"), ("its last words: word word",)),
    Case(
        "many-lines",
        python(r"import sys; sys.exit('\x1b[31mError:\r\n\tno licence\x1b[0m')"),
        ("last words: Error: no licence",),
    ),
    # What does not answer, or not so
    Case("too-late", python("import time; time.sleep(600)", **QUICK), ("did not answer initialize within 1 s",)),
    Case("never", habit("never-answers-initialize", **QUICK), ("within 1 s (`startTimeout` on its entry)",)),
    Case("waits", python(f"import sys; print('for a db', file=sys.stderr); {FOREVER}", **QUICK), ("for a db",)),
    Case("serves-http", python(f"print('on port 3000'); {FOREVER}", **QUICK), ("its last words: on port 3000",)),
    Case("never-lists", habit("never-lists", **QUICK), ("did not list its tools within 1 s",)),
    Case("rubbish", habit("prints-rubbish-for-ever"), ("printed 100 lines on stdout", "that are no messages")),
    Case("refuses", habit("refuses-initialize"), ("answered initialize with error -32603: the database is locked",)),
    Case("half-an-answer", habit("welcomes-with-rubbish"), ("its answer to initialize can't be used", "not JSON")),
    Case("version", habit("welcomes-with-an-unknown-version"), ("'1999-01-01'; supported are 2024-11-05",)),
    Case("version-number", habit("welcomes-with-a-number"), ("can't be used: it names no protocolVersion",)),
    Case("no-object", habit("welcomes-with-an-array"), ("answer to initialize can't be used: not a JSON object",)),
    Case("list-refused", habit("refuses-to-list"), ("answered tools/list with error -32603: not today",)),
    Case("list-no-array", habit("lists-no-array"), ("answer to tools/list can't be used: not a JSON array",)),
    # HTTP
    Case("refused", {"url": refused_url()}, ("no connection (nobody listens there) to http://127.0.0.1:",)),
    Case("no-host", {"url": "http://no-such-host.invalid/mcp"}, ("no connection", "to http://no-such-host.invalid")),
    Case("no-tls", web("404") | {"url": "TLS/mcp"}, ("no connection (TLS: ", "to https://127.0.0.1:")),
    Case("401", web("401"), ("wants authentication (HTTP 401)", "`headers`"), HOPELESS),
    Case("403", web("403"), ("HTTP 403, which forbids access", "`headers`")),
    Case("404", web("404"), ("HTTP 404 at http://127.0.0.1:", "/404/mcp; is the path right?")),
    Case("500", web("500"), ("it answered HTTP 500",)),
    Case("html", web("html"), ("with text/html in place of a message", "is the path right?")),
    Case("hangs-up", web("close"), ("the connection broke",)),
    Case("never-http", web("hang", **QUICK), ("did not answer initialize within 1 s",)),
    Case("sse-401", web("401", "sse"), ("wants authentication (HTTP 401)", "`headers`"), HOPELESS),
    Case("sse-404", web("404", "sse"), ("HTTP 404 at http://127.0.0.1:", "is the path right?")),
    Case("sse-html", web("html", "sse"), ("no event stream", "'text/html'", "is the path right?")),
    Case("sse-hangs-up", web("close", "sse"), ("the connection broke",)),
]

WELL = {
    "late": python(f"import time; time.sleep(0.5); exec(open({str(SCRIPT)!r}).read())", startTimeout=20),
    "banner": habit("prints-a-banner-first"),
    "good": habit("none"),
}


class Site(http.server.BaseHTTPRequestHandler):
    """What a path says is what is done."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        match self.path.split("/")[1]:
            case "html":
                self._answer(200, b"<h1>Welcome</h1>")
            case "close":
                self.close_connection = True
                self.connection.close()
            case "hang":
                self.server.released.wait()  # type: ignore[attr-defined]
                self.close_connection = True
            case status:
                self._answer(int(status), b"no")

    do_GET = do_POST  # noqa: N815 (the base class calls it so)
    do_DELETE = do_POST  # noqa: N815

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up as they like."""


@contextmanager
def site(folder: Path) -> Iterator[dict[str, str]]:
    """The files and the web server; yields what stands for their places in entries."""
    (folder / "folder").mkdir(parents=True)
    for name, (content, mode) in FILES.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)
    with _Server(("127.0.0.1", 0), Site) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        place = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield {"SITE": str(folder), "URL": f"http://{place}", "TLS": f"https://{place}"}
        finally:
            server.released.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Told:
    """What `check` and the log say of all of them."""

    check: Done
    log: list[dict[str, Any]]

    def lines(self, server: str) -> list[dict[str, Any]]:
        """What an operator should read of this server, in the log."""
        bad = ("warning", "error")
        return [line for line in self.log if line.get("server") == server and line["level"] in bad]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("starts")
    log = folder / "log"
    with site(folder / "site") as places:
        entries = json.dumps(WELL | {case.name: case.entry for case in CASES})
        for name, place in places.items():
            entries = entries.replace(f"{name}/", f"{place}/")
        config = write_config(folder, json.loads(entries), log={"file": str(log)})
        with running(config) as hub:
            wanted = [case.name for case in CASES] + ["banner"]
            heard: list[dict[str, Any]] = []

            def all_are_told() -> bool:
                heard[:] = log_lines(log)
                return {*wanted} <= {line.get("server") for line in heard if line["level"] in ("warning", "error")}

            eventually(all_are_told, lambda: {*wanted} - {line.get("server") for line in heard})
            assert hub.request("ping").result == {}
        check = apart(["check", "--config", config])
        yield Told(check, log_lines(log))
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_check_says_in_one_line_what_is_wrong_and_what_to_do(case: Case, told: Told) -> None:
    [line] = [line for line in told.check.lines if line.startswith(f"{case.name} ")]
    for words in case.says:
        assert words in line
    assert "again until its entry" not in line, "which is of no interest here"
    assert "hidden" not in line
    assert "\x1b" not in line
    assert len(line.split(maxsplit=7)[7]) < 500


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_log_says_it_once_by_name(case: Case, told: Told) -> None:
    first, *rest = told.lines(case.name)
    assert (first["event"], first["level"]) == ("server_state", case.level)
    for words in case.says:
        assert words in first["reason"]
    assert ("not started again until its entry changes" in first["reason"]) == (case.level == HOPELESS)
    assert "hidden" not in first["reason"]
    assert len(first["reason"]) < 500
    if rest:  # it failed too often meanwhile, which is news
        [last] = rest
        assert (last["level"], last["new"]) == ("error", "failed")
        assert last["reason"].startswith(first["reason"] + "; it failed too often")


def test_check_prints_nothing_but_its_table_and_the_one_warning(told: Told) -> None:
    names = [line.split()[0] for line in told.check.lines]
    assert sorted(names[1:-1]) == sorted([*WELL, *(case.name for case in CASES)])
    assert told.check.lines[-1] == f"{len(CASES)} of {len(CASES) + len(WELL)} servers are not ready"
    [warning] = told.check.err.decode().splitlines()
    assert warning.startswith("server 'banner': it prints on stdout what is no message")
    assert warning.endswith("Server v1.2 is listening on stdio")


def test_a_banner_before_a_good_start_is_one_warning(told: Told) -> None:
    [line] = told.lines("banner")
    assert line["event"] == "notice"
    assert "belongs on stderr: Server v1.2 is listening on stdio" in line["text"]
    printed = [line["text"] for line in told.log if line["event"] == "server_output" and line["server"] == "banner"]
    assert printed[0] == "Server v1.2 is listening on stdio"


@pytest.mark.parametrize("name", ["late", "good"])
def test_a_good_start_and_one_just_in_time_are_no_matter(name: str, told: Told) -> None:
    [line] = [line for line in told.check.lines if line.startswith(f"{name} ")]
    assert line.split()[2:4] == ["2025-11-25", "2"]
    assert told.lines(name) == []


def test_nothing_is_said_that_names_no_server(told: Told) -> None:
    assert [line for line in told.log if line["level"] in ("warning", "error") and not line.get("server")] == []
