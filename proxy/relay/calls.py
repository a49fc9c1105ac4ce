"""The table of calls: each begins once, is sent to its owner or waits for it, and ends exactly once.

Until it is sent it is in one of the queues. In flight it is in its link's table, under an id of that link.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from .. import wire
from ..catalogue import Route
from ..errors import RESOURCE_NOT_FOUND, Delivered
from ..events import Outcome
from . import answers, elicitation, refusals
from .backlog import PROGRESS
from .breaker import Breakers
from .call import Call
from .ghosts import Ghosts
from .peers import LARGE, Link, Session
from .queues import Queues
from .refusals import LONGEST_WAIT, Refusal
from .results import Results
from .state import MOST_IN_ALL, State
from .target import Target

MAYBE_OWNER_WAIT: Final = 15.0
"""Seconds after which the next server is asked that may know a URI: one that hangs must not hide the others'."""

MOST_AT_ONCE: Final = 1024 * 1024
"""Bytes of calls that have waited which are sent in one turn: then it shows whether the server reads them."""
MOST_REPEATED: Final = 1024 * 1024
"""Bytes of a request up to which it is kept for the case that it has to be sent once more."""

_NO_COMPLETION: Final = b'{"completion":{"values":[],"total":0,"hasMore":false}}'


class Calls:
    """Everything that happens to a call."""

    def __init__(self, state: State, results: Results, breakers: Breakers) -> None:
        self._state = state
        self._breakers = breakers
        self._ghosts = Ghosts(state, results)
        self._results = results
        self._queues = Queues(state)

    def begin(self, call: Call, now: float) -> None:
        """Take a new call: send it, park it, or refuse it."""
        call.session.calls[call.id] = call
        if self._state.tracing is not None:
            call.span = self._state.tracing.begin(call.params.get("_meta"))
        if len(call.session.calls) > call.session.share and (refusal := self._too_many(call.session)) is not None:
            self._refuse(call, refusal, now)
        else:
            self._route(call, now)

    def _too_many(self, session: Session) -> Refusal | None:
        """It has more calls than its share: whether the others leave it that many."""
        if len(session.calls) > session.most:
            return refusals.too_many(session.most, "of this client")
        if sum(len(one.calls) for one in self._state.sessions) > MOST_IN_ALL:
            return refusals.too_many(MOST_IN_ALL, "of all clients")
        return None

    def _route(self, call: Call, now: float) -> None:
        state, method, before = self._state, call.method, None
        routes = method.find(call.session, call.key)
        if not routes:
            before, call.route = call.route, None
            deadline = state.patience(method.kind, now) if method.kind else None
            if deadline is None and refusals.is_to_come(state, call):
                deadline = call.started + LONGEST_WAIT
            if deadline is not None and now < deadline:
                refusal = self._queues.wait_for_name(call, deadline)
                if refusal is not None:
                    self._refuse(call, refusal, now)
                return
            routes = method.guess(call.session, call.key)
        if not routes:
            gone = before is not None and refusals.gone(state, call, before)
            self._refuse(call, gone or refusals.unknown(state, call, now), now)
            return
        if len(routes) > 1:
            routes = tuple(one for one in routes if self._is_there(one)) or routes[:1]
            call.others = routes[1:]
        self._take(call, routes[0], now)

    def _is_there(self, route: Route) -> bool:
        """Whether to ask this one before others; for who surely owns it, it is worth waiting."""
        target = self._state.targets[route.server]
        return target.is_at_hand or (route.sure and target.coming)

    def _take(self, call: Call, route: Route, now: float) -> None:
        """The owner is known, or the next that may be it: send, park or refuse."""
        call.route = route
        target = self._state.targets[route.server]
        until = call.started + target.limits.call
        if call.others and not route.sure:
            until = min(until, now + min(MAYBE_OWNER_WAIT, (until - now) / (len(call.others) + 1)))
        if now >= call.started + target.limits.call:
            self._expire(call, now)  # before it is sent: nobody would wait for what it does
        elif target.link is not None and target.link.shut_until:
            self._pass_over(call, refusals.shut(target, target.link, now), now)
        elif target.is_busy and not call.method.endless:
            self._queue(call, target, until, now)
        elif target.link is not None:
            call.deadline = float("inf") if call.method.endless else until
            self._send(call, route, target, target.link, now)
        elif target.coming:
            self._queue(call, target, until, now)
        else:
            self._refuse(call, refusals.down(call, target, now), now)

    def _queue(self, call: Call, target: Target, until: float, now: float) -> None:
        displaced = self._queues.wait_for_server(call, target, until, now)
        if displaced is not None:
            self._pass_over(*displaced, now)

    def _pass_over(self, call: Call, refusal: Refusal, now: float) -> None:
        """This server can't take it: the next one that may own it does, or it is refused."""
        if not self._goes_on(call, now):
            self._refuse(call, refusal, now)

    def go_on(self, target: Target, now: float) -> None:
        """The server may have room again: send what waits for it, in turn."""
        sent = 0
        while target.parked and target.link is not None and not target.is_busy:
            if sent >= MOST_AT_ONCE:
                self._state.wake_by(now)
                break
            call = self._queues.take_next(target)
            sent += call.bytes_in
            self._route(call, now)

    def progressed(self, call: Call, now: float) -> None:
        """The server works on it: its time runs anew, but not for ever."""
        limits = self._state.targets[call.link.server].limits if call.link else None
        if limits is not None and not call.method.endless:
            call.deadline = max(call.deadline, min(now + limits.call, call.started + limits.longest))

    def _send(self, call: Call, route: Route, target: Target, link: Link, now: float) -> None:
        """It is in flight from here on, unless there is no need to ask."""
        method = call.method
        if method.needs and self._is_answered_here(call, route, target, now):
            return
        id = call.goes_to(link, now)
        line = call.request(route, target, id)
        call.concerns = self._results.concerns(call)
        link.calls[id] = call
        link.endless += method.endless
        link.send(line)
        if call.others is None and call.bytes_in > MOST_REPEATED:
            call.params = {}
        self._state.wake_by(call.deadline)

    def _is_answered_here(self, call: Call, route: Route, target: Target, now: float) -> bool:
        """Whether there is no need to ask the server: it can't do this, or must not, for another client's sake."""
        if not target.can(*call.method.needs):
            if call.method.name == "completion/complete":
                self._answer(call, _NO_COMPLETION, now)  # others have completions, so the client asks for all
            else:
                self._next(call, now)
            return True
        if call.method.name == "resources/unsubscribe" and self._results.is_shared(call, route):
            self._answer(call, b"{}", now)
            return True
        return False

    def _answer(self, call: Call, result: bytes, now: float) -> None:
        self._finish(call, "ok", call.session.pass_on(call.id, b"result", result), now)

    # Ends. Each of these takes the call out of wherever it is.

    def answered(self, call: Call, envelope: wire.Envelope, line: bytes, now: float) -> None:
        """The server answered in `line`; result or error pass byte for byte. The call is out of its link's table."""
        error, result = wire.given(envelope.error), wire.given(envelope.result)
        if call.link is not None and call.link.failures:
            self._breakers.answered(call.link)
        if self._results.is_anothers(call):
            self.broken(call, "it has started anew and does not know this task any more", now)
        elif result is not None and error is None:
            if bytes(memoryview(result)[:1]) != b"{":
                self.broken(call, "its result is no object", now)
                return
            # The look at the bytes spares short results the second decoding; in long ones it would take longer.
            failed = (len(line) > LARGE or b'"isError"' in line) and answers.is_tool_error(result)
            shown = self._results.take(call, result) if call.concerns else result
            size = call.pass_on(b"result", shown)
            self._finish(call, "tool_error" if failed else "ok", size, now)
        elif error is None:
            self.broken(call, "its answer had neither result nor error", now)
        elif not answers.is_error(error):
            self.broken(call, "its error is no JSON-RPC error", now, f": {answers.shown(error)}")
        else:
            self._refused(call, error, now)

    def _refused(self, call: Call, error: Raw, now: float) -> None:
        """The server refused; where another one may own it, that one is asked."""
        shown: Raw | bytes = error
        if b'"elicitations"' in bytes(error) and call.link is not None:
            shown = elicitation.required(call.link, call.session, error)
        if call.refused is None or answers.code_of(call.refused) != RESOURCE_NOT_FOUND:
            call.refused = shown
        self._next(call, now)

    def _goes_on(self, call: Call, now: float) -> bool:
        """Ask the next one that may own it and is there; False if there is none."""
        while call.others:
            route, call.others = call.others[0], call.others[1:]
            target = self._state.targets.get(route.server)
            if target is not None and target.is_at_hand:
                before, call.link, call.since = call.link, None, now
                self._take(call, route, now)
                if before is not None and before.server in self._state.targets:
                    self.go_on(self._state.targets[before.server], now)
                return True
        return False

    def _next(self, call: Call, now: float) -> None:
        """Ask the next one; where there is none, the best that was said is the answer."""
        if self._goes_on(call, now):
            return
        if call.refused is not None:
            code = answers.code_of(call.refused)
            call.failed(code, ours=False)
            size = call.pass_on(b"error", call.refused)
            # Not its message, which may hold what the call was about.
            self._finish(call, "error", size, now, reason=f"its server answered with error {code}")
        elif call.route is not None:
            self._refuse(call, refusals.unable(call, self._state.targets[call.route.server]), now)

    def broken(self, call: Call, what: str, now: float, said: str = "") -> None:
        """The server's answer can't be used; `said` is what it said, for the client alone.

        The call is out of its link's table.
        """
        if not self._goes_on(call, now):
            self._refuse(call, refusals.broken(call, what, said), now)

    def cancel(self, call: Call, params: dict[str, Raw], now: float) -> None:
        """The client cancelled: tell the server at once, answer nothing, let a late answer fall."""
        self._give_up(call, params, now)
        call.session.forget(call.id)
        self._finish(call, "cancelled", 0, now)

    def _give_up(self, call: Call, params: dict[str, Raw], now: float) -> None:
        """Take it out of where it waits, and tell the server, if it has it. A task has a cancellation of its own."""
        link = self._remove(call)
        if link is None:
            return
        self._ghosts.add(link, call, now)
        if not call.augmented:
            told: dict[str, Raw | bytes] = {**params, "requestId": b"%d" % call.link_id}
            link.send(wire.notification("notifications/cancelled", wire.close_object(told)))
        if call.method.name == "resources/subscribe":
            self._results.unsubscribe(call, link)

    def answered_late(self, link: Link, id: int, envelope: wire.Envelope) -> None:
        """A server answered what nobody waits for any more."""
        self._ghosts.answered(link, id, envelope)

    def abandon(self, session: Session, now: float) -> None:
        """The session is over: cancel all it waits for."""
        for call in list(session.calls.values()):
            self.cancel(call, {"reason": Raw(b'"the client is gone"')}, now)

    def lost(self, link: Link, reason: str, now: float) -> None:
        """The link is gone: what had left may have been done, and is tried again only where that does no harm."""
        for id in link.take_back():
            self.undelivered(link, id, reason, now)
        calls, link.calls = link.calls, {}
        for call in calls.values():
            if not self._once_more(call, now, "maybe"):
                self._pass_over(call, refusals.lost(link, reason), now)

    def undelivered(self, link: Link, id: int, reason: str, now: float) -> None:
        """The transport says that the server never saw this request of ours."""
        call = link.calls.pop(id, None)
        if call is not None and not self._once_more(call, now, "no"):
            self._pass_over(call, refusals.undelivered(link, reason), now)

    def failed(self, link: Link, id: int, reason: str, delivered: Delivered, now: float) -> None:
        """The transport says that this request of ours gets no answer; the connection goes on."""
        call = link.calls.pop(id, None)
        if call is None:
            return
        self._breakers.failed(link, now)
        if not self._once_more(call, now, delivered):
            self._pass_over(call, refusals.failed(link, reason, delivered), now)

    def _once_more(self, call: Call, now: float, delivered: Delivered) -> bool:
        """Send it again, once, where the server never saw it, or is believed that twice does no harm."""
        route = call.route
        target = self._state.targets.get(route.server) if route is not None else None
        if route is None or target is None or not target.coming:
            return False
        if call.repeated or not call.params or call.method.endless:
            return False
        if delivered == "maybe" and not (route.harmless and target.limits.repeats):
            return False
        call.repeated, call.doubtful, call.augmented = True, delivered == "maybe", False
        call.link, call.since = None, now
        target.retries += 1
        self._take(call, route, now)
        return True

    def retry(self, target: Target, now: float) -> None:
        """The target came or is given up: each call that waited for it is sent, refused, or goes on waiting."""
        came = target.link is not None
        for call in self._queues.take(target, endless=came):
            self._route(call, now)
        if came:
            self.go_on(target, now)

    def disappoint(self, target: Target, now: float) -> None:
        """The start that these calls waited for failed: each is told why."""
        for call in self._queues.take(target):
            self._pass_over(call, refusals.down(call, target, now), now)

    def retry_unresolved(self, now: float) -> None:
        """The catalogue changed, or is as complete as it will be."""
        for call in self._queues.take_unresolved():
            self._route(call, now)

    def extend(self, link: Link, session: Session, seconds: float) -> None:
        """The client took its time to answer what the server asked: its calls there have as much more."""
        for call in link.calls.values():
            if call.session is session:
                call.deadline += seconds
                self._state.wake_by(call.deadline)

    def expire(self, now: float) -> float:
        """End every call whose time is over; returns when the next one's will be."""
        due: list[Call] = []
        wake = float("inf")
        flying = (link.calls.values() for link in self._state.links)
        for calls in (self._queues.waiting(), *flying):
            for call in calls:
                if call.deadline > now:
                    wake = min(wake, call.deadline)
                elif not call.is_asked:
                    due.append(call)
        for call in due:
            if call.link is not None:  # before the first of them makes room for another call
                self._breakers.failed(call.link, now)
        for call in due:
            self._expire(call, now)
        for target in self._state.targets.values():
            if target.parked:
                self.go_on(target, now)
        return wake

    def _expire(self, call: Call, now: float) -> None:
        if call.route is None:
            self._queues.leave(call)
            self._route(call, now)
            return
        target = self._state.targets[call.route.server]
        if call.link is None:
            self._queues.leave(call)
            self._pass_over(call, refusals.late(call, target, now), now)
            return
        self._give_up(call, {"requestId": Raw(b"0"), "reason": Raw(b'"timed out"')}, now)
        if now >= call.started + target.limits.call or not self._goes_on(call, now):
            self._refuse(call, refusals.timed_out(call, target, now), now)

    def _refuse(self, call: Call, refusal: Refusal, now: float) -> None:
        self._remove(call)
        call.failed(refusal.code, ours=True)
        delivered = call.delivered = "maybe" if call.doubtful else refusal.delivered
        line = wire.error(call.id, refusal.payload(delivered))
        call.session.answer(call.id, line)
        reason = refusal.message if refusal.reason is None else refusal.reason
        self._finish(call, refusal.outcome, len(line), now, refusal.server, reason)

    def _remove(self, call: Call) -> Link | None:
        """Take the call out of where it waits; the link, if it was in flight on one."""
        if call.link is not None:
            call.link.calls.pop(call.link_id, None)
            return call.link
        self._queues.leave(call)
        return None

    def _finish(self, call: Call, outcome: Outcome, size: int, now: float, server: str = "", reason: str = "") -> None:
        session, link = call.session, call.link
        session.calls.pop(call.id, None)
        if call.token is not None:
            session.backlog.forget((PROGRESS, call.token))  # there is none after the end
        self._state.emit(call.ended(outcome, size, now, server, reason))
        if link is not None:
            link.endless -= call.method.endless
            if outcome == "ok" or call.route is None or call.route.sure:
                link.used = now  # who was only asked since it might know, and did not, was not needed
            target = self._state.targets.get(link.server)
            if target is not None and target.parked:
                self.go_on(target, now)
