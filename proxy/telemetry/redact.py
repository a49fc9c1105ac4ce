"""What no telemetry may show: configured secrets in any usual encoding, and characters that forge or hide.

A secret is looked for as it is, URL-encoded (wholly or in part), in base64 (both alphabets, with and without padding,
and inside a longer base64 text such as a Basic authorization header), and as JSON would escape it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ..texts import clean

MASK: Final = "***"
SHORTEST: Final = 4
"""Characters. A shorter secret would mask half of every text and is not looked for."""
INNER: Final = 8
"""Bytes. Only secrets from this size on are looked for in the middle of a base64 text."""
LONGEST_TEXT: Final = 8 * 1024
KEPT: Final = 4096
MEMORABLE: Final = 128


class Redactor:
    """`redactor(text)` is the text without secrets, control characters and lone surrogates, at most 8 KiB long.

    Short texts (names, mostly) are remembered, so that a name met before costs one look into a dict. To be shared by
    all that show text, in any thread, so that they learn of a new secret together.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.shown = _Memory(self._clean)
        """The same as a mapping, to look up much at once: `shown[text]`. After `learn` it is another one."""
        self._wanted: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._any_digits = False
        """Digits alone may be a secret, or a form of one."""
        self._shortest = self._longest = 0
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these, too, from now on; what was hidden stays hidden."""
        # Texts are cleaned before they are searched, so a secret is also looked for as cleaning leaves it.
        wanted = {form for secret in secrets for form in (secret, _visible(secret)) if len(form) >= SHORTEST}
        if wanted <= self._wanted:
            return
        self._wanted |= wanted
        self._shortest = min(map(len, self._wanted))
        self._longest = 6 * max(map(len, self._wanted))
        forms = {form for secret in self._wanted for form in _forms(secret)}
        self._any_digits = any(map(str.isdigit, forms))
        self._pattern = _pattern(forms)
        # The last step, and a new dict: a thread that is in a call remembers what it then knew in the old one.
        self.shown = _Memory(self._clean)

    def __call__(self, text: str) -> str:
        return self.shown[text]

    def number(self, text: str) -> str:
        """The same as `redactor(text)`, for a text such as a request's id: mostly digits, and others each time.

        Digits can't be anything to hide, unless a secret is made of them. To remember them would cost more than to see
        that, and push out names that come again.
        """
        if text.isdigit() and text.isascii() and len(text) <= MEMORABLE and not self._any_digits:
            return text
        return self.shown[text]

    def _clean(self, text: str) -> str:
        most = 2 * LONGEST_TEXT + self._longest
        much = len(text) > most
        if much:  # a bound on the work; what lies behind is cut below anyhow
            text = text[:most]
        if not (text.isascii() and text.isprintable()):
            text = _visible(text)
            if len(text) > most:  # half characters, each of which has become six
                text, much = text[:most], True
        if self._pattern is not None and len(text) >= self._shortest:
            text = self._mask(text, self._pattern)
        if much:
            # The end may hold half a secret, which no pattern knows.
            text = text[: -self._longest or None]
        return _cut(text, much)

    def _mask(self, text: str, pattern: re.Pattern[str]) -> str:
        masked = pattern.sub(MASK, text)
        while masked != text:  # what stood around a secret may now, with the mask, read like another
            text, masked = masked, pattern.sub(MASK, masked)
        return text


class _Memory(dict[str, str]):
    """What was made of short texts; what it does not know it makes."""

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> str:
        made = self._make(text)
        if len(text) <= MEMORABLE:
            if len(self) >= KEPT:
                self.clear()
            self[text] = made
        return made


def _visible(text: str) -> str:
    """Without control characters, and encodable: a lone surrogate becomes its escape."""
    return clean(text.encode(errors="backslashreplace").decode())


def _cut(text: str, much: bool) -> str:
    if not much and len(text) <= LONGEST_TEXT // 4:
        return text
    data = text.encode()
    if len(data) <= LONGEST_TEXT:
        return f"{text} [cut]" if much else text
    return data[:LONGEST_TEXT].decode(errors="ignore") + " [cut]"


def _pattern(forms: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first: otherwise a part that is found leaves the rest of the whole standing.
    return re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form))))


def _forms(secret: str) -> Iterator[str]:
    """Patterns of what a secret may look like."""
    yield "".join(map(_plain_or_percent, secret))
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        if escaped != secret or "/" in secret:  # which some encoders escape as well
            yield re.escape(escaped).replace("/", r"\\?/")
    data = secret.encode(errors="surrogatepass")
    for encoded in _base64_forms(data):
        if len(encoded) >= SHORTEST:
            yield re.escape(encoded)


def _plain_or_percent(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    percent = "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))
    either_case = re.sub("[A-F]", lambda digit: f"[{digit[0]}{digit[0].lower()}]", percent)
    plus = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|{either_case}{plus})"


def _base64_forms(data: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield whole
        yield whole.rstrip("=")
        if len(data) < INNER:
            continue
        for before in range(3):
            # Of a secret within a longer text only the characters made wholly of its own bits are sure.
            start = -(-before * 8 // 6)
            end = (before + len(data)) * 8 // 6
            yield encode(bytes(before) + data).decode()[start:end]
