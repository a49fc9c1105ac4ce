"""Who is subscribed to which resource, so that each update reaches those who asked, and a restart loses nothing."""

from __future__ import annotations

from .. import wire
from .peers import Link, Session


class Subscriptions:
    """For each server and each of its URIs the sessions that are subscribed, and the URI that each of them knows."""

    def __init__(self) -> None:
        self._by_server: dict[str, dict[str, dict[Session, str]]] = {}

    def add(self, server: str, own: str, session: Session, public: str) -> None:
        """The server has accepted a subscription."""
        self._by_server.setdefault(server, {}).setdefault(own, {})[session] = public

    def remove(self, server: str, own: str, session: Session) -> None:
        """The session does not want to hear of it any more."""
        of_server = self._by_server.get(server, {})
        sessions = of_server.get(own, {})
        sessions.pop(session, None)
        if not sessions:
            of_server.pop(own, None)

    def is_shared(self, server: str, own: str, session: Session) -> bool:
        """Whether another session is subscribed to the same: then the server must go on."""
        return bool(self._by_server.get(server, {}).get(own, {}).keys() - {session})

    def any_of(self, server: str) -> bool:
        """Whether anybody is subscribed to anything of this server."""
        return bool(self._by_server.get(server))

    def forget(self, session: Session) -> list[tuple[str, str]]:
        """The session is gone; returns (server, URI) of what nobody is subscribed to any more."""
        idle: list[tuple[str, str]] = []
        for server, of_server in self._by_server.items():
            for own in [own for own, sessions in of_server.items() if session in sessions]:
                self.remove(server, own, session)
                if own not in of_server:
                    idle.append((server, own))
        return idle

    def drop(self, server: str) -> None:
        """The server is no longer configured."""
        self._by_server.pop(server, None)

    def readers(self, server: str, own: str) -> list[tuple[Session, str]]:
        """Who hears of a change of this URI, and by which URI: the updated one may lie below the subscribed one."""
        found: dict[Session, str] = {}
        for subscribed, sessions in self._by_server.get(server, {}).items():
            if own.startswith(subscribed):
                below = own[len(subscribed) :]
                if not below or below[0] in "/?#" or subscribed.endswith("/"):
                    found.update((session, public + below) for session, public in sessions.items())
        return list(found.items())

    def place_of(self, session: Session, public: str) -> tuple[str, str] | None:
        """Where the session is subscribed to what it knows by this URI: the server, and the server's own URI."""
        for server, of_server in self._by_server.items():
            for own, sessions in of_server.items():
                if sessions.get(session) == public:
                    return server, own
        return None

    def renew_all(self, link: Link) -> None:
        """Subscribe anew, at a server that came back."""
        for own in self._by_server.get(link.server, {}):
            self.renew(link, own)

    def renew(self, link: Link, own: str) -> None:
        """Subscribe to one URI for those who are subscribed already."""
        # A resource that is gone has no updates; the client learns of it when it reads.
        link.request("resources/subscribe", wire.close_object({"uri": wire.encode_text(own)}))

    def end_unless_wanted(self, link: Link, own: str) -> None:
        """Unsubscribe from one URI, if nobody is subscribed to it."""
        if own not in self._by_server.get(link.server, {}):
            link.request("resources/unsubscribe", wire.close_object({"uri": wire.encode_text(own)}))
