"""The bearer token that whoever comes over the network has to show: made at the first start, this user's alone."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from ..errors import ManifoldError

_NAME: Final = "token"
_BYTES: Final = 32
_LONGEST: Final = 1024
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class NoToken(ManifoldError):
    """The token can't be read or made; the text says what to do."""


def token_file(state: Path) -> Path:
    """Where the token is."""
    return state / _NAME


def load_token(state: Path, given: Path | None = None) -> str:
    """The token: the one in the file `given`, else ours, made where there is none. Raises NoToken.

    Of several processes that make one at a time the first wins, and all get the same.
    """
    if given is not None:
        return _read_given(given)
    path = token_file(state)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as problem:
        raise NoToken(f"{path}: the access token can't be kept: {problem.strerror or problem}") from None


def is_token(given: str, token: str) -> bool:
    """Whether this is the token; takes the same time whatever is wrong with it."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _make(path: Path) -> None:
    fresh = path.with_name(f".{_NAME}.{secrets.token_hex(6)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_urlsafe(_BYTES) + "\n")
        try:
            os.link(fresh, path)  # unlike a rename, it does not replace what another process made meanwhile
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read_given(path: Path) -> str:
    """A secret that somebody else keeps and mounts, mostly as a link, of another owner, readable by a group of ours."""
    try:
        # Without waiting, should it be a pipe that nobody writes to.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), errors="replace") as stream:
            found = os.fstat(stream.fileno())
            text = stream.read(_LONGEST + 1) if stat.S_ISREG(found.st_mode) else ""
    except OSError as problem:
        raise NoToken(f"`proxy.http.tokenFile` can't be read ({path}): {problem.strerror or problem}") from None
    if hasattr(os, "geteuid") and found.st_mode & 0o027:
        what = f"everybody may read {path}, or others write it"
        raise NoToken(f"`proxy.http.tokenFile`: {what}; `chmod g-w,o=` ends that")
    return _token_in(text, f"`proxy.http.tokenFile` ({path})", f"put {_BYTES} characters or more into it, on one line")


def _read(path: Path) -> str:
    remedy = "remove it, and one is made"
    if not stat.S_ISREG(path.lstat().st_mode):  # a link may lead to what others know, and a pipe has no end
        raise NoToken(f"{path}: is no file, so it holds no access token; {remedy}")
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_FOLLOW), errors="replace") as stream:
        found = os.fstat(stream.fileno())
        text = stream.read(_LONGEST + 1)
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise NoToken(f"{path}: the access token belongs to another user; {remedy}")
        if found.st_mode & 0o077:
            raise NoToken(f"{path}: others may have read or written the access token; {remedy}")
    return _token_in(text, str(path), remedy)


def _token_in(text: str, where: str, remedy: str) -> str:
    token = text.strip()
    if not _BYTES <= len(token) <= _LONGEST or not token.isascii() or not token.isprintable() or " " in token:
        raise NoToken(f"{where}: holds no access token; {remedy}")
    return token
