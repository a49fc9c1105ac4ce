"""Who the relay talks to: sessions of clients in front, links to servers behind, and the servers as it sees them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from .. import wire
from ..errors import INTERNAL_ERROR, WireError, refusal
from .backlog import Backlog

if TYPE_CHECKING:
    from .call import Call
    from .lists import ListRequest
    from .questions import Question
    from .tasks import Task

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


Buffer = bytes | memoryview

LARGE: Final = 64 * 1024
"""Bytes of a payload from which on it is not copied into one piece with its envelope."""


MOST_IN_BATCH: Final = 32 * 1024 * 1024
"""Bytes of the answers to one batch, which wait for each other."""

MOST_OF_A_CLIENT: Final = 4096

_MOST_ELICITATIONS: Final = 1000


def _nowhere(data: Buffer) -> None:
    """The sink of a peer that nobody has connected, or that has gone."""


class Peer:
    """One side of a connection. `sink` takes lines, long ones in pieces; who drives the relay sets it.

    `received` and `sent` count bytes, for metrics.
    """

    def __init__(self, dirty: list[Peer]) -> None:
        self.outbox: list[Buffer] = []
        self.large = False
        """The outbox holds a payload so long that copying it would cost more than one more write."""
        self.sink: Callable[[Buffer], None] = _nowhere
        self.received = 0
        self.sent = 0
        self.deaf = False
        """What this peer says is not listened to any more."""
        self.choked = False
        """It does not read, and enough waits for it already."""
        self._dirty = dirty

    def send(self, line: bytes) -> None:
        """Put one line, with its line end, into the outbox."""
        if not self.outbox:
            self._dirty.append(self)
        self.outbox.append(line)

    def send_parts(self, *parts: Buffer) -> None:
        """Put one long line into the outbox, as pieces that are not copied."""
        self.send(b"")
        self.outbox.extend(parts)
        self.large = True

    def deliver(self) -> None:
        """Give everything in the outbox to the sink, in one piece unless it is large."""
        outbox, self.outbox = self.outbox, []
        if self.large:
            self.large = False
            for part in outbox:
                self.sent += len(part)
                self.sink(part)
            return
        data = outbox[0] if len(outbox) == 1 else b"".join(outbox)
        self.sent += len(data)
        self.sink(data)

    def disconnect(self) -> None:
        """Nobody is there any more: what is still said to this peer is dropped."""
        self.sink = _nowhere


class Batch(msgspec.Struct):
    """The answers to one JSON-RPC batch, sent together when the last one is there; they have `size` bytes."""

    waiting: int
    answers: list[bytes] = []
    size: int = 0


class Session(Peer):
    """One client's session. `label` is the id that telemetry shows, `client` what it called itself, `front` its way."""

    def __init__(self, dirty: list[Peer], label: str, front: str = "") -> None:
        super().__init__(dirty)
        self.label = label
        self.front = front
        self.peer = ""
        """From where it came, where its front knows."""
        self.client = ""
        self.protocol = ""
        self.capabilities: Mapping[str, bytes] = {}
        """What the client declared, raw by name."""
        self.is_there = True
        """Somebody listens. Over HTTP a client may have gone without a word."""
        self.is_ready = False
        """It has finished the handshake, so that it may be asked something."""
        self.level: str | None = None
        self.most = MOST_OF_A_CLIENT
        """Calls that it may have under way."""
        self.share = MOST_OF_A_CLIENT
        """Of these the ones that it may have whatever the other clients do."""
        self.backlog = Backlog()
        self.calls: dict[bytes, Call] = {}
        self.lists: dict[bytes, ListRequest] = {}
        """List requests that wait for servers, by id."""
        self.batches: dict[bytes, Batch] = {}
        self.questions: dict[int, Question] = {}
        """What servers asked this client, by ids of ours."""
        self.ghosts: set[int] = set()
        """Of those the ones that were given up and of which the client may still make tasks."""
        self.tasks: dict[int, Task] = {}
        """Tasks that it goes on with after it answered the question, by its id, which stays their progress token."""
        self.seen: set[str] = set()
        """Kinds of lists that it has seen, without a notice since that they changed."""
        self._next = 0

    def __repr__(self) -> str:
        return f"<Session {self.label} {self.client or 'new'} calls={len(self.calls)} lists={len(self.lists)}>"

    def new_id(self) -> int:
        """An id of ours that this client has not seen; it serves as progress token too."""
        self._next += 1
        return self._next

    def notify(self, method: str, params: bytes | Raw = b"", key: object = None) -> None:
        """Send a notification, or keep it while the client does not read; see `Backlog` for `key`."""
        line = wire.notification(method, params)
        if self.choked:
            self.backlog.add(method, line, key)
        else:
            self.send(line)

    def can(self, *path: str) -> bool:
        """Whether the client declared a capability, named from the outside in."""
        return declares(self.capabilities, *path)

    @property
    def busy(self) -> bool:
        """Whether it still waits for an answer."""
        return bool(self.calls or self.lists)

    def answer(self, id: bytes, line: bytes) -> None:
        """Send the answer to request `id`, within its batch if it came in one."""
        if self.batches and id in self.batches:
            batch = self.batches.pop(id)
            if batch.size + len(line) > MOST_IN_BATCH:
                line = wire.error(id, refusal(INTERNAL_ERROR, "the answers to this batch are too long for one message"))
            self._settle(batch, line)
        else:
            self.send(line)

    def pass_on(self, id: bytes, member: bytes, payload: Raw | bytes) -> int:
        """Answer request `id` with a server's `result` or `error`, byte for byte; returns the line's length."""
        head = b'{"jsonrpc":"2.0","id":%b,"%b":' % (id, member)
        data = memoryview(payload)
        if len(data) < LARGE or id in self.batches:
            self.answer(id, b"".join((head, data, b"}\n")))
        else:
            self.send_parts(head, data, b"}\n")
        return len(head) + len(data) + 2

    def forget(self, id: bytes) -> None:
        """Request `id` gets no answer, since the client cancelled it."""
        if id in self.batches:
            self._settle(self.batches.pop(id), None)

    def _settle(self, batch: Batch, line: bytes | None) -> None:
        if line is not None:
            batch.answers.append(line.rstrip(b"\n"))
            batch.size += len(line)
        batch.waiting -= 1
        if batch.waiting == 0 and batch.answers:
            self.send(b"[" + b",".join(batch.answers) + b"]\n")

    def wants(self, level: str | None) -> bool:
        """Whether a log message of this level passes what the client set; unknown levels pass."""
        if self.level is None or level not in LEVELS:
            return True
        return LEVELS.index(level) >= LEVELS.index(self.level)


