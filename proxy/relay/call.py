"""One request of a client on its way to the server that owns it, and back."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from .. import texts, wire
from ..catalogue import Route
from ..errors import WireError
from ..events import CallFinished, Outcome, RequestFinished
from .methods import Method
from .peers import Link, Session
from .target import Target

_LONGEST_NAME: Final = 200
"""Bytes of a name that nobody knows which are shown in errors and logs."""


class UnderWay(msgspec.Struct, frozen=True):
    """A call that has not ended, for who looks. `started` is the relay's time; `waits`: no server has it yet.

    Otherwise like `RequestFinished`, which tells of its end.
    """

    client: str
    session: str
    request_id: str
    server: str
    tool: str
    method: str
    started: float
    waits: bool


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
        "doubtful",
        "id",
        "key",
        "link",
        "link_id",
        "method",
        "others",
        "params",
        "refused",
        "repeated",
        "route",
        "session",
        "since",
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
        self.since = now
        """Since when it waits for its server to take it."""
        self.repeated = False
        """It has been sent twice, or is going to be."""
        self.doubtful = False
        """It was sent before, to a server that may have done it."""
        self.augmented = False
        """It asks for a task, of a server that knows tasks."""
        self.concerns = False
        """Its result has to be looked at on its way."""

    def request(self, route: Route, target: Target, number: int) -> bytes:
        """The line for the server, under this id and token; every member but name and token is passed as it came."""
        method, params = self.method, self.params
        if "task" in params and method.name == "tools/call":
            if target.can("tasks", "requests", "tools", "call"):
                self.augmented = wire.given(params["task"]) is not None
            else:  # who does not know tasks has to do it the plain way, as the protocol says
                params = {key: value for key, value in params.items() if key != "task"}
        key = method.key
        parts: list[bytes | Raw] = []
        for name, value in params.items():
            parts.append(wire.member(name))
            if name == key:
                parts.append(route.raw)
            elif name == "_meta":
                parts.append(self._meta_for(value, number))
            else:
                parts.append(value)
        # The first member's comma becomes the opening brace.
        return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":{%b}}\n' % (number, method.raw, b"".join(parts)[1:])

    def _meta_for(self, meta: Raw, number: int) -> Raw | bytes:
        """Its `_meta` as the server gets it: with `number` as progress token, if the client has one."""
        try:
            members = wire.open_object(meta)
        except WireError:
            return meta  # not ours to judge: the server will
        if wire.given(members.get("progressToken")) is None:
            return meta
        self.token = bytes(members["progressToken"])
        return wire.close_object({**members, "progressToken": Raw(b"%d" % number)})

    def ended(self, outcome: Outcome, size: int, now: float, server: str = "", reason: str = "") -> RequestFinished:
        """The fact that it ended, with an answer of so many bytes; `server` is given where no owner was found."""
        session, route = self.session, self.route
        owner, own = (route.server, route.own) if route else (server, "")
        kind = CallFinished if self.method.name == "tools/call" else RequestFinished
        return kind(
            session.client,
            session.label,
            self.id.decode(errors="replace"),
            owner,
            own,
            outcome,
            now - self.started,
            self.bytes_in,
            size,
            "" if route else self.name,
            reason,
            self.method.name,
        )

    def under_way(self) -> UnderWay:
        """Where it is now."""
        session, route = self.session, self.route
        server, tool = (route.server, route.own) if route else ("", self.name)
        id = self.id.decode(errors="replace")
        return UnderWay(
            session.client, session.label, id, server, tool, self.method.name, self.started, self.link is None
        )

    def __repr__(self) -> str:
        return f"<Call {self.id!r} {self.method.name} {bytes(self.key)!r} link={self.link} deadline={self.deadline}>"

    @property
    def is_asked(self) -> bool:
        """Whether its client has still to answer something that the server asked, perhaps for this very call."""
        return self.link is not None and any(one.session is self.session for one in self.link.questions.values())

    @property
    def name(self) -> str:
        """What the client asked for, as it can be shown."""
        return texts.cut(texts.printable(texts.clean(wire.text(self.key) or "")), _LONGEST_NAME)
