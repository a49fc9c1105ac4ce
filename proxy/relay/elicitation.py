"""What a server asks of a client's user: shown under its name, and followed to its end where it is at a URL."""

from __future__ import annotations

from msgspec import Raw

from .. import texts, wire
from ..errors import WireError
from .peers import Link, Session


def signed(server: str, message: Raw | bytes | None) -> bytes | None:
    """The text of an elicitation with the name of who asks before it, as JSON; None where it is no text.

    A user has to know to whom an answer goes, so nothing in the text may hide the name.
    """
    text = wire.text(message)
    return wire.encode_text(f"{server}: {texts.clean(text)}") if text is not None else None


def required(link: Link, session: Session, error: Raw) -> Raw | bytes:
    """An error that asks for the user at some URL first (-32042): signed, and the server may say when that is done."""
    try:
        members = wire.open_object(error)
        data = wire.open_object(members.get("data", Raw(b"{}")))
        items = wire.open_array(data.get("elicitations", Raw(b"[]")))
        edited = [_required(link, session, item) for item in items]
    except WireError:
        return error
    if not edited:
        return error
    told = wire.close_object({**data, "elicitations": b"[" + b",".join(edited) + b"]"})
    return wire.close_object({**members, "data": told})


def _required(link: Link, session: Session, item: Raw) -> bytes:
    members: dict[str, Raw | bytes] = {**wire.open_object(item)}
    link.expect(bytes(members.get("elicitationId", b"")), session)
    message = signed(link.server, members.get("message"))
    if message is not None:
        members["message"] = message
    return wire.close_object(members)
