"""Files that say what one process has to say, in a directory of many processes' files, for as long as it runs."""

from __future__ import annotations

import os
import re
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from .. import memory

_PREFIX: Final = "mcp-manifold-"
_NAME: Final = re.compile(rf"\.?{_PREFIX}(\d{{1,10}})-(\w*)-([0-9a-f]{{8}})\.(?:json|prom)(?:\.new)?")
_PATIENCE: Final = 0.2
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Process(NamedTuple):
    """Who publishes: `kind` is the command that runs, `session` the client's, "" where there may be many.

    `started` tells two processes with the same number apart, `world` numbers that mean different processes: those of
    other machines and containers, which may have the same directory.
    """

    pid: int
    started: str
    world: str
    kind: str
    session: str

    @property
    def name(self) -> str:
        """Unique among all processes that may ever write to one directory."""
        return f"{_PREFIX}{self.pid}-{self.started}-{self.world}"

    @property
    def labels(self) -> dict[str, str]:
        """What tells its series from those of others."""
        return {"session": self.session, "pid": str(self.pid), "kind": self.kind}


def this_process(kind: str, session: str) -> Process:
    """The process that we are."""
    pid = os.getpid()
    return Process(pid, memory.started(pid) or f"t{int(time.time())}", _world(), kind, session)


class Published:
    """A file of `process` in `directory`, whose name ends in `suffix`. `mode` are its permissions."""

    def __init__(self, directory: Path, process: Process, suffix: str, mode: int) -> None:
        self.path = directory / f"{process.name}{suffix}"
        # Neither Prometheus nor node_exporter reads a name like this.
        self._fresh = directory / f".{process.name}{suffix}.new"
        self._mode = mode
        self._lock = threading.Lock()
        self._removed = False

    def write(self, data: bytes) -> None:
        """Replace it as a whole, from any thread; after `remove` that does nothing. Raises OSError."""
        with self._lock:
            if self._removed:
                return
            with suppress(FileNotFoundError):  # a full disk may have kept us from going on
                self._fresh.unlink()
            handle = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, self._mode)
            with os.fdopen(handle, "wb") as stream:
                if hasattr(os, "fchmod"):
                    os.fchmod(handle, self._mode)  # whatever the umask is
                stream.write(data)
            self._fresh.replace(self.path)

    def remove(self) -> None:
        """The process is about to end. A disk that hangs is not waited for."""
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                self._removed = True
                for path in (self.path, self._fresh):
                    with suppress(OSError):
                        path.unlink()
            finally:
                self._lock.release()


def sweep(directory: Path) -> None:
    """Remove what processes of ours left behind that were killed.

    Those of other machines and containers can't be asked, and those of other users may be hidden from us.
    """
    world = _world()
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is not None and found[3] == world and not _is_alive(int(found[1]), found[2]):
                with suppress(OSError):
                    if _is_ours(entry):
                        Path(entry.path).unlink()


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return not hasattr(os, "geteuid") or entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def _is_alive(pid: int, started: str) -> bool:
    if os.name == "nt":
        return True  # there is no harmless way to ask
    return memory.is_alive(pid, "" if started.startswith("t") else started)


def _world() -> str:
    """As a part of a file's name."""
    return f"{zlib.crc32(memory.world().encode()):08x}"
