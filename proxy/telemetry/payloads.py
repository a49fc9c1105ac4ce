"""What the log and the audit may know of a call's arguments and result: a hash, sizes, or texts without secrets."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from .. import wire
from ..errors import WireError
from ..events import Inspector, Noted

if TYPE_CHECKING:
    from ..config.models import ProxySettings
    from .redact import Redactor

MOST_NAMES: Final = 50
_LONGEST_NAME: Final = 100
_NOTHING: Final = Noted()


def inspector(settings: ProxySettings, redactor: Redactor) -> Inspector | None:
    """Who looks at the payload of calls, as the configuration has it; None where nobody wants to know anything."""
    has_calls = {settings.log.level, *settings.log.levels.values()} & {"debug", "info"}
    told = settings.log.payloads if has_calls else False
    noters: list[Inspector] = []
    if settings.audit.file is not None:
        noters.append(Digests())
    if told == "names":
        noters.append(Sizes())
    elif told == "redacted":
        from .masking import Masker  # its patterns take 10 ms to compile, and this is for debugging

        noters.append(Texts(Masker(redactor)))
    if len(noters) > 1:
        return _Both(*noters)
    return noters[0] if noters else None


class Digests:
    """The SHA-256 of the arguments, over the bytes as the client sent them."""

    sees_answers = False

    def arguments(self, raw: msgspec.Raw | bytes) -> Noted:
        return Noted(sha256(raw).hexdigest()) if raw else _NOTHING

    def answer(self, noted: Noted, raw: msgspec.Raw | bytes) -> Noted:
        return noted


class Sizes:
    """The names of the arguments, with the bytes of each one's value; of very many the first."""

    sees_answers = False

    def arguments(self, raw: msgspec.Raw | bytes) -> Noted:
        try:
            members = wire.open_object(raw)
        except WireError:
            return _NOTHING  # it is none, and the server will say so
        names = list(members.items())[:MOST_NAMES]
        return Noted(sizes={name[:_LONGEST_NAME]: len(memoryview(value)) for name, value in names})

    def answer(self, noted: Noted, raw: msgspec.Raw | bytes) -> Noted:
        return noted


class Texts:
    """Arguments and answer as `show` makes texts of them, which has to leave out what nobody may see."""

    sees_answers = True

    def __init__(self, show: Callable[[bytes], str]) -> None:
        self._show = show

    def arguments(self, raw: msgspec.Raw | bytes) -> Noted:
        return Noted(arguments=self._show(bytes(raw))) if raw else _NOTHING

    def answer(self, noted: Noted, raw: msgspec.Raw | bytes) -> Noted:
        return msgspec.structs.replace(noted, result=self._show(bytes(raw)))


class _Both:
    """The hash of the first, and the rest of the second."""

    def __init__(self, digests: Inspector, others: Inspector) -> None:
        self._digests = digests
        self._others = others
        self.sees_answers = others.sees_answers

    def arguments(self, raw: msgspec.Raw | bytes) -> Noted:
        noted = self._others.arguments(raw)
        return msgspec.structs.replace(noted, digest=self._digests.arguments(raw).digest)

    def answer(self, noted: Noted, raw: msgspec.Raw | bytes) -> Noted:
        return self._others.answer(noted, raw)
