"""What servers ask of their client, answered by the program's own functions."""

from __future__ import annotations

import inspect
import json
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from ..eras.handshake import LATEST, Offer
from ..errors import INTERNAL_ERROR, METHOD_NOT_FOUND, refusal
from ..fronts.local import Respond
from .logs import logger

Handler = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
"""Gets the params of a server's request and returns its result, both as the specification has them."""

_CAPABILITIES: Final[dict[str, dict[str, dict[str, object]]]] = {
    "elicitation/create": {"elicitation": {"form": {}}},
    "sampling/createMessage": {"sampling": {}},
    "roots/list": {"roots": {}},
}


class Asking:
    """Runs handlers, each in a task of `tasks`. `offer` declares what there is a handler for, and nothing else.

    `via` is the server that is a hub itself: it has put the name of who asks before the text, and its own is no help.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        on_elicitation: Handler | None,
        on_sampling: Handler | None,
        roots: Sequence[str | os.PathLike[str]] | None,
        via: str | None = None,
    ) -> None:
        self._waiting: deque[tuple[Handler, str, bytes, Respond]] = deque()
        self._asked = anyio.Event()
        tasks.start_soon(self._begin, tasks)
        self._via = f"{via}: " if via is not None else ""
        self._handlers: dict[str, Handler] = {}
        if on_elicitation is not None:
            self._handlers["elicitation/create"] = on_elicitation
        if on_sampling is not None:
            self._handlers["sampling/createMessage"] = on_sampling
        if roots is not None:
            listed = {"roots": [_root(one) for one in roots]}
            self._handlers["roots/list"] = lambda _: listed
        declared = {key: value for method in self._handlers for key, value in _CAPABILITIES[method].items()}
        self.offer: Final = Offer(LATEST, json.dumps(declared).encode())

    def ask(self, method: str, params: bytes, respond: Respond) -> None:
        """A server asks."""
        handler = self._handlers.get(method)
        if handler is None:
            respond(b"", refusal(METHOD_NOT_FOUND, f"nobody is there to answer {method}"))
        else:
            # A server's line arrives outside of any task, and there anyio may not know the loop that it runs on.
            self._waiting.append((handler, method, params, respond))
            self._asked.set()

    async def _begin(self, tasks: TaskGroup) -> None:
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            while self._waiting:
                tasks.start_soon(self._answer, *self._waiting.popleft())

    async def _answer(self, handler: Handler, method: str, params: bytes, respond: Respond) -> None:
        try:
            asked = json.loads(params) if params else {}
            if isinstance(asked.get("message"), str):
                asked["message"] = asked["message"].removeprefix(self._via)
            answer = handler(asked)
            result = await answer if inspect.isawaitable(answer) else answer
            if not isinstance(result, Mapping):
                raise TypeError(f"a handler returns a mapping, not {type(result).__name__}")
            text = json.dumps(dict(result), separators=(",", ":"), allow_nan=False).encode()
        except Exception as problem:
            # The program's own function: the server is told, so is the log, and the hub goes on.
            logger.exception("the handler of %s failed", method)
            respond(b"", refusal(INTERNAL_ERROR, f"the client could not answer: {type(problem).__name__}"))
        else:
            respond(text, b"")


def _root(where: str | os.PathLike[str]) -> dict[str, str]:
    text = os.fspath(where)
    if text.startswith("file://"):
        return {"uri": text}
    path = Path(text).absolute()
    return {"uri": path.as_uri(), "name": path.name}
