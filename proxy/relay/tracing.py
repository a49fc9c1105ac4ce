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

_NOT_ZERO: Final = 1 << 128 | 1 << 64 | 1
"""A bit of a trace's id and of each of two spans' behind it: the standard keeps the zero for "none"."""
_TWO: Final = (1 << 128) - 1
_LAST: Final = (1 << 64) - 1


class Spanned(Protocol):
    """What may have a span."""

    span: Span | None


class Span(msgspec.Struct):
    """What one request is in its trace; `header` is the `traceparent` for the server, as JSON.

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

    @property
    def is_root(self) -> bool:
        """The trace begins with it."""
        return not self.parent

    def child(self, served: str, asked: str) -> Span:
        """A span within what we asked of the other side."""
        return _span(self.trace_id, self.asked, served, asked, self.flags, self.state)

    def mark(self, meta: Mapping[str, Raw | bytes]) -> dict[str, Raw | bytes]:
        """The members of a `_meta` with us as the parent. The state of a trace that ends here goes no further."""
        marked: dict[str, Raw | bytes] = {**meta, "traceparent": self.header}
        if not self.parent:
            marked.pop("tracestate", None)
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

    def ended(self, name: str, started: float, now: float) -> Trace | None:
        """What there is to tell; None of what is not sampled."""
        if not self.flags & SAMPLED:
            return None
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


def _span(trace_id: str, parent: str, served: str, asked: str, flags: int, state: str) -> Span:
    header = b'"00-%b-%b-%02x"' % (trace_id.encode(), asked.encode(), flags)
    return Span(trace_id, parent, served, asked, flags, state, header)


class Tracing:
    """Begins spans. Of the traces that begin here the share `ratio` is sampled; `bits` gives so many random ones."""

    def __init__(self, ratio: float, bits: Callable[[int], int]) -> None:
        self._bound = round(ratio * (1 << 64))
        self._bits = bits

    def begin(self, meta: Raw | None) -> Span | None:
        """The span of a request with this `_meta`, if any; None where its caller's context passes as it is."""
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

    def begin_question(self, meta: Raw | None, calls: Sequence[Spanned]) -> Span | None:
        """The same of what a server asks while it works on these calls: without a context of its own it belongs to the
        call, if there is only one.
        """
        span = self.begin(meta)
        if span is None or not span.is_root or len(calls) != 1:
            return span
        call = calls[0].span
        return call.child(*self._two()) if call is not None else None

    def _root(self) -> Span:
        number = self._bits(256) | _NOT_ZERO
        ids = number.to_bytes(32, "big").hex()
        # The same decision as the SDKs' own samplers take on the same id: by its last 64 bits.
        flags = RANDOM | SAMPLED if number >> 128 & _LAST < self._bound else RANDOM
        return _span(ids[:32], "", ids[32:48], ids[48:], flags, "")

    def _two(self) -> tuple[str, str]:
        """The ids of two spans."""
        ids = (self._bits(128) | _NOT_ZERO & _TWO).to_bytes(16, "big").hex()
        return ids[:16], ids[16:]
