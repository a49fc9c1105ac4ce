"""What is wrong with a value that a shape refused, all of it and in our words.

msgspec stops at the first mistake and names no key of an object. pydantic finds all of them, with their places, but
takes longer to import than everything else together: so it is asked after the refusal alone. Its models are made from
the shapes, which stay the only definition.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError

from .problems import Problem, kind, nearest, quoted, unknown_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from .parse import Location

_LIKE_THE_SHAPES = ConfigDict(
    extra="forbid",
    strict=True,
    allow_inf_nan=False,
    # `\Z` of the shapes' patterns is Python's.
    regex_engine="python-re",
    # Inputs hold tokens, and an error's text may end up in a log.
    hide_input_in_errors=True,
)
_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
# Known, so that such an entry fails alone, but not served.
_NOT_OFFERED = frozenset({"ws"})


def explain(
    value: object, shape: type[msgspec.Struct], location: Location, refusal: str, others: Sequence[str] = ()
) -> list[Problem]:
    """All that is wrong with `value`, which stands at `location` and was refused as a `shape`, at least one line.

    `refusal` is msgspec's own reason, for what pydantic would accept. `others` are keys that are accepted beside those
    of the shape.
    """
    try:
        model_of(shape).model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        return [_problem(details, shape, location, others) for details in found]
    return [Problem(location, f"is not valid: {refusal}")]


@cache
def model_of(shape: type[msgspec.Struct]) -> type[BaseModel]:
    """A pydantic model that accepts what `shape` accepts, under the keys of the file."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        options: dict[str, Any] = {"alias": field.encode_name}
        if field.default is not msgspec.NODEFAULT:
            options["default"] = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            options["default_factory"] = field.default_factory
        fields[field.name] = (_alike(field.type), Field(**options))
    made: type[BaseModel] = create_model(shape.__name__, __config__=_LIKE_THE_SHAPES, **fields)
    return made


def _alike(kind_of_value: Any) -> Any:
    """The same type for pydantic."""
    origin, inner = get_origin(kind_of_value), get_args(kind_of_value)
    if origin is Annotated:
        metas = [meta for meta in inner[1:] if isinstance(meta, msgspec.Meta)]
        given = {name: getattr(meta, name) for name in _CONSTRAINTS for meta in metas}
        limits: dict[str, Any] = {name: limit for name, limit in given.items() if limit is not None}
        return Annotated[_alike(inner[0]), Field(**limits)]
    if origin in (Union, UnionType) and inner[0] is bool:
        # false or one of some words: as one list, for one reason instead of one for each kind of value
        return Literal[False, True, *get_args(inner[1])]
    if origin in (Union, UnionType):
        return Union[tuple(_alike(each) for each in inner)]  # noqa: UP007  # the operator takes no tuple
    if origin is dict:
        return dict[inner[0], _alike(inner[1])]  # type: ignore[valid-type, misc]
    if kind_of_value is Path:
        return Annotated[Path, Field(strict=False), BeforeValidator(_no_empty_path)]
    if origin is tuple:
        # Strictness is for scalars ("30" is no number); JSON has no tuples and no paths.
        return Annotated[kind_of_value, Field(strict=False)]
    return model_of(kind_of_value) if _is_shape(kind_of_value) else kind_of_value


def _no_empty_path(value: object) -> object:
    if value == "":
        raise PydanticCustomError("string_too_short", "must not be empty")
    return value


def _is_shape(kind_of_value: object) -> bool:
    return isinstance(kind_of_value, type) and issubclass(kind_of_value, msgspec.Struct)


def _problem(details: ErrorDetails, shape: type[msgspec.Struct], location: Location, others: Sequence[str]) -> Problem:
    place = details["loc"]
    if place[-1:] == ("[key]",) and details["type"] != "extra_forbidden":
        place = place[:-1]
    if details["type"] == "extra_forbidden":
        what = unknown_key(str(place[-1]), _shape_at(shape, place[:-1]), others if len(place) == 1 else ())
    else:
        what = _describe(details)
    return Problem((*location, *place), what)


def _describe(details: ErrorDetails) -> str:
    kind_of_error, value, limits = details["type"], details["input"], details.get("ctx", {})
    if kind_of_error == "literal_error":
        return _not_in_list(value, str(limits.get("expected", "")))
    expected = _TYPES.get(kind_of_error)
    if expected == "a number" and type(value) is int:
        # More digits than a float can hold.
        return _RULES["finite_number"]
    if expected is not None:
        hint = "; put it in quotes" if expected == "a string" and isinstance(value, int | float) else ""
        return f"must be {expected}, is {kind(value)}{hint}"
    rule = _RULES.get(kind_of_error)
    return rule.format(**limits) if rule is not None else "is not valid here"


_TYPES = {
    "string_type": "a string",
    "path_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "tuple_type": "an array of strings",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_RULES = {
    "missing": "is missing",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must not be empty",
    "string_too_long": "may have at most {max_length} characters",
    "string_pattern_mismatch": "may only contain letters, digits, _ and -",
}


def _not_in_list(value: object, expected: str) -> str:
    words = [word for word in re.findall(r"'([^']*)'", expected) if word not in _NOT_OFFERED]
    choices = [*(["false"] if "False" in expected else []), *map(quoted, words)]
    text = f"must be one of {', '.join(choices)}"
    if not isinstance(value, str):
        return f"{text}, is {kind(value)}"
    near = nearest(value, words)
    return f"{text}, is {quoted(value)}" + (f" (did you mean {quoted(near)}?)" if near else "")


def _shape_at(shape: type[msgspec.Struct], place: Location) -> type[msgspec.Struct]:
    """The shape that a place below `shape` is read into."""
    for part in place:
        [shape] = [field.type for field in msgspec.structs.fields(shape) if field.encode_name == part]
    return shape
