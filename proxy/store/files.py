"""Files of this user alone, replaced as a whole: whoever reads one sees what some writer wrote, or nothing.

Nothing is forced to the disk: after a loss of power a file may be torn, which its check sum tells, and it is only ever
a copy of what the servers say anyway.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 128 * 1024 * 1024
"""The longest file that is read: more than all listings of one server together may have."""

_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BEING_WRITTEN: Final = ".new."
_LEFT_AFTER: Final = 3600.0
"""Seconds after which a file that is still being written has been given up."""


def read(path: Path, kind: str) -> bytes | None:
    """What `write` put there, None where there is no such file.

    Raises ValueError where it is something else, torn, of another kind or version, or another user's.
    """
    try:
        # A pipe in its place must not hold us up.
        handle = os.open(path, os.O_RDONLY | _FLAGS | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ValueError(problem.strerror or str(problem)) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise ValueError("it is no file of ours")
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            raise ValueError("it belongs to another user")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            head, _, body = stream.read(MOST_BYTES + 1).partition(b"\n")
    except OSError as problem:
        raise ValueError(problem.strerror or str(problem)) from None
    finally:
        os.close(handle)
    if head != _head(kind, body):
        raise ValueError("it is damaged, or of another version")
    return body


def write(path: Path, kind: str, body: bytes) -> None:
    """Replace the file, making its directory where there is none. Raises OSError."""
    make_directory(path.parent)
    fresh = path.with_name(f".{path.name}{_BEING_WRITTEN}{os.urandom(6).hex()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(_head(kind, body) + b"\n")
            stream.write(body)
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def make_directory(path: Path) -> None:
    """Make a directory that only this user may enter, and the state directory above it. Raises OSError."""
    for one in (path.parent, path):
        one.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is above is made by the user's own rules


def tidy(directory: Path, is_ours: Callable[[str], bool], most: int, now: float) -> None:
    """Remove what writers left behind, and the oldest files beyond `most`. `now` is Unix time.

    Only files whose name `is_ours`: the directory may be somebody's who keeps other things there.
    """
    kept: list[tuple[float, Path]] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                written = entry.stat(follow_symlinks=False).st_mtime
                name, being_written, _ = entry.name.removeprefix(".").partition(_BEING_WRITTEN)
                if is_ours(entry.name):
                    kept.append((written, Path(entry.path)))
                elif being_written and is_ours(name) and now - written > _LEFT_AFTER:
                    Path(entry.path).unlink()
    for _, path in sorted(kept)[: max(0, len(kept) - most)]:
        with suppress(OSError):
            path.unlink()


@contextmanager
def alone(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock that `path` stands for; yields whether this process has it. Raises OSError.

    It ends with the process, however that ends. Where the system has no such locks everybody has it: what they guard
    is then done twice, and nothing worse.
    """
    try:
        import fcntl  # there is none on Windows
    except ImportError:
        yield True
        return
    make_directory(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _head(kind: str, body: bytes) -> bytes:
    return f"mcp-manifold {kind} {hashlib.sha256(body).hexdigest()}".encode()
