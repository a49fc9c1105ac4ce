"""The names that were given, kept for each configuration: permission rules name tools, and must go on meaning them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from ..names import Given
from ..texts import printable
from . import files

_KIND: Final = "names 1"
_FOLDER: Final = "names"

_MOST_NAMES: Final = 5000
"""Names that are kept of one kind of one server."""

_Names = dict[str, dict[str, dict[str, str]]]
"""Server -> kind -> own name -> public name."""


class GivenNames:
    """The names of one configuration, told by where its file is."""

    def __init__(self, state: Path, config: Path) -> None:
        key = hashlib.sha256(ascii(str(config)).encode()).hexdigest()[:32]
        self._path = state / _FOLDER / key

    def load(self) -> Given:
        """The names that were given so far. Raises ValueError where the file is unreadable."""
        given = Given()
        for server, kinds in self._read().items():
            for kind, names in kinds.items():
                for own, public in names.items():
                    given.give(kind, server, own, public)
        given.changes = 0
        return given

    def save(self, given: list[tuple[str, str, str, str]]) -> None:
        """Add these names, as `Given.listing` tells them, to those that other proxies gave. Raises OSError."""
        with files.alone(self._path.with_name(f".{self._path.name}.lock"), wait=True):
            try:
                names = self._read()
            except ValueError:
                names = {}  # what is no file of ours is replaced
            for kind, server, own, public in given:
                if own == printable(own):  # half a character is in no file
                    of_kind = names.setdefault(server, {}).setdefault(kind, {})
                    of_kind[own] = public
                    if len(of_kind) > _MOST_NAMES:  # those of tools that were given up long ago
                        del of_kind[next(iter(of_kind))]
            files.write(self._path, _KIND, msgspec.json.encode(names))

    def forget(self) -> bool:
        """Forget them; whether there were any. Raises OSError."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _read(self) -> _Names:
        body = files.read(self._path, _KIND)
        if body is None:
            return {}
        try:
            return msgspec.json.decode(body, type=_Names)
        except msgspec.DecodeError as problem:
            raise ValueError(str(problem)) from None
