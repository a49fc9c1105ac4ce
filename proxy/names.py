"""(server, tool) to the public name that clients see, as a pure function of configuration and listing.

A plain name is `{prefix}__{tool}`. A tool whose name has other characters than `[A-Za-z0-9_-]`, is too long, or would
fall into the names of another server gets a cut name that ends in `_` and six hex digits of a hash over server and
tool. Since that depends on nothing but the configured prefixes and the tool itself, a name never changes because some
other server came up first. Nor does it change because a server is added: a name once given stays (`Given`), and the
newcomer yields, so that what users allowed by name stays what they meant. The way back is always a table, never a
split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping

LONGEST_TOTAL = 64
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
_EACH_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_RUNS = re.compile(r"__+")
_DIGITS = 6


def clean_prefix(prefix: str) -> str:
    """The prefix with each character that names may not have replaced by `_`."""
    return _EACH_OTHER.sub("_", prefix)


def budget(entry: str) -> int:
    """How long a public name may be, when the client shows it as `mcp__{entry}__{name}` in 64 characters."""
    return max(24, LONGEST_TOTAL - len(f"mcp__{entry}__"))


def longest_prefix(entry: str) -> int:
    """How long a prefix may be, so that behind it there is room for a cut name: one character, `_` and the digits."""
    return budget(entry) - len("__") - 2 - _DIGITS


class Given:
    """The names that were given, of all servers. They are by kind, since a prompt may be called as a tool is."""

    def __init__(self) -> None:
        self._names: dict[str, dict[tuple[str, str], str]] = {}
        self._holders: dict[tuple[str, str], str] = {}
        self.changes = 0
        """Counts the names that are new here."""

    def of(self, kind: str, server: str, own: str) -> str | None:
        """The public name that an entry of a server had last."""
        return self._names.get(server, {}).get((kind, own))

    def is_anothers(self, kind: str, public: str, server: str) -> bool:
        """Whether this name is another server's."""
        return self._holders.get((kind, public), server) != server

    def give(self, kind: str, server: str, own: str, public: str) -> None:
        """From now on this is its name."""
        names = self._names.setdefault(server, {})
        if names.get((kind, own)) != public:
            names[kind, own] = public
            self._holders.setdefault((kind, public), server)
            self.changes += 1

    def keep_only(self, prefixes: Mapping[str, str]) -> None:
        """Forget servers that are not among these (key and cleaned prefix), or whose names began otherwise."""
        old, self._names, self._holders = self._names, {}, {}
        for server, names in old.items():
            head = head_of(prefixes[server]) if server in prefixes else None
            for (kind, own), public in names.items():
                if head is not None and public.startswith(head):
                    self._names.setdefault(server, {})[kind, own] = public
                    self._holders.setdefault((kind, public), server)

    def listing(self) -> list[tuple[str, str, str, str]]:
        """All of them, as (kind, server, own, public)."""
        return [
            (kind, server, own, public)
            for server, names in self._names.items()
            for (kind, own), public in names.items()
        ]


def head_of(prefix: str) -> str:
    """What the names of a server with this cleaned prefix begin with."""
    return f"{prefix}__" if prefix else ""


class Namer:
    """Names the tools (or prompts) of one server.

    `prefix` is its own cleaned prefix ("" for none), `others` the cleaned prefixes of all other servers,
    `longest` the budget of a whole name. `given` are the names that all servers have already.
    """

    def __init__(
        self, server: str, prefix: str, others: Iterable[str], longest: int, given: Given | None = None
    ) -> None:
        self._server = server
        self._head = head_of(prefix)
        # Names that begin so belong to a server with a longer prefix, whether it is up or not.
        self._foreign = tuple(
            f"{other}__" for other in others if other and f"{other}__".startswith(self._head) and other != prefix
        )
        self._longest = longest
        self._given = Given() if given is None else given

    def __eq__(self, other: object) -> bool:
        """Whether the other one gives everything the same name."""
        return isinstance(other, Namer) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def name(self, tool: str, wanted: str | None = None, taken: Collection[str] = (), kind: str = "tools") -> str:
        """The public name of `tool`; `wanted` is the user's name for it, `taken` are names of this server in use."""
        name = self._kept(tool, wanted, taken, kind) or self._new(tool, wanted, taken, kind)
        self._given.give(kind, self._server, tool, name)
        return name

    def _kept(self, tool: str, wanted: str | None, taken: Collection[str], kind: str) -> str | None:
        """The name that it has, if it could still be given one like that."""
        name = self._given.of(kind, self._server, tool)
        if name is None or name in taken or self._given.is_anothers(kind, name, self._server):
            return None
        fits = name == self._head + (wanted or tool) and self._is_sound(name)
        return name if fits or name == self._hashed(wanted or tool, tool) else None

    def _new(self, tool: str, wanted: str | None, taken: Collection[str], kind: str) -> str:
        plain = self._head + (wanted or tool)
        free = plain not in taken and not self._given.is_anothers(kind, plain, self._server)
        if free and self._is_sound(plain) and not (self._foreign and plain.startswith(self._foreign)):
            return plain
        name = self._hashed(wanted or tool, tool)
        # A tool whose own name looks like our hash: one more round.
        while name in taken or self._given.is_anothers(kind, name, self._server):
            tool = f"{tool}\0"
            name = self._hashed(wanted or tool, tool)
        return name

    def _is_sound(self, name: str) -> bool:
        return len(self._head) < len(name) <= self._longest and not _OTHER.search(name)

    def _hashed(self, shown: str, tool: str) -> str:
        material = f"{self._server}\0{tool}".encode(errors="surrogatepass")
        digest = hashlib.sha256(material).hexdigest()[:_DIGITS]
        # One underscore at most in a row keeps the stem out of every other server's names.
        body = _RUNS.sub("_", _OTHER.sub("_", shown)).strip("_") or "tool"
        stem = (self._head + body)[: self._longest - _DIGITS - 1].rstrip("_")
        return f"{stem}_{digest}"
