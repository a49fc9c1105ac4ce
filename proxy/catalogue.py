"""Listings of servers to one immutable snapshot: who owns which name and URI, and the list answers as ready bytes.

The costly part, editing each definition, is done once for each listing of a server (`compile_listing`); putting the
servers together (`Catalogue`) joins what is there, and tells URIs apart that two servers claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Raw

from . import definitions, texts, uris, wire
from .definitions import KEYS
from .names import Namer
from .policy import ToolPolicy

KINDS: Final = tuple(KEYS)
"""What servers list: tools, prompts, resources, and templates of resources."""

MEMBERS: Final = {"tools": "tools", "prompts": "prompts", "resources": "resources", "templates": "resourceTemplates"}
"""The member of a list's result that holds the entries."""

LONGEST_PAGE: Final = 8 * 1024 * 1024
"""Bytes of definitions after which a page of a list ends, whatever their number."""

MOST_MATCHED: Final = 200
"""Templates of one server that a URI which nobody listed is compared with: more would hold up everybody."""

_WEB: Final = ("http://", "https://")
"""A link to the web is most likely meant for a browser, whatever template it fits."""

_MOST_COMPARED: Final = 2000


class Route(msgspec.Struct, frozen=True):
    """Where a public name, URI or template leads: the server's key, and its own word for it, as text and as JSON.

    `own` can be shown; `raw` is what the server is sent.
    """

    public: str
    server: str
    own: str
    raw: bytes
    description: str = ""
    sure: bool = True
    """It is known that this is the owner, or was; else it is only one that may be."""
    harmless: bool = False
    """The tool says of itself that calling it again does no harm."""


class Listing(msgspec.Struct, frozen=True):
    """One kind of entries of one server as clients see them: routes and definitions side by side, in its order.

    `references` are the URIs of UI resources that each tool names (MCP Apps). `odd` says in whole sentences what could
    not be taken as it came.
    """

    server: str
    routes: tuple[Route, ...] = ()
    definitions: tuple[bytes, ...] = ()
    odd: tuple[str, ...] = ()
    references: tuple[tuple[str, ...], ...] = ()


class Offering(msgspec.Struct, frozen=True):
    """All that one server lists, by kind. `tag` tells its URIs apart where another server claims the same."""

    server: str
    tag: str
    listings: Mapping[str, Listing] = {}

    def of(self, kind: str) -> Listing:
        """Its listing of one kind; an empty one where it has none."""
        return self.listings.get(kind) or Listing(self.server)


class Difference(msgspec.Struct, frozen=True):
    """How many entries came, went, or changed their definition under the same name."""

    added: int
    removed: int
    changed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Derived(msgspec.Struct, frozen=True):
    """A URI or template that `first` claims too, so that this server's is shown as another one.

    Or a URI without a scheme, for which clients refuse the whole list; then `first` is the server itself.
    """

    kind: str
    server: str
    own: str
    public: str
    first: str


def compile_listing(
    kind: str, server: str, items: Sequence[Raw], namer: Namer, policy: ToolPolicy, *, tasks: bool = False
) -> Listing:
    """Edit the raw entries of one listing: names change, and what policy and `texts` name; URIs stay as they are.

    `tasks`: the server declared that its tools may be called as tasks. Never raises: what clients could not read is
    left out and named in `odd`.
    """
    odd: list[str] = []
    shown: dict[str, dict[str, Raw]] = {}
    seen: set[str] = set()
    for item in items:
        own, members, remarks = definitions.read(kind, item)
        odd.extend(remarks)
        if own is None:
            continue
        if own in seen:
            odd.append(f"{kind.removesuffix('s')} {own!r} is listed twice; the first one counts")
            continue
        seen.add(own)
        if members is not None and (kind != "tools" or policy.shows(own)):
            shown[own] = members if tasks or kind != "tools" else definitions.without_task_support(members)
    names = _names(kind, list(shown), namer, policy)
    routes: list[Route] = []
    edited: list[bytes] = []
    references: list[tuple[str, ...]] = []
    for own, members in shown.items():
        described = policy.described(own) if kind == "tools" else None
        definition, description = definitions.edit(kind, members, names[own], described)
        edited.append(definition)
        raw, harmless = bytes(members[KEYS[kind]]), kind == "tools" and definitions.is_harmless(members)
        routes.append(Route(names[own], server, texts.printable(own), raw, description, harmless=harmless))
        if kind == "tools":
            references.append(definitions.ui_references(members))
    if kind == "tools":
        odd.extend(f"its rules name {name!r}, but it has no such tool" for name in policy.idle(frozenset(seen)))
    return Listing(server, tuple(routes), tuple(edited), tuple(odd), tuple(references))


