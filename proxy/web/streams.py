"""What one MCP session over HTTP has to say: which message goes over which stream, and what can be heard again.

A message is said once. The answer to a request, and its progress, go over the stream of the POST that brought it; what
a server asks or logs goes over the only POST that waits, else over the GET stream, and what belongs to no request over
the latter where there is one. A stream can be resumed after its connection broke: what it said is kept for a while,
within bounds.
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
_OF_NO_REQUEST: Final = frozenset(
    (
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/elicitation/complete",
        "notifications/tasks/status",
    )
)

_HEAD: Final = b'{"jsonrpc":"2.0","id":'
_ID_WITHIN: Final = len(_HEAD) + wire.MAX_ID + 16


def nobody() -> None:
    """Whom a stream tells of messages while nobody reads it."""


class Message(msgspec.Struct, frozen=True):
    """One message as it goes over a stream: its number there, and its line without the line end."""

    number: int
    line: bytes


class Stream:
    """A sequence of messages towards the client. `wake` is called when there is more to read, or it is over."""

    def __init__(self, number: int, ids: Sequence[bytes], tokens: Sequence[bytes], *, takes_events: bool) -> None:
        self.number = number
        self.ids = ids
        self.tokens = tokens
        self.takes_events = takes_events
        """Its client reads more than the answer."""
        self.expects = set(ids)
        """Raw ids of requests whose answers are still to come over this stream."""
        self.is_endless = not ids
        """It ends with its connection, and not with an answer."""
        self.is_void = False
        """It is over without its last answer, which the client does not want any more."""
        self.has_begun = False
        """Its client knows ids of its events, and may resume it."""
        self.wake: Callable[[], None] = nobody
        self.waiting: deque[Message] = deque()
        """What no connection has taken yet."""
        self.size = 0
        """Bytes of it."""
        self.kept: deque[Message] = deque()
        """What one has taken, and may ask for again."""
        self.unread_since: float | None = None
        self._last = 0
        self._taken = 0
        """The highest number that any connection has taken."""
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
        """The number of the message behind which is read on."""
        return self.waiting[0].number - 1 if self.waiting else self._last

    def put(self, line: bytes) -> None:
        """One more message."""
        self._last += 1
        self.waiting.append(Message(self._last, line))
        self.size += len(line)
        self.wake()

    def take(self) -> list[Message]:
        """What waits: it is kept from now on."""
        found = list(self.waiting)
        self.waiting.clear()
        self.size = 0
        self.kept.extend(found)
        self._taken = self._last
        return found

    def forget_first(self) -> None:
        """Keep the oldest message no more, be it kept or waiting."""
        message = (self.kept or self.waiting).popleft()
        self._forgotten = message.number

    def seek(self, number: int) -> int | None:
        """Read on behind this message: how many bytes more wait then. None where that can't be done (any more)."""
        if not self._forgotten <= number <= max(self._taken, self.position):
            return None
        before = self.size
        while self.kept and self.kept[-1].number > number:
            self.waiting.appendleft(self.kept.pop())
            self.size += len(self.waiting[0].line)
        while self.waiting and self.waiting[0].number <= number:
            self.kept.append(self.waiting.popleft())
            self.size -= len(self.kept[-1].line)
        return self.size - before


