"""Who may speak to us over the network: decided from the head of a request alone, before anything of it is read.

The Host and Origin headers are checked against lists, since a page on the web can make a browser speak to loopback
(DNS rebinding, as the transports' specification warns of); the token is what other users of this machine lack.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from ..events import Emit, Notice
from .token import is_token

OPEN: Final = frozenset({"", "page", "login", "healthz", "readyz"})
"""First parts of paths that need no token: whether we are there, how to get one by a link, and the page, which holds
nothing of the user's and has to be there to ask for the token."""

_MOST_KNOWN: Final = 64
_TELL_EVERY: Final = 60.0

PROTOCOL: Final = "mcp"
BEARER: Final = "bearer."
"""A browser's WebSocket has no headers of its own: the token comes as a second subprotocol, behind this."""


class Denial(msgspec.Struct, frozen=True):
    """Why a request is not taken: an HTTP status and a sentence."""

    status: int
    reason: str


class WrongTokens:
    """Counts requests with a wrong token, and tells of them once a minute at most: somebody may be guessing.

    `clock` gives seconds of any monotonic clock.
    """

    def __init__(self, emit: Emit, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._untold = 0
        self._told_at = -_TELL_EVERY

    def __call__(self) -> None:
        """One more."""
        self._untold += 1
        now = self._clock()
        if now - self._told_at >= _TELL_EVERY:
            what = "a request" if self._untold == 1 else f"{self._untold} requests"
            self._emit(Notice("warning", f"refused {what} with a token that is not the hub's"))
            self._told_at, self._untold = now, 0


class Guard:
    """The rules. `hosts` and `origins` are what the configuration allows beyond ourselves; `token` None needs none.

    `wrong` is called for each request with another token.
    """

    def __init__(
        self,
        *,
        host: str,
        token: str | None,
        hosts: Collection[str] = (),
        origins: Collection[str] = (),
        wrong: Callable[[], None] = lambda: None,
    ) -> None:
        self._token = token
        self._wrong = wrong
        self._hosts = {name.lower() for name in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._beyond_loopback = not is_loopback(host)
        self._known: set[str] = set()
        """Host headers that were found to be ours: clients send the same ones all the time."""
        if self._beyond_loopback:
            self._hosts.add(host.lower())

    def verdict(self, path: str, headers: Mapping[str, str], *, scheme: str, method: str = "GET") -> Denial | None:
        """What is wrong with a request, if anything. Header names are in small letters; `scheme` is http or https.

        A browser asks with OPTIONS, which does nothing and has no token, what it may do (Fetch, CORS preflight).
        """
        host = headers.get("host", "")
        if host not in self._known and not self._is_ours(host):
            return Denial(421, f"this server is not {host[:200]!r}; `proxy.http.allowedHosts` names other hosts")
        origin = headers.get("origin")
        if origin is not None and not self.allows_origin(origin, host, scheme):
            return Denial(403, "pages of this origin may not use this server; `proxy.http.allowedOrigins` names others")
        if self._token is None or part_of(path) in OPEN or method == "OPTIONS":
            return None
        given = _given(headers)
        if not is_token(given, self._token):
            if given:
                self._wrong()
            what = "this is not the hub's token" if given else "a token is needed"
            return Denial(401, f"{what}: `mcp-manifold token` shows it")
        return None

    def allows_origin(self, origin: str, host: str, scheme: str) -> bool:
        """Whether a page from there may use us: our own, or one that the configuration names."""
        origin = origin.lower()
        return origin == f"{scheme}://{host.lower()}" or origin in self._origins

    def is_foreign(self, origin: str, host: str, scheme: str) -> bool:
        """Whether it is another page's that may use us, which then has to be told so (CORS)."""
        return origin.lower() != f"{scheme}://{host.lower()}" and origin.lower() in self._origins

    def _is_ours(self, host: str) -> bool:
        is_ours = self._names_us(host)
        if is_ours and len(self._known) < _MOST_KNOWN:
            self._known.add(host)
        return is_ours

    def _names_us(self, host: str) -> bool:
        name = _name_of(host)
        if name is None:
            return False
        if name in self._hosts or host.lower() in self._hosts or name == "localhost":
            return True
        if self._beyond_loopback:
            return _is_address(name)  # what a rebinding page can't send: its own name is in the header
        return _is_address(name) and is_loopback(name)


def part_of(path: str) -> str:
    """The first part of a path, which says who answers."""
    return path[1:].partition("/")[0]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def reached_at(host: str) -> str:
    """What stands in a URL by which this machine reaches whoever listens at `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"[{host}]" if ":" in host else host


def _name_of(host: str) -> str | None:
    """The name in a Host header, in small letters and without the port; None where it is no host."""
    host = host.lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    return name if name and (port == "" or port.isdecimal()) else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _given(headers: Mapping[str, str]) -> str:
    """The token that a request shows; "" where there is none."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    for one in headers.get("sec-websocket-protocol", "").split(","):
        if one.strip().startswith(BEARER):
            return one.strip().removeprefix(BEARER)
    return ""
