"""Values against JSON Schemas: the costly part, which also runs in a process of its own that may be ended.

Remote references are never fetched. `format` is a remark and no rule, as revision 2020-12 has it.
"""

from __future__ import annotations

import functools
import json
import re
import signal
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

MOST_TIME: Final = 1.0
"""Seconds of computing after which the process of a judge is ended."""

MOST_TOLD: Final = 20
"""Mismatches that are told of one value."""

_LONGEST: Final = 300
_MOST_MEMORY: Final = 2 << 30
_MOST_SCHEMAS: Final = 64


class Mismatch(NamedTuple):
    """What does not fit: a JSON pointer into the value, and why."""

    path: str
    message: str


class Unusable(Exception):
    """Nothing can be judged by this schema; the text says why."""


def read(raw: bytes) -> Any:
    """JSON as Python has it. Raises ValueError or RecursionError where that can't be."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return json.loads(raw.decode())  # it takes halves of characters, and numbers of any size


def validator(schema: Mapping[str, Any]) -> Validator:
    """A validator for the draft that the schema names, else for 2020-12; whether it is sound is not looked at."""
    return validator_for(schema, default=Draft202012Validator)(schema, registry=REGISTRY)


def mismatches(validator: Validator, value: Any) -> list[Mismatch]:
    """What of the value does not fit, the first so many; nothing where that can't be told. Raises Unusable."""
    try:
        return [_told(error) for error in islice(validator.iter_errors(value), MOST_TOLD)]
    except Unresolvable as problem:
        raise Unusable(f"its schema refers to {str(problem.ref)[:_LONGEST]!r}, which is not in it") from None
    except UnknownType as problem:
        raise Unusable(f"its schema names a type that does not exist: {str(problem.type)[:_LONGEST]!r}") from None
    except re.error as problem:
        raise Unusable(f"its schema has a pattern that can't be used here: {problem}") from None
    except Exception:
        # The library trusts schemas: odd ones make it raise anything, and some values are too deep or large for it.
        # The call must not fail for that: who it is for judges its arguments in any case.
        return []


def judge(schema: bytes, value: bytes) -> list[Mismatch]:
    """The same for raw JSON, in a process that ends itself where it takes too long. Raises Unusable, ValueError."""
    _limit_memory()
    with_timer = hasattr(signal, "setitimer")
    if with_timer:
        # What the signal does by default is the point: it ends the process, in the midst of whatever it is in.
        signal.setitimer(signal.ITIMER_PROF, MOST_TIME)
    try:
        return mismatches(_compiled(schema), read(value))
    finally:
        if with_timer:
            signal.setitimer(signal.ITIMER_PROF, 0)


@functools.lru_cache(_MOST_SCHEMAS)
def _compiled(schema: bytes) -> Validator:
    try:
        found = validator(read(schema))
        found.check_schema(found.schema)
    except SchemaError as problem:
        raise Unusable(f"its schema is no valid one at {_pointer(problem)!r}: {_cut(problem.message)}") from None
    except Exception as problem:
        raise Unusable(f"its schema can't be read: {type(problem).__name__}") from None
    return found


@functools.cache
def _limit_memory() -> None:
    """Once for this process."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > _MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, hard))


def _told(error: ValidationError) -> Mismatch:
    # Half a character can stand in a name of JSON, but not in an answer.
    return Mismatch(*(text.encode(errors="replace").decode() for text in (_pointer(error), _cut(error.message))))


def _pointer(error: ValidationError | SchemaError) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
