"""What a client is told of a call that we could not bring to its end: what happened, to which server, what to do."""

from __future__ import annotations

from typing import Final

import msgspec

from ..catalogue import Route
from ..errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMED_OUT,
    RESOURCE_NOT_FOUND,
    SERVER_UNAVAILABLE,
    Delivered,
    refusal,
)
from ..events import Outcome
from .call import Call
from .peers import Link
from .state import State
from .target import Target

LONGEST_WAIT: Final = 10.0
"""Seconds that a call waits for its server to come (back)."""


class Refusal(msgspec.Struct, frozen=True):
    """An error of ours: its code, the words for the client and (`reason`) for the log, and what it says of delivery."""

    code: int
    message: str
    server: str = ""
    outcome: Outcome = "error"
    delivered: Delivered = "no"
    retry_after_ms: int | None = None
    reason: str | None = None

    def payload(self, delivered: Delivered) -> bytes:
        """The `error` member of the answer."""
        return refusal(
            self.code,
            self.message,
            server=self.server or None,
            delivered=delivered,
            retry_after_ms=self.retry_after_ms,
        )


def unknown(state: State, call: Call, now: float) -> Refusal:
    """Nobody has it; or a server that is not there might."""
    name, method = call.name, call.method
    if method.key == "name":
        target = _target_of(state, name)
        if target is not None and not target.known:
            return down(call, target, now)
        near = state.catalogue.nearest(method.kind, name) if method.kind else []
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return Refusal(INVALID_PARAMS, f"unknown {method.what} {name!r}{hint}")
    if method.key == "uri":
        away = [target.key for target in state.targets.values() if target.link is None]
        hint = f" (not connected: {', '.join(away)})" if away else ""
        return Refusal(RESOURCE_NOT_FOUND, f"resource not found: no server knows {name!r}{hint}")
    if method.key == "ref":
        return Refusal(INVALID_PARAMS, "params.ref names no prompt or resource template that is listed")
    return Refusal(INVALID_PARAMS, f"unknown {method.what} {name!r}")


def gone(state: State, call: Call, before: Route) -> Refusal | None:
    """It waited for its server, which came and does not have it any more."""
    target = state.targets.get(before.server)
    if target is None or target.link is None:
        return None
    near = state.catalogue.nearest(call.method.kind, call.name, target.key) if call.method.kind else []
    hint = f"; it has {', '.join(near)}" if near else ""
    message = f"server {target.key!r} no longer has the {call.method.what} {before.own!r}{target.news}{hint}"
    return Refusal(INVALID_PARAMS, f"{message}. The list was corrected", target.key)


def _target_of(state: State, name: str) -> Target | None:
    """The server whose prefix fits best: a name that it has not listed is most likely one of its own."""
    fitting = [one for one in state.targets.values() if one.prefix and name.startswith(f"{one.prefix}__")]
    return max(fitting, key=lambda target: len(target.prefix), default=None)


def is_to_come(state: State, call: Call) -> bool:
    """Whether the name is most likely one of a server that is being (re)started and has not listed anything since."""
    if call.method.key != "name" or call.method.kind not in state.settled:
        return False  # at the start the wait for the lists is all that there is
    target = _target_of(state, call.name)
    return target is not None and not target.known and (target.link is not None or target.coming)


def down(call: Call, target: Target, now: float) -> Refusal:
    """Its server is away for good, or not there yet and nobody can wait longer."""
    what = "is not up yet" if target.coming else "is down"
    unlisted = f"it has not listed its {call.method.kind or 'tools'} yet"
    reason = _absence(target, now) if target.link is None else unlisted
    return Refusal(SERVER_UNAVAILABLE, f"server {target.key!r} {what}: {reason}", target.key)


def _absence(target: Target, now: float) -> str:
    """Why a server is not there, and when it may be."""
    why = f"{target.away}; " if target.away else ""
    if target.starting_since is not None:
        does = "is being tried again" if why else "is still starting"
        lasts = f"for {now - target.starting_since:.0f} s so far of at most {target.limits.start:g} s"
        return f"{why}it {does}, {lasts} (`startTimeout` on its entry)"
    if target.next_start is not None:
        return f"{why}it is tried again in {max(0.0, target.next_start - now):.1f} s"
    return target.away


def overloaded(target: Target, now: float) -> Refusal:
    """More calls wait for it than may."""
    does = _does(target) if target.link is not None else f"is away ({_absence(target, now)})"
    message = (
        f"server {target.key!r} {does}, and {target.waiting} more wait; try again later. "
        "`maxRunning` and `maxQueued` on its entry set the limits"
    )
    return Refusal(SERVER_UNAVAILABLE, message, target.key, retry_after_ms=round(LONGEST_WAIT * 1000))


