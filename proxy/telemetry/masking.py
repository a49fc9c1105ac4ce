"""Payloads as texts that can be shown: cut, without configured secrets, and without what looks like one.

What looks like a secret is the value under a telling name (`password`, `api_key`, ...), in JSON or in text; a bearer
token, a JWT, a PEM block, the credentials in an address, in the options of some commands (`mysql -p...`) or in a line
of .pgpass; and any long run of characters without a pattern. So ids and hashes are masked as well, and a secret in
plain words is not: it is for debugging, not for keeping.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from .. import texts
from .redact import MASK

LONGEST: Final = 2048
"""Bytes of the text that is shown."""
MOST_READ: Final = 256 * 1024
"""Bytes of JSON that are read at all: it happens on the way to the server."""
_MOST_ITEMS: Final = 100
_DEEPEST: Final = 20
_SEARCHED: Final = 12 * 1024
"""Characters of a string that are searched."""
_SEARCHED_IN_ALL: Final = 2 * _SEARCHED
"""Those of all strings together: what comes behind them would be cut off in nearly all cases."""
_DOUBTFUL: Final = 512
"""The last of them, where it was cut, are not shown: what was cut in half may not look like a secret any more."""

_TELLING: Final = (
    r"pass(?:wor[dt]|wd|phrase|code)|(?<![a-z])pass(?![a-z]|[-_][a-z])|pwd|secret|token|credential|cookie|bearer|jwt|signature|otp"
    r"|session[-_ ]?id"
    r"|(?:proxy[-_ ]?)?auth(?!ors?(?![a-z]))|authorization"
    r"|(?:api|access|private|ssh|encryption|signing|master|licen[sc]e|account|shared|storage|service|client)[-_ ]?key"
)
_TELLING_NAME: Final = re.compile(rf"{_TELLING}|^(?:pin|cvv|cvc|ssn|pat)$", re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[\W_]+")
_PLAIN_NAME: Final = re.compile(r"[a-z]*", re.IGNORECASE)
_NAMING: Final = frozenset({"name", "key", "header", "variable"})
"""Members that may name what stands in `value` beside them, as in lists of headers and of variables."""
_OPTION_ALONE: Final = re.compile(rf"--?[\w-]{{0,30}}(?:{_TELLING})[\w-]{{0,30}}", re.IGNORECASE)
_WHOLE_LINE: Final = re.compile(
    r"((?:set-)?cookie|(?:proxy-)?authorization)(\s{0,3}[:=]\s{0,3})[^\r\n]+", re.IGNORECASE
)
# No quantifier without a bound before what is looked for: each of these is tried at every character.
# A quote may be escaped once or more, as in JSON within JSON, or percent-encoded, and a name stand in an address.
_QUOTE: Final = r"(?:\\{0,8}[\"']|%22|%27)"
_NAMED: Final = re.compile(
    rf"((?:{_TELLING})[\w-]{{0,40}}{_QUOTE}?\s{{0,3}}(?:=>|:=|[:=]|%3[ad])(?:\s{{0,3}}[|>][+-]?(?=\s))?[\s\[{{(]{{0,40}}"
    r"(?:[bruf](?=[\"']))?)"
    r"(\"(?:[^\"\\]|\\.)*+\"?|'[^']*+'?|\\{1,8}\"[^\"]*+\"?|[^\s\"',;&}\])]++)",
    re.IGNORECASE,
)
_ELEMENT: Final = re.compile(
    rf"(<[\w:.-]{{0,30}}(?:{_TELLING})[\w:.-]{{0,30}}(?:\s[^<>]{{0,200}})?>\s{{0,40}})[^<\s][^<]*+", re.IGNORECASE
)
_SAID: Final = re.compile(
    r"\b((?:password|passphrase|passcode|api key|token|secret)\s{1,3}(?:is|was)\s{0,3}:?\s{1,3})\S++", re.IGNORECASE
)
_HEX_KEY: Final = re.compile(
    rf"((?<![a-z])keys?{_QUOTE}?\s{{0,3}}(?:[:=]|is\s|was\s)?\s{{0,3}}{_QUOTE}?)(?:0x)?[0-9a-f]{{32,}}+", re.IGNORECASE
)
_QUERY: Final = re.compile(r"([?&](?:key|sig|code|pin)=)[^&#\s\"']++", re.IGNORECASE)
# A name and its password, in quotes or not. It ends the first group, in which the option stands.
_LOGIN: Final = r"(?:([\"'])[^\s:\"']{1,100}+:|[^\s:]{1,100}+:))(?(2)(?:(?!\2).)*+|\S++)"
_USER_OPTION: Final = re.compile(rf"(?<![\w-])((?:-u|--(?:proxy-)?user)[\s=]{{1,3}}{_LOGIN}")
_OPTION: Final = re.compile(
    rf"(?<![\w-])(--?[\w-]{{0,30}}(?:{_TELLING})[\w-]{{0,30}}\s{{1,3}})(?![-\s])\S++", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"\b(bearer|basic|digest|negotiate)\s{1,3}[\w+/=.~-]{6,}+", re.IGNORECASE)
# What follows one of these commands in its line is looked through for the option of its own that takes a secret: what
# `-p` is of most other commands is a port.
_COMMAND: Final = re.compile(
    r"(?<![\w.-])(?:(?P<mysql>(?:mysql|mariadb)[\w-]{0,12}+)|(?P<curl>curl)|(?P<sshpass>sshpass)|(?P<redis>redis-cli)"
    r"|(?P<mongo>mongo[a-z]{0,8}+)|(?P<login>(?:docker|podman|nerdctl|buildah|skopeo|oras|registry|az|oc)\s{1,3}login))"
    r"(?:\.exe)?(?=\s)(?:\\\r?\n|\"[^\"]{0,500}+\"|'[^']{0,500}+'|[^|;&\r\n])*+"
)
_COMMANDS: Final = ("mysql", "mariadb", "curl", "sshpass", "redis-cli", "mongo", "login")
"""One of them is in whatever _COMMAND finds."""
_WORD: Final = r"(?:\"(?:[^\"\\]|\\.)*+\"?|'[^']*+'?|\\.|[^\s\"'\\])++"
_PASSWORD_OPTION: Final = re.compile(rf"(?<=\s)(-p[\s=]{{0,3}}){_WORD}")
_OPTIONS: Final = {
    "mysql": re.compile(rf"(?<=\s)(-p)(?!\d{{1,5}}:\d){_WORD}"),
    "curl": re.compile(
        rf"(?<=\s)((?:-[fgijklnsvGIJLNORSZ#]{{0,8}}[uU]\s{{0,3}}|--(?:proxy-)?user[\s=]{{1,3}}){_LOGIN}"
    ),
    "sshpass": re.compile(rf"\A(\S{{1,20}}(?:\s{{1,3}}-[a-oq-zA-OQ-Z]){{0,3}}\s{{1,3}}-p\s{{0,3}}){_WORD}"),
    "redis": re.compile(rf"(?<=\s)(-a[\s=]{{0,3}}){_WORD}"),
    "mongo": _PASSWORD_OPTION,
    "login": _PASSWORD_OPTION,
}
# The third is a database, and no column as in `file.c:12:5:error:text`.
_PGPASS: Final = re.compile(
    r"(?<![^\s\"'])([^:\s\"']{1,100}+:(?:\d{1,5}|\*):(?!\d+:)(?:(?:[^:\s\\]|\\.){1,64}+:){2})(?:[^:\s\"'\\]|\\.)++"
    r"(?=[\s\"']|\Z)"
)
_PGPASS_COLONS: Final = 4
_PEM: Final = re.compile(r"-----BEGIN [^-\r\n]{1,64}-----.*?(?:-----END [^-\r\n]{1,64}-----|\Z)", re.DOTALL)
_JWT: Final = re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){1,4}")
_USERINFO: Final = re.compile(r"(://(?:[^/?#@:\s]{0,256}:)?)([^/?#@:\s][^/?#@\s]{0,255})@")
_KNOWN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|pk_|rk_|sk_|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|AKIA|ASIA|AIza|npm_|pypi-|hf_|ya29\.)"
    r"[\w.-]{8,}+"
)
_RUN: Final = re.compile(r"[A-Za-z0-9_=+-]{20,}+")
_RUN_WITH_SLASHES: Final = re.compile(r"[A-Za-z0-9_=+/-]{32,}+")
_PARTS: Final = re.compile(r"[-_+=/]")
_LONGEST_WORD: Final = 16
_LONGEST_OPTION: Final = 100
# One of these is in whatever the patterns above find that look for words; most texts have none, which is quickly seen.
_ROOTS: Final = (
    "pass", "pwd", "secret", "token", "cred", "cookie", "bearer", "jwt", "sign", "otp", "session", "auth", "key",
    "basic", "digest", "negotiate",
)  # fmt: skip
_RANDOM: Final = 3.2
_RANDOM_WITH_SLASHES: Final = 4.5
"""Bits for each character. Words with a few digits have less, and paths, which have slashes, less than base64."""


class Masker:
    """`masker(raw)` is some JSON (arguments, a result or an error) as a text that may be shown.

    `redact` masks configured secrets in a text, cuts it at some KiB, and takes its control characters.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._left = 0
        """Characters that are searched yet."""

    def __call__(self, raw: bytes) -> str:
        self._left = _SEARCHED_IN_ALL
        if len(raw) > MOST_READ:
            return f"[{len(raw)} bytes, too many to look through]"
        try:
            value = _read(raw)
        except (ValueError, RecursionError):
            return f"[{len(raw)} bytes that could not be read]"
        text = self._answer(value) if isinstance(value, dict) and _is_answer(value) else self._dump(value)
        return texts.cut(text, LONGEST)

    def _text(self, text: str) -> str:
        """A text without secrets. For what `__call__` goes through."""
        limit = min(_SEARCHED, self._left)
        if limit <= 0:
            return "…"
        self._left -= min(limit, len(text))
        # Configured secrets first: of one that is half masked already the other half would stay.
        redacted = self._redact(text[:limit])
        masked = mask(redacted)
        return masked[:-_DOUBTFUL] + "…" if len(text) > limit or redacted.endswith(" [cut]") else masked

    def _answer(self, value: dict[str, object]) -> str:
        content = value.get("content")
        if isinstance(content, list) and content:
            return "\n".join(self._block(block) for block in content[:_MOST_ITEMS])
        if "structuredContent" in value:
            return self._dump(value["structuredContent"])
        return self._loose(str(value["message"])) if "message" in value else self._dump(value)

    def _block(self, block: object) -> str:
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            return self._loose(block["text"])
        kind = block.get("type") if isinstance(block, dict) else None
        return f"[{self._text(str(kind))}]"

    def _loose(self, text: str) -> str:
        """A text that may be JSON, as those of tools often are: then its members' names tell more."""
        if text.lstrip()[:1] in ("{", "[") and len(text) <= MOST_READ:
            try:
                return self._dump(_read(text.encode()))
            except (ValueError, RecursionError):
                pass
        return self._text(text)

    def _dump(self, value: object) -> str:
        return json.dumps(self._masked(value, 0, hidden=False), ensure_ascii=False, separators=(",", ":"))

    def _masked(self, value: object, depth: int, *, hidden: bool, command: str = "") -> object:
        self._left -= 1
        if depth > _DEEPEST or self._left <= 0:
            return "…"
        if isinstance(value, dict):
            some = list(value.items())[:_MOST_ITEMS]
            named, command = _names_value(value), _command(value.get("command"))
            return {
                self._name(name, hidden): self._masked(
                    each, depth + 1, hidden=hidden or _is_telling(name) or (named and name == "value"), command=command
                )
                for name, each in some
            }
        if isinstance(value, list):
            return self._masked_list(value[:_MOST_ITEMS], depth, hidden=hidden, command=command)
        if hidden and value is not None and not isinstance(value, bool):
            return MASK
        if isinstance(value, str):
            return self._loose(value)
        # A number may be a configured secret as well.
        return value if value is None or isinstance(value, bool) or self._redact(str(value)) == str(value) else MASK

    def _name(self, name: str, hidden: bool) -> str:
        """Among secrets, which may be named by each other, only what reads like a name is shown."""
        return MASK if hidden and not all(map(_is_word, _PARTS.split(name))) else self._text(name)

    def _masked_list(self, values: list[object], depth: int, *, hidden: bool, command: str) -> list[object]:
        """What follows an option of a telling name, in the arguments of a command, is that option's."""
        shown: list[object] = []
        before: object = None
        command = command or (_command(values[0]) if values else "")
        for value in values:
            shown.append(self._masked(value, depth + 1, hidden=hidden or _takes_secret(command, before, value)))
            before = value
        return shown


