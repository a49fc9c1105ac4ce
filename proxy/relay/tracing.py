"""A request's place in a trace, from its arrival to its end.

What comes with a context that is sampled is recorded and passed on as a child of ours; with one that is not, it passes
as it is. What comes with none begins a trace, and whether that one is sampled is told to the server, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from .. import tracecontext, wire
from ..errors import WireError
from ..tracecontext import RANDOM, SAMPLED, Trace

_NOT_ZERO: Final = 1 << 64 | 1
"""A bit of each of two ids: the standard keeps the zero for "none"."""


class Spanned(Protocol):
    """What may have a span."""

    span: Span | Unrecorded | None


class Unrecorded(msgspec.Struct, frozen=True):
    """The place of a request in a trace that begins here and is not sampled: nobody is told of it, but for the server.

    `header` is the `traceparent` for that, as JSON. To be used like a `Span`, of which most requests need no more.
    """

    header: bytes

    @property
    def is_root(self) -> bool:
        """The trace begins here. It may do so with the call that this is asked within: who asked that has none."""
        return True

    def child(self, served: str, asked: str) -> Unrecorded:
        """The place of what is asked within it: another span of the same trace."""
        return Unrecorded(self.header[:_UP_TO_SPAN] + asked.encode() + self.header[_BEHIND_SPAN:])

    def mark(self, meta: Mapping[str, Raw | bytes]) -> dict[str, Raw | bytes]:
        """As a `Span` does."""
        return _marked(meta, self.header, keeps_state=False)

    def sent(self, id: int, now: float) -> None:
        """Nothing to tell."""

    def failed(self, code: int, *, ours: bool) -> None:
        """Nothing to tell."""

    def ended(self, name: str, started: float, now: float) -> None:
        """Nothing to tell."""


class Span(msgspec.Struct):
    """What one request is in its trace, recorded; `header` is the `traceparent` for the server, as JSON.

    The rest is as in `Trace`, which it becomes.
    """

    trace_id: str
    parent: str
    served: str
    asked: str
    flags: int
    state: str
    header: bytes
    first_sent: float | None = None
    """The relay's time."""
    sends: int = 0
    asked_id: int = 0
    code: int | None = None
    ours: bool = False
    is_within: bool = False
    """It is within another request that we pass on, and has no context of its own."""

    @property
    def is_root(self) -> bool:
        """The trace begins with it."""
        return not self.parent

    def child(self, served: str, asked: str) -> Span:
        """A span within what we asked of the other side."""
        span = _span(self.trace_id, self.asked, served, asked, self.flags, self.state)
        span.is_within = True
        return span

    def mark(self, meta: Mapping[str, Raw | bytes]) -> dict[str, Raw | bytes]:
        """The members of a `_meta` with us as the parent."""
        marked = _marked(meta, self.header, keeps_state=not (self.is_root or self.is_within))
        if self.is_within and self.state:
            marked["tracestate"] = wire.encode_text(self.state)
        return marked

    def sent(self, id: int, now: float) -> None:
        """The request leaves under this id; perhaps not for the first time."""
        self.asked_id = id
        self.sends += 1
        if self.first_sent is None:
            self.first_sent = now

    def failed(self, code: int, *, ours: bool) -> None:
        """The answer is an error."""
        self.code, self.ours = code, ours

    def ended(self, name: str, started: float, now: float) -> Trace:
        """What there is to tell."""
        return Trace(
            self.trace_id,
            self.parent,
            self.served,
            self.asked,
            self.flags,
            self.state,
            now,
            name,
            None if self.first_sent is None else self.first_sent - started,
            self.sends,
            self.asked_id,
            self.code,
            self.ours,
        )


_UNSAMPLED: Final = f"{RANDOM:02x}"
_UP_TO_SPAN: Final = len('"00-') + 32 + len("-")
_BEHIND_SPAN: Final = _UP_TO_SPAN + 16


def _marked(meta: Mapping[str, Raw | bytes], header: bytes, *, keeps_state: bool) -> dict[str, Raw | bytes]:
    """The members of a `_meta` with this `traceparent`. The state of one that ended here goes no further."""
    marked: dict[str, Raw | bytes] = {**meta, "traceparent": header}
    if not keeps_state:
        marked.pop("tracestate", None)
    return marked


def _span(trace_id: str, parent: str, served: str, asked: str, flags: int, state: str) -> Span:
    header = b'"00-%b-%b-%02x"' % (trace_id.encode(), asked.encode(), flags)
    return Span(trace_id, parent, served, asked, flags, state, header)


class Tracing:
    """Begins spans. Of the traces that begin here the share `ratio` is sampled; `bits` gives so many random ones."""

    def __init__(self, ratio: float, bits: Callable[[int], int]) -> None:
        # Hex digits compare as their numbers do; what is more than all of them is not one of them.
        self._bound = f"{round(ratio * (1 << 64)):016x}" if ratio < 1 else "g"
        self._bits = bits

    def begin(self, meta: Raw | None) -> Span | Unrecorded | None:
        """The place of a request with this `_meta`, if any; None where its caller's context passes as it is."""
        if meta is None:
            return self._root()
        members: dict[str, Raw] = {}
        with suppress(WireError):  # not ours to judge: the server will
            members = wire.open_object(meta)
        parent = tracecontext.parse(wire.text(members.get("traceparent")))
        if parent is None:
            return self._root()
        if not parent.sampled:
            return None
        state = tracecontext.state(wire.text(members.get("tracestate")))
        return _span(parent.trace_id, parent.span_id, *self._two(), parent.flags, state)

    def begin_question(self, meta: Raw | None, calls: Sequence[Spanned]) -> Span | Unrecorded | None:
        """The same of what a server asks while it works on these calls: without a context of its own it belongs to the
        call, if there is only one.
        """
        span = self.begin(meta)
        if span is None or not span.is_root or len(calls) != 1:
            return span
        call = calls[0].span
        return call.child(*self._two()) if call is not None else None

    def _root(self) -> Span | Unrecorded:
        ids = (self._bits(128 + 64) | _NOT_ZERO).to_bytes(16 + 8, "big").hex()
        # The same decision as the SDKs' own samplers take on the same id: by its last 64 bits.
        if ids[16:32] < self._bound:
            served, _ = self._two()
            return _span(ids[:32], "", served, ids[32:], RANDOM | SAMPLED, "")
        return Unrecorded(f'"00-{ids[:32]}-{ids[32:]}-{_UNSAMPLED}"'.encode())

    def _two(self) -> tuple[str, str]:
        """The ids of two spans."""
        ids = (self._bits(128) | _NOT_ZERO).to_bytes(16, "big").hex()
        return ids[:16], ids[16:]
