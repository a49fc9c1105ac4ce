"""A collector, as OTLP over HTTP has it: takes messages, or says whether to try again."""

from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .. import __version__
from ..texts import one_line
from .bounded import Bounded
from .spans import rejected

if TYPE_CHECKING:
    import socket
    from email.message import Message
    from typing import IO

    from ..config.models import OtlpSettings, TracesSettings

PATIENCE: Final = 10.0
"""Seconds that a collector has to connect, and then for the whole of its answer."""

_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the standard says to try again."""
_LARGEST_ANSWER: Final = 64 * 1024
_LARGEST: Final = 4 * _LARGEST_ANSWER
"""Bytes of an answer with its head, and all that may come before."""
_LONGEST_REASON: Final = 200


class Verdict(msgspec.Struct, frozen=True):
    """What became of a message: `taken`, or a `problem`, and whether it may be one that passes."""

    taken: bool
    problem: str = ""
    passing: bool = False


class Collector:
    """Sends to the endpoint of the settings; `what` the messages are made of. For one thread."""

    def __init__(self, settings: TracesSettings | OtlpSettings, what: str = "spans") -> None:
        self._url = settings.endpoint or ""
        self._what = what
        self._headers = {
            **settings.headers,
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"mcp-manifold/{__version__}",
        }
        self._opener = urllib.request.build_opener(_NoRedirects, _Http, _Https)

    def send(self, body: bytes) -> Verdict:
        """Send one message; does not raise."""
        try:
            request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 - http alone passes the checks
            with self._opener.open(request, timeout=PATIENCE) as response:
                return self._taken(response.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            error.close()
            said = one_line(f"{error.code} {error.reason}", _LONGEST_REASON)
            return Verdict(False, f"the collector answers {said}", error.code in _PASSING)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = one_line(str(getattr(error, "reason", None) or error), _LONGEST_REASON)
            return Verdict(False, f"the collector can't be reached: {reason}", passing=True)

    def _taken(self, answer: bytes) -> Verdict:
        number, why = rejected(answer)  # which answers to figures have in the same places
        if not number:
            return Verdict(True)
        return Verdict(False, f"the collector refused {number} {self._what}: {one_line(why, _LONGEST_REASON)}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The headers hold keys, which are for the endpoint alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # There is no end to the interim answers that http.client skips, either.
        self.fp = io.BufferedReader(Bounded(self.fp.detach(), sock, PATIENCE, _LARGEST))


class _Connection(http.client.HTTPConnection):
    response_class = _Answer


class _TlsConnection(http.client.HTTPSConnection):
    response_class = _Answer


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)