class Ghost(msgspec.Struct, frozen=True):
    """A call that was given up: whose it was, until when the server may still speak of it, and whether it is a task."""

    session: Session
    until: float
    augmented: bool


class Reply(msgspec.Struct, frozen=True):
    """What a server answered to a request of our own: exactly one of the two is not empty, both raw JSON.

    `answered` is False where no answer came through and the error is one of ours.
    """

    result: bytes = b""
    error: bytes = b""
    answered: bool = True


Done = Callable[[Reply | None], None]
"""Called once: with the reply, or with None where the link ended before."""


def declares(capabilities: Mapping[str, bytes], *path: str) -> bool:
    """Whether a capability is among these, named from the outside in; null and false are no declarations."""
    raw = capabilities.get(path[0], b"")
    for key in path[1:]:
        try:
            raw = bytes(wire.open_object(raw).get(key, b"")) if raw else b""
        except WireError:
            return False
    return raw not in (b"", b"null", b"false")


class Trial:
    """How a breaker finds out whether a server is back: `probe` is the id of the ping that it waits for, if any.

    `pings` in a row had no answer; `heard` were the messages of the link when they began, at `since`.
    """

    __slots__ = ("heard", "pings", "probe", "shut_for", "since")

    def __init__(self) -> None:
        self.probe = 0
        self.shut_for = 0.0
        self.pings = 0
        self.since = 0.0
        self.heard = 0