class Streams:
    """All streams of one session. `waiting` are bytes that no connection has taken yet, `kept` those that one has."""

    def __init__(self) -> None:
        self.waiting = 0
        self.kept = 0
        self._next = 0
        self._streams: dict[int, Stream] = {}
        self._by_id: dict[bytes, Stream] = {}
        self._by_token: dict[bytes, Stream] = {}
        self.general = self.open((), ())
        """What a GET reads."""

    def open(self, ids: Sequence[bytes], tokens: Sequence[bytes], *, takes_events: bool = True) -> Stream:
        """A POST brought requests with these raw ids, and these raw progress tokens."""
        stream = Stream(self._next, ids, tokens, takes_events=takes_events)
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
        if stream is None:
            return
        self.waiting += len(line)
        stream.put(line)
        if stream is self.general and not stream.is_read:
            while stream.size > MOST_UNHEARD and len(stream.waiting) > 1:
                self._forget_first(stream)

    def take(self, stream: Stream) -> list[Message]:
        """What waits on a stream, for its connection; it may be asked for again."""
        self.waiting -= stream.size
        self.kept += stream.size
        found = stream.take()
        self._bound()
        return found

    def finish(self, stream: Stream) -> bytes | None:
        """Close a stream whose client takes one answer and no more: that answer, unless nobody wants one any more."""
        answer = stream.waiting[-1].line if stream.waiting and not stream.is_void else None
        self.close(stream)
        return answer

    def resume(self, number: int, message: int) -> Stream | None:
        """The stream of this number, to be read on behind this message; None where that can't be done (any more)."""
        stream = self._streams.get(number)
        again = stream.seek(message) if stream is not None and stream.has_begun else None
        if again is None:
            return None
        self.kept -= again
        self.waiting += again
        return stream

    def close(self, stream: Stream) -> None:
        """Nobody will read it any more."""
        if stream is self.general or self._streams.pop(stream.number, None) is None:
            return
        self.waiting -= stream.size
        self.kept -= sum(len(message.line) for message in stream.kept)
        for id in stream.ids:
            if self._by_id.get(id) is stream:
                del self._by_id[id]
        for token in stream.tokens:
            if self._by_token.get(token) is stream:
                del self._by_token[token]

    def expected(self) -> list[bytes]:
        """Raw ids of requests whose answers are still to come."""
        return list(self._by_id)

    def expects(self, id: bytes) -> bool:
        """Whether the answer to a request of this raw id is still to come."""
        return id in self._by_id

    def give_up(self, id: bytes) -> None:
        """No answer to this request will come."""
        stream = self._by_id.pop(id)
        stream.expects.discard(id)
        stream.is_void = stream.is_over
        stream.wake()

    def unread(self) -> list[Stream]:
        """Streams of requests that no connection reads, whether they are over or not."""
        return [stream for stream in self._streams.values() if not stream.is_endless and not stream.is_read]

    def wake_all(self) -> None:
        """The session is over: whoever reads should look."""
        for stream in list(self._streams.values()):
            stream.wake()

    def _stream_of(self, line: bytes) -> Stream | None:
        """Where a message goes; None where nobody could read it."""
        if wire.is_batch(line):
            return self._of_batch(line) or self._of_nobody()
        stream = self._of_answer(line)
        if stream is not None:
            return stream
        try:
            envelope = wire.decode(line)
        except WireError:  # a server's own words that no decoder takes, in a message of ours
            return self._of_nobody()
        if envelope.method == _PROGRESS and self._by_token:
            token = bytes(wire.open_object(envelope.params).get("progressToken", b""))
            stream = self._by_token.get(token)
            if stream is not None and not stream.is_over:
                return stream if stream.takes_events else None
        if envelope.method in _OF_NO_REQUEST and self.general.is_read:
            return self.general
        return self._of_nobody()

    def _of_nobody(self) -> Stream:
        """Where a message goes that belongs to no request in particular."""
        last = None
        for stream in self._by_id.values():
            if not stream.takes_events:
                continue
            if last is not None and last is not stream and self.general.is_read:
                return self.general
            last = stream
        return last or self.general

    def _of_answer(self, line: bytes) -> Stream | None:
        """The stream that waited for this answer; None where it is none, or nobody waits."""
        id = _answered(line)
        stream = self._by_id.pop(id, None)
        if stream is not None:
            stream.expects.discard(id)
        return stream

    def _of_batch(self, line: bytes) -> Stream | None:
        found = None
        for item in wire.open_array(line):
            found = self._of_answer(bytes(item)) or found
        if found is not None:  # one that the client cancelled gets no answer, and the others come together
            for id in found.expects:
                self._by_id.pop(id, None)
            found.expects.clear()
        return found

    def _forget_first(self, stream: Stream) -> None:
        if stream.kept:
            self.kept -= len(stream.kept[0].line)
        else:
            size = len(stream.waiting[0].line)
            stream.size -= size
            self.waiting -= size
        stream.forget_first()

    def _bound(self) -> None:
        """Keep not too much of what was said, nor streams of which nothing is left."""
        while self.kept > MOST_KEPT:
            oldest = next(stream for stream in self._streams.values() if stream.kept)
            self._forget_first(oldest)
            if oldest.is_over and not (oldest.is_read or oldest.kept or oldest.waiting):
                self.close(oldest)


def _answered(line: bytes) -> bytes:
    """The raw id of the request that this message answers; empty where it answers none.

    Ours begin with it, so that they need not be decoded: no text in JSON has a quote in it that ends a name.
    """
    if line.startswith(_HEAD):
        end = line.find(b',"result":', len(_HEAD), _ID_WITHIN)
        if end < 0:
            end = line.find(b',"error":', len(_HEAD), _ID_WITHIN)
        if end > 0:
            return line[len(_HEAD) : end].strip()
    try:
        envelope = wire.decode(line)
    except WireError:
        return b""
    return bytes(envelope.id) if not envelope.method else b""
