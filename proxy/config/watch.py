"""Tells when the configuration file was changed, whichever way a program or a person goes about it.

watchfiles only says that something happened in the directories that decide what the path leads to. Whether it concerned
the file is read off the file's own state, so that nothing is missed between two looks and other files don't count.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..aside import aside

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

TICK: Final = 1000
"""Milliseconds. So often the file is looked at without being told to: network drives and some containers don't tell."""
_STEP: Final = 200
"""Milliseconds in which the watching thread notices that something happened, or that it is to stop."""
_SETTLE: Final = 0.1
"""Seconds without a change after which a file counts as written."""
_MOST_LOOKS: Final = 20
"""A file that is still being written, is empty or missing after so many times _SETTLE is taken as it is."""
_MOST_LINKS: Final = 40

_State = tuple[int, ...]
_SIZE: Final = 2


def changes_of(path: Path) -> AsyncGenerator[None, None]:
    """Yields each time that the file at `path` (absolute) has become another one since this call.

    It may be written, replaced, or deleted and written again; links may be turned, at its end (Kubernetes) or above.
    One that is missing, empty, or no regular file for 2 s is a change, too, and once more one when it is there again.
    What happens within 0.1 s, or while the caller is busy with the last change, is one change. That nothing of the
    content differs is possible.

    Call it before the file is read: then no change is lost in between. Nothing is held between two yields; cancelling
    ends it at once, and its thread within 200 ms.

    Where the system has no more inotify watches or open files to give, the file is looked at each second instead.
    Raises FileNotFoundError if the directory is missing at the start; later it may come and go.
    """
    return _changes(path, _state(path))


async def _changes(path: Path, seen: _State | None) -> AsyncGenerator[None, None]:
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    while True:
        stop = threading.Event()
        try:
            seen = await aside(partial(_wait, path, seen, stop), "watch")
        finally:
            stop.set()
        yield


def _wait(path: Path, seen: _State | None, stop: threading.Event) -> _State | None:
    """Block until the file is another than `seen` and its writer is done; its state then. Told to stop, whatever."""
    while not stop.is_set():
        directories = _directories(path)
        with _watcher(list(directories.values())) as watcher:
            # Looking comes after the watch has begun, so that no change falls between the two.
            while not stop.is_set() and _directories(path).keys() == directories.keys():
                if _state(path) != seen and (state := _settled(path, stop)) != seen:
                    return state
                if not _happened(watcher, stop):
                    break
    return None


def _watcher(directories: list[str]) -> AbstractContextManager[RustNotify | None]:
    """A watcher, or None where there can be none: there are 128 for all programs of a user."""
    # Imported here, in the thread: it costs 40 ms that no start should wait for. The documented lower half of
    # watchfiles and not its awatch(), which logs what it saw: a debug log beside the configuration would feed itself.
    from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

    try:
        # No debugging, no polling (TICK is our own), not recursive; what may not be read is only looked at.
        return RustNotify(directories, False, False, TICK, False, True)
    except (OSError, WatchfilesRustInternalError, UnicodeError):
        return nullcontext()


def _happened(watcher: RustNotify | None, stop: threading.Event) -> bool:
    """Block until it is worth looking. False if this watcher is of no more use."""
    if watcher is None:
        return not stop.wait(TICK / 1000)
    from watchfiles._rust_notify import WatchfilesRustInternalError

    try:
        watcher.watch(_STEP, _STEP, TICK, stop)
    except WatchfilesRustInternalError:
        # Such as another file whose name is not UTF-8.
        stop.wait(_SETTLE)
        return False
    return True


def _state(path: Path) -> _State | None:
    """What tells a file from its earlier self without reading it, or None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    # The time of change, too: a file that is made readable is worth another try.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _settled(path: Path, stop: threading.Event) -> _State | None:
    """The file's state once it no longer changes."""
    state = _state(path)
    for _ in range(_MOST_LOOKS):
        before = state
        if stop.wait(_SETTLE) or ((state := _state(path)) == before and _has_content(state)):
            break
    return state


def _has_content(state: _State | None) -> bool:
    """One that is missing is mostly just being replaced; one that is empty waits for the program behind a `>`."""
    return state is not None and state[_SIZE] > 0


def _directories(path: Path) -> dict[tuple[int, int], str]:
    """The directories whose entries decide what `path` leads to: its own, that of each link, and that of the file.

    By device and inode, since another directory may take one's place. For a missing one its nearest ancestor stands.
    """
    wanted = [path.parent]
    for _ in range(_MOST_LINKS):
        followed = _followed(path)
        if followed is None:
            break
        directory, path = followed
        wanted.append(directory)
    found: dict[tuple[int, int], str] = {}
    for directory in (*wanted, path.parent):
        for nearest in (directory, *directory.parents):
            with suppress(OSError):
                status = nearest.stat()
                if stat.S_ISDIR(status.st_mode):
                    found[status.st_dev, status.st_ino] = str(nearest)
                    break
    return found


def _followed(path: Path) -> tuple[Path, Path] | None:
    """One link on the way replaced by its target: where the link stands, and the new path. None if there is no link."""
    for place in (path, *path.parents):
        with suppress(OSError):  # it is no link, mostly
            target = place.readlink()
            # Nothing is normalised: what ".." means is the kernel's to say, when it follows the links before it.
            return place.parent, place.parent / target / path.relative_to(place)
    return None