def heavy(held: int, target: Target | None = None) -> Refusal:
    """Calls that wait already take all the memory that they may, those for this server or those for any."""
    what = f"server {target.key!r} has" if target is not None else "there are"
    message = f"{what} {held / (1 << 20):.1f} MiB of calls waiting already; try again later"
    return Refusal(
        SERVER_UNAVAILABLE,
        message,
        target.key if target is not None else "",
        retry_after_ms=round(LONGEST_WAIT * 1000),
    )


def too_many(most: int, whose: str) -> Refusal:
    """There are more calls under way than anybody could wait for."""
    message = f"{most} calls {whose} run or wait already; try again when some have ended"
    return Refusal(SERVER_UNAVAILABLE, message, retry_after_ms=1000)


def _does(target: Target) -> str:
    """Why a server that is there takes no more."""
    reads = target.link is None or not target.link.choked
    running = target.limits.running
    return f"has {running} call{'s' * (running != 1)} running" if reads else "does not read its input"


def shut(target: Target, link: Link, now: float) -> Refusal:
    """It has not answered for a while, and is asked whether it is back before it gets more calls."""
    message = f"server {target.key!r} left its last {link.failures} calls unanswered; it gets no more until it answers"
    again = max(0, round((link.shut_until - now) * 1000))
    return Refusal(SERVER_UNAVAILABLE, message, target.key, retry_after_ms=again)


def late(call: Call, target: Target, now: float) -> Refusal:
    """It waited for its server until its time, or the time for waiting, was over."""
    waited = now - call.since
    sent = "was sent once, and the connection broke" if call.doubtful else "was not sent"
    if now - call.started >= target.limits.call:
        why = _does(target) if target.link is not None else _absence(target, now)
        message = (
            f"server {target.key!r} could not take the call within its {target.limits.call:g} s ({why}); it {sent}"
        )
        return Refusal(REQUEST_TIMED_OUT, message, target.key, "timeout")
    message = f"server {target.key!r} did not come up within {waited:.0f} s: {_absence(target, now)}"
    if target.link is not None:
        message = f"server {target.key!r} {_does(target)}; the call waited {waited:.0f} s and {sent}"
    again = round(LONGEST_WAIT * 1000) if target.coming else None
    return Refusal(SERVER_UNAVAILABLE, message, target.key, retry_after_ms=again)


def timed_out(call: Call, target: Target, now: float) -> Refusal:
    """The server did not answer, or it went on and on."""
    own = call.route.own if call.route else call.name
    limits = target.limits
    endless = limits.longest > limits.call and now - call.started >= limits.longest
    seconds, key = (limits.longest, "callMaximum") if endless else (limits.call, "callTimeout")
    message = (
        f"server {target.key!r} did not answer {own!r} within {seconds:g} s; "
        f"it may or may not have been done. `{key}` on its entry sets the limit"
    )
    return Refusal(REQUEST_TIMED_OUT, message, target.key, "timeout", "maybe")


def unable(call: Call, target: Target) -> Refusal:
    """The server did not declare the capability that the request needs."""
    need = ".".join(call.method.needs)
    message = f"server {target.key!r} does not offer {call.method.name}: it did not declare the capability {need}"
    return Refusal(METHOD_NOT_FOUND, message, target.key)


def lost(link: Link, reason: str) -> Refusal:
    """The connection ended during the call."""
    message = f"server {link.server!r} went away during the call ({reason}); it may or may not have been done"
    return Refusal(SERVER_UNAVAILABLE, message, link.server, delivered="maybe")


def failed(link: Link, reason: str, delivered: Delivered) -> Refusal:
    """What the call went through broke."""
    done = "; it may or may not have been done" if delivered == "maybe" else ""
    return Refusal(SERVER_UNAVAILABLE, f"server {link.server!r}: {reason}{done}", link.server, delivered=delivered)


def undelivered(link: Link, reason: str) -> Refusal:
    """It could not be sent, and not the second time either, or there will be none."""
    return Refusal(SERVER_UNAVAILABLE, f"server {link.server!r} could not be reached: {reason}", link.server)


def broken(call: Call, what: str, said: str) -> Refusal:
    """The server's answer can't be used."""
    server = call.route.server if call.route else ""
    message = f"server {server!r} gave no usable answer: {what}{said}"
    return Refusal(INTERNAL_ERROR, message, server, delivered="maybe", reason=what)
