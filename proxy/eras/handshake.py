"""The handshake era, revisions 2024-11-05 to 2025-11-25: `initialize` on either side.

As the server of a client: which revision is agreed, and what the answer says. As the client of a server: what we send,
and what its answer means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from .. import texts, wire
from ..errors import WireError

REVISIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST: Final = REVISIONS[-1]
BATCHING: Final = "2025-03-26"
"""The only revision with JSON-RPC batches."""

MODERN_ONLY: Final = -32022
"""What a server of revision 2026-07-28 answers to `initialize`: unsupported protocol version."""

INSTRUCTIONS_BUDGET: Final = 2048
_SMALLEST_SHARE: Final = 60
_BETWEEN: Final = "\n\n"


class ClientHello(msgspec.Struct, frozen=True):
    """What a client says of itself at `initialize`; `capabilities` are raw JSON, by name."""

    requested: str
    name: str
    version: str
    capabilities: dict[str, bytes]


class Offer(msgspec.Struct, frozen=True):
    """What servers are told of the clients that we speak for: revision and capabilities (raw JSON)."""

    protocol: str
    capabilities: bytes


class ServerHello(msgspec.Struct, frozen=True):
    """What a server answers to `initialize`: revision, capabilities (raw, by name), who it is, instructions."""

    protocol: str
    capabilities: dict[str, bytes]
    name: str
    version: str
    instructions: str


SHARED: Final = Offer(
    LATEST,
    b'{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}},'
    b'"tasks":{"list":{},"cancel":{},"requests":{"sampling":{"createMessage":{}},"elicitation":{"create":{}}}}}',
)
"""What servers are told where clients of many kinds come and go: all that any of them may be able to do. A client that
can't do what a server then asks is not asked; the server gets an error."""


def read_client(params: Raw | bytes) -> ClientHello:
    """Read the params of `initialize`. Raises WireError where `protocolVersion` is missing or params is no object."""
    members = wire.open_object(params or b"{}")
    requested = wire.text(members.get("protocolVersion"))
    if requested is None:
        raise WireError("initialize needs params.protocolVersion, a string")
    info = _object(members.get("clientInfo"))
    return ClientHello(
        requested=requested,
        name=_text(info.get("name")) or "unknown",
        version=_text(info.get("version")),
        capabilities=_declared(members.get("capabilities")),
    )


def agree(requested: str) -> str:
    """The revision to answer: the requested one if it is known, else the latest (as the specification says)."""
    return requested if requested in REVISIONS else LATEST


def server_result(protocol: str, name: str, version: str, instructions: str) -> bytes:
    """Our `initialize` result to a client: all that any server may offer, since none has said yet what it does."""
    capabilities: dict[str, object] = {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
    }
    if protocol != REVISIONS[0]:
        capabilities["completions"] = {}
    if protocol == LATEST:
        capabilities["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    answer: dict[str, object] = {
        "protocolVersion": protocol,
        "capabilities": capabilities,
        "serverInfo": {"name": name, "version": version},
    }
    if instructions:
        answer["instructions"] = instructions
    return wire.encode(answer)


def offer(clients: Sequence[tuple[str, Mapping[str, bytes]]]) -> Offer:
    """What to tell servers of these clients (revision, capabilities): of one its own words, of several all together."""
    protocol, capabilities = clients[0]
    merged = Raw(wire.close_object(capabilities))
    for other, more in clients[1:]:
        protocol = max(protocol, other)
        merged = _merged(merged, Raw(wire.close_object(more)))
    return Offer(protocol, bytes(merged))


def _merged(one: Raw, other: Raw) -> Raw:
    """Two objects as one with the members of both; where both have one that is no object, the first one's."""
    if bytes(one)[:1] != b"{" or bytes(other)[:1] != b"{":
        return one
    members, more = wire.open_object(one), wire.open_object(other)
    for key, value in more.items():
        members[key] = _merged(members[key], value) if key in members else value
    return Raw(wire.close_object(members))


def client_params(version: str, offer: Offer) -> bytes:
    """Our `initialize` params to a server."""
    info = {"name": "mcp-manifold", "version": version}
    return wire.encode({"protocolVersion": offer.protocol, "capabilities": Raw(offer.capabilities), "clientInfo": info})


def read_server(result: Raw | bytes) -> ServerHello:
    """Read a server's `initialize` result. Raises WireError, in words for the user, where it can't be used."""
    members = wire.open_object(result)
    protocol = wire.text(members.get("protocolVersion"))
    if protocol is None:
        raise WireError("it names no protocolVersion")
    if protocol not in REVISIONS:
        wanted = texts.one_line(protocol, 40)
        raise WireError(f"it wants protocol revision {wanted!r}; supported are {', '.join(REVISIONS)}")
    info = _object(members.get("serverInfo"))
    return ServerHello(
        protocol=protocol,
        capabilities=_declared(members.get("capabilities")),
        name=_text(info.get("name")),
        version=_text(info.get("version")),
        instructions=_text(members.get("instructions")),
    )


def combined_instructions(own: str, servers: Iterable[tuple[str, str]]) -> str:
    """The config's text and the servers' (prefix, text), cut to 2 KB in total.

    Clients cut at 2 KB, so space is shared fairly: our own text first, then each server gets an equal share, and what
    a short one leaves goes to the longer ones.
    """
    own = texts.printable(texts.clean(own)).strip()
    parts = [texts.cut(own, INSTRUCTIONS_BUDGET)] if own else []
    left = INSTRUCTIONS_BUDGET - sum(len(part.encode()) for part in parts)
    cleaned = [(f"{prefix}: ", texts.printable(texts.clean(text)).strip()) for prefix, text in servers]
    waiting = [(head, text) for head, text in cleaned if text]
    shares = [""] * len(waiting)
    for turn, index in enumerate(sorted(range(len(waiting)), key=lambda index: len(waiting[index][1].encode()))):
        head, text = waiting[index]
        share = left // (len(waiting) - turn) - len(head.encode()) - len(_BETWEEN)
        if share < _SMALLEST_SHARE and share < len(text.encode()):
            continue
        shares[index] = head + texts.cut(text, share)
        left -= len(shares[index].encode()) + len(_BETWEEN)
    return _BETWEEN.join([*parts, *(share for share in shares if share)])


def _declared(raw: Raw | None) -> dict[str, bytes]:
    """Capabilities by name; null and false are no declarations."""
    return {key: bytes(value) for key, value in _object(raw).items() if bytes(value) not in (b"null", b"false")}


def _text(raw: Raw | None) -> str:
    """An optional string that can be shown; "" where it is missing or something else."""
    return texts.printable(wire.text(raw) or "")


def _object(raw: Raw | bytes | None) -> dict[str, Raw]:
    """The members of an optional object; {} where it is missing or something else."""
    if not raw:
        return {}
    try:
        return wire.open_object(raw)
    except WireError:
        return {}
