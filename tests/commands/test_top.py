"""`mcp-manifold top --once`: what runs now, for scripts and for those without a terminal."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.control.place import find
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.commands import PROXY, Here, apart
from tests.support.manifold import Manifold, running, write_config
from tests.support.processes import eventually


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mm"))
    yield folder
    shutil.rmtree(folder)


def ready(state: Path, manifold: Manifold) -> None:
    manifold.tools()
    while not find(state):
        manifold.request("ping")


def test_a_table_has_a_row_for_each_server(here: Here, state: Path) -> None:
    entries = {"raw": servers.script("raw_echo.py"), "broken": servers.entry(["/no/such/program"])}
    config = write_config(state / "config", entries, stateDir=str(state))
    with running(config) as manifold:
        ready(state, manifold)
        manifold.call("raw__verbatim")
        done = here("top", "--once", "--config", config)
    assert (done.code, done.err) == (0, b"")
    words = [line.split() for line in done.lines]
    assert words[0] == [
        "process",
        "pid",
        "server",
        "state",
        "calls/s",
        "p50",
        "p99",
        "calls",
        "failed",
        "running",
        "memory",
    ]
    assert words[1][:5] == ["raw-client", str(manifold.pid), "raw", "●", "ready"]
    assert words[2][:5] == ["raw-client", str(manifold.pid), "broken", "✖", "failed"]
    assert words[1][8] == "1"
    assert done.lines[-1] == "✖ broken: the command '/no/such/program' was not found"


def test_json_has_all_figures_for_scripts(here: Here, state: Path) -> None:
    config = write_config(state / "config", {"raw": servers.script("raw_echo.py")}, stateDir=str(state))
    with running(config, env={"CLAUDE_CODE_SESSION_ID": "abc"}) as manifold:
        ready(state, manifold)
        done = here("top", "--once", "--json", "--config", config)
    [process] = json.loads(done.out)["processes"]
    assert {name: process[name] for name in ("pid", "kind", "session", "problem", "in_flight", "config")} == {
        "pid": manifold.pid,
        "kind": "run",
        "session": "abc",
        "problem": "",
        "in_flight": 0,
        "config": str(config),
    }
    [server] = process["servers"]
    assert (server["key"], server["state"], server["calls"]) == ("raw", "ready", 0)
    assert process["memory_in_all"] == process["memory"] + server["memory"]
    assert server["memory"] > 1 << 20


def test_where_nothing_runs_it_says_where_it_looked(here: Here, state: Path) -> None:
    config = write_config(state / "config", {}, stateDir=str(state))
    done = here("top", "--once", "--config", config)
    assert (done.code, done.lines) == (0, [f"no proxy is running (looked in {state / 'run'})"])
    assert json.loads(here("top", "--json", "--config", config).out) == {"processes": []}


def test_a_proxy_that_does_not_listen_is_named_with_the_reason(here: Here, state: Path) -> None:
    config = write_config(state / "config", {}, stateDir=str(state))
    with running(config) as manifold:
        ready(state, manifold)
        Path(find(state)[0].socket).unlink()
        done = here("top", "--once", "--config", config)
    assert "it does not listen: No such file or directory" in done.out.decode()


def test_without_a_configuration_it_looks_in_the_users_own_state_directory(state: Path) -> None:
    env = {"HOME": str(state), "XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state), "MCP_MANIFOLD_CONFIG": ""}
    done = apart(["top", "--once"], env=env)
    assert done.lines == [f"no proxy is running (looked in {state / 'mcp-manifold' / 'run'})"]
    assert apart(["top", "--once", "--config", state / "none.json"], env=env).code == 2


def test_a_configuration_that_was_broken_since_hides_nothing_that_runs(here: Here, state: Path) -> None:
    config = write_config(state / "config", {"raw": servers.script("raw_echo.py")}, stateDir=str(state))
    with running(config) as manifold:
        ready(state, manifold)
        config.write_text(config.read_text().replace('"mcpServers"', '"mcpServer"'))
        done = here("top", "--once", "--config", config)
        assert done.code == 0
        assert "raw" in done.lines[-1].split()
        config.write_text("{")
        assert here("top", "--once", "--config", config).code == 2


def test_a_configuration_that_was_removed_hides_nothing_that_runs_with_it(
    here: Here, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    config = state / "config.json"
    config.write_text(json.dumps({"mcpServers": {"raw": servers.script("raw_echo.py")}}))

    def misconfigured() -> str:
        done = here("top", "--json", "--config", config)
        return str(json.loads(done.out)["processes"][0]["misconfigured"])

    with running(config) as manifold:
        ready(state / "mcp-manifold", manifold)
        assert misconfigured() == ""
        config.unlink()
        os.kill(manifold.pid, signal.SIGHUP)
        eventually(lambda: misconfigured() == f"{config}: there is no such file any more", misconfigured)
        assert here("top", "--once", "--config", config.with_name("another.json")).code == 2


def test_without_a_terminal_it_says_what_to_do(state: Path) -> None:
    config = write_config(state / "config", {}, stateDir=str(state))
    done = apart(["top", "--config", config])
    assert (done.code, done.out) == (1, b"")
    assert done.err.decode().startswith("`top` needs a terminal; `top --once` prints")


class Terminal:
    """The view at a terminal, with keys and a screen."""

    def __init__(self, config: Path, **env: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.shown = b""
        self.child = subprocess.Popen(
            [*PROXY, "top", "--config", str(config)],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env={**os.environ, "TERM": "xterm-256color", **env},
        )

    def until(self, text: bytes) -> None:
        while text not in self.shown:
            ready, _, _ = select.select([self.ours], [], [], PATIENCE)
            assert ready, f"it only shows {self.shown!r}"
            self.shown += os.read(self.ours, 65536)

    def close(self) -> None:
        self.child.kill()
        self.child.wait(PATIENCE)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.parametrize(
    "leave",
    [
        lambda terminal: os.write(terminal.ours, b"\x03"),
        lambda terminal: terminal.child.send_signal(signal.SIGTERM),
        lambda terminal: terminal.child.send_signal(signal.SIGHUP),
    ],
    ids=["ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_however_it_is_left_the_terminal_is_as_it_was(state: Path, leave: Callable[[Terminal], object]) -> None:
    terminal = Terminal(write_config(state / "config", {}, stateDir=str(state)))
    try:
        terminal.until(b"No proxy is running")
        leave(terminal)
        terminal.until(b"\x1b[?1049l")
        assert terminal.child.wait(PATIENCE) == 0
        assert termios.tcgetattr(terminal.theirs)[:4] == terminal.before[:4]
    finally:
        terminal.close()


def test_a_terminal_that_can_only_print_is_none(state: Path) -> None:
    terminal = Terminal(write_config(state / "config", {}, stateDir=str(state)), TERM="dumb")
    try:
        terminal.until(b"`top` needs a terminal")
        assert terminal.child.wait(PATIENCE) == 1
    finally:
        terminal.close()
