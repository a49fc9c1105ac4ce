"""What servers send: answers to calls, progress, log messages, list changes, and requests of their own."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Raw

from .. import wire
from ..errors import WireError, refusal
from ..events import Notice
from .backlog import PROGRESS
from .calls import Calls
from .peers import LEVELS, Link, Reply, Session
from .questions import Questions
from .state import State
from .subscriptions import Subscriptions
from .tasks import Tasks, with_related

LIST_CHANGES = {
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
}

_START = re.compile(rb'\{\s*"(?:jsonrpc|id|method|result|error)"\s*:')
_LOOKED_AT = 4096
_MOST_IN_BATCH = 1000


class ServerSide:
    """Takes the lines of links."""

    def __init__(
        self, state: State, calls: Calls, questions: Questions, tasks: Tasks, subscriptions: Subscriptions
    ) -> None:
        self._state = state
        self._calls = calls
        self._questions = questions
        self._tasks = tasks
        self._subscriptions = subscriptions
        self._notifications: dict[str, Callable[[Link, dict[str, Raw], float], None]] = {
            "notifications/progress": self._progress,
            "notifications/message": self._log,
            "notifications/cancelled": self._questions.cancelled,
            "notifications/resources/updated": self._updated,
            "notifications/elicitation/complete": self._elicited,
            "notifications/tasks/status": self._task_status,
        }

    def line(self, link: Link, line: bytes, now: float) -> None:
        """Handle one line of a server; a bad one harms at most the request that it names."""
        if link.deaf:
            return
        try:
            envelope = wire.decode(line)
        except WireError as problem:
            self._odd(link, line, str(problem), now)
            return
        self._message(link, envelope, line, now)

    def _odd(self, link: Link, line: bytes, what: str, now: float) -> None:
        """A line that is no message may hold one, or several."""
        if wire.is_batch(line) and self._batch(link, line, now):
            return
        pieces = wire.split_glued(line)
        stray = b""
        if not pieces and not _START.match(line) and (start := _START.search(line)) is not None:
            stray, pieces = line[: start.start()], [line[start.start() :]]
        try:
            messages = [(wire.decode(piece), piece) for piece in pieces]
        except WireError:
            messages = []
        if not messages:
            self._broken(link, line, what, now)
        elif stray:
            link.noise(stray)
        for envelope, piece in messages:
            self._message(link, envelope, piece, now)

    def overlong(self, link: Link, start: bytes, now: float) -> None:
        """A line was longer than the limit; only its start is known."""
        self._broken(link, start, f"it was longer than {wire.MAX_LINE >> 20} MiB", now)

    def spread_level(self) -> None:
        """Tell every server that logs the most talkative level that any session asked for."""
        for link in self._state.links:
            self.tell_level(link)

    def spread_roots_change(self, params: dict[str, Raw]) -> None:
        """Tell every server that the roots are others now."""
        told = wire.close_object(params) if params else b""
        for target in self._state.targets.values():
            if target.link is not None:
                target.link.send(wire.notification("notifications/roots/list_changed", told))

    def tell_level(self, link: Link) -> None:
        """Tell one server, if it logs and anybody asked."""
        levels = [session.level for session in self._state.sessions if session.level is not None]
        target = self._state.targets.get(link.server)
        if target is not None and target.link is link and target.can("logging") and levels:
            level = min(levels, key=LEVELS.index)
            # One that refuses goes on as it is: its answer is of no use to the client.
            link.request("logging/setLevel", wire.encode({"level": level}))

    def _batch(self, link: Link, line: bytes, now: float) -> bool:
        """Take an array of messages apart; False if it is none."""
        try:
            items = wire.open_array(line)
        except WireError:
            return False
        if len(items) > _MOST_IN_BATCH:
            link.noise(line)
            return True
        for item in items:
            data = bytes(item)
            if wire.is_batch(data):
                link.noise(data)
            else:
                self.line(link, data, now)
        return True

    def _broken(self, link: Link, line: bytes, what: str, now: float) -> None:
        link.noise(line)
        start = line[:_LOOKED_AT]
        raw_id = wire.readable_id(line)
        id = wire.number(raw_id) if raw_id else None
        if id is None or b'"jsonrpc"' not in start or not looks_like_an_answer(start):
            return  # no answer, whatever it is: programs print JSON too
        call = link.calls.pop(id, None)
        if call is not None:
            self._calls.broken(call, what, now)
            return
        done = link.asks.pop(id, None)
        if done is not None:
            done(Reply(error=refusal(-32603, what)))

    def _message(self, link: Link, envelope: wire.Envelope, line: bytes, now: float) -> None:
        if envelope.method:
            link.heard += 1
            if not wire.given(envelope.id):  # some serializers give notifications an id of null
                self._notification(link, envelope, now)
            elif envelope.method == "ping":
                link.send(wire.result(envelope.id, b"{}"))
            else:
                self._questions.ask(link, envelope, now)
            return
        id = wire.number(envelope.id) if envelope.id else None
        if id is None or not (envelope.jsonrpc or envelope.result or envelope.error):
            link.noise(line)
            return
        link.heard += 1
        call = link.calls.pop(id, None)
        if call is not None:
            if self._state.has_several:
                self._state.answered(link, call.session, now)
            self._calls.answered(call, envelope, line, now)
            return
        done = link.asks.pop(id, None)
        if done is not None:
            done(Reply(bytes(envelope.result), bytes(envelope.error)))
            return
        self._calls.answered_late(link, id, envelope)  # an answer to what was cancelled or timed out

    def _notification(self, link: Link, envelope: wire.Envelope, now: float) -> None:
        method = envelope.method
        if method in LIST_CHANGES:
            link.listed(method)
            return
        try:
            params = wire.open_object(envelope.params) if wire.given(envelope.params) else {}
        except WireError:
            return
        handler = self._notifications.get(method)
        if handler is not None:
            handler(link, params, now)
            return
        told = wire.close_object(self._with_task(link, {**params})) if "_meta" in params else envelope.params
        for session in self._concerned(link, self._tasks.related(params), now):
            if session.is_ready:
                session.notify(method, told)
        self._state.emit(
            Notice("debug", f"passed a notification on that no revision has: {method[:200]!r}", link.server)
        )

    def _progress(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """To the session whose call or task this is, under its own token; a call without a token gets none."""
        id = wire.number(params.get("progressToken", b""))
        if id is None:
            return
        call, task = link.calls.get(id), link.tasks.get(id)
        session: object = call.session if call is not None else task.asker if task is not None else None
        token = call.token if call is not None else task.token if task is not None else None
        if isinstance(session, Session) and token is not None:
            own: dict[str, Raw | bytes] = {**params, "progressToken": token}
            session.notify(PROGRESS, wire.close_object(self._with_task(link, own)), (PROGRESS, token))
            if call is not None:
                self._calls.progressed(call, now)

    def _with_task(self, link: Link, params: dict[str, Raw | bytes]) -> dict[str, Raw | bytes]:
        """Params whose `_meta` names a task, with the id that the client knows it by."""
        if "_meta" not in params:
            return params
        task = self._tasks.held(link.server, self._tasks.related({"_meta": Raw(params["_meta"])}))
        if task is None or task.public == task.own:
            return params
        return {**params, "_meta": wire.close_object(with_related({**wire.open_object(params["_meta"])}, task.public))}

    def _log(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """To whom it may concern and who wants its level; `logger` names the server."""
        if not params:
            return
        level = wire.text(params.get("level"))
        logger = wire.text(params.get("logger"))
        named: dict[str, Raw | bytes] = {
            **params,
            "logger": wire.encode_text(f"{link.server}/{logger}" if logger else link.server),
        }
        told = wire.close_object(self._with_task(link, named))
        for session in self._concerned(link, self._tasks.related(params), now):
            if session.protocol and session.wants(level):
                session.notify("notifications/message", told)

    def _concerned(self, link: Link, related: str | None, now: float) -> list[Session]:
        """Who may hear what is said about a task, or else to nobody in particular."""
        task = self._tasks.held(link.server, related)
        if task is not None:
            return [task.asker] if isinstance(task.asker, Session) else []
        if related is not None and self._tasks.is_orphan(link.server, related):
            return []
        return self._state.audience(link, now)

    def _updated(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """To those who are subscribed, by the URI that each of them knows; unasked for, only where there is one."""
        own = wire.text(params.get("uri"))
        if own is None:
            return
        readers = self._subscriptions.readers(link.server, own)
        if not readers and len(self._state.sessions) == 1:
            aliases = self._state.catalogue.aliases.get(link.server)
            public = aliases.public(own) if aliases else own
            readers = [(session, public) for session in self._state.sessions if session.is_ready]
        for session, public in readers:
            told: dict[str, Raw | bytes] = {**params}
            if public != own:
                told["uri"] = wire.encode_text(public)
            session.notify("notifications/resources/updated", wire.close_object(told), ("updated", public))

    def _elicited(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """To the client whose user was sent to that URL, once; of what nobody knows nobody is told."""
        session = link.elicitations.pop(bytes(params.get("elicitationId", b"")), None)
        if session is not None:
            session.send(wire.notification("notifications/elicitation/complete", wire.close_object(params)))

    def _task_status(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """To the client whose task it is, under the id that it knows."""
        own = wire.text(params.get("taskId"))
        task = self._tasks.held(link.server, own)
        alone = len(self._state.sessions) == 1
        if task is None and own is not None and alone and not self._tasks.is_orphan(link.server, own):
            # Some servers say it before the answer that names the task; with one client alone it can only be its.
            begun = [call.session for call in link.calls.values() if call.augmented]
            task = self._tasks.begin(link.server, own, begun[0]) if begun else None
        if task is not None and isinstance(task.asker, Session):
            link.used = now
            shown = self._with_task(link, self._tasks.show(task, params))
            task.asker.notify("notifications/tasks/status", wire.close_object(shown), ("status", task.public))


def looks_like_an_answer(start: bytes) -> bool:
    """Whether a line that can't be read, of which this is the start, is rather an answer than a request."""
    method = start.find(b'"method"')
    return method < 0 or any(0 <= start.find(member) < method for member in (b'"result"', b'"error"'))
