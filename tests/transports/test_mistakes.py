"""What a user is told of a command that can't be started, from what the system really says of it."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from proxy.errors import Hopeless, StartFailed
from proxy.transports.mistakes import directory_problem, start_problem


def told(command: str, *args: str, cwd: Path | None = None, path: str = os.defpath) -> StartFailed:
    """What is made of the refusal that starting this meets."""
    env = {"PATH": path}
    folder = str(cwd) if cwd is not None else None
    with pytest.raises((OSError, ValueError)) as refused:
        subprocess.Popen([command, *args], env=env, cwd=folder)
    return start_problem("one", command, env, folder, refused.value)


def program(folder: Path, content: bytes, mode: int = 0o755) -> Path:
    file = folder / "server"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no-such-command", "'no-such-command' was not found in PATH; give its whole path"),
        ("npx -y server", "belongs into `args`"),
        ("~/bin/server", "${HOME}"),
        ("/no/such/path", "'/no/such/path' was not found"),
        ("/etc/passwd/server", "'/etc/passwd/server' was not found"),
    ],
)
def test_a_command_that_is_not_there_is_told_with_the_likely_slip(command: str, says: str) -> None:
    problem = told(command)
    assert isinstance(problem, Hopeless)
    assert says in problem.reason


def test_of_a_path_that_can_not_be_looked_at_it_is_told_that_it_may_not_be_executed() -> None:
    """As in a directory of another user's, which root may enter; so this one is too long."""
    problem = start_problem("one", f"/bin/{'x' * 1000}", {}, None, PermissionError(errno.EACCES, "Permission denied"))
    assert "may not be executed" in problem.reason


def test_a_relative_command_is_looked_for_from_its_own_directory(tmp_path: Path) -> None:
    assert f"looked for from {tmp_path}" in told("bin/server", cwd=tmp_path).reason
    assert f"looked for from {Path.cwd()}" in told("bin/server").reason


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"#!/no/such/python -u\nprint()", "is a script for '/no/such/python -u', which was not found"),
        (b"#!/bin/sh\r\necho\r\n", "lines end as on Windows"),
    ],
    ids=["missing", "windows"],
)
def test_a_script_without_its_interpreter_is_not_called_missing(content: bytes, says: str, tmp_path: Path) -> None:
    file = program(tmp_path, content)
    for problem in (told(str(file)), told("server", path=str(tmp_path)), told("./server", cwd=tmp_path)):
        assert isinstance(problem, Hopeless)
        assert says in problem.reason
        assert "\r" not in problem.reason


@pytest.mark.parametrize(
    "content", [b"", b"print(1)\n", b"\x7fELF\x02\x01\x01" + bytes(40)], ids=["empty", "text", "foreign"]
)
def test_what_is_no_program_of_this_system_is_called_so(content: bytes, tmp_path: Path) -> None:
    problem = told(str(program(tmp_path, content)))
    assert isinstance(problem, Hopeless)
    assert "is no program that can be run here" in problem.reason


def test_a_file_that_is_not_executable_is_told_with_both_remedies(tmp_path: Path) -> None:
    problem = told(str(program(tmp_path, b"#!/bin/sh\n", 0o644)))
    assert isinstance(problem, Hopeless)
    assert "may not be executed; make it executable, or give what runs it" in problem.reason


def test_a_directory_is_called_one(tmp_path: Path) -> None:
    problem = told(str(tmp_path))
    assert isinstance(problem, Hopeless)
    assert problem.reason == f"the command '{tmp_path}' is a directory, not a program"


def test_arguments_that_are_too_long_are_called_so() -> None:
    problem = told("/bin/cat", "x" * 3_000_000)
    assert isinstance(problem, Hopeless)
    assert "too long" in problem.reason
    assert len(problem.reason) < 200


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (OSError(24, "Too many open files"), "could not be started: Too many open files"),
        (ValueError("embedded null byte"), "could not be started: embedded null byte"),
        (OSError(), "could not be started: OSError"),
    ],
)
def test_anything_else_may_be_over_next_time(refusal: Exception, says: str) -> None:
    problem = start_problem("one", "cat", {}, None, refusal)
    assert not isinstance(problem, Hopeless)
    assert problem.reason == f"the command 'cat' {says}"


def test_a_working_directory_that_is_none_is_told(tmp_path: Path) -> None:
    file = program(tmp_path, b"")
    assert directory_problem(str(tmp_path)) is None
    assert directory_problem(str(file)) == f"the working directory '{file}' is not a directory"
    assert directory_problem("/no/such") == "the working directory '/no/such' does not exist"
    assert "${HOME}" in (directory_problem("~/folder") or "")


def test_a_working_directory_that_is_closed_to_us_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # nothing is closed to root, which tests may run as
    assert directory_problem(str(tmp_path)) == f"the working directory '{tmp_path}' may not be entered"
