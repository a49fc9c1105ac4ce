"""What clients send: each message is answered, passed on, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from .. import wire
from ..eras import handshake
from ..errors import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, WireError, refusal
from ..events import ClientConnected, Notice
from .call import Call
from .calls import Calls
from .lists import METHODS, Lists
from .methods import Method, Methods
from .peers import LEVELS, Batch, Link, Session
from .questions import Questions
from .server_side import ServerSide, looks_like_an_answer
from .state import State
from .tasks import Tasks

_NULL = b"null"
_LOOKED_AT = 4096
MOST_IN_BATCH = 256
"""Messages."""

_LONGEST_METHOD = 16 * 1024
_LONGEST_NAME = 256
_LONGEST_CAPABILITIES = 64 * 1024


class ClientSide:
    """Takes the lines of client sessions."""

    def __init__(
        self,
        state: State,
        calls: Calls,
        methods: Methods,
        lists: Lists,
        questions: Questions,
        tasks: Tasks,
        servers: ServerSide,
    ) -> None:
        self._state = state
        self._calls = calls
        self._methods = methods
        self._lists = lists
        self._questions = questions
        self._tasks = tasks
        self._servers = servers
        self._requests: dict[str, Callable[[Session, bytes, Raw, float], None]] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "logging/setLevel": self._set_level,
        }
        self._notifications: dict[str, Callable[[Session, dict[str, Raw], float], None]] = {
            "notifications/initialized": self._initialized,
            "notifications/cancelled": self._cancelled,
            "notifications/progress": self._progress,
            "notifications/roots/list_changed": self._roots_changed,
            "notifications/tasks/status": self._task_status,
        }

    def line(self, session: Session, line: bytes, now: float) -> None:
        """Handle one line of a client; whatever it is, the session goes on."""
        if session.deaf:
            return
        try:
            envelope = wire.decode(line)
        except WireError as problem:
            if wire.is_batch(line):
                self._batch(session, line, now)
            else:
                self._broken(session, line, problem, now)
            return
        self._message(session, envelope, len(line), now)

    def overlong(self, session: Session, start: bytes, now: float) -> None:
        """Refuse a line that was longer than the limit and of which only the start is known."""
        problem = WireError(f"a message may have at most {wire.MAX_LINE >> 20} MiB", wire.readable_id(start))
        self._broken(session, start, problem, now)

    def _broken(self, session: Session, line: bytes, problem: WireError, now: float) -> None:
        """A line can't be read. An answer ends its question: an error under its id could end a request of its own."""
        is_answer = looks_like_an_answer(line[:_LOOKED_AT])
        if not is_answer or not self._questions.broken(session, problem.id, str(problem), now):
            self._reject(session, problem)

    def _reject(self, session: Session, problem: WireError) -> None:
        session.send(wire.error(problem.id or _NULL, refusal(problem.code, str(problem))))

    def _batch(self, session: Session, line: bytes, now: float) -> None:
        try:
            items = wire.open_array(line)
        except WireError as problem:
            self._reject(session, problem)
            return
        if session.protocol != handshake.BATCHING or not 0 < len(items) <= MOST_IN_BATCH:
            what = "a batch is empty" if not items else f"batches exist in revision {handshake.BATCHING} only"
            if len(items) > MOST_IN_BATCH:
                what = f"a batch may have {MOST_IN_BATCH} messages"
            self._reject(session, WireError(what))
            return
        batch = Batch(waiting=1)  # one for this loop, so that nothing is sent before it is through
        for item in items:
            self._batched(session, batch, bytes(item), now)
        session.batches[b""] = batch
        session.forget(b"")

    def _batched(self, session: Session, batch: Batch, item: bytes, now: float) -> None:
        try:
            envelope = wire.decode(item)
        except WireError as problem:
            batch.answers.append(wire.error(problem.id or _NULL, refusal(problem.code, str(problem))).rstrip())
            return
        id = bytes(envelope.id)
        if id and id != _NULL and envelope.method and id not in session.batches and not self._is_in_flight(session, id):
            batch.waiting += 1
            session.batches[id] = batch
        self._message(session, envelope, len(item), now)

    def _message(self, session: Session, envelope: wire.Envelope, size: int, now: float) -> None:
        id = bytes(envelope.id)
        if id == _NULL:
            self._reject(session, WireError("the id of a request may not be null"))
            return
        if not envelope.method:
            if id and (envelope.result or envelope.error):
                self._questions.answered(session, envelope, now)
            elif not self._questions.broken(session, id, "it has neither result nor error", now):
                self._reject(session, WireError("this is no request, notification or response", id or None))
            return
        if not id:
            self._notification(session, envelope, now)
            return
        problem = self._problem(session, envelope, id)
        if problem is not None:
            line = wire.error(id, problem)
            if self._is_in_flight(session, id):
                session.send(line)  # not as an answer: that is still to come, for the first request of this id
            else:
                session.answer(id, line)
            return
        self._request(session, id, envelope, size, now)

    def _request(self, session: Session, id: bytes, envelope: wire.Envelope, size: int, now: float) -> None:
        name, params = envelope.method, envelope.params
        method = self._methods.get(name)
        if method is not None:
            self._pass_on(session, id, method, params, size, now)
        elif name in METHODS:
            self._lists.ask(session, id, METHODS[name], params, now)
        elif name in self._requests:
            self._requests[name](session, id, params, now)
        else:
            self._unknown(session, id, name, params, size, now)

    def _problem(self, session: Session, envelope: wire.Envelope, id: bytes) -> bytes | None:
        if envelope.jsonrpc != "2.0":
            return refusal(INVALID_REQUEST, 'a request needs "jsonrpc": "2.0"')
        if self._is_in_flight(session, id):
            return refusal(INVALID_REQUEST, f"a request with the id {id.decode(errors='replace')} is still in flight")
        if not session.is_ready and envelope.method not in ("initialize", "ping"):
            if not session.protocol and self._is_known(envelope.method):
                return refusal(INVALID_REQUEST, f"{envelope.method} came before initialize")
            if session.protocol:  # a client that forgets to say that it is ready shows it by going on
                self._questions.release(session)
        return None

    def _is_known(self, name: str) -> bool:
        return name in METHODS or name in self._requests or self._methods.get(name) is not None

    def _is_in_flight(self, session: Session, id: bytes) -> bool:
        return id in session.calls or id in session.lists

    def _refuse(self, session: Session, id: bytes, code: int, message: str) -> None:
        session.answer(id, wire.error(id, refusal(code, message)))

    # Notifications

    def _notification(self, session: Session, envelope: wire.Envelope, now: float) -> None:
        handler = self._notifications.get(envelope.method)
        try:
            params = wire.open_object(envelope.params) if wire.given(envelope.params) else {}
        except WireError:
            return
        if handler is not None:
            handler(session, params, now)
        else:  # it asks for no answer, and which server it may be meant for can't be told
            self._state.emit(Notice("debug", f"notification {envelope.method[:200]!r} of a client is not passed on"))

    def _initialized(self, session: Session, params: dict[str, Raw], now: float) -> None:
        if session.protocol:
            self._questions.release(session)

    def _cancelled(self, session: Session, params: dict[str, Raw], now: float) -> None:
        id = bytes(params.get("requestId", b""))
        if id in session.calls:
            self._calls.cancel(session.calls[id], params, now)
        elif session.lists.pop(id, None) is not None:
            session.forget(id)

    def _progress(self, session: Session, params: dict[str, Raw], now: float) -> None:
        """Of something that a server asked: to it, under its own token."""
        asked = wire.number(params.get("progressToken", b""))
        if asked is None:
            return
        question, task = session.questions.get(asked), session.tasks.get(asked)
        link = question.link if question is not None else task.asker if task is not None else None
        token = question.token if question is not None else task.token if task is not None else None
        if isinstance(link, Link) and token is not None:
            own: dict[str, Raw | bytes] = {**params, "progressToken": token}
            link.send(wire.notification("notifications/progress", self._tasks.told(session, link, own)))

    def _roots_changed(self, session: Session, params: dict[str, Raw], now: float) -> None:
        if session.can("roots"):
            self._servers.spread_roots_change(params)

    def _task_status(self, session: Session, params: dict[str, Raw], now: float) -> None:
        """Of a task that the client works on: to the server that asked for it."""
        task = self._tasks.held(session, wire.text(params.get("taskId")))
        if task is not None and not isinstance(task.asker, Session):
            shown = self._tasks.told(session, task.asker, self._tasks.show(task, params))
            task.asker.send(wire.notification("notifications/tasks/status", shown))

    # Requests

    def _initialize(self, session: Session, id: bytes, params: Raw, now: float) -> None:
        try:
            hello = handshake.read_client(params)
        except WireError as problem:
            self._refuse(session, id, INVALID_PARAMS, str(problem))
            return
        if sum(map(len, hello.capabilities.values())) > _LONGEST_CAPABILITIES:  # they are kept, and merged with others'
            what = f"capabilities may have {_LONGEST_CAPABILITIES >> 10} KiB"
            self._refuse(session, id, INVALID_PARAMS, what)
            return
        state = self._state
        session.client = hello.name[:_LONGEST_NAME]
        session.protocol = handshake.agree(hello.requested)
        session.capabilities = hello.capabilities
        who = hello.name, hello.version, session.label, session.protocol
        state.emit(ClientConnected(*who, session.front, session.peer))
        state.offered()  # first: what is remembered of servers for such a client has instructions, too
        payload = handshake.server_result(session.protocol, state.name, state.version, state.instructions)
        session.answer(id, wire.result(id, payload))

    def _ping(self, session: Session, id: bytes, params: Raw, now: float) -> None:
        session.answer(id, wire.result(id, b"{}"))

    def _pass_on(self, session: Session, id: bytes, method: Method, params: Raw, size: int, now: float) -> None:
        try:
            members = wire.open_object(params)
        except WireError:
            members = {}
        key = members.get(method.key)
        opening, needed = (b"{", "an object") if method.key == "ref" else (b'"', "a string")
        if key is None or not bytes(key).startswith(opening):
            self._refuse(session, id, INVALID_PARAMS, f"{method.name} needs params.{method.key}, {needed}")
            return
        if self._state.first_use is not None:
            self._state.first_use()
            self._state.first_use = None
        call = Call(session, id, method, members, key, size, now, now, session.peer)
        if self._state.inspector is not None and method.name == "tools/call":
            call.inspect(self._state.inspector)
        self._calls.begin(call, now)

    def _unknown(self, session: Session, id: bytes, name: str, params: Raw, size: int, now: float) -> None:
        """A method of no revision is some server's own: passed on where a name or URI of ours says whose."""
        try:
            members = wire.open_object(params) if wire.given(params) else {}
        except WireError:
            members = {}
        is_known = session.protocol and len(name) <= _LONGEST_METHOD  # it is kept for the log
        method = self._methods.unknown(name, session, members) if is_known else None
        if method is None:
            self._refuse(session, id, METHOD_NOT_FOUND, f"method {name[:200]!r} is not supported")
        else:
            call = Call(session, id, method, members, members[method.key], size, now, now, session.peer)
            self._calls.begin(call, now)

    def _set_level(self, session: Session, id: bytes, params: Raw, now: float) -> None:
        try:
            level = wire.text(wire.open_object(params).get("level"))
        except WireError:
            level = None
        if level not in LEVELS:
            self._refuse(session, id, INVALID_PARAMS, f"params.level is one of {', '.join(LEVELS)}")
            return
        session.level = level
        self._servers.spread_level()
        session.answer(id, wire.result(id, b"{}"))
