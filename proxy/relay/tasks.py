"""Tasks of revision 2025-11-25: who asked for each, who works on it, and the id that either knows it by.

Both sides may work on tasks: servers on calls of clients, clients on what servers ask of them. So a task here has a
holder, who works on it, and an asker. For servers the holder is the key, which outlives a connection; else they are
sessions and links. An id is passed as it is, unless an asker has that one from another holder already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from .. import wire
from ..errors import WireError
from .backlog import PROGRESS
from .peers import Link, Session

RELATED: Final = "io.modelcontextprotocol/related-task"
"""The key in `_meta` that says which task a message belongs to."""

MOST_KEPT: Final = 1000
"""Tasks of one holder. The oldest goes first, as its own limits would have it."""
_ENDED: Final = ("completed", "failed", "cancelled")
_WITHOUT_RESULT: Final = ("failed", "cancelled")

Holder = str | Session
Asker = Session | Link


class Task:
    """One task. `own` is its id at the holder, `public` the one that the asker knows.

    `token` is the progress token of the request that began it, raw, as the asker knows it; the holder's is `number`,
    which `table` knows while there may be progress. `seen` is what the holder said last, as the asker may read it.
    `is_over` once its result was given, or there will be none.
    """

    __slots__ = ("asker", "holder", "is_over", "number", "own", "public", "seen", "table", "token")

    def __init__(self, holder: Holder, own: str, asker: Asker, public: str) -> None:
        self.holder = holder
        self.own = own
        self.asker = asker
        self.public = public
        self.seen = b""
        self.is_over = False
        self.token: bytes | None = None
        self.number = 0
        self.table: dict[int, Task] | None = None

    def expect_progress(self, table: dict[int, Task], number: int, token: bytes | None) -> None:
        """The progress token of the request stays valid for as long as the task goes on."""
        if token is not None:
            self.table, self.number, self.token = table, number, token
            table[number] = self


class Tasks:
    """All tasks that are known."""

    def __init__(self) -> None:
        self._held: dict[Holder, dict[str, Task]] = {}
        self._asked: dict[tuple[Asker, str], Task] = {}
        self._orphans: dict[tuple[str, str], None] = {}
        """Tasks of servers whose askers are gone: they are no other client's."""

    def begin(self, holder: Holder, own: str, asker: Asker) -> Task:
        """A task came to be, or is heard of."""
        if isinstance(holder, str):
            self._orphans.pop((holder, own), None)
        of_holder = self._held.setdefault(holder, {})
        known = of_holder.get(own)
        if known is not None and known.asker is asker:
            return known
        if known is not None:  # a holder that started anew counts anew
            self._drop(known)
            of_holder = self._held.setdefault(holder, {})
        public, number = own, 1
        while (asker, public) in self._asked:
            number += 1
            public = f"{own}~{number}"
        task = Task(holder, own, asker, public)
        of_holder[own] = self._asked[asker, public] = task
        if len(of_holder) > MOST_KEPT:
            self._drop(next(iter(of_holder.values())))
        return task

    def held(self, holder: Holder, own: str | None) -> Task | None:
        """The task that its holder knows by this id."""
        return self._held.get(holder, {}).get(own) if own is not None else None

    def asked(self, asker: Asker, public: str | None) -> Task | None:
        """The task that its asker knows by this id."""
        return self._asked.get((asker, public)) if public is not None else None

    def any_open(self, holder: Holder) -> bool:
        """Whether its holder works on any task, or has a result that nobody has fetched yet."""
        return any(not task.is_over for task in self._held.get(holder, {}).values())

    def of(self, asker: Asker) -> list[Task]:
        """All tasks of one asker, in the order in which they came to be."""
        return [task for (whose, _), task in self._asked.items() if whose is asker]

    def forget(self, peer: Session | Link) -> None:
        """A peer is gone, and with it what it asked for or worked on."""
        for task in [one for one in self._asked.values() if peer in (one.asker, one.holder)]:
            if isinstance(task.holder, str):
                self.disown(task.holder, task.own)
            else:
                self._drop(task)

    def disown(self, holder: str, own: str) -> None:
        """Nobody waits for this task of a server any more, and it is no other client's."""
        known = self.held(holder, own)
        if known is not None:
            self._drop(known)
        self._orphans[holder, own] = None
        if len(self._orphans) > MOST_KEPT:
            del self._orphans[next(iter(self._orphans))]

    def is_orphan(self, holder: str, own: str) -> bool:
        """Whether it was a task of somebody who is gone, or gave it up."""
        return (holder, own) in self._orphans

    def show(self, task: Task, members: dict[str, Raw]) -> dict[str, Raw | bytes]:
        """A task object of the holder's as the asker may read it; remembers what it says."""
        shown: dict[str, Raw | bytes] = {**members}
        if task.public != task.own:
            shown["taskId"] = wire.encode_text(task.public)
        task.seen = wire.close_object({key: value for key, value in shown.items() if key != "_meta"})
        status = wire.text(members.get("status"))
        task.is_over |= status in _WITHOUT_RESULT
        if status in _ENDED:
            end_progress(task)
        return shown

    def related(self, members: Mapping[str, Raw | bytes]) -> str | None:
        """The task id that the `_meta` of params or of a result names, if any."""
        raw = members.get("_meta")
        if not raw or RELATED.encode() not in bytes(raw):
            return None
        try:
            meta = wire.open_object(raw)
            return wire.text(wire.open_object(meta[RELATED]).get("taskId")) if RELATED in meta else None
        except WireError:
            return None

    def told(self, session: Session, link: Link, params: dict[str, Raw | bytes]) -> bytes:
        """Params of a client's for a server; the task that their `_meta` names gets the id that the server knows."""
        raw = wire.close_object(params)
        id = self.related(params)
        held, begun = self.held(session, id), self.asked(session, id)
        if held is not None and held.asker is link:
            own = held.public
        else:
            own = begun.own if begun is not None and begun.holder == link.server else id or ""
        return raw if own == (id or "") else rename_related(raw, own)

    def _drop(self, task: Task) -> None:
        end_progress(task)
        of_holder = self._held.get(task.holder, {})
        of_holder.pop(task.own, None)
        if not of_holder:
            self._held.pop(task.holder, None)
        self._asked.pop((task.asker, task.public), None)


