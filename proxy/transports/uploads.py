"""Messages on their way out over HTTP: how many bytes the server still has to take, and of which requests the end.

A body is given to the network piece by piece, so it is known whether its last piece was; without that no server has
seen the request whole, and it can be taken back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx2
from msgspec import Raw

from .. import wire
from .channel import CHOKED_FROM

MOST_KEPT: Final = 64 * 1024 * 1024
"""Bytes that have left and are kept until the server begins to answer, since it may redirect them."""

_PIECE: Final = 64 * 1024


class Upload(httpx2.AsyncByteStream):
    """One message as the body of a POST.

    `id` is raw, `request_id` the same where it is a request of ours. Nothing depends on the answer to what is `aside`:
    notifications but the first, and answers to the server's requests.
    """

    def __init__(self, line: bytes, uploads: Uploads) -> None:
        envelope = wire.decode(line)
        self.line = line
        self.size = len(line)
        self.method = envelope.method
        self.id = bytes(envelope.id)
        self.request_id = self.id if envelope.method else b""
        self.is_result = bool(envelope.result)
        self.is_aside = not self.request_id and self.method != "notifications/initialized"
        self.cancels = _cancelled_id(envelope.params) if self.method == "notifications/cancelled" else b""
        """The raw id of the request of ours that nobody waits for any more."""
        self.has_left = False
        self.is_void = False
        """It was taken back."""
        self._uploads = uploads

    async def __aiter__(self) -> AsyncIterator[bytes]:
        last = max(0, len(self.line) - 1) // _PIECE * _PIECE
        for start in range(0, last, _PIECE):
            yield self.line[start : start + _PIECE]
        if self.is_void:
            raise httpx2.WriteError("it was taken back")
        self.has_left = True
        self._uploads.left(self)
        yield self.line[last:]

    def done(self, *, redirected: bool = False) -> None:
        """It was answered, or won't be: it may be sent once more if the server said where to."""
        self._uploads.done(self)
        if redirected:
            self.has_left = False
        else:
            self.line = b""


def _cancelled_id(params: Raw) -> bytes:
    return bytes(wire.open_object(params).get("requestId", b""))


class Uploads:
    """All messages of a channel that are still on their way.

    `full` is told True when the server takes so little that it should get no more calls, and False when it does again.
    """

    def __init__(self, full: Callable[[bool], None]) -> None:
        self._full = full
        self._is_full = False
        self._waiting: dict[Upload, None] = {}
        self._kept: dict[Upload, None] = {}
        self.waiting = 0
        """Bytes of which the server still has to take the end."""
        self.kept = 0

    def add(self, line: bytes) -> Upload:
        """One more."""
        upload = Upload(line, self)
        self._waiting[upload] = None
        self.waiting += upload.size
        self._limit()
        return upload

    def left(self, upload: Upload) -> None:
        """Its last piece is with the network."""
        if self._waiting.pop(upload, upload) is None:
            self.waiting -= upload.size
            self._kept[upload] = None
            self.kept += upload.size
            self._limit()

    def done(self, upload: Upload) -> None:
        """Nothing of it is needed any more."""
        self.left(upload)
        if self._kept.pop(upload, upload) is None:
            self.kept -= upload.size
            self._limit()

    def take_back(self) -> list[bytes]:
        """Of the requests that have not left, none does from now on; returns them."""
        back = [upload for upload in self._waiting if upload.request_id]
        for upload in back:
            upload.is_void = True
        return [upload.line for upload in back]

    def _limit(self) -> None:
        if self._is_full:
            full = self.waiting > CHOKED_FROM // 4 or self.kept > MOST_KEPT // 2
        else:
            full = self.waiting > CHOKED_FROM or self.kept > MOST_KEPT
        if full != self._is_full:
            self._is_full = full
            self._full(full)
