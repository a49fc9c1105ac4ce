"""The requests of clients that are passed on: what names the owner of each, and what its server must be able to do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Raw

from .. import wire
from ..catalogue import Route
from ..errors import WireError
from .peers import Session
from .state import State
from .subscriptions import Subscriptions
from .tasks import Tasks

MOST_REMEMBERED: Final = 10_000
_LONGEST_URI: Final = 8 * 1024

Find = Callable[[Session, Raw], tuple[Route, ...]]


def _nobody(session: Session, raw: Raw) -> tuple[Route, ...]:
    """Who owns what nobody has."""
    return ()


class Method:
    """One such method. `key` is the member of its params that names the owner, `kind` the list that it stands in.

    `find` gives those who may own it, by that member as raw JSON: the first that does not refuse it does. `guess` does
    so where nobody is known to, once it makes no sense to wait any longer. `needs` is the capability that a server must
    have declared, from the outside in. `what` is the word for it in errors.
    """

    __slots__ = ("endless", "find", "guess", "key", "kind", "name", "needs", "raw", "what")

    def __init__(
        self,
        name: str,
        key: str,
        kind: str,
        what: str,
        find: Find,
        needs: tuple[str, ...] = (),
        *,
        guess: Find = _nobody,
        endless: bool = False,
    ) -> None:
        self.name = name
        self.raw = wire.encode_text(name)
        self.key = key
        self.kind = kind
        self.what = what
        self.find = find
        self.guess = guess
        self.needs = needs
        self.endless = endless
        """It may take as long as the server wants."""

    def __repr__(self) -> str:
        return f"<Method {self.name}>"


class Methods:
    """All of them, by name; and where a URI was found that no list shows."""

    def __init__(self, state: State, tasks: Tasks, subscriptions: Subscriptions) -> None:
        self._state = state
        self._tasks = tasks
        self._subscriptions = subscriptions
        self._found: OrderedDict[str, str] = OrderedDict()
        cancel, subscribe = ("tasks", "cancel"), ("resources", "subscribe")
        resource, subscribed, around = self._resource, self._subscribed, self._around
        self._by_name: Mapping[str, Method] = {
            method.name: method
            for method in (
                Method("tools/call", "name", "tools", "tool", self._tool),
                Method("prompts/get", "name", "prompts", "prompt", self._prompt),
                Method("resources/read", "uri", "resources", "resource", resource, guess=around),
                Method("resources/subscribe", "uri", "resources", "resource", resource, subscribe, guess=around),
                Method("resources/unsubscribe", "uri", "resources", "resource", subscribed, subscribe, guess=around),
                Method("completion/complete", "ref", "prompts", "reference", self._reference, ("completions",)),
                Method("tasks/get", "taskId", "", "task", self._task, ("tasks",)),
                Method("tasks/result", "taskId", "", "task", self._task, ("tasks",), endless=True),
                Method("tasks/cancel", "taskId", "", "task", self._task, cancel),
            )
        }

    def get(self, name: str) -> Method | None:
        """The method of this name, if it is one that is passed on."""
        return self._by_name.get(name)

    def unknown(self, name: str, session: Session, members: Mapping[str, Raw]) -> Method | None:
        """A method that no revision defines, where its params name one server's own by a name or URI that we gave."""
        owners: dict[str, str] = {}
        for key, finds in (
            ("name", (self._tool, self._prompt)),
            ("uri", (self._listed,)),
            ("taskId", (self._task,)),
        ):
            if not bytes(members.get(key, b"")).startswith(b'"'):
                continue
            for find in finds:
                for route in find(session, members[key]):
                    owners.setdefault(route.server, key)
        if len(owners) != 1:
            return None
        [key] = owners.values()
        find = {"name": self._named, "uri": self._listed, "taskId": self._task}[key]
        return Method(name, key, "", "name", find)

    def remember(self, uri: str, server: str) -> None:
        """This server knew a URI that no list shows."""
        self._found[uri] = server
        self._found.move_to_end(uri)
        if len(self._found) > MOST_REMEMBERED:
            self._found.popitem(last=False)

    def _tool(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        route = self._state.catalogue.resolve("tools", raw)
        return (route,) if route is not None else ()

    def _prompt(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        route = self._state.catalogue.resolve("prompts", raw)
        return (route,) if route is not None else ()

    def _named(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        return self._tool(session, raw) or self._prompt(session, raw)

    def _listed(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        uri = wire.text(raw)
        return self._state.catalogue.owners(uri) if uri is not None else ()

    def _resource(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        """Who listed it; else who knew it before, with others in case it refuses now; else whose template fits."""
        uri = wire.text(raw)
        if uri is None:
            return ()
        routes = self._state.catalogue.owners(uri)
        if len(routes) == 1:
            return routes
        found = self._found.get(uri)
        if found not in self._state.targets:
            return routes
        others = routes or self._around(session, raw)
        return (Route(uri, found, uri, bytes(raw)), *(route for route in others if route.server != found))

    def _subscribed(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        """Who took the subscription, whatever the lists say by now; else as for any resource."""
        uri = wire.text(raw)
        place = self._subscriptions.place_of(session, uri) if uri is not None else None
        if uri is None or place is None or place[0] not in self._state.targets:
            return self._resource(session, raw)
        server, own = place
        return (Route(uri, server, own, wire.encode_text(own)),)

    def _around(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        """All that have resources, in order; of those that sleep, which come last, those that list the like, if any."""
        uri = wire.text(raw)
        if uri is None or len(uri) > _LONGEST_URI:
            return ()
        able = [target for target in self._state.targets.values() if target.is_at_hand and target.can("resources")]
        catalogue = self._state.catalogue
        alike = {target for target in able if catalogue.has_scheme(target.key, uri)}
        if alike:
            able = [target for target in able if target.link is not None or target in alike]
        able.sort(key=lambda target: target.link is None)
        return tuple(Route(uri, target.key, uri, bytes(raw), sure=False) for target in able)

    def _reference(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        """A prompt, or a template or resource, as `completion/complete` refers to it; the whole reference is edited."""
        try:
            members = wire.open_object(raw)
        except WireError:
            return ()
        catalogue = self._state.catalogue
        if wire.text(members.get("type")) == "ref/prompt":
            key, route = "name", catalogue.resolve("prompts", members.get("name", b""))
        else:
            key, uri = "uri", members.get("uri", Raw(b""))
            found = self._resource(session, uri)
            route = catalogue.resolve("templates", uri) or (found[0] if found else None)
        if route is None:
            return ()
        edited: dict[str, Raw | bytes] = {**members, key: route.raw}
        return (Route(route.public, route.server, route.own, wire.close_object(edited)),)

    def _task(self, session: Session, raw: Raw) -> tuple[Route, ...]:
        task = self._tasks.asked(session, wire.text(raw))
        if task is None or not isinstance(task.holder, str) or task.holder not in self._state.targets:
            return ()
        return (Route(task.public, task.holder, task.own, wire.encode_text(task.own)),)
