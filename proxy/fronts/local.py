"""A client inside this process, through the whole path: for the command line."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import anyio
from msgspec import Raw

from .. import __version__, wire
from ..eras import handshake
from ..errors import METHOD_NOT_FOUND, ManifoldError, WireError, refusal
from ..pump import Pump
from ..relay.peers import Buffer


class LocalClient:
    """Speaks to the relay as any client does, in lines. `notified` gets (method, raw params) of notifications.

    `offer` is what it says that it can do: by itself nothing. Whatever a server asks of it is refused.
    """

    def __init__(
        self,
        pump: Pump,
        label: str,
        notified: Callable[[str, bytes], None] | None = None,
        offer: handshake.Offer | None = None,
    ) -> None:
        self._pump = pump
        self._ids = itertools.count(1)
        self._waiting: dict[bytes, Callable[[wire.Envelope], None]] = {}
        self._notified = notified
        self._offer = handshake.Offer(handshake.LATEST, b"{}") if offer is None else offer
        self._framer = wire.Framer()
        self._session = pump.relay.open_session(label)
        self._session.sink = self._receive
        self._intake = pump.client_intake(self._session)

    async def initialize(self) -> None:
        """Shake hands."""
        params = {
            "protocolVersion": self._offer.protocol,
            "capabilities": Raw(self._offer.capabilities),
            "clientInfo": {"name": "mcp-manifold-cli", "version": __version__},
        }
        await self.request("initialize", wire.encode(params))
        self._intake.data(wire.notification("notifications/initialized"))

    async def request(self, method: str, params: bytes = b"") -> bytes:
        """Send a request and wait for the raw result. Raises RequestFailed where it is an error."""
        id = next(self._ids)
        answered = anyio.Event()
        answers: list[wire.Envelope] = []

        def take(envelope: wire.Envelope) -> None:
            answers.append(envelope)
            answered.set()

        self._waiting[b"%d" % id] = take
        self._intake.data(wire.request(id, method, params))
        await answered.wait()
        if answers[0].error:
            raise RequestFailed(bytes(answers[0].error))
        return bytes(answers[0].result)

    def close(self) -> None:
        """End the session."""
        self._pump.do(self._pump.relay.close_session, self._session, self._pump.now())

    def _receive(self, data: Buffer) -> None:
        for line in self._framer.feed(bytes(data)):
            envelope = wire.decode(line)
            if envelope.method:
                if envelope.id:
                    answer = wire.error(bytes(envelope.id), refusal(METHOD_NOT_FOUND, "nobody is there to be asked"))
                    self._pump.later(partial(self._intake.data, answer))
                elif self._notified is not None:
                    self._notified(envelope.method, bytes(envelope.params))
                continue
            take = self._waiting.pop(bytes(envelope.id), None)
            if take is not None:
                take(envelope)


class RequestFailed(ManifoldError):
    """The answer is an error; `error` is its raw JSON, the text its message."""

    def __init__(self, error: bytes) -> None:
        self.error = error
        super().__init__(_message(error) or error.decode(errors="replace"))


def _message(error: bytes) -> str | None:
    try:
        return wire.text(wire.open_object(error).get("message"))
    except WireError:
        return None
