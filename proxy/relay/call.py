"""One request of a client on its way to the server that owns it, and back."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from .. import texts, wire
from ..catalogue import Route
from .methods import Method
from .peers import Link, Session

_LONGEST_NAME: Final = 200
"""Bytes of a name that nobody knows which are shown in errors and logs."""


class Call:
    """`id`, `key` (what names the owner) and `token` (of its progress) are the client's own, raw.

    `others` are further servers that may own it, None where its owner is known; `refused` what one of them said.
    `deadline` is where it ends if nothing happens.
    """

    __slots__ = (
        "augmented",
        "bytes_in",
        "concerns",
        "deadline",
        "id",
        "key",
        "link",
        "link_id",
        "method",
        "others",
        "params",
        "refused",
        "route",
        "session",
        "started",
        "token",
    )

    def __init__(
        self, session: Session, id: bytes, method: Method, params: dict[str, Raw], key: Raw, size: int, now: float
    ) -> None:
        self.session = session
        self.id = id
        self.method = method
        self.params = params
        self.key = key
        self.bytes_in = size
        self.started = now
        self.deadline = now
        self.route: Route | None = None
        self.others: tuple[Route, ...] | None = None
        self.refused: Raw | bytes | None = None
        self.link: Link | None = None
        self.link_id = 0
        self.token: bytes | None = None
        self.augmented = False
        """It asks for a task, of a server that knows tasks."""
        self.concerns = False
        """Its result has to be looked at on its way."""

    def __repr__(self) -> str:
        return f"<Call {self.id!r} {self.method.name} {bytes(self.key)!r} link={self.link} deadline={self.deadline}>"

    @property
    def name(self) -> str:
        """What the client asked for, as it can be shown."""
        return texts.cut(texts.printable(texts.clean(wire.text(self.key) or "")), _LONGEST_NAME)
