"""The command line: its help, its exit codes, and that nobody ever sees a traceback."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__
from tests.support.client import PATIENCE
from tests.support.commands import PROXY, Here, apart, at_a_terminal, python, sample
from tests.support.manifold import write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left

COMMANDS = ["run", "check", "tools", "call", "demo"]


@pytest.fixture
def here(capfdbinary: "pytest.CaptureFixture[bytes]") -> Here:
    return Here(capfdbinary)


def test_help_names_every_command_with_examples(here: Here) -> None:
    done = here("--help")
    assert done.code == 0
    text = done.out.decode()
    for command in COMMANDS:
        assert f"\n    {command} " in text
    assert "examples:" in text
    assert "claude mcp add" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_of_it(command: str, here: Here) -> None:
    done = here(command, "--help")
    assert (done.code, done.err) == (0, b"")
    assert f"usage: mcp-manifold {command}" in done.out.decode()
    assert f"mcp-manifold {command}" in done.out.decode().partition("example")[2]


@pytest.mark.parametrize("command", ["check", "call"])
def test_help_tells_the_exit_codes(command: str, here: Here) -> None:
    assert b"exit codes: 0 " in here(command, "--help").out


def test_help_is_coloured_at_a_terminal_only(here: Here) -> None:
    assert b"\x1b[" in at_a_terminal(["--help"]).out
    assert b"\x1b" not in here("--help").out


def test_the_version_is_told(here: Here) -> None:
    done = here("--version")
    assert (done.code, done.out.decode()) == (0, f"mcp-manifold {__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["chekc"],
        ["--no-such-option"],
        ["check", "--no-such-option"],
        ["check", "--js"],
        ["check", "extra"],
        ["call"],
        ["call", "x", "{}", "extra"],
        ["run", "--config"],
    ],
)
def test_what_makes_no_sense_exits_2_with_one_line_and_a_hint(words: list[str], here: Here) -> None:
    done = here(*words)
    assert (done.code, done.out) == (2, b"")
    [line] = done.err.decode().splitlines()
    assert line.startswith("mcp-manifold")
    assert "--help" in line


@pytest.mark.parametrize("command", ["run", "check", "tools", "call"])
@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (None, 1),
        ("", 1),
        ("{not json", 1),
        ("[]", 1),
        ('{"mcpServers": {"a": {"comand": "x"}, "b": {"command": 5}}}', 2),
        ("\0\udcff", 1),
    ],
)
def test_a_bad_config_exits_2_with_a_line_a_problem(
    command: str, text: str | None, problems: int, here: Here, tmp_path: Path
) -> None:
    file = tmp_path / "bad.json"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    done = here(command, *(["x"] if command == "call" else []), "--config", file)
    assert (done.code, done.out) == (2, b"")
    lines = done.err.decode().splitlines()
    assert len(lines) == problems
    assert all(line.startswith(f"{file}: ") for line in lines)


@pytest.mark.parametrize(("words", "reader"), [("tools", "true"), ("check --json", "true"), ("--help", "head -n 1")])
def test_a_reader_that_has_had_enough_is_no_reason_for_a_traceback(words: str, reader: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock")})
    assert apart(words.split(), behind=f"| {reader}", env={"MCP_MANIFOLD_CONFIG": str(config)}).err == b""


@pytest.mark.parametrize("words", ["tools --config {config}", "logs {config}", "top --once"])
def test_without_any_standard_stream_a_command_does_its_work_for_nobody(words: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock")})
    command = shlex.join([*PROXY, *words.format(config=config).split()])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} <&- >&- 2>&-; echo $?"], capture_output=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == b"0\n"


def test_without_a_stderr_its_messages_are_not_for_the_client(tmp_path: Path) -> None:
    command = shlex.join([*PROXY, "run", "--config", str(tmp_path / "none.json")])
    done = subprocess.run(["/bin/sh", "-c", f"{command} 2>&-"], capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("command", ["check", "call"])
def test_control_c_ends_a_command_its_servers_and_says_nothing(command: str, tmp_path: Path) -> None:
    mark = new_mark()
    silent = python("import sys; sys.stdin.read()", env=mark)
    config = write_config(tmp_path, {"silent": silent})
    words = [command, *(["silent__x"] if command == "call" else []), "--config", str(config)]
    with nothing_left(mark):
        child = subprocess.Popen(
            [*PROXY, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        eventually(lambda: bool(marked(mark)), "the server was started")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE)
        assert (child.returncode, out, err) == (130, b"", b"")
        eventually(lambda: not marked(mark), lambda: marked(mark))


def test_the_installed_command_is_the_same() -> None:
    script = Path(sys.executable).parent / "mcp-manifold"
    done = subprocess.run([script, "--version"], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout.decode() == f"mcp-manifold {__version__}\n"


def test_a_command_does_not_pay_for_the_others() -> None:
    """Each brings its own imports."""
    code = "import sys, proxy.cli; print(*sorted(m for m in sys.modules if m.startswith(('proxy.', 'rich', 'anyio'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [b"proxy.cli", b"proxy.errors"]
