"""A state directory that can't be written to is read all the same, and what is to be kept is dropped."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..config.models import Server
from ..eras.handshake import Offer
from ..names import Given
from . import files
from .given import GivenNames
from .listings import Listings, Memory


def why_unkept(state: Path) -> str:
    """Why nothing can be kept in this directory, which is made where there is none; "" where it can."""
    folder = state / "listings"
    try:
        files.make_directory(folder)
    except OSError as problem:
        return problem.strerror or str(problem)
    return "" if os.access(folder, os.W_OK | os.X_OK) else "it may not be written to"


class UnkeptListings(Listings):
    """Listings that are read only. Who was told so need not be told for each of them."""

    def recall(self, server: Server, offer: Offer) -> Memory | None:
        """What is remembered, where it can be read."""
        try:
            return super().recall(server, offer)
        except ValueError:
            return None

    def keep(self, server: Server, memory: Memory) -> None:
        """Drop it."""

    def refreshing(self, server: Server, offer: Offer) -> AbstractContextManager[bool]:
        """Where nothing can be written, everybody refreshes for themselves."""
        return nullcontext(True)


class UnkeptNames(GivenNames):
    """Names that are read only."""

    def load(self) -> Given:
        """The names that were given, where they can be read."""
        try:
            return super().load()
        except ValueError:
            return Given()

    def save(self, given: list[tuple[str, str, str, str]]) -> None:
        """Drop them."""
