"""Where a request stands in a distributed trace: the texts of W3C Trace Context, and what our spans are made of.

In MCP these texts are the members `traceparent` and `tracestate` of a request's `_meta`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

SAMPLED: Final = 0x01
RANDOM: Final = 0x02
"""The trace's id was chosen at random, so that its last digits can decide on what is sampled."""

_KNOWN_FLAGS: Final = SAMPLED | RANDOM
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY: Final = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(f"{_KEY}={_VALUE}")
_MOST_MEMBERS: Final = 32
_LONGEST_STATE: Final = 8 * 1024


class TraceParent(msgspec.Struct, frozen=True):
    """A span that others are children of; ids are lower-case hex digits."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether the caller records this trace."""
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse(text: str | None) -> TraceParent | None:
    """What a `traceparent` says, or None where it is none; never raises.

    Of a later version as much is taken as ours has. Flags that our version does not know are left out.
    """
    found = _PARENT.fullmatch(text) if text is not None else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def state(text: str | None) -> str:
    """A `tracestate` that is well-formed, without its empty members; "" for anything else."""
    if not text or len(text) > _LONGEST_STATE:
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    if len(members) > _MOST_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    keys = {member.partition("=")[0] for member in members}
    return ",".join(members) if len(keys) == len(members) else ""


class Trace(msgspec.Struct, frozen=True):
    """The two spans that we are in a trace: `served`, what somebody asked of us, and `asked`, what we asked for it.

    `parent` is the caller's span, "" where the trace begins here. `ended` is the relay's time; `sent_after` are the
    seconds until the other side was first asked, None if it never was, `sends` how often, and `asked_id` the id of that
    request. `name` is what was asked for, as the caller calls it. `code` is that of the error which was the answer, if
    one was; `ours`: the error did not come from the other side.
    """

    trace_id: str
    parent: str
    served: str
    asked: str
    flags: int
    state: str
    ended: float
    name: str = ""
    sent_after: float | None = None
    sends: int = 0
    asked_id: int = 0
    code: int | None = None
    ours: bool = False
