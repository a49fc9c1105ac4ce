"""What servers listed, as they listed it: so that the next session has its lists without starting anything.

There is a file for each server and each kind of client: servers may list other tools for a client that can do other
things. The server is told by a hash over all that makes it what it is, its credentials among them; these are in no
other form in the file or its name. The rules of the user (prefix, `tools`) are not part of it, nor is its key: what is
kept is raw, and edited anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from ..config.models import Server, ServerEntry
from ..eras.handshake import Offer, ServerHello
from ..texts import printable
from . import files

_KIND: Final = "listing 1"
_FOLDER: Final = "listings"
_MOST_FILES: Final = 2000
_SERVER, _CLIENT = 32, 16
"""Hexadecimal digits in a file's name."""


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of a server: its answer to `initialize`, and its raw listings by kind.

    `saved` is Unix time. `offer` is what it had been told of the client.
    """

    hello: ServerHello
    listings: Mapping[str, Sequence[Raw]]
    offer: Offer
    saved: float


class _Record(msgspec.Struct):
    """A memory as it stands in its file. What is raw follows it, in this order; here are the lengths.

    So it comes back as it was, whatever it is: peers write strings that no decoder takes.
    """

    saved: float
    protocol: str
    name: str
    version: str
    instructions: str
    offer_protocol: str
    offer_capabilities: int
    capabilities: dict[str, int]
    listings: dict[str, list[int]]


class Listings:
    """The remembered listings in one state directory. All methods touch the disk, and none raises but where it says."""

    def __init__(self, state: Path, environ: Mapping[str, str]) -> None:
        self._folder = state / _FOLDER
        self._environ = environ

    def knows(self, server: Server) -> bool:
        """Whether anything is remembered of the server, for whatever client."""
        return next(self._paths(identity(server, self._environ)), None) is not None

    def recall(self, server: Server, offer: Offer) -> Memory | None:
        """What is remembered of the server for such a client, if anything. Raises ValueError where it is unreadable."""
        return _read(self._path(server, offer))

    def keep(self, server: Server, memory: Memory) -> None:
        """Remember it, instead of what was remembered. Raises OSError."""
        path = self._path(server, memory.offer)
        files.write(path, _KIND, _encode(memory))
        files.tidy(path.parent, _is_ours, _MOST_FILES, time.time())

    def all(self, server: Server) -> list[tuple[Memory, int]]:
        """What is remembered of the server, for each kind of client, with its size in bytes."""
        found = []
        for path in self._paths(identity(server, self._environ)):
            try:
                memory, size = _read(path), path.stat().st_size
            except (ValueError, OSError):
                continue
            if memory is not None:
                found.append((memory, size))
        return sorted(found, key=lambda each: each[0].saved, reverse=True)

    def forget(self, server: Server | None = None) -> int:
        """Forget a server, or all of them; returns how many files that were. Raises OSError."""
        paths = list(self._paths(identity(server, self._environ) if server else ""))
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def refreshing(self, server: Server, offer: Offer) -> AbstractContextManager[bool]:
        """Hold the right to refresh this memory: of many proxies one is enough. Raises OSError."""
        path = self._path(server, offer)
        return files.alone(path.with_name(f".{path.name}.lock"), wait=False)

    def _path(self, server: Server, offer: Offer) -> Path:
        material = offer.protocol.encode() + b"\0" + offer.capabilities
        client = hashlib.sha256(material).hexdigest()[:_CLIENT]
        return self._folder / f"{identity(server, self._environ)}-{client}"

    def _paths(self, beginning: str) -> Iterator[Path]:
        try:
            paths = sorted(self._folder.iterdir())
        except OSError:
            return
        yield from (path for path in paths if path.name.startswith(beginning) and _is_ours(path.name))


def identity(server: Server, environ: Mapping[str, str]) -> str:
    """What tells this server from others: a hash over how it is reached, with all variables filled in.

    The working directory counts where the entry leaves it open and names something in it: `server.py`, or `.`.
    """
    entry = server.entry
    inherited = [(name, environ.get(name)) for name in sorted(entry.inherit_env)]
    material = (
        entry.transport,
        entry.command,
        tuple(entry.args),
        sorted(entry.env.items()),
        entry.cwd,
        entry.url,
        sorted(entry.headers.items()),
        inherited,
        _here(entry),
    )
    return hashlib.sha256(ascii(material).encode()).hexdigest()[:_SERVER]


def _here(entry: ServerEntry) -> str:
    """The working directory where it decides what the entry starts, as far as that can be seen; else ""."""
    if entry.command is None or (entry.cwd is not None and Path(entry.cwd).is_absolute()):
        return ""
    words = (entry.cwd or "", entry.command if Path(entry.command).name != entry.command else "", *entry.args)
    try:
        relative = any(word and not Path(word).is_absolute() and Path(word).exists() for word in words)
        return str(Path.cwd()) if relative else ""
    except (OSError, ValueError):  # no path at all, or the directory is gone
        return ""


def _is_ours(name: str) -> bool:
    """Whether a file of this name is a memory, as `_path` names them: the directory may be shared with others'."""
    server, _, client = name.partition("-")
    return len(server) == _SERVER and len(client) == _CLIENT and set(server + client) <= set("0123456789abcdef")


def _read(path: Path) -> Memory | None:
    body = files.read(path, _KIND)
    if body is None:
        return None
    head, _, rest = body.partition(b"\n")
    try:
        record = msgspec.json.decode(head, type=_Record)
    except msgspec.DecodeError as problem:
        raise ValueError(str(problem)) from None
    raw = BytesIO(rest)
    offer = Offer(record.offer_protocol, raw.read(record.offer_capabilities))
    capabilities = {name: raw.read(length) for name, length in record.capabilities.items()}
    hello = ServerHello(record.protocol, capabilities, record.name, record.version, record.instructions)
    listings = {kind: [Raw(raw.read(length)) for length in lengths] for kind, lengths in record.listings.items()}
    return Memory(hello, listings, offer, record.saved)


def _encode(memory: Memory) -> bytes:
    hello, offer = memory.hello, memory.offer
    # Half a character, which only a name of no specification can hold, is in no file.
    capabilities = {printable(name): value for name, value in hello.capabilities.items()}
    listings = {kind: [bytes(item) for item in items] for kind, items in memory.listings.items()}
    record = _Record(
        saved=memory.saved,
        protocol=hello.protocol,
        name=hello.name,
        version=hello.version,
        instructions=hello.instructions,
        offer_protocol=offer.protocol,
        offer_capabilities=len(offer.capabilities),
        capabilities={name: len(value) for name, value in capabilities.items()},
        listings={kind: [len(item) for item in items] for kind, items in listings.items()},
    )
    raw = (offer.capabilities, *capabilities.values(), *(item for items in listings.values() for item in items))
    return b"".join((msgspec.json.encode(record), b"\n", *raw))
