"""What servers ask of clients: sampling, elicitation, roots, and whatever else comes as a request.

Each question goes to the one session that it can belong to, under an id of ours, and its answer back under the
server's. It ends exactly once: answered, refused, cancelled by the server, timed out, or with either peer.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Raw

from .. import wire
from ..errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMED_OUT,
    SERVER_UNAVAILABLE,
    WireError,
    refusal,
)
from ..events import QuestionFinished
from . import answers
from .calls import Calls
from .elicitation import signed
from .peers import Link, Session
from .state import State
from .tasks import Tasks, begun_task, end_progress, read_tasks, rename_related, with_related
from .tracing import Span, Unrecorded

Outcome = Literal["ok", "error", "refused", "timeout", "cancelled"]

CAPABILITIES: Final = {
    "roots/list": "roots",
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "tasks/get": "tasks",
    "tasks/result": "tasks",
    "tasks/list": "tasks",
    "tasks/cancel": "tasks",
}
"""What a client must have declared to be asked this. Of methods that nobody defines the client itself is the judge."""

_MOST_WAITING: Final = 1000
"""Questions of one server that wait for answers."""
_MOST_HELD: Final = 1024 * 1024
"""Bytes of questions of one server that wait for a client to finish its handshake, or to read."""


class Question:
    """One request of a server's. `id` and `token` are its own, raw; `asked` is our id at the client."""

    __slots__ = (
        "asked",
        "augmented",
        "deadline",
        "id",
        "line",
        "link",
        "method",
        "session",
        "span",
        "started",
        "task",
        "token",
    )

    def __init__(self, link: Link, id: bytes, method: str, session: Session, now: float) -> None:
        self.link = link
        self.id = id
        self.method = method
        self.session = session
        self.started = now
        self.deadline = now
        self.asked = session.new_id()
        self.token: bytes | None = None
        self.task: str | None = None
        """The client's own id of the task that it asks about."""
        self.augmented = False
        """The client may make a task of it."""
        self.span: Span | Unrecorded | None = None
        self.line = b""
        """What the client is still to be sent."""

    def __repr__(self) -> str:
        return f"<Question {self.asked} {self.method} of {self.link.server} to {self.session.label}>"