class Link(Peer):
    """One connection to a server: an id space of ours, and what is in flight in it.

    `listed`, `noise` and `hung` are set by who owns the link: the first is told that the server announced a changed
    list (the notification's method), the second of a line that was no message, the third why the server is taken to
    hang.
    """

    def __init__(self, dirty: list[Peer], server: str) -> None:
        # Beyond 30 attributes CPython finds each of them more slowly: what few calls need belongs together elsewhere.
        super().__init__(dirty)
        self.server = server
        self.calls: dict[int, Call] = {}
        self.asks: dict[int, Done] = {}
        self.questions: dict[bytes, Question] = {}
        """What the server asked clients and waits for, by its own ids."""
        self.asking_since: dict[Session, float] = {}
        """Since when each of those clients has something to answer."""
        self.endless = 0
        """How many of its calls may take for ever, and so don't count as work."""
        self.failures = 0
        self.shut_until = 0.0
        self.trial = Trial()
        """The breaker's; see `Breakers`."""
        self.held = 0
        """Bytes of what it asked clients that can't be asked yet."""
        self.ghosts: dict[int, Ghost] = {}
        """Calls that we gave up and the server may still work on, by id."""
        self.tasks: dict[int, Task] = {}
        """Tasks that go on after their call was answered, by its id, which stays their progress token."""
        self.elicitations: dict[bytes, Session] = {}
        """Who was sent to a URL, by the raw elicitationId."""
        self.since = 0.0
        self.used: float | None = None
        """When it began to take calls, and when the last one ended, if any."""
        self.heard = 0
        """Messages that came over this link."""
        self.listed: Callable[[str], None] = _ignore
        self.noise: Callable[[bytes], None] = _nowhere
        self.hung: Callable[[str], None] = _ignore
        self.take_back: Callable[[], Collection[int]] = tuple
        """Set with `sink`: what is still on its way is not sent any more; returns the ids of such requests of ours."""
        self._next = 0

    def __repr__(self) -> str:
        return f"<Link {self.server} calls={len(self.calls)} asks={len(self.asks)} next={self._next}>"

    def new_id(self) -> int:
        """An id that this connection has not seen; it serves as progress token too."""
        self._next += 1
        return self._next

    def ask(self, method: str, params: bytes, done: Done) -> int:
        """Send a request of our own; returns its id, which `abandon` takes."""
        id = self.new_id()
        self.asks[id] = done
        self.send(wire.request(id, method, params))
        return id

    @property
    def is_asked(self) -> bool:
        """Whether somebody here waits for an answer of the server's."""
        return any(done is not _unheard for done in self.asks.values())

    def request(self, method: str, params: bytes) -> None:
        """Send a request of our own whose answer tells nothing that anybody waits for."""
        self.ask(method, params, _unheard)

    def abandon(self, id: int, *, tell: bool) -> None:
        """Stop waiting for a request of our own, and `tell` the server. `done` is not called."""
        if self.asks.pop(id, None) is not None and tell:
            self.send(wire.notification("notifications/cancelled", b'{"requestId":%d}' % id))

    def expect(self, elicitation: bytes, session: Session) -> None:
        """The user of this session was sent to a URL; the server may say when that is done."""
        if elicitation:
            self.elicitations[elicitation] = session
            if len(self.elicitations) > _MOST_ELICITATIONS:
                del self.elicitations[next(iter(self.elicitations))]


def _unheard(reply: Reply | None) -> None:
    """Takes an answer that nobody waits for."""


def _ignore(what: str) -> None:
    """The listener of a link that nobody owns."""
