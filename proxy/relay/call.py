"""One request of a client on its way to the server that owns it, and back."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from .. import texts, wire
from ..catalogue import Route
from ..errors import WireError
from ..events import CallFinished, Delivery, Inspector, Noted, Outcome, RequestFinished
from .methods import Method
from .peers import Link, Session
from .target import Target
from .tracing import Span, Unrecorded

_LONGEST_OWN: Final = 2000
"""Characters of a URI that are told: clients may ask for ones without end."""
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


class Call(msgspec.Struct, eq=False):
    """`id`, `key` (what names the owner) and `token` (of its progress) are the client's own, raw.

    `others` are further servers that may own it, None where its owner is known; `refused` what one of them said.
    `deadline` is where it ends if nothing happens. A struct, since there is one for each call: it is made in a quarter
    of the time.
    """

    session: Session
    id: bytes
    method: Method
    params: dict[str, Raw]
    key: Raw
    bytes_in: int
    started: float
    since: float
    """Since when it waits for its server to take it; at first since it came."""
    peer: str
    """From where it came: of REST each request tells it anew."""
    deadline: float = 0.0
    route: Route | None = None
    others: tuple[Route, ...] | None = None
    refused: Raw | bytes | None = None
    link: Link | None = None
    link_id: int = 0
    token: bytes | None = None
    waited: float = 0.0
    """Seconds for which it did before it was sent."""
    repeated: bool = False
    """It has been sent twice, or is going to be."""
    doubtful: bool = False
    """It was sent before, to a server that may have done it."""
    augmented: bool = False
    """It asks for a task, of a server that knows tasks."""
    concerns: bool = False
    """Its result has to be looked at on its way."""
    delivered: Delivery = "no"
    """Known once it has ended."""
    inspector: Inspector | None = None
    noted: Noted | None = None
    span: Span | Unrecorded | None = None
    """Its place in a trace, where that is ours to tell."""

    def goes_to(self, link: Link, now: float) -> int:
        """This server is asked, under the id that is returned."""
        self.link = link
        self.waited += now - self.since
        self.link_id = link.new_id()
        if self.span is not None:
            self.span.sent(self.link_id, now)
        return self.link_id

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
        if self.span is not None and "_meta" not in params:
            parts += (b',"_meta":{"traceparent":', self.span.header, b"}")
        # The first member's comma becomes the opening brace.
        return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":{%b}}\n' % (number, method.raw, b"".join(parts)[1:])

    def _meta_for(self, meta: Raw, number: int) -> Raw | bytes:
        """Its `_meta` as the server gets it: with `number` as progress token, if the client has one, and our span."""
        try:
            members = wire.open_object(meta)
        except WireError:
            return meta  # not ours to judge: the server will
        if wire.given(members.get("progressToken")) is not None:
            self.token = bytes(members["progressToken"])
            members["progressToken"] = Raw(b"%d" % number)
        elif self.span is None:
            return meta
        return wire.close_object(members if self.span is None else self.span.mark(members))

    def failed(self, code: int, *, ours: bool) -> None:
        """Its answer is an error, of ours or of its server."""
        if self.span is not None:
            self.span.failed(code, ours=ours)

    def inspect(self, inspector: Inspector) -> None:
        """Have its payload looked at, now and once its server answers."""
        self.noted = inspector.arguments(self.params.get("arguments", b""))
        if inspector.sees_answers:
            self.inspector = inspector

    def pass_on(self, member: bytes, payload: Raw | bytes) -> int:
        """Answer it with the `result` or `error` of its server, byte for byte; returns the line's length."""
        self.delivered = "yes"
        if self.inspector is not None and self.noted is not None:
            self.noted = self.inspector.answer(self.noted, payload)
        return self.session.pass_on(self.id, member, payload)

    def ended(self, outcome: Outcome, size: int, now: float, server: str = "", reason: str = "") -> RequestFinished:
        """The fact that it ended, with an answer of so many bytes; `server` is given where no owner was found."""
        session, route = self.session, self.route
        owner, own = (route.server, route.own[:_LONGEST_OWN]) if route else (server, "")
        kind = CallFinished if self.method.name == "tools/call" else RequestFinished
        name = "" if route else self.name
        waited = self.waited if self.link is not None else self.waited + now - self.since
        trace = None
        if self.span is not None:
            trace = self.span.ended(route.public if route else name, self.started, now)
        if outcome == "cancelled" and (self.doubtful or self.link is not None):
            self.delivered = "maybe"
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
            name,
            reason,
            self.method.name,
            self.delivered,
            self.noted,
            trace,
            waited or None,
            session.front,
            self.peer,
        )

    def under_way(self) -> UnderWay:
        """Where it is now."""
        session, route = self.session, self.route
        server, tool = (route.server, route.own[:_LONGEST_OWN]) if route else ("", self.name)
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
