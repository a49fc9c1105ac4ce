"""A server that changes from start to start, counted starts, and what a proxy remembers on disk."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from tests.support import servers
from tests.support.processes import eventually
from tests.support.servers import Entry


class Changing:
    """The server of scripts/changing.py in its folder."""

    def __init__(self, folder: Path, **what: Any) -> None:
        self.folder = folder
        folder.mkdir()
        self.becomes(**what)

    def becomes(self, **what: Any) -> None:
        """What it is from its next start on; see the script."""
        (self.folder / "is.json").write_text(json.dumps(what))

    def entry(self, *args: str, **more: Any) -> Entry:
        """An entry for it; other arguments make it another server."""
        return servers.script("changing.py", str(self.folder), *args) | more

    @property
    def starts(self) -> list[str]:
        """One for each start: its own name of itself."""
        file = self.folder / "starts"
        return [line.split()[1] for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def pids(self) -> list[int]:
        """The process of each start."""
        return [int(line.split()[0]) for line in (self.folder / "starts").read_text().splitlines()]

    def gate(self, name: str) -> "Gate":
        return Gate(self.folder / name)


class Gate:
    """A FIFO at which a server waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._open: list[int] = []

    def is_reached(self) -> bool:
        """Whether a server waits; it goes on waiting."""
        if not self._open:
            with contextlib.suppress(OSError):  # nobody yet
                self._open.append(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(self._open)

    def reached(self) -> None:
        """Wait until a server waits."""
        eventually(self.is_reached, f"nobody came to {self.path}")

    def open(self) -> None:
        """Let the server that waits, or the next one, through."""
        self.reached()
        os.close(self._open.pop())


class Memory:
    """The state directory of the proxies on one configuration."""

    def __init__(self, config: Path) -> None:
        self.folder = config.parent / "state"

    def listings(self) -> list[Path]:
        """The files, one for each server and kind of client."""
        return self._files("listings")

    def texts(self) -> list[str]:
        return [file.read_text() for file in self.listings()]

    def has(self, number: int, *texts: str) -> None:
        """Wait until so many listings are there, and each of these texts is in one of them."""

        def is_there() -> bool:
            found = self.texts()
            return len(found) == number and all(any(text in one for one in found) for text in texts)

        eventually(is_there, lambda: f"no {texts} in {number} listings, but {self.texts()}")

    def has_names(self, *names: str) -> None:
        """Wait until these public names are kept."""
        eventually(
            lambda: any(all(f'"{name}"' in file.read_text() for name in names) for file in self._files("names")),
            lambda: f"no {names} in {[file.read_text() for file in self._files('names')]}",
        )

    def everything(self) -> bytes:
        """The bytes and names of all files."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return b"\n".join(bytes(file) + b"\n" + file.read_bytes() for file in files)

    def _files(self, kind: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [file for file in sorted((self.folder / kind).iterdir()) if not file.name.startswith(".")]
        return []


def children_of(pid: int) -> list[str]:
    """The command lines of its children, whichever of its threads started them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += (task / "children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in found]