class Questions:
    """Everything that happens to a question."""

    def __init__(self, state: State, calls: Calls, tasks: Tasks) -> None:
        self._state = state
        self._calls = calls
        self._tasks = tasks

    def ask(self, link: Link, envelope: wire.Envelope, now: float) -> None:
        """Take a request of a server: pass it to its client, or refuse it."""
        id, method = bytes(envelope.id), envelope.method
        try:
            members = wire.open_object(envelope.params) if wire.given(envelope.params) else {}
        except WireError as problem:
            self._refuse(link, id, method, INVALID_PARAMS, str(problem))
            return
        if id in link.questions or len(link.questions) >= _MOST_WAITING or link.held > _MOST_HELD:
            what = "a request with this id is still in flight" if id in link.questions else "too many requests wait"
            self._refuse(link, id, method, INTERNAL_ERROR, what)
            return
        owner = self.owner(link, members, now)
        if isinstance(owner, str):
            message = f"{method[:200]!r} can't be passed on: {owner}, so it can't be told whom it is for"
            self._refuse(link, id, method, INTERNAL_ERROR, message)
            return
        unfit = _not_for(owner, method, members)
        if unfit is not None:
            self._refuse(link, id, method, *unfit)
            return
        question = Question(link, id, method, owner, now)
        question.deadline = now + self._state.targets[link.server].limits.ask
        if method.startswith("tasks/") and "taskId" in members and not self._find_task(question, members):
            self._refuse(link, id, method, INVALID_PARAMS, "unknown task")
            return
        if self._state.tracing is not None:
            question.span = self._state.tracing.begin_question(members.get("_meta"), list(link.calls.values()))
        self._send(question, members if question.span is not None or wire.given(envelope.params) else None)

    def owner(self, link: Link, members: dict[str, Raw], now: float) -> Session | str:
        """Whose these params of a server's are: by the task that they name, else by what is in flight; or a reason."""
        asked = self._tasks.asked(link, wire.text(members.get("taskId")))
        if asked is not None and isinstance(asked.holder, Session):
            return asked.holder
        related = self._tasks.related(members)
        task = self._tasks.held(link.server, related)
        if task is not None and isinstance(task.asker, Session):
            return task.asker
        if related is None:
            return self._state.owner(link, now)
        # A server may speak of a task before it has said that the call became one.
        begun = {call.session for call in link.calls.values() if call.augmented}
        begun |= {ghost.session for ghost in link.ghosts.values() if ghost.augmented and now < ghost.until}
        if self._tasks.is_orphan(link.server, related) or len(begun) != 1 or not begun <= self._state.sessions.keys():
            return f"task {related[:200]!r} is of no client that is here"
        return begun.pop()

    def _find_task(self, question: Question, members: dict[str, Raw]) -> bool:
        """A task that this client works on, for this server."""
        task = self._tasks.asked(question.link, wire.text(members["taskId"]))
        if task is None:
            return False
        question.task = task.own
        if question.method == "tasks/result":
            question.deadline = float("inf")
        return True

    def _send(self, question: Question, members: dict[str, Raw] | None) -> None:
        link, session = question.link, question.session
        link.questions[question.id] = question
        link.asking_since.setdefault(session, question.started)
        session.questions[question.asked] = question
        question.augmented = (
            members is not None
            and wire.given(members.get("task")) is not None
            and session.can("tasks", "requests", *question.method.split("/"))
        )
        params = self._edited(question, members) if members is not None else b""
        if question.span is not None:
            question.span.sent(question.asked, question.started)
        question.line = wire.request(question.asked, question.method, params)
        if session.is_ready and not session.choked:
            self._release(question)
        else:
            link.held += len(question.line)
        self._state.wake_by(question.deadline)

    def _release(self, question: Question) -> None:
        line, question.line = question.line, b""
        question.session.send(line)

    def release(self, session: Session) -> None:
        """The client has finished the handshake: ask what has waited for it."""
        session.is_ready = True
        for question in session.questions.values():
            if question.line:
                question.link.held = 0
                self._release(question)

    def _edited(self, question: Question, members: dict[str, Raw]) -> bytes:
        """The params as the client gets them: our token, its own ids of tasks, and who it is that asks its user."""
        edited: dict[str, Raw | bytes] = {**members}
        if question.task is not None:
            edited["taskId"] = wire.encode_text(question.task)
        if question.method == "elicitation/create":
            message = signed(question.link.server, members.get("message"))
            if message is not None:
                edited["message"] = message
            if wire.text(members.get("mode")) == "url":
                question.link.expect(bytes(members.get("elicitationId", b"")), question.session)
        if "_meta" in members:
            edited["_meta"] = self._edited_meta(question, members)
        elif question.span is not None:
            edited["_meta"] = wire.close_object(question.span.mark({}))
        return wire.close_object(edited)

    def _edited_meta(self, question: Question, members: dict[str, Raw]) -> bytes:
        try:
            meta: dict[str, Raw | bytes] = {**wire.open_object(members["_meta"])}
        except WireError:
            return bytes(members["_meta"])
        token = bytes(meta.get("progressToken", b"null"))
        if token != b"null":
            question.token = token
            meta["progressToken"] = b"%d" % question.asked
        task = self._tasks.held(question.link.server, self._tasks.related(members))
        if task is not None and task.public != task.own:
            meta = with_related(meta, task.public)
        elif token == b"null" and question.span is None:
            return bytes(members["_meta"])
        return wire.close_object(meta if question.span is None else question.span.mark(meta))

    # Ends

    def answered(self, session: Session, envelope: wire.Envelope, now: float) -> None:
        """The client answered something; what we did not ask, or not any more, falls."""
        id = wire.number(envelope.id)
        question = session.questions.get(id) if id is not None else None
        if question is None or question.line:
            if id in session.ghosts:
                session.ghosts.discard(id)
                self._cancel_task(session, envelope)
            return
        link = question.link
        error, result = wire.given(envelope.error), wire.given(envelope.result)
        if error is None and result is None:
            self._fail(question, INTERNAL_ERROR, "the client answered with neither result nor error")
        elif error is not None:
            if question.span is not None and answers.is_error(error):
                question.span.failed(answers.code_of(error), ours=False)
            link.send(wire.error(question.id, error))
        else:
            link.send(wire.result(question.id, self._shown(question, result or Raw(b"{}"))))
        self._end(question, "ok" if error is None and result is not None else "error", now)

    def broken(self, session: Session, id: bytes | None, what: str, now: float) -> bool:
        """The client's answer can't be used; False if nothing was asked under this id."""
        number = wire.number(id) if id is not None else None
        question = session.questions.get(number) if number is not None else None
        if question is None or question.line:
            return False
        self._fail(question, INTERNAL_ERROR, f"the client gave no usable answer: {what}")
        self._end(question, "error", now)
        return True

    def _cancel_task(self, session: Session, envelope: wire.Envelope) -> None:
        """The client made a task of what nobody waits for any more."""
        raw = begun_task(envelope.result)
        if raw is not None and session.can("tasks", "cancel"):
            params = wire.close_object({"taskId": raw})
            session.send(wire.request(session.new_id(), "tasks/cancel", params))

    def _shown(self, question: Question, result: Raw) -> Raw | bytes:
        """The client's result as the server gets it: with the ids that it knows tasks by."""
        try:
            members = wire.open_object(result)
            if question.method in ("tasks/get", "tasks/cancel"):
                task = self._tasks.held(question.session, wire.text(members.get("taskId")))
                return wire.close_object(self._tasks.show(task, members)) if task is not None else result
            if question.method == "tasks/list":
                return self._own_tasks(question, members)
            if question.method == "tasks/result":
                return self._task_ended(question, result, members)
            if "task" in members:
                begun = wire.open_object(members["task"])
                own = wire.text(begun.get("taskId"))
                if own is not None:
                    task = self._tasks.begin(question.session, own, question.link)
                    task.expect_progress(question.session.tasks, question.asked, question.token)
                    return wire.close_object({**members, "task": wire.close_object(self._tasks.show(task, begun))})
            related = self._tasks.related(members)
            held = self._tasks.asked(question.session, related)
            if held is not None and held.public != held.own:
                return rename_related(result, held.own)
        except WireError:  # not as the specification has it: the server will say so
            if question.method == "tasks/list":
                return b'{"tasks":[]}'  # but tasks of other servers may be in it
        return result

    def _task_ended(self, question: Question, result: Raw, members: dict[str, Raw]) -> Raw | bytes:
        task = self._tasks.held(question.session, question.task)
        if task is None:
            return result
        end_progress(task)
        renamed = task.public != task.own and self._tasks.related(members) == task.own
        return rename_related(result, task.public) if renamed else result

    def _own_tasks(self, question: Question, members: dict[str, Raw]) -> bytes:
        """Of the client's tasks those that this server asked for: of others it must not know."""
        shown: list[bytes] = []
        for told in read_tasks(members):
            task = self._tasks.held(question.session, wire.text(told["taskId"]))
            if task is not None and task.asker is question.link:
                shown.append(wire.close_object(self._tasks.show(task, told)))
        return wire.close_object({**members, "tasks": b"[" + b",".join(shown) + b"]"})

    def cancelled(self, link: Link, params: dict[str, Raw], now: float) -> None:
        """The server does not want to know any more."""
        question = link.questions.get(bytes(params.get("requestId", b"")))
        if question is not None:
            self._withdraw(question, {**params}, now, "cancelled")

    def lost(self, link: Link, now: float) -> None:
        """The server is gone: nobody waits for the answers."""
        for question in list(link.questions.values()):
            self._withdraw(question, {"reason": b'"the server that asked is gone"'}, now, "cancelled")

    def gone(self, session: Session, now: float) -> None:
        """The client is gone, and will not answer."""
        for question in list(session.questions.values()):
            self._fail(question, SERVER_UNAVAILABLE, "the client is gone")
            self._end(question, "error", now)

    def expire(self, now: float) -> float:
        """End every question whose time is over; returns when the next one's will be."""
        wake = float("inf")
        for session in self._state.sessions:
            for question in list(session.questions.values()):
                if question.deadline > now:
                    wake = min(wake, question.deadline)
                    continue
                target = self._state.targets[question.link.server]
                self._fail(question, REQUEST_TIMED_OUT, f"the client did not answer within {target.limits.ask:g} s")
                self._withdraw(question, {"reason": b'"timed out"'}, now, "timeout")
        return wake

    def _withdraw(self, question: Question, params: dict[str, Raw | bytes], now: float, outcome: Outcome) -> None:
        """Tell the client that nobody waits for its answer. A task is cancelled in another way."""
        if question.augmented:
            question.session.ghosts.add(question.asked)
            if len(question.session.ghosts) > _MOST_WAITING:
                question.session.ghosts.discard(min(question.session.ghosts))
        elif not question.line:
            told = {**params, "requestId": b"%d" % question.asked}
            question.session.send(wire.notification("notifications/cancelled", wire.close_object(told)))
        self._end(question, outcome, now)

    def _end(self, question: Question, outcome: Outcome, now: float) -> None:
        link, session = question.link, question.session
        link.questions.pop(question.id, None)
        session.questions.pop(question.asked, None)
        seconds = now - question.started
        if not any(other.session is session for other in link.questions.values()):
            # Questions may overlap: the client had all of them before it for the time since the first one came.
            self._calls.extend(link, session, now - link.asking_since.pop(session, now))
        trace = question.span.ended("", question.started, now) if question.span is not None else None
        id = question.id.decode(errors="replace")
        self._state.emit(QuestionFinished(link.server, session.label, question.method, outcome, seconds, "", id, trace))

    def _fail(self, question: Question, code: int, message: str) -> None:
        """Answer with an error of ours."""
        if question.span is not None:
            question.span.failed(code, ours=True)
        question.link.send(wire.error(question.id, refusal(code, message)))

    def _refuse(self, link: Link, id: bytes, method: str, code: int, message: str) -> None:
        link.send(wire.error(id, refusal(code, message, server=link.server)))
        own = id.decode(errors="replace")
        self._state.emit(QuestionFinished(link.server, "", method, "refused", 0.0, message, own))


def _not_for(session: Session, method: str, members: dict[str, Raw]) -> tuple[int, str] | None:
    """Why this client can't be asked this, as an error's code and message; None if it can."""
    need = CAPABILITIES.get(method)
    if need is not None and not session.can(need):
        return METHOD_NOT_FOUND, f"the client did not declare the capability {need}"
    if method == "elicitation/create":
        mode = wire.text(members.get("mode")) or "form"
        # An empty declaration, which older revisions have, means forms.
        if not (session.can("elicitation", mode) or (mode == "form" and not session.can("elicitation", "url"))):
            return INVALID_PARAMS, f"the client does not support elicitation mode {mode!r}"
    if method == "sampling/createMessage" and not session.can("sampling", "tools"):
        used = [key for key in ("tools", "toolChoice") if wire.given(members.get(key)) is not None]
        if used:
            return INVALID_PARAMS, f"params.{used[0]} needs the capability sampling.tools, which the client lacks"
    return None
