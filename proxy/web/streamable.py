"""MCP over Streamable HTTP, revisions 2025-03-26 to 2025-11-25: POST, GET and DELETE on one path."""

from __future__ import annotations

import secrets
from operator import attrgetter
from typing import Final

import anyio

from .. import wire
from ..eras.handshake import BATCHING, LATEST, REVISIONS
from ..errors import INVALID_REQUEST, WireError, refusal
from ..pump import Pump
from ..relay.client_side import MOST_IN_BATCH
from .asgi import Header, Reply, Request, TooLarge
from .sessions import HttpSession, one_line
from .streams import Message, Stream

COMMIT_AFTER: Final = 5.0
"""Seconds without an answer after which a POST is answered as a stream of events, for the sake of proxies between."""

RESUME_WITHIN: Final = 30.0
"""Seconds that a client whose stream broke has to come back: then its requests are cancelled."""

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which an open stream says that it is there."""

RETRY: Final = 1000
"""Milliseconds after which a client whose stream broke shall come back."""

MOST_SESSIONS: Final = 1000

_EXPIRY: Final = 1.0
_ID: Final = b"mcp-session-id"


class StreamableHttp:
    """All sessions of this kind. `expire` is to be run beside it.

    A session ends when it was idle for `timeout` seconds; its client may have `most` calls under way, in bodies of at
    most `largest` bytes.
    """

    def __init__(self, pump: Pump, *, timeout: float, largest: int, most: int) -> None:
        self.sessions: dict[str, HttpSession] = {}
        self._pump = pump
        self._timeout = timeout
        self._largest = min(largest, wire.MAX_LINE)
        self._most = most

    async def expire(self) -> None:
        """End sessions that nobody uses, and requests that nobody waits for, until cancelled."""
        while True:
            await anyio.sleep(_EXPIRY)
            now = self._pump.now()
            for session in list(self.sessions.values()):
                session.forget_unread(now - RESUME_WITHIN)
                if session.is_over or session.is_idle(now - self._timeout):
                    self._end(session)

    def close(self) -> None:
        """End all sessions."""
        for session in list(self.sessions.values()):
            self._end(session)

    async def serve(self, request: Request, reply: Reply) -> None:
        """Answer one request. Raises Left where its client goes before it is answered."""
        revision = request.headers.get("mcp-protocol-version")
        if revision is not None and revision not in REVISIONS:
            known = ", ".join(REVISIONS)
            await _refuse(reply, 400, f"unsupported MCP-Protocol-Version {revision[:40]!r}; known are {known}")
        elif request.method == "POST":
            await self._post(request, reply)
        elif request.method == "GET":
            await self._get(request, reply)
        elif request.method == "DELETE":
            session = await self._session(request, reply)
            if session is not None:
                self._end(session)
                await reply.empty(204)
        else:
            await _refuse(reply, 405, "POST, GET and DELETE are understood here", (b"allow", b"POST, GET, DELETE"))

    # POST

    async def _post(self, request: Request, reply: Reply) -> None:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            await _refuse(reply, 415, "the body has to be application/json")
            return
        try:
            body = await request.body(self._largest)
        except TooLarge:
            await _refuse(reply, 413, f"a message may have at most {self._largest} bytes here (`proxy.http.maxBody`)")
            return
        try:
            envelopes = _envelopes(body)
        except WireError as problem:
            await reply.json(400, wire.error(problem.id or b"null", refusal(problem.code, str(problem))).rstrip())
            return
        body = one_line(body)
        begins = any(envelope.method == "initialize" for envelope in envelopes)
        session = await (self._begin if begins else self._session)(request, reply)
        if session is None:
            return
        asked = [envelope for envelope in envelopes if envelope.id and envelope.method]
        ids = [bytes(envelope.id) for envelope in asked]
        problem_found = _mistake(session, envelopes, ids, body)
        if problem_found:
            await _refuse(reply, 400, problem_found)
        elif not ids:
            session.hear(body)
            await reply.empty(202)
        else:
            tokens = [token for one in asked if (token := _token(one))] if b'"progressToken"' in body else []
            stream = session.streams.open(ids, tokens, takes_events=_takes_events(request))
            await self._answer(session, stream, body, request, reply, begins=begins)
        if begins and not session.session.protocol:
            self._end(session)  # it was refused

    async def _answer(
        self, session: HttpSession, stream: Stream, body: bytes, request: Request, reply: Reply, *, begins: bool
    ) -> None:
        """Let the relay hear the requests, and say what comes of them: one answer as JSON, more as events."""
        reader = _Reader(session, stream, request)
        may_stream = stream.takes_events
        try:
            session.hear(body)
            while not (stream.is_over or session.is_over or (stream.waiting and may_stream)):
                if not await reader.wait(COMMIT_AFTER if may_stream else None):
                    break
            head = ((_ID, session.id.encode()),) if begins and session.session.protocol else ()
            if stream.is_over and (len(stream.waiting) <= 1 or not may_stream):
                # Who takes no events gets its answer alone, which is the last message; all else has no way to it.
                answer = session.streams.finish(stream)
                if answer is None:  # it was cancelled
                    await reply.empty(202)
                else:
                    await reply.json(200, answer, *head)
            elif session.is_over:
                await _refuse(reply, 404, "the session is over")
            else:
                await self._tell(session, stream, reader, reply, head)
        finally:
            reader.close()
            if not reply.has_begun:
                session.cancel(stream)  # it can't be heard again

    async def _tell(
        self, session: HttpSession, stream: Stream, reader: _Reader, reply: Reply, head: tuple[Header, ...] = ()
    ) -> None:
        """Say what the stream brings, as events, until it is over or nobody listens."""
        stream.has_begun = True
        await reply.begin_events(*head)
        # Where to resume if it breaks at once. Clients of older revisions fail at an event without data.
        if session.session.protocol >= LATEST:
            await reply.more(b"id: %d-%d\nretry: %d\ndata: \n\n" % (stream.number, stream.position, RETRY))
        else:
            await reply.more(b"retry: %d\n\n" % RETRY)
        while not reader.is_replaced:
            messages = session.streams.take(stream)
            if messages:
                await reply.more(b"".join([_event(stream, message) for message in messages]))
                session.relieve()
                continue
            if stream.is_over or session.is_over:
                break
            if not await reader.wait(KEEP_ALIVE):
                await reply.more(b":\n\n")
        await reply.end()

    # GET

    async def _get(self, request: Request, reply: Reply) -> None:
        if not _takes_events(request):
            await _refuse(reply, 406, "this is a stream of events: accept text/event-stream")
            return
        session = await self._session(request, reply)
        if session is None:
            return
        last = request.headers.get("last-event-id")
        stream = session.streams.general if last is None else _resumed(session, last)
        if stream is None:
            await _refuse(reply, 400, "what follows this Last-Event-ID is not kept any more")
        elif stream.is_read and last is None:
            await _refuse(reply, 409, "this stream is read already")
        else:  # who comes to resume knows better than we whether its old connection still lives
            reader = _Reader(session, stream, request)
            try:
                await self._tell(session, stream, reader, reply)
            finally:
                reader.close()

    # Sessions

    async def _begin(self, request: Request, reply: Reply) -> HttpSession | None:
        if "mcp-session-id" in request.headers:
            return await self._session(request, reply)  # the relay knows what to make of a second initialize
        if len(self.sessions) >= MOST_SESSIONS and not self._evict():
            await _refuse(reply, 503, f"{MOST_SESSIONS} sessions are open already", (b"retry-after", b"30"))
            return None
        session = HttpSession(self._pump, secrets.token_urlsafe(24), self._most)
        session.session.peer = request.peer
        self.sessions[session.id] = session
        return session

    def _evict(self) -> bool:
        """End the session that is of least use: one that never did anything, else that was silent for longest."""
        now = self._pump.now()
        idle = [session for session in self.sessions.values() if session.is_idle(now)]
        if idle:
            self._end(min(idle, key=attrgetter("is_used", "used")))
        return bool(idle)

    async def _session(self, request: Request, reply: Reply) -> HttpSession | None:
        id = request.headers.get("mcp-session-id")
        if id is None:
            await _refuse(reply, 400, "an Mcp-Session-Id header is needed: the answer to initialize has it")
            return None
        session = self.sessions.get(id)
        if session is None or session.is_over:
            await _refuse(reply, 404, "there is no such session (any more); begin a new one with initialize")
            return None
        return session

    def _end(self, session: HttpSession) -> None:
        self.sessions.pop(session.id, None)
        session.close()


class _Reader:
    """One connection that reads a stream: waits for messages, and notices when the client is gone."""

    def __init__(self, session: HttpSession, stream: Stream, request: Request) -> None:
        self._session = session
        self._stream = stream
        self._request = request
        self._news = anyio.Event()
        session.read(stream, self._wake)

    def _wake(self) -> None:
        self._news.set()

    @property
    def is_replaced(self) -> bool:
        """Whether another connection reads the stream instead."""
        return self._stream.wake != self._wake

    async def wait(self, seconds: float | None) -> bool:
        """Wait for a message, or the end of the session; False where the time was over first. Raises Left."""
        if not await self._request.wait(self._news, seconds):
            return False
        self._news = anyio.Event()
        return True

    def close(self) -> None:
        """Read no more."""
        self._session.leave(self._stream, self._wake)


async def _refuse(reply: Reply, status: int, reason: str, *head: Header) -> None:
    """An error that concerns HTTP, as a JSON-RPC error without id, which is what clients of MCP look for."""
    await reply.json(status, wire.error(b"null", refusal(INVALID_REQUEST, reason)).rstrip(), *head)


def _event(stream: Stream, message: Message) -> bytes:
    line = message.line.replace(b"\r", b"\ndata: ") if b"\r" in message.line else message.line
    return b"id: %d-%d\nevent: message\ndata: %b\n\n" % (stream.number, message.number, line)


def _resumed(session: HttpSession, last: str) -> Stream | None:
    """The stream that an event was of, to be read on behind it."""
    number, _, message = last.partition("-")
    if not (number.isdecimal() and message.isdecimal() and len(last) < 40):
        return None
    return session.streams.resume(int(number), int(message))


def _mistake(session: HttpSession, envelopes: list[wire.Envelope], ids: list[bytes], body: bytes) -> str:
    """What keeps these messages from being answered on a stream of their own; "" if nothing does."""
    if wire.is_batch(body) and (session.session.protocol != BATCHING or not envelopes):
        return f"batches exist in revision {BATCHING} only, and are not empty"
    if len(envelopes) > MOST_IN_BATCH:
        return f"a batch may have {MOST_IN_BATCH} messages"
    if not all(_is_of_use(session, envelope) for envelope in envelopes):
        return "this is no request, notification or response"
    if b"null" in ids:
        return "the id of a request may not be null"
    if len(set(ids)) != len(ids) or any(session.streams.expects(id) for id in ids):
        return "a request with this id is still in flight"
    return ""


def _is_of_use(session: HttpSession, envelope: wire.Envelope) -> bool:
    """Whether it is a message; a question of a server's is ended by whatever comes under its id."""
    id = bytes(envelope.id)
    if envelope.method or (id not in (b"", b"null") and (envelope.result or envelope.error)):
        return True
    return wire.number(id) in session.session.questions


def _takes_events(request: Request) -> bool:
    accepted = request.headers.get("accept", "*/*").lower()
    return "text/event-stream" in accepted or "*/*" in accepted or "text/*" in accepted


def _envelopes(body: bytes) -> list[wire.Envelope]:
    """The messages of a body. Raises WireError."""
    if wire.is_batch(body):
        return [wire.decode(bytes(item)) for item in wire.open_array(body)]
    return [wire.decode(body)]


def _token(envelope: wire.Envelope) -> bytes | None:
    """The raw progress token of a request, if it has one."""
    try:
        meta = wire.open_object(envelope.params).get("_meta") if envelope.params else None
        return bytes(wire.open_object(meta).get("progressToken", b"")) if meta else None
    except WireError:
        return None
