"""What one MCP session over HTTP has to say: which message goes over which stream, and what can be heard again.

A message is said once. The answer to a request, and its progress, go over the stream of the POST that brought it; what
belongs to no request in particular goes over the only POST that waits, else over the GET stream. A stream can be
resumed after its connection broke: what it said is kept for a while, within bounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from .. import wire
from ..errors import WireError

MOST_KEPT: Final = 1024 * 1024
"""Bytes of messages that one session keeps for streams that break. The oldest go first."""
MOST_UNHEARD: Final = 256 * 1024
"""Bytes that wait for a GET which nobody sends. The oldest go first, so that they are in nobody's way."""

_PROGRESS: Final = "notifications/progress"


def nobody() -> None:
    """Whom a stream tells of messages while nobody reads it."""


class Message(msgspec.Struct, frozen=True):
    """One message as it goes over a stream: its number there, and its line without the line end."""

    number: int
    line: bytes


class Stream:
    """A sequence of messages towards the client. `wake` is called when there is more to read, or it is over."""

    def __init__(self, number: int, ids: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        self.number = number
        self.ids = ids
        self.tokens = tokens
        self.expects = set(ids)
        """Raw ids of requests whose answers are still to come over this stream."""
        self.is_endless = not ids
        """It ends with its connection, and not with an answer."""
        self.wake: Callable[[], None] = nobody
        self.waiting: deque[Message] = deque()
        """What no connection has taken yet."""
        self.kept: deque[Message] = deque()
        """What one has taken, and may ask for again."""
        self.over_since: float | None = None
        self._last = 0
        self._forgotten = 0
        """Messages up to this number can't be heard again."""

    @property
    def is_read(self) -> bool:
        """Whether a connection reads it now."""
        return self.wake is not nobody

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return not self.is_endless and not self.expects

    @property
    def position(self) -> int:
        """The number of the last message that was taken."""
        return self.waiting[0].number - 1 if self.waiting else self._last

    def put(self, line: bytes) -> None:
        """One more message."""
        self._last += 1
        self.waiting.append(Message(self._last, line))
        self.wake()

    def forget_first(self) -> int:
        """Keep the oldest message no more; returns its length."""
        message = (self.kept or self.waiting).popleft()
        self._forgotten = message.number
        return len(message.line)

    def rewind(self, number: int) -> int | None:
        """Read on behind this message: how many bytes wait again. None where some of them are not kept any more."""
        if not self._forgotten <= number <= self._last:
            return None
        again = 0
        while self.kept and self.kept[-1].number > number:
            message = self.kept.pop()
            self.waiting.appendleft(message)
            again += len(message.line)
        return again


class Streams:
    """All streams of one session. `waiting` are the bytes that no connection has taken yet."""

    def __init__(self) -> None:
        self.waiting = 0
        self._kept = 0
        self._next = 0
        self._streams: dict[int, Stream] = {}
        self._by_id: dict[bytes, Stream] = {}
        self._by_token: dict[bytes, Stream] = {}
        self.general = self.open((), ())
        """What a GET reads."""

    def open(self, ids: Sequence[bytes], tokens: Sequence[bytes]) -> Stream:
        """A POST brought requests with these raw ids, and these raw progress tokens."""
        stream = Stream(self._next, ids, tokens)
        self._streams[self._next] = stream
        self._next += 1
        for id in ids:
            self._by_id[id] = stream
        for token in tokens:
            self._by_token[token] = stream
        return stream

    def hear(self, line: bytes) -> None:
        """A message for the client, as a line without its end."""
        stream = self._stream_of(line)
        self.waiting += len(line)
        stream.put(line)
        if stream is self.general and not stream.is_read:
            while len(stream.waiting) > 1 and sum(len(message.line) for message in stream.waiting) > MOST_UNHEARD:
                self._forget_first(stream)

    def take(self, stream: Stream, *, keep: bool) -> list[Message]:
        """What waits on a stream, for its connection; `keep` what may be asked for again."""
        found = list(stream.waiting)
        stream.waiting.clear()
        size = sum(len(message.line) for message in found)
        self.waiting -= size
        if keep:
            stream.kept.extend(found)
            self._kept += size
            self._bound()
        return found

    def resume(self, number: int, message: int) -> Stream | None:
        """The stream of this number, to be read on behind this message; None where that can't be done any more."""
        stream = self._streams.get(number)
        again = stream.rewind(message) if stream is not None else None
        if again is None:
            return None
        self._kept -= again
        self.waiting += again
        return stream

    def close(self, stream: Stream) -> None:
        """Nobody will read it any more."""
        if stream is self.general or self._streams.pop(stream.number, None) is None:
            return
        self.waiting -= sum(len(message.line) for message in stream.waiting)
        self._kept -= sum(len(message.line) for message in stream.kept)
        for id in stream.ids:
            if self._by_id.get(id) is stream:
                del self._by_id[id]
        for token in stream.tokens:
            if self._by_token.get(token) is stream:
                del self._by_token[token]

    def expects(self, id: bytes) -> bool:
        """Whether the answer to a request of this raw id is still to come."""
        return id in self._by_id

    def unread(self) -> list[Stream]:
        """Streams of requests that no connection reads, whether they are over or not."""
        return [stream for stream in self._streams.values() if not stream.is_endless and not stream.is_read]

    def wake_all(self) -> None:
        """The session is over: whoever reads should look."""
        for stream in list(self._streams.values()):
            stream.wake()

    def _stream_of(self, line: bytes) -> Stream:
        if wire.is_batch(line):
            return self._of_batch(line)
        try:
            envelope = wire.decode(line)
        except WireError:  # a server's own words that no decoder takes, in a message of ours: for whoever reads
            return self.general
        id = bytes(envelope.id)
        if not envelope.method:
            stream = self._by_id.pop(id, None)
            if stream is not None:
                stream.expects.discard(id)
                return stream
        elif envelope.method == _PROGRESS and not id and self._by_token:
            token = bytes(wire.open_object(envelope.params).get("progressToken", b""))
            if token in self._by_token:
                return self._by_token[token]
        return self._of_nobody()

    def _of_nobody(self) -> Stream:
        """Where a message goes that belongs to no request in particular."""
        last = None
        for stream in self._by_id.values():
            if last is not None and last is not stream and self.general.is_read:
                return self.general
            last = stream
        return last or self.general

    def _of_batch(self, line: bytes) -> Stream:
        answered = None
        for item in wire.open_array(line):
            id = bytes(wire.decode(bytes(item)).id)
            answered = self._by_id.pop(id, None) or answered
            if answered is not None:
                answered.expects.discard(id)
        if answered is None:
            return self._of_nobody()
        answered.expects.clear()  # one that the client cancelled gets no answer, and the others come together
        return answered

    def _forget_first(self, stream: Stream) -> None:
        waits = not stream.kept
        size = stream.forget_first()
        if waits:
            self.waiting -= size
        else:
            self._kept -= size

    def _bound(self) -> None:
        """Keep not too much of what was said."""
        while self._kept > MOST_KEPT:
            oldest = next(stream for stream in self._streams.values() if stream.kept)
            self._forget_first(oldest)
