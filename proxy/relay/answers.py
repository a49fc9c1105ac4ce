"""What an answer of a server says, and whether clients could read it."""

from __future__ import annotations

from msgspec import Raw

from .. import texts, wire
from ..errors import WireError


def code_of(error: Raw | bytes) -> int:
    code = bytes(wire.open_object(error)["code"])
    return int(code) if len(code) < 20 else 0


def is_error(error: Raw) -> bool:
    """Whether an error has the code and message without which clients can't read it."""
    try:
        members = wire.open_object(error)
    except WireError:
        return False
    code = bytes(members.get("code", b"")).removeprefix(b"-")
    return code.isdigit() and wire.text(members.get("message")) is not None


def shown(error: Raw) -> str:
    """What a malformed error says, for a message of ours."""
    return texts.cut(texts.printable(texts.clean(bytes(error).decode(errors="replace"))), 300)


def is_tool_error(result: Raw) -> bool:
    """Whether a result says `isError: true`."""
    try:
        return bytes(wire.open_object(result).get("isError", b"")) == b"true"
    except WireError:
        return False
