"""`mcp-manifold logs`: the log as people read it."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ..config.load import load, locate
from ..errors import ConfigError, ManifoldError
from .journal import Journal, pause
from .local import output
from .readable import Readable

_SHOWN_FIRST: Final = 20
"""Lines of what there is already that are shown before new ones are followed."""
_GZIP: Final = b"\x1f\x8b"
_WELL: Final = frozenset({"ok", "hit", "miss", "cancelled"})
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode

Line = dict[str, Any] | bytes
"""A line that is JSON, or one that is something else."""


def main(arguments: argparse.Namespace) -> int:
    """Print what fits; 1 if there is no log. What is followed, or piped in, may be interrupted, which is no failure."""
    wanted = Wanted(arguments.server, arguments.session, failed=arguments.failed)
    console = output()
    show = Readable(colours=console.is_terminal and not console.no_color)
    stream = _piped(arguments.file)
    try:
        if stream is not None:
            # Whoever pipes it decides how long it goes on.
            _print(show, _last(filter(wanted, map(_read, _lines(stream))), arguments.lines), at_once=arguments.follow)
        else:
            path = Path(arguments.file) if arguments.file is not None else _configured(arguments.config)
            _from_file(path, show, wanted, arguments)
    except KeyboardInterrupt:
        if stream is None and not arguments.follow:
            raise
    if not arguments.follow:
        wanted.explain()
    return 0


def _from_file(path: Path, show: Readable, wanted: Wanted, arguments: argparse.Namespace) -> None:
    journal = Journal(path)
    try:
        if not journal:
            _complain(path, arguments.follow)
        elif _is_compressed(path):
            raise ManifoldError(f"{path} is compressed; `zcat {path} | mcp-manifold logs -` shows it")
        most = arguments.lines if arguments.lines is not None else _SHOWN_FIRST if arguments.follow else None
        _print(show, _last(filter(wanted, map(_read, journal.read(last=not arguments.follow))), most))
        while arguments.follow:
            sys.stdout.flush()
            pause()
            journal.look()
            _print(show, filter(wanted, map(_read, journal.read())))
    finally:
        journal.close()


def _piped(name: str | None) -> BinaryIO | None:
    """Where the log comes from if not from a file: stdin for "-", and whatever else can be read but once."""
    if name is None:
        return None
    if name == "-":
        return sys.stdin.buffer
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else Path(name).open("rb")


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    for line in stream:
        yield line.removesuffix(b"\n")


def _complain(path: Path, follow: bool) -> None:
    """There is nothing to read at `path`. Raises a ManifoldError that says why, unless it may still come."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        if not follow:
            raise ManifoldError(f"{path}: there is no such log (yet)") from None
        print(f"{path}: there is no such log yet; it is waited for", file=sys.stderr)
    except OSError as problem:
        raise ManifoldError(f"{path} can't be read: {problem.strerror or problem}") from None


def _is_compressed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_GZIP)) == _GZIP
    except OSError:  # moved aside a moment ago
        return False


class Wanted:
    """Whether a line is to be shown. `session` may be the beginning of one; what is no JSON fits no condition."""

    def __init__(self, server: str | None, session: str | None, *, failed: bool) -> None:
        self._seen = self._fitting = self._broken = 0
        self._server = server
        self._session = session
        self._failed = failed
        self._all = server is None and session is None and not failed

    def __call__(self, line: Line) -> bool:
        if self._all:
            return True
        self._seen += 1
        if isinstance(line, bytes):
            self._broken += 1
            return False
        fits = (
            (self._server is None or line.get("server") == self._server)
            and (self._session is None or str(line.get("session", "")).startswith(self._session))
            and (not self._failed or _went_wrong(line))
        )
        self._fitting += fits
        return fits

    def explain(self) -> None:
        """Say what a person would ask themselves about what is not shown, if anything."""
        if self._broken:
            what = "1 line that is no JSON was" if self._broken == 1 else f"{self._broken} lines that are no JSON were"
            print(f"{what} left out", file=sys.stderr)
        if self._seen and not self._fitting:
            print(f"of {self._seen} lines none fits", file=sys.stderr)


def _went_wrong(record: dict[str, Any]) -> bool:
    return record.get("outcome", "ok") not in _WELL or record.get("level") in ("warning", "error")


def _read(line: bytes) -> Line:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line


def _last(lines: Iterator[Line], most: int | None) -> Iterable[Line]:
    return lines if most is None else deque(lines, maxlen=most)


def _print(show: Readable, lines: Iterable[Line], *, at_once: bool = False) -> None:
    for line in lines:
        sys.stdout.write((show.broken(line) if isinstance(line, bytes) else show(line)) + "\n")
        if at_once:
            sys.stdout.flush()


def _configured(given: str | None) -> Path:
    config = load(locate(given, os.environ), os.environ)
    file = config.proxy.log.file
    if file is None:
        what = "proxy.log.file is not set, so the log goes to stderr: to your client, or to what runs the hub"
        hint = (
            'set it, as in "proxy": {"log": {"file": "hub.log"}}, or hand the log on, '
            "as in `journalctl --user -u mcp-manifold -o cat | mcp-manifold logs -`"
        )
        raise ConfigError((f"{config.path}: {what}; {hint}",))
    return file