def mask(text: str) -> str:
    """`text` without what looks like a secret."""
    text = _PEM.sub(MASK, text)
    small = text.lower()
    if any(root in small for root in _ROOTS):
        text = _WHOLE_LINE.sub(rf"\1\2{MASK}", text)
        text = _NAMED.sub(_quoted_mask, text)
        text = _ELEMENT.sub(rf"\1{MASK}", text)
        text = _SAID.sub(rf"\1{MASK}", text)
        text = _HEX_KEY.sub(rf"\1{MASK}", text)
        text = _OPTION.sub(rf"\1{MASK}", text)
        text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _USERINFO.sub(_masked_user, text)
    if any(command in text for command in _COMMANDS):
        text = _COMMAND.sub(_masked_command, text)
    if text.count(":") >= _PGPASS_COLONS:
        text = _PGPASS.sub(rf"\1{MASK}", text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _USER_OPTION.sub(rf"\1{MASK}", text)
    text = _JWT.sub(MASK, text)
    text = _KNOWN.sub(MASK, text)
    text = _RUN_WITH_SLASHES.sub(lambda run: _unless_random(run[0], _RANDOM_WITH_SLASHES), text)
    return _RUN.sub(lambda run: _unless_random(run[0], _RANDOM), text)


def _quoted_mask(found: re.Match[str]) -> str:
    end = len(found[2]) - len(found[2].lstrip("\\"))
    quote = found[2][: end + 1] if found[2][end : end + 1] in ('"', "'") else ""
    return f"{found[1]}{quote}{MASK}{quote}"


def _masked_user(found: re.Match[str]) -> str:
    """A name alone is mostly one, as `git` is; but it may be a token as well."""
    return found[0] if found[1] == "://" and _is_word(found[2]) else f"{found[1]}{MASK}@"


def _masked_command(found: re.Match[str]) -> str:
    return _OPTIONS[found.lastgroup or ""].sub(rf"\1{MASK}", found[0])


def _takes_secret(command: str, before: object, value: object) -> bool:
    """Whether `value`, among the arguments of a command, holds the secret of an option, which may stand `before` it."""
    option = before if isinstance(before, str) and len(before) < _LONGEST_OPTION else ""
    if option and _OPTION_ALONE.fullmatch(option):
        return True
    if not command or not isinstance(value, str):
        return False
    lines = (f"{command} {value[:_LONGEST_OPTION]}", f"{command} {option} {value[:_LONGEST_OPTION]}")
    return any(_COMMAND.sub(_masked_command, line) != line for line in lines)


def _command(value: object) -> str:
    """A command, or the path to one, that is known to take secrets; "" where it is none."""
    is_known = isinstance(value, str) and len(value) < _LONGEST_OPTION and _COMMAND.search(f"{value} ") is not None
    return str(value) if is_known else ""


def _is_telling(name: str) -> bool:
    if _TELLING_NAME.search(name) is not None:
        return True
    if _PLAIN_NAME.fullmatch(name):
        return False
    return _TELLING_NAME.search(_SEPARATORS.sub("", unicodedata.normalize("NFKC", name))) is not None


def _names_value(value: dict[str, object]) -> bool:
    """Whether one member says that what stands in `value` beside it is a secret."""
    return "value" in value and any(
        isinstance(said, str) and name.lower() in _NAMING and _is_telling(said) for name, said in value.items()
    )


def _unless_random(run: str, least: float) -> str:
    if not any(map(str.isdigit, run)) or not any(map(str.isalpha, run)) or all(map(_is_word, _PARTS.split(run))):
        return run
    total = len(run)
    entropy = -sum(count / total * math.log2(count / total) for count in Counter(run).values())
    return MASK if entropy >= least else run


def _is_word(part: str) -> bool:
    """Whether it is like the parts of names: `create`, `Issue`, `v2`, `2026`."""
    if part.isalpha():
        return len(part) <= _LONGEST_WORD and (part.islower() or part.isupper() or part.istitle())
    return len(part) <= 2 or (part.isdigit() and len(part) <= 4)


def _is_answer(value: dict[str, object]) -> bool:
    return isinstance(value.get("content"), list) or "structuredContent" in value or value.keys() >= {"code", "message"}


def _read(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return json.loads(raw.decode())  # half a character, or a number out of range: JSON all the same
