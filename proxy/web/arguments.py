"""The arguments of calls against the tools' own schemas, before a server sees them.

This is a service to clients and never a hindrance: whatever can't be judged here, or not soon enough, goes on to its
server, which has the last word in any case. Since schemas come from servers and values from clients, nothing of either
may hold up the event loop: what is plainly cheap is compared at once, all else in a process that can be ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_process
import msgspec
from jsonschema.protocols import Validator

from .. import wire
from ..catalogue import Catalogue
from ..errors import WireError
from ..events import Emit, Notice
from . import schemas
from .plain import cost_of, parts_of
from .schemas import Mismatch, Unusable
from .shapes import Shape, shape_of

MOST_STEPS: Final = 2000
"""Comparisons that are made at once, of about ten microseconds each."""

MOST_BYTES: Final = 4 << 20
"""Bytes of arguments, times the cost of the schema, that are looked at at once: messages may quote each of them."""

LONGEST_WAIT: Final = 10.0
"""Seconds, the start of the process and the wait for others included, after which a call goes on unjudged."""

_LONGEST_SCHEMA: Final = 64 * 1024
_MOST_KEPT: Final = 4096


class Arguments:
    """Judges arguments by the schemas of the catalogue that `catalogue` gives."""

    def __init__(self, catalogue: Callable[[], Catalogue], emit: Emit) -> None:
        self._catalogue = catalogue
        self._emit = emit
        self._of: Catalogue | None = None
        self._definitions: dict[str, bytes] = {}
        self._by_name: dict[str, _Judge] = {}
        self._by_schema: dict[bytes, _Judge] = {}
        self._turn = anyio.Lock()

    def knows(self, tool: str) -> bool:
        """Whether there is a tool with this public name."""
        catalogue = self._catalogue()
        if catalogue is not self._of:
            self._renew(catalogue)
        return tool in self._definitions

    async def mismatches(self, tool: str, arguments: bytes) -> list[Mismatch]:
        """What of these (raw) does not fit the schema of the tool with this public name.

        Empty where all fits, where it can't be told, and where there is no such tool.
        """
        judge = self._judge(tool) if self.knows(tool) else None
        if judge is None or judge.is_given_up:
            return []
        try:
            found = judge.at_once(arguments)
            return await self._aside(judge, arguments) if found is None else found
        except Unusable as problem:
            self._give_up(tool, judge, str(problem))
        except (ValueError, RecursionError):
            pass  # the relay says what is wrong with it
        return []

    def _renew(self, catalogue: Catalogue) -> None:
        names = [route.public for route in catalogue.routes("tools")]
        self._definitions = dict(zip(names, catalogue.sheet("tools").definitions, strict=True))
        self._by_name = {}
        if len(self._by_schema) > _MOST_KEPT:
            self._by_schema = {}
        self._of = catalogue

    def _judge(self, tool: str) -> _Judge | None:
        judge = self._by_name.get(tool)
        if judge is not None:
            return judge
        try:
            schema = bytes(wire.open_object(self._definitions[tool]).get("inputSchema", b"{}"))
        except WireError:
            return None
        judge = self._by_schema.get(schema)
        if judge is None:
            judge = self._by_schema[schema] = _Judge(schema)
        self._by_name[tool] = judge
        return judge

    async def _aside(self, judge: _Judge, arguments: bytes) -> list[Mismatch]:
        """In the process, one at a time. Raises Unusable."""
        with anyio.move_on_after(LONGEST_WAIT):
            async with self._turn:
                if judge.is_given_up:
                    return []
                return await _in_process(judge.schema, arguments)
        return []

    def _give_up(self, tool: str, judge: _Judge, reason: str) -> None:
        if judge.is_given_up:
            return
        judge.is_given_up = True
        server = next((route.server for route in self._catalogue().routes("tools") if route.public == tool), "")
        text = f"the arguments of {tool!r} are not judged here until its schema changes, but by its server: {reason}"
        self._emit(Notice("warning", text, server))


async def _in_process(schema: bytes, arguments: bytes) -> list[Mismatch]:
    """What does not fit, as the process finds. Raises Unusable where it was its end."""
    for _ in range(2):
        began = anyio.current_time()
        try:
            return await anyio.to_process.run_sync(schemas.judge, schema, arguments, cancellable=True)
        except (anyio.BrokenWorkerProcess, OSError):
            if anyio.current_time() - began >= schemas.MOST_TIME:
                break  # so soon it was something else that ended it, and may be no more
    most = f"{schemas.MOST_TIME:g} s"
    raise Unusable(f"comparing with its schema takes more than {most}, or more memory than it may")


class _Judge:
    """One schema. `is_given_up`: it is not used (any more)."""

    def __init__(self, schema: bytes) -> None:
        self.schema = schema
        self.is_given_up = False
        self._cost = 0
        self._validator: Validator | None = None
        self._shape: Shape | None = None
        if len(schema) > _LONGEST_SCHEMA:
            return
        try:
            read = schemas.read(schema)
        except (ValueError, RecursionError):
            return
        cost = cost_of(read)
        if cost is not None:
            self._cost = cost
            self._validator = schemas.validator(read)
            self._shape = shape_of(read)

    def at_once(self, arguments: bytes) -> list[Mismatch] | None:
        """What does not fit; None where it can't be told cheaply. Raises Unusable, ValueError and RecursionError."""
        if self._shape is not None:
            try:
                self._shape.decode(arguments)
                return []
            except msgspec.DecodeError:
                pass  # it may fit all the same
        if self._validator is None or len(arguments) * self._cost > MOST_BYTES:
            return None
        value = schemas.read(arguments)
        most = MOST_STEPS // self._cost
        if parts_of(value, most) > most:
            return None
        return schemas.mismatches(self._validator, value)