def _names(kind: str, owns: list[str], namer: Namer, policy: ToolPolicy) -> dict[str, str]:
    """The public name of each entry. What the user renamed chooses first, so that the order decides nothing."""
    if KEYS[kind] != "name":
        return {own: own for own in owns}
    wanted = {own: policy.renamed(own) if kind == "tools" else None for own in owns}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for own in sorted(owns, key=lambda own: wanted[own] is None):
        names[own] = namer.name(own, wanted[own], taken, kind)
        taken.add(names[own])
    return names


def difference(old: Listing, new: Listing) -> Difference:
    """What a new listing of a server changed for clients."""
    before = {route.public: text for route, text in zip(old.routes, old.definitions, strict=True)}
    after = {route.public: text for route, text in zip(new.routes, new.definitions, strict=True)}
    return Difference(
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        changed=sum(1 for name in after.keys() & before.keys() if after[name] != before[name]),
    )


class Aliases:
    """The URIs of one server that clients know by other ones, since another server claims them too."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._exact: set[str] = set()
        self._templates: list[uris.Template] = []

    def add(self, kind: str, own: str) -> str:
        """One more; returns what clients see."""
        self._exact.add(own)
        if kind == "templates" and uris.is_absolute(own):  # what could become any URI tells nothing
            self._templates.append(uris.template(own))
        return uris.derive(own, self._tag)

    def public(self, own: str) -> str:
        """What clients know a URI of this server by: mostly the same."""
        if own in self._exact or (not own.startswith(_WEB) and any(one.matches(own) for one in self._templates)):
            return uris.derive(own, self._tag)
        return own


class Sheet:
    """One list as clients get it."""

    def __init__(self, kind: str, definitions: Sequence[bytes]) -> None:
        self._head = b'{"%b":[' % MEMBERS[kind].encode()
        self._definitions = definitions

    @cached_property
    def whole(self) -> bytes:
        """The whole `result`."""
        return self._head + b",".join(self._definitions) + b"]}"

    def __len__(self) -> int:
        return len(self._definitions)

    @property
    def definitions(self) -> Sequence[bytes]:
        """The entries, raw, in the order of the catalogue's routes of this kind."""
        return self._definitions

    def page(self, start: int, most: int) -> tuple[bytes, int | None]:
        """At most so many entries from `start` on, as a `result` without its closing brace, and where the next begins.

        None where there is no next one.
        """
        end = start
        size = 0
        while end < len(self._definitions) and end - start < most and size < LONGEST_PAGE:
            size += len(self._definitions[end])
            end += 1
        text = self._head + b",".join(self._definitions[start:end]) + b"]"
        return text, end if end < len(self._definitions) else None

    def fits(self, most: int) -> bool:
        """Whether all of it goes onto one page of so many entries."""
        return len(self._definitions) <= most and self._size <= LONGEST_PAGE

    @cached_property
    def _size(self) -> int:
        return sum(map(len, self._definitions))

    def differs(self, other: Sheet) -> bool:
        """Whether clients could tell the two apart."""
        return self._definitions != other._definitions


