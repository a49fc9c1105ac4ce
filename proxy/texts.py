"""What a server's texts lose on their way to a model: characters that hide or forge what a person would see.

Control characters, ANSI escape sequences, Unicode tag characters and bidirectional overrides are removed from tool
names, titles and descriptions. Nothing else of a tool is touched.
"""

from __future__ import annotations

import re
from typing import Final

_ANSI: Final = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
_HIDDEN: Final = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
_UNWANTED: Final = re.compile(f"{_ANSI}|{_HIDDEN}")
# In JSON such a character is an escape or not ASCII: most texts are cleared by this look alone.
_SUSPICIOUS: Final = re.compile(rb"\\[ubfr]|[\x7f-\xff]")


def clean(text: str) -> str:
    """`text` without hidden characters; tabs and line feeds stay, a CR before LF goes."""
    return _UNWANTED.sub("", text)


def may_need_cleaning(raw: bytes) -> bool:
    """Whether a raw JSON string can hold anything that `clean` removes."""
    return _SUSPICIOUS.search(raw) is not None


def printable(text: str) -> str:
    """`text` as it can be encoded: half a character, which JSON can hold, becomes a replacement character."""
    return text.encode(errors="replace").decode()


def first_line(text: str) -> str:
    """The first line that says something, for tables."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def one_line(text: str, longest: int) -> str:
    """`text` for an error message: on one line, without hidden characters, cut to `longest` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def cut(text: str, size: int) -> str:
    """`text` cut to at most `size` bytes of UTF-8, with an ellipsis where something is missing."""
    data = text.encode(errors="replace")
    if len(data) <= size:
        return text
    return data[: max(0, size - 3)].decode(errors="ignore").rstrip() + "…"
