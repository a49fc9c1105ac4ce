"""The page itself: a few static files, read once, which need no token since they hold nothing of the user's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from .asgi import Header, Reply, Request
from .problems import Problem, only_read

FOLDER: Final = Path(__file__).parent / "page"

_TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}

# What a server says is shown on this page, so nothing that it says may run, or be fetched: no script but ours, no text
# that becomes markup (trusted types), images and sounds only where they are in the answer itself.
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEAD: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-cache"),
)


class _File(msgspec.Struct, frozen=True):
    body: bytes
    type: bytes
    etag: str


class Page:
    """Serves the files of a folder: `index.html` at `/`, all others under `/page/`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            file.relative_to(folder).as_posix(): _read(file)
            for file in sorted(folder.rglob("*"))
            if file.suffix in _TYPES
        }

    async def serve(self, request: Request, reply: Reply) -> None:
        """`GET /` and `GET /page/...`."""
        only_read(request, "; MCP is at /mcp")
        name = "index.html" if request.path == "/" else request.path.removeprefix("/page/")
        file = self._files.get(name)
        if file is None:
            raise Problem(404, f"there is nothing at {request.path[:200]}")
        head: tuple[Header, ...] = (*_HEAD, (b"etag", file.etag.encode()))
        if file.etag in request.headers.get("if-none-match", ""):
            await reply.empty(304, *head)
        else:
            await reply.whole(200, file.body, (b"content-type", file.type), *head)


def _read(file: Path) -> _File:
    body = file.read_bytes()
    return _File(body, _TYPES[file.suffix], f'"{hashlib.sha256(body).hexdigest()[:24]}"')
