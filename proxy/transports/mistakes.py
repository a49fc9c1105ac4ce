"""Why a command could not be started, in words: what most likely is wrong with the entry, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import Hopeless, StartFailed
from ..texts import one_line

_FIRST_LINE = 256
"""Bytes of a script that are looked at; kernels read no more either."""


def directory_problem(cwd: str) -> str | None:
    """What is wrong with a working directory; None if it is one."""
    if not os.path.exists(cwd):  # noqa: PTH110 (as it stands in the file, and shown so)
        return f"the working directory {cwd!r} does not exist{_hint(cwd, None)}"
    if not os.path.isdir(cwd):  # noqa: PTH112
        return f"the working directory {cwd!r} is not a directory"
    if not os.access(cwd, os.X_OK):
        return f"the working directory {cwd!r} may not be entered"
    return None


def start_problem(
    server: str, command: str, env: Mapping[str, str], cwd: str | None, problem: Exception
) -> StartFailed:
    """What to raise for what the system said when `command` was to be started; Hopeless where only a change helps."""
    path = _path(command, env, cwd)
    number = problem.errno if isinstance(problem, OSError) else None
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            # os.path here and below: it raises nothing where a directory on the way may not be entered.
            if path is not None and os.path.exists(path):  # noqa: PTH110
                return Hopeless(server, f"the command {command!r} {_missing_interpreter(path)}")
            where = " in PATH" if not os.path.dirname(command) else ""  # noqa: PTH120
            return Hopeless(server, f"the command {command!r} was not found{where}{_hint(command, cwd)}")
        case errno.EACCES | errno.EPERM:
            if path is not None and os.path.isdir(path):  # noqa: PTH112
                return Hopeless(server, f"the command {command!r} is a directory, not a program")
            text = "may not be executed; make it executable, or give what runs it as `command` and the file in `args`"
            return Hopeless(server, f"the command {command!r} {text}")
        case errno.ENOEXEC:
            text = "is no program that can be run here; a script begins with what runs it, as in #!/usr/bin/env python3"
            return Hopeless(server, f"the command {command!r} {text}")
        case errno.E2BIG:
            return Hopeless(server, f"the command {command!r} could not be started: its `args` and `env` are too long")
    why = problem.strerror if isinstance(problem, OSError) else str(problem)
    return StartFailed(server, f"the command {command!r} could not be started: {why or type(problem).__name__}")


def _path(command: str, env: Mapping[str, str], cwd: str | None) -> Path | None:
    """The file that the system tried, as far as can be told."""
    if os.path.dirname(command):  # noqa: PTH120
        return Path(cwd or "", command)
    found = shutil.which(command, path=env.get("PATH"))
    return Path(found) if found is not None else None


def _missing_interpreter(path: Path) -> str:
    """What a file names that is there itself, and what it needs is not."""
    try:
        with path.open("rb") as file:
            first = file.read(_FIRST_LINE).partition(b"\n")[0]
    except OSError:
        first = b""
    if not first.startswith(b"#!"):
        return "is there, but what the system needs to run it is not: it may be built for another one"
    named = first[2:].decode(errors="replace").strip()
    dos = "; its lines end as on Windows, which is part of that name" if first.endswith(b"\r") else ""
    return f"is a script for {one_line(named, 200)!r}, which was not found{dos}"


def _hint(path: str, cwd: str | None) -> str:
    """What most likely went wrong with a path of the user's."""
    if path.startswith("~"):
        return "; ~ is not filled in here, ${HOME} is"
    if " " in path.strip():
        return "; what follows the program's name belongs into `args`"
    if "/" not in path:
        return "; give its whole path"
    if not path.startswith("/"):
        return f"; it was looked for from {cwd or Path.cwd()}, since it is relative"
    return ""
