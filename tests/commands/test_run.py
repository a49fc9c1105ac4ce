"""`mcp-manifold run`: what it says to an operator; what it says to clients is shown by the fronts' tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.commands import apart, sample
from tests.support.manifold import running, tools_until, write_config
from tests.support.processes import marked, new_mark


def test_the_end_of_stdin_is_its_end(tmp_path: Path) -> None:
    done = apart(["run", "--config", write_config(tmp_path, {"clock": sample("clock")})])
    assert (done.code, done.out) == (0, b"")


def test_a_server_that_does_not_start_is_in_the_log_and_no_reason_to_exit(tmp_path: Path) -> None:
    entries = {"gone": servers.entry(["no-such-command-anywhere"]), "clock": sample("clock")}
    with running(write_config(tmp_path, entries)) as hub:
        tools_until(hub, {"clock__now"})
        hub.child.close_stdin()
        assert hub.child.wait_for_exit() == 0
        hub.wait_for_end()
        assert "'no-such-command-anywhere' was not found" in hub.child.stderr()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column"),
        ('{"mcpServers": {"x": {"comand": "y"}}}', "did you mean"),
        ('{"mcpServers": {"x": {"command": 5}}}', "mcpServers.x.command"),
        ('{"mcpServers": {"a": {"command": "x", "prefix": "p"}, "b": {"command": "x", "prefix": "p"}}}', "prefix"),
    ],
)
def test_a_bad_config_exits_2_with_a_line_a_problem_and_nothing_on_stdout(
    text: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    done = apart(["run", "--config", file])
    assert (done.code, done.out) == (2, b"")
    lines = done.err.decode().splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert words in done.err.decode()


def test_no_server_is_started_for_a_bad_config(tmp_path: Path) -> None:
    mark = new_mark()
    config = write_config(tmp_path, {"good": sample("clock", env=mark), "bad": {"command": 5}})
    assert apart(["run", "--config", config]).code == 2
    assert marked(mark) == {}


def test_the_config_is_found_by_variable_and_never_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    assert apart(["run"], env={"MCP_MANIFOLD_CONFIG": str(config)}).code == 0
    config.rename(tmp_path / "config.json")
    nowhere = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "home")}
    done = apart(["run"], env={**nowhere, "MCP_MANIFOLD_CONFIG": ""})
    assert done.code == 2
    assert str(tmp_path / "home") in done.err.decode()


def test_the_log_tells_each_call_with_the_session_of_claude_code(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock")})
    with running(config, env={"CLAUDE_CODE_SESSION_ID": "session-of-claude"}) as hub:
        tools_until(hub, {"clock__now"})
        hub.call("clock__now", {"zone": "a secret argument"})
        hub.child.close_stdin()
        assert hub.child.wait_for_exit() == 0
        hub.wait_for_end()
        log = [json.loads(line) for line in hub.child.stderr().splitlines()]
    [call] = [line for line in log if line["event"] == "call"]
    assert call["session"] == "session-of-claude"
    assert (call["server"], call["tool"], call["outcome"]) == ("clock", "now", "tool_error")
    assert "a secret argument" not in hub.child.stderr()


def test_garbage_is_collected_again_once_it_serves(tmp_path: Path) -> None:
    program = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('enabled:', gc.isenabled(), file=sys.stderr))\n"
        "from proxy.__main__ import main\n"
        "main()"
    )
    words = [sys.executable, "-c", program, "run", "--config", str(write_config(tmp_path, {}))]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    assert done.stderr.splitlines()[-1] == b"enabled: True"