def end_progress(task: Task) -> None:
    """Its progress token means nothing any more."""
    if task.table is not None:
        task.table.pop(task.number, None)
        task.table = None
        if isinstance(task.asker, Session):
            task.asker.backlog.forget((PROGRESS, task.token))


def begun_task(result: Raw) -> Raw | None:
    """The raw id of the task that a result says was begun; None where it says no such thing."""
    try:
        return wire.open_object(wire.open_object(result).get("task", Raw(b"{}"))).get("taskId")
    except WireError:
        return None


def read_tasks(page: dict[str, Raw]) -> list[dict[str, Raw]]:
    """The members of each task on a page of a list; what has no id is left out. Raises WireError if it is no list."""
    objects = [item for item in wire.open_array(page.get("tasks", Raw(b"[]"))) if bytes(item).startswith(b"{")]
    return [members for members in map(wire.open_object, objects) if wire.text(members.get("taskId")) is not None]


def rename_related(raw: Raw | bytes, id: str) -> bytes:
    """Params or a result whose `_meta` names a task: the same with another id for it."""
    members: dict[str, Raw | bytes] = {**wire.open_object(raw)}
    meta: dict[str, Raw | bytes] = {**wire.open_object(members["_meta"])}
    members["_meta"] = wire.close_object(with_related(meta, id))
    return wire.close_object(members)


def with_related(meta: dict[str, Raw | bytes], id: str) -> dict[str, Raw | bytes]:
    """The members of a `_meta` that names a task, with another id for it."""
    return {**meta, RELATED: wire.close_object({**wire.open_object(meta[RELATED]), "taskId": wire.encode_text(id)})}
