"""The lists that clients ask for: whole, or page by page where they are long; and the notices that they changed.

A cursor is bound to the snapshot that its list began with: whatever changes between two pages, no entry is lost or
comes twice.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from typing import Final

import msgspec
from msgspec import Raw

from .. import wire
from ..catalogue import KINDS, Catalogue, Sheet
from ..errors import INVALID_PARAMS, WireError, refusal
from .peers import Link, Reply, Session
from .state import State
from .tasks import Task, Tasks, read_tasks

METHODS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
    "tasks/list": "tasks",
}
"""Method -> kind."""

CHANGES: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
}

_MOST_SNAPSHOTS: Final = 16
_MOST_PAGES: Final = 100


class ListRequest(msgspec.Struct, eq=False):
    """A list that a client waits for. `links` are the servers whose tasks are still to come."""

    kind: str
    deadline: float
    links: set[Link] = msgspec.field(default_factory=set)
    tasks: list[bytes] = msgspec.field(default_factory=list)


class Lists:
    """Answers list requests."""

    def __init__(self, state: State, tasks: Tasks) -> None:
        self._state = state
        self._tasks = tasks
        self._numbers = dict.fromkeys(KINDS, 0)
        self._snapshots: OrderedDict[tuple[str, int], Sheet] = OrderedDict()
        """Those of which somebody has a first page."""

    def ask(self, session: Session, id: bytes, kind: str, params: Raw, now: float) -> None:
        """A client asks for a list, or for the next page of one."""
        try:
            cursor = wire.given(wire.open_object(params).get("cursor")) if wire.given(params) else None
        except WireError as problem:
            session.answer(id, wire.error(id, refusal(INVALID_PARAMS, str(problem))))
            return
        if cursor is not None:
            self._go_on(session, id, kind, wire.text(cursor))
            return
        if kind == "tasks":
            self._ask_tasks(session, id, now)
            return
        deadline = self._state.patience(kind, now)
        if deadline is None:
            self._send(session, id, kind)
        else:
            session.lists[id] = ListRequest(kind, deadline)
            self._state.wake_by(deadline)

    def settled(self) -> None:
        """Some kinds are as complete as they will be: answer what waited for them."""
        for session in self._state.sessions:
            for id, request in list(session.lists.items()):
                if request.kind in self._state.settled:
                    self._send(session, id, request.kind)

    def expire(self, now: float) -> float:
        """Answer what waited long enough with what there is; returns the next one's time."""
        wake = float("inf")
        for session in self._state.sessions:
            for id, request in list(session.lists.items()):
                if request.deadline > now:
                    wake = min(wake, request.deadline)
                elif request.kind == "tasks":
                    self._send_tasks(session, id, request)
                else:
                    self._send(session, id, request.kind)
        return wake

    def changed(self, old: Catalogue) -> None:
        """The catalogue is another one: tell each client of the kinds that it saw and that differ now."""
        kinds = [kind for kind in KINDS if self._state.catalogue.sheet(kind).differs(old.sheet(kind))]
        for kind in kinds:
            self._numbers[kind] += 1
        for session in self._state.sessions:
            stale = [kind for kind in kinds if kind in session.seen]
            session.seen.difference_update(stale)
            for method in dict.fromkeys(CHANGES[kind] for kind in stale):
                session.notify(method, key=method)

    # Sheets

    def _send(self, session: Session, id: bytes, kind: str) -> None:
        session.lists.pop(id, None)
        session.seen.add(kind)
        sheet = self._state.catalogue.sheet(kind)
        if sheet.fits(self._state.page_size):
            session.answer(id, wire.result(id, sheet.whole))
            return
        key = (kind, self._numbers[kind])
        self._snapshots[key] = sheet
        self._snapshots.move_to_end(key)
        if len(self._snapshots) > _MOST_SNAPSHOTS:
            self._snapshots.popitem(last=False)
        self._send_page(session, id, sheet, key, 0)

    def _go_on(self, session: Session, id: bytes, kind: str, cursor: str | None) -> None:
        found = _read_cursor(cursor)
        key = (kind, found[1]) if found is not None and found[0] == kind else None
        sheet = self._snapshots.get(key) if key is not None else None
        if found is None or key is None or sheet is None or not 0 < found[2] < len(sheet):
            text = "this cursor is of no list that is known here (any more); ask for the list without a cursor"
            session.answer(id, wire.error(id, refusal(INVALID_PARAMS, text)))
            return
        self._send_page(session, id, sheet, key, found[2])

    def _send_page(self, session: Session, id: bytes, sheet: Sheet, key: tuple[str, int], start: int) -> None:
        page, end = sheet.page(start, self._state.page_size)
        if end is not None:
            page += b',"nextCursor":' + wire.encode(_cursor(*key, end))
        session.answer(id, wire.result(id, page + b"}"))

    # Tasks: no list of ours, but of all servers that have them

    def _ask_tasks(self, session: Session, id: bytes, now: float) -> None:
        """Gather the tasks of this client from every server; those that can't list them say what they said last."""
        request = ListRequest("tasks", now + self._state.list_wait)
        session.lists[id] = request
        for target in self._state.targets.values():
            if target.link is not None and target.can("tasks", "list"):
                request.links.add(target.link)
        for link in list(request.links):
            self._ask_page(session, id, request, link, b"", _MOST_PAGES)
        if not request.links:
            self._send_tasks(session, id, request)
        else:
            self._state.wake_by(request.deadline)

    def _ask_page(
        self, session: Session, id: bytes, request: ListRequest, link: Link, params: bytes, pages: int
    ) -> None:
        def done(reply: Reply | None) -> None:
            if session.lists.get(id) is not request:
                return  # it has been answered, or nobody waits any more
            cursor = self._take(session, request, link, reply)
            if cursor is not None and pages > 1:
                self._ask_page(session, id, request, link, wire.close_object({"cursor": cursor}), pages - 1)
                return
            request.links.discard(link)
            if not request.links:
                self._send_tasks(session, id, request)

        link.ask("tasks/list", params, done)

    def _take(self, session: Session, request: ListRequest, link: Link, reply: Reply | None) -> Raw | None:
        """Note the tasks of one page that are this client's; returns the cursor of the next."""
        if reply is None or not reply.result:
            return None
        try:
            page = wire.open_object(reply.result)
            for members in read_tasks(page):
                task = self._task(session, link, wire.text(members["taskId"]))
                if task is not None:
                    request.tasks.append(wire.close_object(self._tasks.show(task, members)))
        except WireError:
            return None
        return wire.given(page.get("nextCursor"))

    def _task(self, session: Session, link: Link, own: str | None) -> Task | None:
        """A task of this client; one that nobody here began may be its own from before, if it is alone."""
        task = self._tasks.held(link.server, own)
        alone = len(self._state.sessions) == 1
        if task is None and own is not None and alone and not self._tasks.is_orphan(link.server, own):
            task = self._tasks.begin(link.server, own, session)
        return task if task is not None and task.asker is session else None

    def _send_tasks(self, session: Session, id: bytes, request: ListRequest) -> None:
        session.lists.pop(id, None)
        listed = {wire.text(wire.open_object(task)["taskId"]) for task in request.tasks}
        able = {target.key for target in self._state.targets.values() if target.can("tasks", "list")}
        for task in self._tasks.of(session):
            unlisted = task.holder not in able or any(link.server == task.holder for link in request.links)
            if unlisted and task.seen and task.public not in listed:
                request.tasks.append(task.seen)
        session.answer(id, wire.result(id, b'{"tasks":[' + b",".join(request.tasks) + b"]}"))


def _cursor(kind: str, number: int, start: int) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{number}:{start}".encode()).decode()


def _read_cursor(cursor: str | None) -> tuple[str, int, int] | None:
    """(kind, number of the snapshot, index of the first entry), or None where we never wrote this."""
    try:
        kind, number, start = base64.urlsafe_b64decode((cursor or "").encode()).decode().split(":")
        return kind, int(number), int(start)
    except (ValueError, binascii.Error):
        return None
