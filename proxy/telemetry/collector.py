"""A collector, as OTLP over HTTP has it: takes messages, or says whether to try again."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

import msgspec

from .. import __version__
from .spans import rejected

if TYPE_CHECKING:
    from email.message import Message
    from typing import IO

    from ..config.models import TracesSettings

PATIENCE: Final = 10.0
"""Seconds that a collector has for an answer."""

_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the standard says to try again."""
_LARGEST_ANSWER: Final = 64 * 1024


class Verdict(msgspec.Struct, frozen=True):
    """What became of a message: `taken`, or a `problem`, and whether it may be one that passes."""

    taken: bool
    problem: str = ""
    passing: bool = False


class Collector:
    """Sends to the endpoint of the settings. For one thread."""

    def __init__(self, settings: TracesSettings) -> None:
        self._url = settings.endpoint or ""
        self._headers = {
            **settings.headers,
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"mcp-manifold/{__version__}",
        }
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, body: bytes) -> Verdict:
        """Send one message; does not raise."""
        try:
            request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 - http alone passes the checks
            with self._opener.open(request, timeout=PATIENCE) as response:
                return _taken(response.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            error.close()
            return Verdict(False, f"the collector answers {error.code} {error.reason}", error.code in _PASSING)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            return Verdict(False, f"the collector can't be reached: {reason}", passing=True)


def _taken(answer: bytes) -> Verdict:
    number, why = rejected(answer)
    return Verdict(False, f"the collector refused {number} spans: {why}") if number else Verdict(True)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The headers hold keys, which are for the endpoint alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None
