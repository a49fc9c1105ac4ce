"""REST as people use it: a hub in a process of its own, real servers behind it, curl and schemathesis before it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.hub import SERVE, Hub, serving
from tests.support.manifold import write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left

TOKEN = '-H "Authorization: Bearer $(mcp-manifold token)"'
LINES = (
    f"curl -s http://127.0.0.1:8765/tools/list {TOKEN}",
    f"""curl -s http://127.0.0.1:8765/tools/time__get_current_time {TOKEN} --json '{{"timezone": "Europe/Berlin"}}'""",
)
"""As the README has them."""

PATTERN = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}

# Of the servers' tools the ones that take their time, reach out to the web, or ask what REST has no way to be asked.
APART = "trigger-long|gzip|research|sampling|elicit"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server `raw` was sent."""
    return tmp_path_factory.mktemp("record") / "lines"


@pytest.fixture(scope="module")
def hub(record: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    config = write_config(
        tmp_path_factory.mktemp("hub"),
        {
            "every": servers.everything(),
            "time": servers.time(),
            "raw": servers.script("raw_echo.py", "--record", str(record)),
            "typed": servers.script("schemas.py", json.dumps({"t": PATTERN})),
        },
    )
    with serving(config) as running:
        yield running


@contextlib.contextmanager
def asked(hub: Hub, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPConnection]:
    """A connection on which this was asked."""
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=PATIENCE)
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, sent, {**hub.headers, "Content-Type": "application/json"})
        yield connection
    finally:
        connection.close()


def ask(hub: Hub, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Status and body of the answer."""
    with asked(hub, method, path, body) as connection:
        answer = connection.getresponse()
        return answer.status, answer.read()


def judging_seconds(mark: dict[str, str]) -> float:
    """The processor time that the judging process has taken."""
    for pid, command in marked(mark).items():
        if "anyio.to_process" in command:
            with contextlib.suppress(OSError):
                ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
                return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def test_the_lines_of_the_readme_work(hub: Hub, tmp_path: Path) -> None:
    command = tmp_path / "mcp-manifold"
    command.write_text(f"#!/bin/sh\necho {hub.token}\n")
    command.chmod(0o700)
    answers = []
    readme = (servers.ROOT / "README.md").read_text()
    for line in LINES:
        assert f"\n{line}\n" in readme
        here = line.replace("http://127.0.0.1:8765", hub.url)
        done = subprocess.run(
            ["sh", "-c", here],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=PATIENCE,
        )
        answers.append(json.loads(done.stdout))
    tools, called = answers
    assert "time__get_current_time" in {tool["name"] for tool in tools["tools"]}
    assert json.loads(called["content"][0]["text"])["timezone"] == "Europe/Berlin"


def test_a_result_comes_byte_for_byte(hub: Hub) -> None:
    payload = b'{"content":[], "big":12345678901234567890.123,"huge":1e400,"half":"\\ud800","text":"\xc3\xa9"}'
    assert ask(hub, "POST", "/tools/raw__give", {"hex": payload.hex()}) == (200, payload)
    large = "x" * 3_000_000
    status, body = ask(hub, "POST", "/tools/call", {"tool_name": "every__echo", "arguments": {"message": large}})
    assert (status, json.loads(body)["content"][0]["text"]) == (200, f"Echo: {large}")


def test_a_client_that_leaves_cancels_its_call(hub: Hub, record: Path) -> None:
    with asked(hub, "POST", "/tools/raw__never", {}):
        eventually(lambda: b'"never"' in record.read_bytes(), "the call reaches its server")
    eventually(lambda: b"notifications/cancelled" in record.read_bytes(), "its server is told")


def test_a_pattern_that_takes_for_ever_holds_up_nobody(hub: Hub) -> None:
    evil = {"a": "a" * 60 + "!"}
    with asked(hub, "POST", "/tools/typed__t", evil) as judged:
        status, _ = ask(hub, "POST", "/tools/every__echo", {"message": "hello"})
        assert status == 200
        answer = judged.getresponse()
        assert (answer.status, json.loads(answer.read())["structuredContent"]) == (200, evil)
    eventually(lambda: "are not judged here until its schema changes" in hub.child.stderr(), "it is logged")


def test_schemathesis_finds_no_fault(hub: Hub, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(servers.BIN / "schemathesis"),
            "run",
            f"{hub.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {hub.token}",
            "--exclude-path-regex",
            f"{APART}|raw__|typed__",
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "5",
            "--generation-deterministic",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=4 * PATIENCE,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert " passed" in said, said


@pytest.mark.skipif(sys.platform == "win32", reason="the process is ended by a timer that Windows does not have")
def test_the_judging_process_ends_with_a_hub_that_is_killed(tmp_path: Path) -> None:
    mark = new_mark()
    config = write_config(
        tmp_path, {"typed": servers.script("schemas.py", json.dumps({"t": PATTERN}))}, http={"auth": "none"}
    )
    with nothing_left(mark):
        child = subprocess.Popen(
            [*SERVE, str(config)],
            env={**os.environ, **mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None
        running = Hub(child.stdout.readline().decode().split()[-1], "", None)  # type: ignore[arg-type]
        with asked(running, "POST", "/tools/typed__t", {"a": "a" * 60 + "!"}):
            eventually(lambda: judging_seconds(mark) > 0.5, "it is judged")
            child.send_signal(signal.SIGKILL)
            child.wait(PATIENCE)
            child.stdout.close()
        eventually(lambda: not marked(mark), lambda: marked(mark))
