"""Where the control sockets are: `run` in the state directory, with a small file beside each that says whose it is.

Whoever looks removes what a killed process left there.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from .. import memory
from ..store.files import make_directory
from ..texts import printable

PROTOCOL: Final = 1
"""Of what is said on the socket. It grows where an older side would misunderstand."""

LONGEST_PATH: Final = 100
"""Bytes of a socket's path; macOS takes 103, Linux 107."""

_SUFFIX: Final = ".json"
_LARGEST: Final = 64 * 1024
_MOST: Final = 1000
_LEFT_AFTER: Final = 24 * 3600.0
"""Seconds after which a card is removed that nobody listens for, and whose process can't be asked after."""


class Card(msgspec.Struct, frozen=True):
    """Who listens on a socket. `at` is the Unix time of its start, `started` the same as the system counts it.

    `host` tells pids apart that do not mean the same processes: of other machines, and of containers.
    """

    protocol: int
    pid: int
    started: str
    host: str
    at: float
    kind: str
    session: str
    config: str
    version: str
    socket: str = ""

    @property
    def is_here(self) -> bool:
        """Whether its pid means something to this process."""
        return self.host == memory.world()

    @property
    def is_dead(self) -> bool:
        """Whether it is sure that the process is gone."""
        return self.is_here and not memory.is_alive(self.pid, self.started)


def directory(state: Path) -> Path:
    """Where the sockets of a state directory are."""
    return state / "run"


class Place:
    """A listening socket and its card. `close` removes both."""

    def __init__(self, listener: socket.socket, card: Card, file: Path) -> None:
        self.listener = listener
        self.card = card
        self._file = file

    def is_there(self) -> bool:
        """Whether others still find it."""
        try:
            return self._file.exists() and Path(self.card.socket).exists()
        except OSError:
            return True  # nobody can tell

    def close(self) -> None:
        """Leave nothing behind."""
        self.listener.close()
        _remove(self._file, self.card)


def take(state: Path, card: Card, backlog: int) -> Place:
    """Listen on a socket of our own. Raises OSError, which says why there can be none."""
    folder = directory(state)
    make_directory(folder)
    _keep_private(folder)
    name = f"{card.pid}-{os.urandom(3).hex()}"
    path = _short(folder, f"{name}.sock")
    if str(path) != printable(str(path)):  # other bytes than UTF-8, which a card can't hold
        raise OSError(errno.EILSEQ, "its path is not in UTF-8", str(folder))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)  # nobody else could enter the directory meanwhile
        listener.listen(backlog)
        listener.setblocking(False)
        card = msgspec.structs.replace(card, socket=str(path))
        file = folder / f"{name}{_SUFFIX}"
        _write(file, msgspec.json.encode(card))
    except BaseException:
        listener.close()
        with suppress(OSError):
            path.unlink()
        raise
    return Place(listener, card, file)


def find(state: Path) -> list[Card]:
    """The cards of all that listen, the oldest process first; what processes left that are gone is removed."""
    found: list[Card] = []
    for file in _cards(directory(state)):
        card = _read(file)
        if card is None:
            continue
        if card.is_dead:
            _remove(file, card)
        elif card.is_here or _listens(card):
            found.append(card)
        else:
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _LEFT_AFTER:
                    _remove(file, card)
    return sorted(found, key=lambda card: (card.at, card.pid))


def _cards(folder: Path) -> Iterator[Path]:
    """The files, if the directory is this user's alone: others could lead us to sockets of their own."""
    try:
        if _is_shared(folder):
            return
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(_SUFFIX))
    except OSError:
        return
    for name in names[:_MOST]:
        yield folder / name


def _read(file: Path) -> Card | None:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            return msgspec.json.decode(stream.read(_LARGEST), type=Card)
    except (OSError, msgspec.DecodeError):
        return None  # it is being removed, or of a version that has other cards


def _write(file: Path, body: bytes) -> None:
    """Whole or not at all: somebody may look at any time."""
    fresh = file.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(body + b"\n")
        fresh.replace(file)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def _remove(file: Path, card: Card) -> None:
    path = Path(card.socket)
    with suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    with suppress(OSError):
        file.unlink()


def _listens(card: Card) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(card.socket)
        except BlockingIOError:
            return True  # it is only busy
        except OSError:
            return False
    return True


def _short(folder: Path, name: str) -> Path:
    """Where the socket goes: in the directory, or in the user's runtime one where its path is too long for a socket."""
    path = folder / name
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    for above in (base, "/tmp"):  # noqa: S108 (a directory of our own in it, which is checked)
        path = Path(above) / f"mcp-manifold-{os.geteuid()}" / name
        if len(os.fsencode(path)) <= LONGEST_PATH and path.parent.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _keep_private(path.parent)
            return path
    raise OSError(errno.ENAMETOOLONG, "its path is too long for a socket", str(folder))


def _keep_private(folder: Path) -> None:
    """Let nobody else in. Raises OSError where the directory is somebody else's."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it is not this user's own directory", str(folder))
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _is_shared(folder: Path) -> bool:
    found = folder.lstat()
    return not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or bool(found.st_mode & 0o022)
