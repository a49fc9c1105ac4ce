"""The relay as others see it: peers come and go, lines arrive, the catalogue changes, time passes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter

from .. import wire
from ..catalogue import Catalogue
from ..eras.handshake import Offer, offer
from ..errors import SERVER_UNAVAILABLE, Delivered, refusal
from ..events import ClientGone, Emit, Inspector, NotificationsDropped
from .breaker import Breakers
from .call import UnderWay
from .calls import Calls
from .client_side import ClientSide
from .figures import Figures, figures
from .lists import Lists
from .methods import Methods
from .peers import Link, Peer, Reply, Session
from .questions import Questions
from .results import Results
from .server_side import ServerSide
from .state import State
from .subscriptions import Subscriptions
from .target import ASLEEP, NOT_STARTED, Target
from .tasks import Tasks
from .tracing import Tracing


class Relay:
    """Routes messages between client sessions and server links. No method blocks, awaits or does I/O.

    All times are seconds of one monotonic clock, given by the caller. After any call, `dirty` holds the peers with
    something in their outbox (each once; empty the list when they are served), and `wake_at` the time at which `tick`
    wants to be called (infinity if never).
    """

    def __init__(
        self,
        *,
        emit: Emit,
        name: str,
        version: str,
        list_wait: float,
        page_size: int = 1000,
        offer: Offer | None = None,
    ) -> None:
        self._offer = offer
        state = self._state = State(emit, list_wait, page_size, name, version)
        tasks = self._tasks = Tasks()
        subscriptions = self._subscriptions = Subscriptions()
        methods = Methods(state, tasks, subscriptions)
        breakers = self._breakers = Breakers(state)
        calls = self._calls = Calls(state, Results(state, methods, tasks, subscriptions), breakers)
        questions = self._questions = Questions(state, calls, tasks)
        lists = self._lists = Lists(state, tasks)
        servers = self._servers = ServerSide(state, calls, questions, tasks, subscriptions)
        self._clients = ClientSide(state, calls, methods, lists, questions, tasks, servers)
        self.dirty: list[Peer] = state.dirty

    @property
    def wake_at(self) -> float:
        """When `tick` wants to be called."""
        return self._state.wake_at

    @property
    def catalogue(self) -> Catalogue:
        """The snapshot that is served now."""
        return self._state.catalogue

    @property
    def targets(self) -> dict[str, Target]:
        """All configured servers by key."""
        return self._state.targets

    @property
    def offer(self) -> Offer | None:
        """What servers are to be told of the clients, at `initialize`; None while no client has come.

        It is what was given at the start, if anything: who comes later then changes nothing.
        """
        if self._offer is not None:
            return self._offer
        hellos = [(session.protocol, session.capabilities) for session in self._state.sessions if session.protocol]
        return offer(hellos) if hellos else None

    def on_offer(self, listener: Callable[[], None]) -> None:
        """Have `listener` called each time a client has said who it is."""
        self._state.offered = listener

    def on_first_use(self, listener: Callable[[], None]) -> None:
        """Have `listener` called once, when a client first asks for something that a server has to do."""
        self._state.first_use = listener

    def inspect(self, inspector: Inspector | None) -> None:
        """Have the payload of the calls that come from now on looked at, or not."""
        self._state.inspector = inspector

    def trace(self, tracing: Tracing | None) -> None:
        """Give the requests that come from now on their places in traces, or none."""
        self._state.tracing = tracing

    # Clients

    def open_session(self, label: str, most: int | None = None, *, front: str = "") -> Session:
        """A client connected; `label` is its session's id in telemetry, `most` how many calls it may have at a time.

        `front` is the way that it came, one of a few words, for metrics.
        """
        session = Session(self._state.dirty, label, front)
        session.most = session.most if most is None else most
        self._state.sessions[session] = None
        self._state.clients_changed()
        return session

    def client_line(self, session: Session, line: bytes, now: float) -> None:
        """A line came from a client."""
        self._clients.line(session, line, now)

    def client_overlong(self, session: Session, start: bytes, now: float) -> None:
        """A client's line was too long; `start` is all that is left of it."""
        self._clients.overlong(session, start, now)

    def close_session(self, session: Session, now: float) -> None:
        """The client is gone: its calls are cancelled."""
        if session not in self._state.sessions:
            return
        session.disconnect()
        session.deaf, session.is_there = True, False
        self._tell_dropped(session)
        self._calls.abandon(session, now)
        self._questions.gone(session, now)
        session.lists.clear()
        session.batches.clear()
        del self._state.sessions[session]
        self._state.clients_changed()
        self._tasks.forget(session)
        for server, own in self._subscriptions.forget(session):
            link = self._state.targets[server].link
            if link is not None:
                self._subscriptions.end_unless_wanted(link, own)
        self._state.emit(ClientGone(session.client, session.label))

    # Servers

    def add_target(self, target: Target) -> None:
        """A server is configured; its calls wait until it is ready or away for good."""
        self._state.targets[target.key] = target

    def retire_target(self, key: str, reason: str, now: float) -> None:
        """A server is configured no more: its connections are over, and it is forgotten with the next catalogue."""
        target = self._state.targets[key]
        target.retired = True
        for link in [link for link in self._state.links if link.server == key]:
            self.close_link(link, reason, now)
        self.away(key, reason, coming=False, now=now)
        self._subscriptions.drop(key)

    def order_targets(self, keys: Sequence[str]) -> None:
        """The configuration has its servers in this order now."""
        targets = self._state.targets
        targets.update([(key, targets.pop(key)) for key in keys])

    def open_link(self, server: str) -> Link:
        """A connection to a server begins. It carries our own requests at once, calls after `ready`."""
        link = Link(self._state.dirty, server)
        self._state.links[link] = None
        return link

    def server_line(self, link: Link, line: bytes, now: float) -> None:
        """A line came from a server."""
        self._servers.line(link, line, now)

    @contextmanager
    def within(self, peer: Peer, id: bytes) -> Iterator[None]:
        """What the server says meanwhile, it says on the stream of the request of ours with this raw id."""
        number = wire.number(id)
        self._state.within = (peer, number) if number is not None else None
        try:
            yield
        finally:
            self._state.within = None

    def server_overlong(self, link: Link, start: bytes, now: float) -> None:
        """A server's line was too long; `start` is all that is left of it."""
        self._servers.overlong(link, start, now)

    def greet(self, link: Link, *, capabilities: Mapping[str, bytes]) -> None:
        """The server answered `initialize`: it is told that this was understood. `capabilities` are its own, raw."""
        if link in self._state.links:
            self._state.targets[link.server].capabilities = capabilities
            link.send(wire.notification("notifications/initialized"))

    def ready(self, link: Link, now: float) -> None:
        """It was greeted, and is known: calls may go to this server."""
        if link not in self._state.links:
            return  # it ended in the same moment
        target = self._state.targets[link.server]
        target.link, target.starting_since, target.wake = link, None, None
        link.used, link.since = None, now
        self._servers.tell_level(link)
        if target.can("resources", "subscribe"):
            self._subscriptions.renew_all(link)
        self._calls.retry(target, now)

    def sleep(self, server: str, wake: Callable[[bool], None], now: float) -> None:
        """The server is to be had for the asking: who needs it has `wake` called, and waits until it is ready.

        `wake` is told whether it is sure that this server is the one that is needed.
        """
        target = self._state.targets[server]
        target.link, target.wake = None, wake
        target.away, target.coming = ASLEEP, True
        target.starting_since = target.next_start = None
        self._calls.retry(target, now)

    def idle_since(self, link: Link, now: float) -> float | None:
        """Since when nothing has been under way on this connection; None if something is."""
        target = self._state.targets[link.server]
        busy = link.calls or link.is_asked or link.questions or target.parked
        if busy or self._tasks.any_open(link.server) or self._subscriptions.any_of(link.server):
            return None
        return link.since if link.used is None else link.used

    def close_link(self, link: Link, reason: str, now: float) -> None:
        """The connection is over: calls in flight on it fail, our own requests learn of it."""
        if self._state.links.pop(link, 0) == 0:
            return
        link.disconnect()
        link.deaf = True
        target = self._state.targets.get(link.server)
        if target is not None:
            target.received += link.received
            target.sent += link.sent
        if target is not None and target.link in (link, None) and target.wake is None:
            target.link = target.starting_since = None
            target.away = reason
        self._calls.lost(link, reason, now)
        self._questions.lost(link, now)
        self._tasks.forget(link)
        asks, link.asks = link.asks, {}
        for done in asks.values():
            done(None)

    def undelivered(self, peer: Peer, id: bytes, reason: str, now: float) -> None:
        """A request of ours, of this raw id, never left: the connection could not be made, and is as good as over."""
        number = wire.number(id)
        if not isinstance(peer, Link) or peer not in self._state.links or number is None:
            return
        target = self._state.targets.get(peer.server)
        if target is not None and target.link is peer:
            target.link, target.away = None, reason
        self._calls.undelivered(peer, number, reason, now)

    def failed(self, peer: Peer, id: bytes, reason: str, delivered: Delivered, now: float) -> None:
        """A request of ours, of this raw id, gets no answer any more: what it went through broke."""
        number = wire.number(id)
        if not isinstance(peer, Link) or peer not in self._state.links or number is None:
            return
        done = peer.asks.pop(number, None)
        if done is None:
            self._calls.failed(peer, number, reason, delivered, now)
            return
        text = f"server {peer.server!r}: {reason}"
        error = refusal(SERVER_UNAVAILABLE, text, server=peer.server, delivered=delivered)
        done(Reply(error=error, answered=False))

    def starts(self, server: str, now: float) -> None:
        """The server is being started, or tried again."""
        target = self._state.targets[server]
        if target.away in (NOT_STARTED, ASLEEP):
            target.away = ""
        target.starting_since, target.next_start = now, None

    def away(
        self,
        server: str,
        reason: str,
        *,
        coming: bool,
        now: float,
        next_start: float | None = None,
        tell: bool = False,
    ) -> None:
        """The server can't take calls; `coming` says whether calls should wait for it, `next_start` until when.

        `tell`: those that wait already waited for just this, and are told how it ended.
        """
        target = self._state.targets[server]
        target.away, target.coming, target.wake = reason, coming, None
        target.starting_since, target.next_start = None, next_start
        if tell:
            self._calls.disappoint(target, now)
        else:
            self._calls.retry(target, now)

    def publish(
        self, catalogue: Catalogue, *, listed: frozenset[str], settled: frozenset[str], instructions: str, now: float
    ) -> None:
        """A new snapshot is valid: clients that saw another list are told, waiting requests are looked at again.

        `listed` are the servers that have been listed at least once; `settled` the kinds for which nothing is gained
        by waiting for more.
        """
        state = self._state
        old, state.catalogue = state.catalogue, catalogue
        state.instructions = instructions
        state.settled = settled
        for key in listed:
            state.targets[key].known = True
        for key in [key for key, target in state.targets.items() if target.retired]:
            del state.targets[key]
        self._lists.changed(old)
        self._lists.settled()
        self._calls.retry_unresolved(now)

    def choke(self, peer: Peer, stop: bool, now: float) -> None:
        """A peer does not read what it is sent, or reads again."""
        peer.choked = stop
        if stop:
            return
        if isinstance(peer, Session):
            for line in peer.backlog.take():
                peer.send(line)
            if peer.is_ready:
                self._questions.release(peer)
            self._tell_dropped(peer)
        elif isinstance(peer, Link) and peer.server in self._state.targets:
            self._calls.go_on(self._state.targets[peer.server], now)

    def _tell_dropped(self, session: Session) -> None:
        for method, number in session.backlog.take_dropped().items():
            self._state.emit(NotificationsDropped(session.label, method, number))

    # Time and figures

    def tick(self, now: float) -> None:
        """Let everything whose time has come end."""
        self._state.wake_at = float("inf")
        self._state.wake_by(
            min(
                self._calls.expire(now),
                self._lists.expire(now),
                self._questions.expire(now),
                self._breakers.expire(now),
            )
        )

    def traffic(self) -> list[tuple[str, int, int]]:
        """For each server the bytes received from it and sent to it since the start."""
        totals = {key: [target.received, target.sent] for key, target in self._state.targets.items()}
        for link in self._state.links:
            if link.server in totals:
                totals[link.server][0] += link.received
                totals[link.server][1] += link.sent
        return [(key, received, sent) for key, (received, sent) in totals.items()]

    def in_flight(self) -> list[tuple[str, int]]:
        """For each server the number of calls that it works on."""
        counts = dict.fromkeys(self._state.targets, 0)
        for link in self._state.links:
            if link.server in counts:
                counts[link.server] += len(link.calls)
        return list(counts.items())

    def figures(self) -> list[Figures]:
        """What waits for each server, and how it stands with it."""
        return figures(self._state)

    def sessions(self) -> Counter[str]:
        """How many sessions are open, by the way that they came."""
        return Counter(session.front for session in list(self._state.sessions))

    def under_way(self, most: int) -> tuple[int, list[UnderWay]]:
        """How many calls have not ended, and the latest of them, at most so many and the newest first."""
        calls = [call for session in self._state.sessions for call in session.calls.values()]
        latest = heapq.nlargest(most, calls, key=attrgetter("started"))
        return len(calls), [call.under_way() for call in latest]
