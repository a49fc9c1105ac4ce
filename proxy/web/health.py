"""Whether we are there, whether we can be used, and the figures, for those who watch over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio.to_thread

from .asgi import Reply, Request
from .problems import only_read

_OK: Final = b'{"status":"ok"}'
_STARTING: Final = b'{"status":"starting"}'
_NO_STORE: Final = (b"cache-control", b"no-store")
_EXPOSITION: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Health:
    """`ready` tells whether every server has been looked at; `exposition` gives the metrics in Prometheus' format."""

    def __init__(self, ready: Callable[[], bool], exposition: Callable[[], bytes]) -> None:
        self._ready = ready
        self._exposition = exposition

    async def healthz(self, request: Request, reply: Reply) -> None:
        """`GET /healthz`: 200 whenever this process answers."""
        only_read(request)
        await reply.json(200, _OK, _NO_STORE)

    async def readyz(self, request: Request, reply: Reply) -> None:
        """`GET /readyz`: 200 once every server is ready, sleeps, or has failed; 503 before."""
        only_read(request)
        is_ready = self._ready()
        await reply.json(200 if is_ready else 503, _OK if is_ready else _STARTING, _NO_STORE)

    async def metrics(self, request: Request, reply: Reply) -> None:
        """`GET /metrics`, in a thread: thousands of series take long."""
        only_read(request)
        await reply.whole(200, await anyio.to_thread.run_sync(self._exposition), _EXPOSITION)
