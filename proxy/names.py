"""(server, tool) to the public name that clients see, as a pure function of configuration and listing.

A plain name is `{prefix}__{tool}`. A tool whose name has other characters than `[A-Za-z0-9_-]`, is too long, or would
fall into the names of another server gets a cut name that ends in `_` and six hex digits of a hash over server and
tool. Since that depends on nothing but the configured prefixes and the tool itself, a name never changes because some
other server came up first. The way back is always a table, never a split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable

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


class Namer:
    """Names the tools (or prompts) of one server.

    `prefix` is its own cleaned prefix ("" for none), `others` the cleaned prefixes of all other servers,
    `longest` the budget of a whole name.
    """

    def __init__(self, server: str, prefix: str, others: Iterable[str], longest: int) -> None:
        self._server = server
        self._head = f"{prefix}__" if prefix else ""
        # Names that begin so belong to a server with a longer prefix, whether it is up or not.
        self._foreign = tuple(
            f"{other}__" for other in others if other and f"{other}__".startswith(self._head) and other != prefix
        )
        self._longest = longest

    def __eq__(self, other: object) -> bool:
        """Whether the other one gives everything the same name."""
        return isinstance(other, Namer) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def name(self, tool: str, wanted: str | None = None, taken: Collection[str] = ()) -> str:
        """The public name of `tool`; `wanted` is the user's name for it, `taken` are names of this server in use."""
        plain = self._head + (wanted or tool)
        if self._is_plain(plain) and plain not in taken:
            return plain
        name = self._hashed(wanted or tool, tool)
        while name in taken:  # a tool whose own name looks like our hash: one more round
            tool = f"{tool}\0"
            name = self._hashed(wanted or tool, tool)
        return name

    def _is_plain(self, name: str) -> bool:
        if len(name) > self._longest or len(name) == len(self._head) or _OTHER.search(name):
            return False
        return not (self._foreign and name.startswith(self._foreign))

    def _hashed(self, shown: str, tool: str) -> str:
        material = f"{self._server}\0{tool}".encode(errors="surrogatepass")
        digest = hashlib.sha256(material).hexdigest()[:_DIGITS]
        # One underscore at most in a row keeps the stem out of every other server's names.
        body = _RUNS.sub("_", _OTHER.sub("_", shown)).strip("_") or "tool"
        stem = (self._head + body)[: self._longest - _DIGITS - 1].rstrip("_")
        return f"{stem}_{digest}"
