"""The HTTP client below the SDK: exchanges tickets for payloads, and says what went wrong in our words."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

import anyio
import httpx2

from ..errors import ConnectionLost, Delivered, Hopeless, ServerError, Unreachable
from ..texts import one_line
from .payloads import Payloads, StrippedEvents, StrippedJson, failure
from .uploads import Upload

CONNECT_WITHIN: Final = 30.0
"""Seconds for a connection to come about."""

# What the SDK complains of we tell ourselves, with the server's name; a log that wants it has it nevertheless.
logging.getLogger("mcp.client").addHandler(logging.NullHandler())

_SESSION_HEADER: Final = "mcp-session-id"
_TLS: Final = re.compile(r"\[SSL(?:: (\w+))?\] (.*?)(?: \(_ssl\.c:\d+\))?$")
_NUMBER: Final = re.compile(r"^\[Errno -?\d+\] ")


class Owner(Protocol):
    """The channel that the client works for."""

    payloads: Payloads

    def undelivered(self, id: bytes, reason: str) -> None:
        """The request of this raw id could not be sent."""

    def failed(self, problem: ServerError) -> None:
        """The connection can't go on."""

    def aside(self, post: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Send something while other messages go on."""


class Client(httpx2.AsyncClient):
    """An HTTP client that exchanges tickets for payloads, and says what went wrong in our words.

    `alone`: a failed POST ends the channel, since in SSE its answer would come on another stream.
    """

    def __init__(self, channel: Owner, server: str, *, alone: bool, **options: Any) -> None:
        # A pool that is full of calls which never end would make every other call wait for them.
        super().__init__(**options, limits=httpx2.Limits(max_connections=None))
        # Compressed bytes could not be exchanged; over loopback and in HTTP/1.1 little is lost.
        self.headers["accept-encoding"] = "identity"
        self._channel = channel
        self._server = server
        self._alone = alone
        self._asking: dict[bytes, anyio.CancelScope] = {}
        self._answering: dict[bytes, httpx2.Response] = {}

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method != "POST":
            response = await self._send(request, options)
            _strip(request, response, self._channel.payloads)
            return response
        if isinstance(request.stream, Upload):  # it follows a redirect
            return await self._post(request, request.stream, options)
        upload = self._channel.payloads.withdraw(request.content)
        assert upload is not None, "the SDK posts what it was given, and each once"
        headers = request.headers.copy()
        headers["content-length"] = str(upload.size)
        request = httpx2.Request("POST", request.url, headers=headers, stream=upload, extensions=request.extensions)
        if not self._alone and upload.is_aside:
            # The SDK would wait for the answer before it sends anything else, the next call included.
            self._channel.aside(partial(self._post_aside, request, upload, options))
            return httpx2.Response(202, request=request)
        return await self._post(request, upload, options)

    async def _send(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        try:
            response = await super().send(request, **options)
        except httpx2.TransportError as problem:
            if (self._alone or _is_refused(problem)) and (id := _unsent_id(request)):
                # Before the channel ends, which would leave open whether the server saw the request.
                self._channel.undelivered(id, describe(problem))
            if _is_refused(problem):
                where = request.url.copy_with(userinfo=b"", raw_path=b"/")
                self._channel.failed(Unreachable(self._server, f"{describe(problem)} to {str(where).rstrip('/')}"))
            elif self._alone:
                self._channel.failed(ConnectionLost(self._server, describe(problem)))
            raise
        self._look(request, response)
        return response

    async def _post(self, request: httpx2.Request, upload: Upload, options: dict[str, Any]) -> httpx2.Response:
        """Send a message; what goes wrong comes back as its answer, since an exception would end the SDK."""
        id = upload.request_id
        redirected = False
        with anyio.CancelScope() as scope:
            self._asking[id] = scope
            try:
                response = await self._send(request, options)
                redirected = response.has_redirect_location
            except httpx2.TransportError as problem:
                return _stand_in(request, describe(problem), "maybe" if upload.has_left else "no")
            finally:
                upload.done(redirected=redirected)
                self._asking.pop(id, None)
        if scope.cancelled_caught:
            return _stand_in(request, "it was cancelled", "maybe")
        if response.status_code >= 400 and not _is_json(response):
            await response.aclose()
            text, is_well = _refusal_of(request, response), not response.is_server_error
            return _stand_in(request, text, "maybe", response.status_code, answered=is_well)
        if id and not self._alone and response.is_success and not (_is_json(response) or _is_events(response)):
            await response.aclose()
            return _stand_in(request, _no_message(response), "maybe", answered=True)
        _strip(request, response, self._channel.payloads)
        self._answering = {key: open for key, open in self._answering.items() if not open.is_closed}
        self._answering[id] = response
        return response

    async def _post_aside(self, request: httpx2.Request, upload: Upload, options: dict[str, Any]) -> None:
        if upload.cancels:
            await self._let_go(upload.cancels)
        response = await self._post(request, upload, options)
        await response.aclose()

    async def _let_go(self, id: bytes) -> None:
        """Nobody waits for this request's answer any more: its connection must not stay for it."""
        scope, response = self._asking.pop(id, None), self._answering.pop(id, None)
        if scope is not None:
            scope.cancel()
        if response is not None:
            await response.aclose()

    def _look(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Some answers end more than their request."""
        status = response.status_code
        if status in (401, 407):
            text = f"it wants authentication (HTTP {status}); put valid credentials under `headers` of its entry"
            self._channel.failed(Hopeless(self._server, text))
        elif status == 404 and request.method == "POST" and _SESSION_HEADER in request.headers:
            reason = "it no longer knows the session (HTTP 404)"
            if id := _request_id(request):  # which was not even looked at
                self._channel.undelivered(id, reason)
            self._channel.failed(ConnectionLost(self._server, reason))
        elif self._alone and status >= 400:
            self._channel.failed(ConnectionLost(self._server, _refusal_of(request, response)))


def describe(problem: BaseException) -> str:
    """What went wrong on the network, in a sentence without the URL, which may hold secrets."""
    if isinstance(problem, httpx2.ConnectTimeout):
        return f"no connection within {CONNECT_WITHIN:g} s"
    if isinstance(problem, httpx2.ConnectError):
        return f"no connection ({_why_none(problem)})"
    if isinstance(problem, httpx2.HTTPStatusError):
        return f"it answered HTTP {problem.response.status_code}"
    if isinstance(problem, httpx2.SSEError):
        return f"its answer is no event stream ({one_line(str(problem), 200)}); is the path right?"
    if isinstance(problem, httpx2.RemoteProtocolError):
        return f"the connection broke ({one_line(str(problem), 200)})"
    if isinstance(problem, httpx2.HTTPError):
        return f"the connection broke ({type(problem).__name__})"
    if isinstance(problem, RuntimeError):  # anyio's word for it, where SSE names no endpoint
        return "its stream ended before the connection was set up"
    return f"the connection broke ({type(problem).__name__}: {problem})"


def _why_none(problem: httpx2.ConnectError) -> str:
    """What the system said, which an attempt at each of a host's addresses hides."""
    text = str(problem)
    if "attempts failed" in text:
        return "nobody listens there" if _is_caused_by(problem, ConnectionRefusedError) else "no address answers"
    found = _TLS.match(text)
    if found is None:
        return one_line(_NUMBER.sub("", text), 200)
    untrusted = "; SSL_CERT_FILE names certificates to trust" if found[1] == "CERTIFICATE_VERIFY_FAILED" else ""
    return f"TLS: {one_line(found[2], 200)}{untrusted}"


def _is_caused_by(problem: BaseException | None, kind: type[BaseException]) -> bool:
    while problem is not None:
        if isinstance(problem, kind) or (
            isinstance(problem, BaseExceptionGroup) and problem.subgroup(kind) is not None
        ):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _is_json(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("application/json")


def _is_events(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def _no_message(response: httpx2.Response) -> str:
    """It accepts a request, and what it sends is something else."""
    kind = one_line(response.headers.get("content-type", ""), 100) or "nothing"
    return f"it answered HTTP {response.status_code} with {kind} in place of a message of MCP; is the path right?"


def _strip(request: httpx2.Request, response: httpx2.Response, payloads: Payloads) -> None:
    """Let the SDK read envelopes only."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return
    stream = response.stream
    if not isinstance(stream, httpx2.AsyncByteStream):
        return
    if _is_json(response):
        refused = _refusal_of(request, response) if response.status_code >= 400 else None
        is_well = not response.is_server_error
        response.stream = StrippedJson(stream, payloads, _request_id(request) or b"null", refused, answered=is_well)
        response.headers.pop("content-length", None)
    elif _is_events(response):
        response.stream = StrippedEvents(stream, payloads, _request_id(request))


def _stand_in(
    request: httpx2.Request, text: str, delivered: Delivered, status: int = 503, *, answered: bool = False
) -> httpx2.Response:
    """An answer in place of one that did not come, or can't be used: it fails its request alone."""
    content = failure(_request_id(request) or b"null", text, delivered, answered=answered)
    return httpx2.Response(status, headers={"content-type": "application/json"}, content=content, request=request)


def _request_id(request: httpx2.Request) -> bytes:
    """The raw id of the request that an HTTP request carries, b"" if it carries none.

    An answer of ours carries an id too, which the server chose: it may be that of a request of ours by chance.
    """
    return request.stream.request_id if isinstance(request.stream, Upload) else b""


def _unsent_id(request: httpx2.Request) -> bytes:
    """The same of one whose end has not left."""
    return b"" if isinstance(request.stream, Upload) and request.stream.has_left else _request_id(request)


def _refusal_of(request: httpx2.Request, response: httpx2.Response) -> str:
    """What a status says, and for the commonest slip what to look at."""
    text = f"it answered HTTP {response.status_code}"
    if response.status_code in (404, 405) and _SESSION_HEADER not in request.headers:
        text += f" at {_address(request.url)}; is the path right?"
    elif response.status_code == 403:
        text += ", which forbids access; are the credentials under `headers` of its entry right?"
    return text


def _address(url: httpx2.URL) -> str:
    """A URL without what may be secret in it."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _is_refused(problem: httpx2.TransportError) -> bool:
    return isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout)
