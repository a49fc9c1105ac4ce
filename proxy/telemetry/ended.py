"""What spans are made of: a request that ended, whoever asked it, and how those on either side are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from ..events import QuestionFinished, RequestFinished
from ..tracecontext import Trace

if TYPE_CHECKING:
    from ..config.models import ServerEntry


class Way(msgspec.Struct, frozen=True):
    """How one side is connected: a client's session, its revision of the protocol, and what it is reached through."""

    session: str = ""
    protocol: str = ""
    transport: str = ""
    network: str = ""
    address: str = ""
    port: int = 0


class Ended(msgspec.Struct, frozen=True):
    """A request that ended and is recorded, with the ways to who asked and to who was asked.

    `request_id` is the asker's, `target` the name of what is asked for, as who was asked knows it. The rest is as in
    the events.
    """

    trace: Trace
    near: Way
    far: Way
    method: str
    server: str
    outcome: str
    seconds: float
    request_id: str
    reason: str
    target: str = ""
    client: str = ""


def of_request(event: RequestFinished, trace: Trace, client: Way, server: Way) -> Ended:
    """What a client asked of a server."""
    return Ended(
        trace,
        client,
        server,
        event.method,
        event.server,
        event.outcome,
        event.seconds,
        event.request_id,
        event.reason,
        event.tool,
        event.client,
    )


def of_question(event: QuestionFinished, trace: Trace, server: Way, client: Way) -> Ended:
    """What a server asked of a client."""
    return Ended(
        trace,
        server,
        client,
        event.method,
        event.server,
        event.outcome,
        event.seconds,
        event.request_id,
        event.reason,
    )


def way_to(entry: ServerEntry | None, protocol: str) -> Way:
    """The way to a server, None where it is configured no more."""
    if entry is None:
        return Way("", protocol)
    if entry.url is None:
        return Way("", protocol, "pipe")
    try:
        parts = urlsplit(entry.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # no port, which is told elsewhere
        return Way("", protocol, "tcp", "http")
    return Way("", protocol, "tcp", "http", parts.hostname or "", port)
