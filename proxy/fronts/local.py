"""A client inside this process, through the whole path: for the command line, REST, and Python programs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import anyio
from msgspec import Raw

from .. import __version__, wire
from ..eras import handshake
from ..errors import METHOD_NOT_FOUND, SERVER_UNAVAILABLE, Delivered, ManifoldError, WireError, refusal
from ..pump import Pump
from ..relay.peers import Buffer

Notified = Callable[[str, bytes], None]
"""Gets (method, raw params) of a notification."""

Respond = Callable[[bytes, bytes], None]
"""Answers a server's request, with a raw result, or with b"" and a raw error."""

Asked = Callable[[str, bytes, Respond], None]
"""Gets (method, raw params) of what a server asks of its client, and how to answer; now or later."""


class Pending:
    """A request under way. `answered` is set once its answer is there; `give_up` has to be called at the end."""

    __slots__ = ("_answer", "answered", "give_up")

    def __init__(self, give_up: Callable[[], None]) -> None:
        self.answered = anyio.Event()
        self.give_up = give_up
        """Wait no more: cancels the request unless it was answered."""
        self._answer: wire.Envelope | None = None

    def take(self, answer: wire.Envelope) -> None:
        """The answer came."""
        self._answer = answer
        self.answered.set()

    def result(self) -> bytes:
        """The raw result, once it was answered. Raises RequestFailed where it is an error."""
        assert self._answer is not None
        if self._answer.error:
            raise RequestFailed(bytes(self._answer.error))
        return bytes(self._answer.result)


class LocalClient:
    """Speaks to the relay as any client does, in lines.

    `offer` is what it says that it can do: by itself nothing. Whatever a server asks of it goes to `asked`, and is
    refused without one. It may have `most` calls under way.
    """

    def __init__(
        self,
        pump: Pump,
        label: str,
        notified: Notified | None = None,
        offer: handshake.Offer | None = None,
        *,
        asked: Asked | None = None,
        name: str = "mcp-manifold-cli",
        most: int | None = None,
        front: str = "local",
    ) -> None:
        self._pump = pump
        self._name = name
        self._ids = itertools.count(1)
        self._waiting: dict[bytes, Pending] = {}
        self._progress: dict[bytes, Callable[[bytes], None]] = {}
        self._notified = notified
        self._asked = asked
        self._offer = handshake.Offer(handshake.LATEST, b"{}") if offer is None else offer
        self._framer = wire.Framer(2 * wire.MAX_LINE)
        self._closed = False
        self._session = pump.relay.open_session(label, most, front=front)
        self._session.sink = self._receive
        self._intake = pump.client_intake(self._session)

    async def initialize(self) -> bytes:
        """Shake hands; returns the raw result."""
        params = {
            "protocolVersion": self._offer.protocol,
            "capabilities": Raw(self._offer.capabilities),
            "clientInfo": {"name": self._name, "version": __version__},
        }
        result = await self.request("initialize", wire.encode(params))
        self.notify("notifications/initialized")
        return result

    async def request(self, method: str, params: bytes = b"", progress: Callable[[bytes], None] | None = None) -> bytes:
        """Send a request and wait for the raw result. Raises RequestFailed where it is an error.

        `progress` gets the raw params of each notification of progress. Where the caller is cancelled, so is the call.
        """
        pending = self.begin(method, params, progress)
        try:
            await pending.answered.wait()
        finally:
            pending.give_up()
        return pending.result()

    def begin(
        self, method: str, params: bytes = b"", progress: Callable[[bytes], None] | None = None, peer: str = ""
    ) -> Pending:
        """Send a request, as `request` does, for one who waits for more than its answer: see Pending.

        `peer` is for whom, as the audit tells it.
        """
        if self._closed:
            raise RequestFailed(_closed("no"))
        id = b"%d" % next(self._ids)
        if progress is not None:
            params = _with_token(params, id)
            self._progress[id] = progress
        pending = self._waiting[id] = Pending(partial(self._forget, id))
        self._session.peer = peer
        self._intake.data(wire.request(int(id), method, params))
        return pending

    def _forget(self, id: bytes) -> None:
        """Nobody waits for this answer any more; where it is still to come, the request is cancelled."""
        self._progress.pop(id, None)
        if self._waiting.pop(id, None) is not None:
            self.notify("notifications/cancelled", b'{"requestId":%b}' % id)

    def notify(self, method: str, params: bytes = b"") -> None:
        """Send a notification."""
        self._intake.data(wire.notification(method, params))

    def close(self) -> None:
        """End the session; whoever waits for an answer, or asks for more, is told that it is over."""
        self._closed = True
        self._pump.do(self._pump.relay.close_session, self._session, self._pump.now())
        closed = wire.decode(wire.error(b"0", _closed("maybe")).rstrip())
        waiting, self._waiting = self._waiting, {}
        for pending in waiting.values():
            pending.take(closed)

    def _receive(self, data: Buffer) -> None:
        for line in self._framer.feed(bytes(data)):
            envelope = wire.decode(line)
            if not envelope.method:
                pending = self._waiting.pop(bytes(envelope.id), None)
                if pending is not None:
                    pending.take(envelope)
            elif envelope.id:
                self._be_asked(envelope)
            else:
                self._be_notified(envelope)

    def _be_asked(self, envelope: wire.Envelope) -> None:
        id = bytes(envelope.id)

        def respond(result: bytes, error: bytes = b"") -> None:
            line = wire.error(id, error) if error else wire.result(id, result)
            self._pump.later(partial(self._intake.data, line))

        if self._asked is None:
            respond(b"", refusal(METHOD_NOT_FOUND, "nobody is there to be asked"))
        else:
            self._asked(envelope.method, bytes(envelope.params), respond)

    def _be_notified(self, envelope: wire.Envelope) -> None:
        if envelope.method == "notifications/progress" and self._progress:
            token = bytes(wire.open_object(envelope.params).get("progressToken", b""))
            if token in self._progress:
                self._progress[token](bytes(envelope.params))
                return
        if self._notified is not None:
            self._notified(envelope.method, bytes(envelope.params))


_LONGEST_CODE = 20


class RequestFailed(ManifoldError):
    """The answer is an error: `error` is its raw JSON, the text its message.

    `code` and `data` (raw) are members of it; 0 and empty where they are missing.
    """

    def __init__(self, error: bytes) -> None:
        self.error = error
        members = _members(error)
        code = bytes(members.get("code", b""))
        self.code = int(code) if code.removeprefix(b"-").isdigit() and len(code) < _LONGEST_CODE else 0
        self.data = bytes(members.get("data", b""))
        super().__init__(wire.text(members.get("message")) or error.decode(errors="replace"))


def _closed(delivered: Delivered) -> bytes:
    return refusal(SERVER_UNAVAILABLE, "the session was closed", delivered=delivered)


def _with_token(params: bytes, token: bytes) -> bytes:
    """Params that ask for progress under this raw token."""
    members: dict[str, Raw | bytes] = {**(wire.open_object(params) if params else {})}
    meta: dict[str, Raw | bytes] = {**(wire.open_object(members["_meta"]) if "_meta" in members else {})}
    members["_meta"] = wire.close_object({**meta, "progressToken": token})
    return wire.close_object(members)


def _members(raw: bytes) -> dict[str, Raw]:
    try:
        return wire.open_object(raw)
    except WireError:
        return {}
