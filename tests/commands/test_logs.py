"""`mcp-manifold logs`, as a person uses it."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import PATIENCE
from tests.support.commands import PROXY, Here, apart, at_a_terminal
from tests.support.manifold import write_config


def call(server: str, number: int, *, session: str = "s1", outcome: str = "ok") -> str:
    level = {"level": "info", "event": "call", "client": "c", "session": session, "request_id": str(number)}
    how = {"server": server, "tool": "t", "outcome": outcome, "ms": 1.0, "bytes_in": 1, "bytes_out": 1}
    return json.dumps({"time": "2026-01-02T03:04:05.678Z", **level, **how}) + "\n"


def note(level: str, text: str, server: str = "git") -> str:
    fields = {"time": "2026-01-02T03:04:05.678Z", "level": level, "event": "notice", "text": text, "server": server}
    return json.dumps(fields) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with what was moved aside of it."""
    (tmp_path / "hub.log.1").write_text(call("git", 1) + call("git", 2, outcome="timeout"))
    (tmp_path / "hub.log").write_text(
        call("time", 3, session="s2", outcome="cancelled")
        + note("warning", "careful")
        + "no JSON\n"
        + note("info", "fine", "time")
    )
    return tmp_path / "hub.log"


def numbers(lines: list[str]) -> list[str]:
    """Which calls and notices are shown."""
    return [
        word for line in lines for word in line.split() if word.startswith("#") or word in ("careful", "fine", "JSON")
    ]


def test_the_log_of_the_configuration_is_shown_with_what_was_moved_aside(here: Here, log: Path) -> None:
    config = write_config(log.parent, {}, log={"file": "hub.log"})
    done = here("logs", "--config", config)
    assert done.code == 0
    assert numbers(done.lines) == ["#1", "#2", "#3", "careful", "JSON", "fine"]
    assert b"\x1b" not in done.out


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--server", "git"], ["#1", "#2", "careful"]),
        (["--session", "s2"], ["#3"]),
        (["--session", "s"], ["#1", "#2", "#3"]),
        (["--failed"], ["#2", "careful"]),
        (["--failed", "--server", "time"], []),  # one that its client cancelled is nobody's failure
        (["-n", "2"], ["JSON", "fine"]),
        (["-n", "1", "--server", "git", "--failed"], ["careful"]),
        (["-n", "0"], []),
    ],
)
def test_conditions_choose_lines(options: list[str], shown: list[str], here: Here, log: Path) -> None:
    done = here("logs", *options, log)
    assert (done.code, numbers(done.lines)) == (0, shown)


def test_lines_that_fit_no_condition_since_they_are_no_json_are_counted(here: Here, log: Path) -> None:
    assert here("logs", "--failed", log).err == b"1 line that is no JSON was left out\n"
    assert here("logs", log).err == b""


def test_conditions_that_nothing_fits_are_said_to_be_so(here: Here, log: Path) -> None:
    done = here("logs", "--server", "gti", log)
    assert (done.code, done.out) == (0, b"")
    assert done.err.endswith(b"of 6 lines none fits\n")


def test_a_configuration_without_a_log_file_says_what_to_do(here: Here, tmp_path: Path) -> None:
    done = here("logs", "--config", write_config(tmp_path, {}))
    assert done.code == 2
    assert b"proxy.log.file is not set, so the log goes to stderr" in done.err
    assert done.err.count(b"\n") == 1


def test_a_log_that_is_not_there_is_said_to_be_so(here: Here, tmp_path: Path) -> None:
    done = here("logs", tmp_path / "none")
    assert (done.code, done.out) == (1, b"")
    assert done.err == f"{tmp_path / 'none'}: there is no such log (yet)\n".encode()


def test_what_is_no_log_is_said_to_be_none(here: Here, log: Path) -> None:
    done = here("logs", "-f", log.parent)
    assert (done.code, done.err) == (1, f"{log.parent} can't be read: Is a directory\n".encode())
    compressed = log.with_name("hub.log.gz")
    compressed.write_bytes(gzip.compress(log.read_bytes()))
    done = here("logs", compressed)
    assert (done.code, done.out) == (1, b"")
    assert f"zcat {compressed} | mcp-manifold logs -" in done.err.decode()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_log_is_read_from_a_pipe_and_shown_as_it_comes(name: str) -> None:
    """The hub's, say, whose log is its service manager's."""
    command = [*PROXY, "logs", "-f", "--failed", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in (1, 2):
            child.stdin.write(
                (call("git", 0) + "the hub's own words\n" + call("git", number, outcome="error")).encode()
            )
            child.stdin.flush()
            while b"#" not in (line := child.stdout.readline()):
                assert line
            assert f"#{number}".encode() in line
        rest, told = child.communicate(timeout=PATIENCE)
        assert (child.returncode, rest, told) == (0, b"", b"")


def test_a_terminal_gets_colours_unless_it_wants_none(log: Path) -> None:
    assert b"\x1b[32mok" in at_a_terminal(["logs", log]).out
    assert b"\x1b" not in at_a_terminal(["logs", log], {"NO_COLOR": "1"}).out


def test_a_reader_that_has_enough_ends_it_without_a_word(log: Path) -> None:
    log.write_text("".join(call("git", number) for number in range(20_000)))
    done = apart(["logs", log], behind="| head -n 3")
    assert len(done.lines) == 3
    assert done.err == b""


def following(log: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [*PROXY, "logs", "-f", *options, str(log)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def test_what_comes_is_followed_across_a_move_until_it_is_interrupted(log: Path) -> None:
    with following(log, "-n", "1", "--server", "git") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b"-- ")
        assert b"careful" in child.stdout.readline()
        with log.open("a") as old:
            log.rename(log.with_name("hub.log.1"))
            log.write_text(call("git", 11))
            assert b"#11" in child.stdout.readline()
            old.write(call("time", 12) + call("git", 13))
        assert b"#13" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert (child.wait(PATIENCE), child.stdout.read(), child.stderr.read()) == (0, b"", b"")


def test_a_follower_waits_for_a_log_that_does_not_exist_yet_and_ends_with_its_reader(tmp_path: Path) -> None:
    with following(tmp_path / "log") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        told = f"{tmp_path / 'log'}: there is no such log yet; it is waited for\n"
        assert child.stderr.readline() == told.encode()
        (tmp_path / "log").write_text(call("git", 1))
        child.stdout.readline()
        assert b"#1" in child.stdout.readline()
        child.stdout.close()  # nothing more is ever written, and it ends all the same
        assert child.wait(PATIENCE) == 1
        assert child.stderr.read() == b""


def test_nothing_heavy_is_imported_to_read_a_log(log: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "proxy", "logs", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE, env=dict(os.environ))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "proxy.commands.journal" in imported
    assert not {"mcp", "uvicorn", "starlette", "structlog", "prometheus_client"} & imported
