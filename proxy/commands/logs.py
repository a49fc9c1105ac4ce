"""`mcp-manifold logs`: the log as people read it."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ..config.load import load, locate
from ..errors import ConfigError
from .journal import Journal, pause
from .local import output
from .readable import Readable

_SHOWN_FIRST: Final = 20
"""Lines of what there is already that are shown before new ones are followed."""
_WELL: Final = frozenset({"ok", "hit", "miss"})
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode

Line = dict[str, Any] | bytes
"""A line that is JSON, or one that is something else."""


def main(arguments: argparse.Namespace) -> int:
    """Print what fits; 1 if there is no log. With --follow until it is interrupted, which is no failure."""
    path = Path(arguments.file) if arguments.file is not None else _configured(arguments.config)
    journal = Journal(path)
    if not journal and not arguments.follow:
        print(f"{path}: there is no such log (yet)", file=sys.stderr)
        return 1
    console = output()
    show = Readable(colours=console.is_terminal and not console.no_color)
    wanted = Wanted(arguments.server, arguments.session, failed=arguments.failed)
    try:
        most = arguments.lines if arguments.lines is not None else _SHOWN_FIRST if arguments.follow else None
        lines = filter(wanted, map(_read, journal.read(last=not arguments.follow)))
        _print(show, lines if most is None else deque(lines, maxlen=most))
        while arguments.follow:
            sys.stdout.flush()
            pause()
            journal.look()
            _print(show, filter(wanted, map(_read, journal.read())))
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    finally:
        journal.close()
    if wanted.left_out and not arguments.follow:
        print(f"{wanted.left_out} lines that are no JSON were left out", file=sys.stderr)
    return 0


class Wanted:
    """Whether a line is to be shown. `session` may be the beginning of one; what is no JSON fits no condition."""

    def __init__(self, server: str | None, session: str | None, *, failed: bool) -> None:
        self.left_out = 0
        """Lines that could not be told."""
        self._server = server
        self._session = session
        self._failed = failed
        self._all = server is None and session is None and not failed

    def __call__(self, line: Line) -> bool:
        if self._all:
            return True
        if isinstance(line, bytes):
            self.left_out += 1
            return False
        return (
            (self._server is None or line.get("server") == self._server)
            and (self._session is None or str(line.get("session", "")).startswith(self._session))
            and (not self._failed or _went_wrong(line))
        )


def _went_wrong(record: dict[str, Any]) -> bool:
    return record.get("outcome", "ok") not in _WELL or record.get("level") in ("warning", "error")


def _read(line: bytes) -> Line:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line


def _print(show: Readable, lines: Iterator[Line] | deque[Line]) -> None:
    for line in lines:
        sys.stdout.write((show.broken(line) if isinstance(line, bytes) else show(line)) + "\n")


def _configured(given: str | None) -> Path:
    config = load(locate(given, os.environ), os.environ)
    file = config.proxy.log.file
    if file is None:
        what = "proxy.log.file is not set, so the log goes to stderr, which is your client's"
        hint = 'set it, as in "proxy": {"log": {"file": "hub.log"}}, or name a file to read'
        raise ConfigError((f"{config.path}: {what}; {hint}",))
    return file