class Catalogue:
    """All that the servers list, immutable. Servers stand in the order of the configuration."""

    def __init__(self, servers: Iterable[Offering] = ()) -> None:
        self._servers = tuple(servers)
        self._routes: dict[str, dict[bytes, Route]] = {kind: {} for kind in KINDS}
        self._definitions: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        self._templates: list[tuple[uris.Template, Route]] = []
        self._unlisted: dict[bytes, Route] = {}
        self._tags: dict[str, str] = {}
        self._foreign_tags: set[str] = set()
        """What looks like tags of ours in URIs that servers have by themselves."""
        self.aliases: dict[str, Aliases] = {}
        """Only for servers of which some URI had to be derived."""
        self.derived: list[Derived] = []
        self._claim()
        for server in self._servers:
            for kind in KINDS:
                self._take(server, kind)
        self._sheets = {kind: Sheet(kind, found) for kind, found in self._definitions.items()}

    def _claim(self) -> None:
        """Who comes first keeps a URI; the others' are derived from it."""
        for server in self._servers:
            for kind in ("resources", "templates"):
                for route in server.of(kind).routes:
                    if "~" in route.public and (restored := uris.restore(route.public)) is not None:
                        self._foreign_tags.add(restored[0].lower())
        claims: dict[tuple[str, str], str] = {}
        for server in self._servers:
            references = [uri for found in server.of("tools").references for uri in found]
            listed = {kind: [route.public for route in server.of(kind).routes] for kind in ("resources", "templates")}
            for kind, found in (("resources", [*listed["resources"], *references]), ("templates", listed["templates"])):
                for own in dict.fromkeys(found):
                    first = claims.setdefault((kind, own), server.server)
                    if first == server.server and (kind == "templates" or uris.is_absolute(own)):
                        continue
                    aliases = self.aliases.get(server.server) or self._new_aliases(server)
                    self.derived.append(Derived(kind, server.server, own, aliases.add(kind, own), first))

    def _new_aliases(self, server: Offering) -> Aliases:
        tag = server.tag.lower()  # clients may write what looks like a host in small letters
        while tag in self._tags or tag in self._foreign_tags:
            tag += "-"
        self._tags[tag] = server.server
        self.aliases[server.server] = Aliases(tag)
        return self.aliases[server.server]

    def _take(self, server: Offering, kind: str) -> None:
        listing = server.of(kind)
        aliases = self.aliases.get(server.server)
        routes, found = self._routes[kind], self._definitions[kind]
        for index, (plain, text) in enumerate(zip(listing.routes, listing.definitions, strict=True)):
            route, definition = _aliased(kind, plain, text, aliases) if aliases is not None else (plain, text)
            # Namer keeps servers apart; if a hash should ever meet a plain name, the first one keeps it.
            key = wire.encode_text(route.public)
            if routes.setdefault(key, route) is route:
                found.append(definition)
            if kind == "templates" and index < MOST_MATCHED:
                self._templates.append((uris.template(route.public), route))
            elif kind == "tools" and listing.references:
                for uri in listing.references[index]:
                    self._refer(server.server, uri, aliases)

    def _refer(self, server: str, uri: str, aliases: Aliases | None) -> None:
        """A tool names a UI resource, which need not be listed."""
        public = aliases.public(uri) if aliases else uri
        self._unlisted.setdefault(wire.encode_text(public), Route(public, server, uri, wire.encode_text(uri)))

    def sheet(self, kind: str) -> Sheet:
        """One list as clients get it."""
        return self._sheets[kind]

    def routes(self, kind: str = "tools") -> tuple[Route, ...]:
        """All routes of a kind, in the order in which they are listed."""
        return tuple(self._routes[kind].values())

    def resolve(self, kind: str, raw: Raw | bytes) -> Route | None:
        """The route of a public name, URI or template given as raw JSON, however it is escaped."""
        routes = self._routes[kind]
        route = routes.get(bytes(raw))
        if route is None and b"\\" in bytes(raw):
            name = wire.text(raw)
            if name is not None:
                route = routes.get(wire.encode_text(name))
        return route

    def has_scheme(self, server: str, uri: str) -> bool:
        """Whether a server lists anything whose URI begins as this one does, up to the first colon."""
        scheme = uri.partition(":")[0].lower() + ":"
        return any(
            route.server == server and route.own.lower().startswith(scheme)
            for kind in ("resources", "templates")
            for route in self._routes[kind].values()
        )

    def owners(self, uri: str) -> tuple[Route, ...]:
        """Who has a resource: the one that listed it or names it in a tool, else those whose template fits."""
        raw = wire.encode_text(uri)
        route = self._routes["resources"].get(raw) or self._unlisted.get(raw)
        if route is not None:
            return (route,)
        restored = uris.restore(uri)
        if restored is not None and restored[0] in self._tags:
            tag, own = restored
            return (Route(uri, self._tags[tag], own, wire.encode_text(own)),)
        fitting = [route.server for template, route in self._templates if template.matches(uri)]
        return tuple(Route(uri, server, uri, raw, sure=False) for server in dict.fromkeys(fitting))

    def nearest(self, kind: str, name: str, server: str | None = None) -> list[str]:
        """Up to three public names that look like `name`, best first; a bare tool name finds its prefixed form.

        Those of one server alone, where it is given.
        """
        import difflib  # only an error path wants it, and it costs start-up time

        routes = [route for route in self._routes[kind].values() if server in (None, route.server)]
        endings = [route.public for route in routes if route.own == name]
        publics = [route.public for route in routes]
        if len(publics) > _MOST_COMPARED:  # comparing takes its time, and everybody waits for it
            publics = []
        close = difflib.get_close_matches(name, publics, n=3, cutoff=0.6)
        return list(dict.fromkeys(endings + close))[:3]


def _aliased(kind: str, route: Route, definition: bytes, aliases: Aliases) -> tuple[Route, bytes]:
    """A route and its definition with the URIs that clients know."""
    if kind == "tools":
        return route, definitions.with_ui_references(definition, aliases.public)
    if kind == "prompts":
        return route, definition
    own = wire.text(route.raw) or ""
    public = aliases.public(own)
    if public == own:
        return route, definition
    members: dict[str, Raw | bytes] = {**wire.open_object(definition), KEYS[kind]: wire.encode_text(public)}
    return msgspec.structs.replace(route, public=public), wire.close_object(members)
