"""The models that explain mistakes are the shapes once more: what one refuses, the other refuses, and nothing else."""

import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pydantic import BaseModel, ValidationError

from proxy.config.document import decode
from proxy.config.explain import explain, model_of
from proxy.config.models import ConfigFile, ProxySettings, ServerEntry
from proxy.config.problems import Problem
from tests.config.files import problems, servers, write

SHAPES = (ServerEntry, ProxySettings, ConfigFile)
LARGEST = sys.float_info.max

TEXTS = st.text(max_size=5) | st.sampled_from(["a-b_C9", "a\n", "x" * 32, "x" * 33, "é", "stdio", "info"])
WHOLE = st.integers() | st.sampled_from([-1, 0, 1, 65535, 65536, 2**63, 2**64, 10**30, int(LARGEST), 2**1024, 10**400])
NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, 64.0, LARGEST])
ANYTHING = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
PLAIN: dict[Any, st.SearchStrategy[object]] = {
    str: TEXTS,
    Path: TEXTS,
    bool: st.booleans(),
    int: WHOLE,
    float: NUMBERS | WHOLE,
    type(None): st.none(),
    tuple[str, ...]: st.lists(TEXTS, max_size=2),
}


def fitting(kind: Any) -> st.SearchStrategy[object]:
    """JSON of this type; that its constraints hold is left to chance."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is Annotated:
        return fitting(inner[0])
    if origin in (Union, UnionType):
        return st.one_of([fitting(each) for each in inner])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is dict:
        return st.dictionaries(TEXTS, fitting(inner[1]), max_size=2)
    return documents(kind)


@st.composite
def documents(draw: st.DrawFn, shape: type[Struct]) -> dict[str, object]:
    """An object that is one of this shape, or nearly so."""
    fields = msgspec.structs.fields(shape)
    found = {}
    for field in fields:
        if field.required or draw(st.booleans()):
            wrong = draw(st.integers(0, 19)) == 19
            found[field.encode_name] = draw(ANYTHING if wrong else fitting(field.type))
    if draw(st.integers(0, 9)) == 9:
        found[draw(st.sampled_from([field.name for field in fields]) | TEXTS)] = draw(ANYTHING)
    if found and draw(st.integers(0, 9)) == 9:
        del found[draw(st.sampled_from([*found]))]
    return found


def plain(value: object) -> object:
    """Both kinds of objects in terms of the file, with each value's type, since 1 == 1.0 == True."""
    if isinstance(value, Struct):
        keys = value.__struct_encode_fields__
        return {key: plain(getattr(value, name)) for name, key in zip(value.__struct_fields__, keys, strict=True)}
    if isinstance(value, BaseModel):
        return {info.alias: plain(getattr(value, name)) for name, info in type(value).model_fields.items()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return type(value), value


def read(document: object, shape: type[Struct]) -> object:
    try:
        return plain(msgspec.convert(document, shape, strict=True, dec_hook=decode))
    except msgspec.ValidationError:
        return "refused"


def read_by_the_model(document: object, shape: type[Struct]) -> object:
    try:
        return plain(model_of(shape).model_validate(document))
    except ValidationError:
        return "refused"


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
@settings(max_examples=300)
def test_the_models_read_what_the_shapes_read(shape: type[Struct], data: st.DataObject) -> None:
    document = data.draw(documents(shape))
    assert read_by_the_model(document, shape) == read(document, shape)


@pytest.mark.parametrize("shape", SHAPES)
@given(document=ANYTHING)
def test_the_models_refuse_whatever_the_shapes_refuse(shape: type[Struct], document: object) -> None:
    assert read_by_the_model(document, shape) == read(document, shape)


def sole_keys() -> list[tuple[type[Struct], str, Any]]:
    return [(shape, field.encode_name, field.type) for shape in SHAPES[:2] for field in msgspec.structs.fields(shape)]


@pytest.mark.parametrize(
    ("shape", "key", "kind"), sole_keys(), ids=lambda value: value if isinstance(value, str) else ""
)
@given(data=st.data())
def test_they_agree_on_each_key_alone(shape: type[Struct], key: str, kind: Any, data: st.DataObject) -> None:
    document = {key: data.draw(fitting(kind) | ANYTHING)}
    assert read_by_the_model(document, shape) == read(document, shape)


@given(documents(ServerEntry) | documents(ProxySettings))
def test_each_problem_of_a_refused_value_has_a_place_below_it(document: dict[str, object]) -> None:
    for shape in SHAPES[:2]:
        if read(document, shape) == "refused":
            found = explain(document, shape, ("here",), "said")
            assert found
            assert all(problem.location[0] == "here" and problem.what for problem in found)
            assert {problem.location[1] for problem in found} <= document.keys()


class Even(Struct):
    """A rule that no type says."""

    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("is odd")


def test_what_only_the_shape_refuses_is_refused_in_its_words() -> None:
    assert explain({"number": 3}, Even, ("a", "b"), "is odd") == [Problem(("a", "b"), "is not valid: is odd")]
    assert explain({}, Even, ("a",), "is odd") == [Problem(("a", "number"), "is missing")]


def test_a_number_beyond_all_floats_is_refused(tmp_path: Path) -> None:
    text = '{"mcpServers": {"a": {"command": "x", "callTimeout": 1e400}}, "proxy": {"listWait": 1e400}}'
    assert problems(tmp_path, text) == [
        "mcpServers.a.callTimeout: must be a finite number",
        "proxy.listWait: must be a finite number",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"maxRunning": 64.0}, "maxRunning: must be a whole number, is a number"),
        ({"maxRunning": True}, "maxRunning: must be a whole number, is true or false"),
        ({"maxRunning": 0}, "maxRunning: must be at least 1"),
    ],
)
def test_a_count_is_a_whole_number(entry: dict[str, object], said: str, tmp_path: Path) -> None:
    assert problems(tmp_path, servers(a={"command": "x", **entry})) == [f"mcpServers.a.{said}"]


def test_a_name_does_not_end_in_a_line_break(tmp_path: Path) -> None:
    assert problems(tmp_path, {**servers(), "proxy": {"name": "hub\n"}}) == [
        "proxy.name: may only contain letters, digits, _ and -"
    ]


@pytest.mark.parametrize(("entry", "pays"), [({"command": "x"}, "False"), ({"comand": "x"}, "True")])
def test_only_a_mistake_is_worth_the_import_of_pydantic(entry: dict[str, str], pays: str, tmp_path: Path) -> None:
    program = (
        "import contextlib, pathlib, sys, proxy.config.load as config, proxy.errors\n"
        "with contextlib.suppress(proxy.errors.ConfigError):\n"
        "    config.load(pathlib.Path(sys.argv[1]), {})\n"
        "print('pydantic' in sys.modules)"
    )
    file = write(tmp_path, servers(a=entry))
    words = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == pays
