"""What a result has to be changed in before its client may read it, and what is learned from it. Mostly: nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from .. import wire
from ..catalogue import Route
from ..errors import WireError
from .call import Call
from .methods import Methods
from .peers import Link
from .state import State
from .subscriptions import Subscriptions
from .tasks import Task, Tasks, end_progress, rename_related

Public = Callable[[str], str]

_WITH_URIS: Final = ("tools/call", "resources/read", "prompts/get", "tasks/result")
_LEARNED_FROM: Final = ("resources/subscribe", "resources/unsubscribe", "tasks/get", "tasks/cancel", "tasks/result")


class Results:
    """Takes each result of a call on its way to the client."""

    def __init__(self, state: State, methods: Methods, tasks: Tasks, subscriptions: Subscriptions) -> None:
        self._state = state
        self._methods = methods
        self._tasks = tasks
        self._subscriptions = subscriptions

    def concerns(self, call: Call) -> bool:
        """Whether the result of this call has to come by here."""
        return (
            call.others is not None
            or call.augmented
            or call.method.name in _LEARNED_FROM
            or (
                call.method.name in _WITH_URIS
                and call.route is not None
                and call.route.server in self._state.catalogue.aliases
            )
        )

    def is_shared(self, call: Call, route: Route) -> bool:
        """The client unsubscribes from what another one is still subscribed to: no matter of the server's."""
        own = wire.text(route.raw) or ""
        if not self._subscriptions.is_shared(route.server, own, call.session):
            return False
        self._subscriptions.remove(route.server, own, call.session)
        return True

    def unsubscribe(self, call: Call, link: Link) -> None:
        """The subscription was given up, and may have been taken all the same: for nobody, or for others too."""
        own = (wire.text(call.route.raw) or "") if call.route is not None else ""
        self._subscriptions.end_unless_wanted(link, own)

    def disown(self, server: str, task: str) -> None:
        """The call that began this task was given up."""
        self._tasks.disown(server, task)

    def is_anothers(self, call: Call) -> bool:
        """Whether the task that the client asked about is another client's by now: a new start, and ids begin anew."""
        if call.method.key != "taskId" or call.route is None:
            return False
        own = wire.text(call.route.raw) or ""
        task = self._tasks.held(call.route.server, own)
        return task.asker is not call.session if task else self._tasks.is_orphan(call.route.server, own)

    def take(self, call: Call, result: Raw) -> Raw | bytes:
        """The result as the client gets it."""
        assert call.route is not None
        name, server, own = call.method.name, call.route.server, wire.text(call.route.raw) or ""
        try:
            if call.augmented:
                return self._task_begun(call, result)
            if name in ("tasks/get", "tasks/cancel"):
                return self._task_seen(call, result)
            if name == "tasks/result":
                return self._task_ended(call, result)
            if name == "resources/subscribe":
                self._subscriptions.add(server, own, call.session, call.route.public)
            elif name == "resources/unsubscribe":
                self._unsubscribed(call, server, own)
            elif name == "resources/read" and call.others is not None:
                self._methods.remember(call.route.public, server)
            elif name == "resources/read" and call.route.public != own:
                return with_public_uris(result, self._public(server, own, call.route.public))
            return self._with_public_uris(server, result)
        except WireError:
            return result  # not as the specification has it: the client will say so

    def _unsubscribed(self, call: Call, server: str, own: str) -> None:
        """Whoever subscribed in the meantime has to be subscribed still: for the server it is one subscription."""
        self._subscriptions.remove(server, own, call.session)
        if call.link is not None and self._subscriptions.is_shared(server, own, call.session):
            self._subscriptions.renew(call.link, own)

    def _public(self, server: str, own: str, public: str) -> Public:
        """What the client knows the server's URIs by; the one that it asked for by what it asked for."""
        aliases = self._state.catalogue.aliases.get(server)
        others = aliases.public if aliases is not None else str
        return lambda uri: public if uri == own else others(uri)

    def _task_begun(self, call: Call, result: Raw) -> Raw | bytes:
        members = wire.open_object(result)
        task = self._begin(call, members)
        if task is None:
            return self._with_public_uris(call.route.server, result) if call.route else result
        if call.link is not None:
            task.expect_progress(call.link.tasks, call.link_id, call.token)
        shown = wire.close_object(self._tasks.show(task, wire.open_object(members["task"])))
        return result if task.public == task.own else wire.close_object({**members, "task": shown})

    def _begin(self, call: Call, members: dict[str, Raw]) -> Task | None:
        if "task" not in members or call.route is None:
            return None
        id = wire.text(wire.open_object(members["task"]).get("taskId"))
        return self._tasks.begin(call.route.server, id, call.session) if id is not None else None

    def _task_seen(self, call: Call, result: Raw) -> Raw | bytes:
        task = self._task(call)
        if task is None:
            return result
        shown = self._tasks.show(task, wire.open_object(result))
        return result if task.public == task.own else wire.close_object(shown)

    def _task_ended(self, call: Call, result: Raw) -> Raw | bytes:
        """Exactly what the call would have returned; the task is over, and with it its progress."""
        task = self._task(call)
        if task is None or call.route is None:
            return result
        task.is_over = True
        end_progress(task)
        shown = self._with_public_uris(call.route.server, result)
        if task.public != task.own and self._tasks.related(wire.open_object(shown)) == task.own:
            return rename_related(shown, task.public)
        return shown

    def _task(self, call: Call) -> Task | None:
        return self._tasks.asked(call.session, call.route.public) if call.route is not None else None

    def _with_public_uris(self, server: str, result: Raw | bytes) -> Raw | bytes:
        aliases = self._state.catalogue.aliases.get(server)
        return result if aliases is None else with_public_uris(result, aliases.public)


def with_public_uris(result: Raw | bytes, public: Public) -> Raw | bytes:
    """A result with each URI as clients know it: of contents, embedded resources and links. Else byte for byte."""
    members: dict[str, Raw | bytes] = {**wire.open_object(result)}
    changed = False
    for key, edit in (("contents", _content), ("content", _block), ("messages", _message)):
        raw = members.get(key)
        if raw is not None and bytes(memoryview(raw)[:1]) == b"[":
            items = wire.open_array(raw)
            edited = [edit(item, public) for item in items]
            if any(new is not old for new, old in zip(edited, items, strict=True)):
                members[key] = b"[" + b",".join(edited) + b"]"
                changed = True
    return wire.close_object(members) if changed else result


def _members(item: Raw) -> dict[str, Raw]:
    """The members of an object; none where it is something else, which must not keep the others from being edited."""
    return wire.open_object(item) if bytes(memoryview(item)[:1]) == b"{" else {}


def _content(item: Raw, public: Public) -> Raw | bytes:
    """An entry of resources/read, or an embedded resource, or a link: whatever has a `uri`."""
    members = _members(item)
    uri = wire.text(members.get("uri"))
    if uri is None or public(uri) == uri:
        return item
    return wire.close_object({**members, "uri": wire.encode_text(public(uri))})


def _block(item: Raw, public: Public) -> Raw | bytes:
    """A block of content: a link, or a resource within."""
    members = _members(item)
    if "resource" not in members:
        return _content(item, public)
    inner = _content(members["resource"], public)
    return item if inner is members["resource"] else wire.close_object({**members, "resource": inner})


def _message(item: Raw, public: Public) -> Raw | bytes:
    """A message of a prompt, with one block."""
    members = _members(item)
    if "content" not in members:
        return item
    inner = _block(members["content"], public)
    return item if inner is members["content"] else wire.close_object({**members, "content": inner})
