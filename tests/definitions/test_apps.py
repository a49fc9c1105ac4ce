"""A tool's references to UI resources are found and renamed, and nothing else of its definition moves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import wire
from proxy.definitions import ui_references, with_ui_references
from tests.support.json_texts import SPACE, object_, strings, values


def references(definition: bytes) -> tuple[str, ...]:
    return ui_references(wire.open_object(definition))


def moved(uri: str) -> str:
    return uri.replace("ui://", "ui://~b/")


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        (b'{"ui":{"resourceUri":"ui://a"}}', ("ui://a",)),
        (b'{"ui/resourceUri":"ui://a"}', ("ui://a",)),
        (b'{"ui/resourceUri":"ui://a","ui":{"resourceUri":"ui://a"}}', ("ui://a",)),
        (b'{"ui/resourceUri":"ui://old","ui":{"resourceUri":"ui://new"}}', ("ui://new", "ui://old")),
        (rb'{"\u0075i" : {"visibility":["app"], "resource\u0055ri" : "ui:\/\/a" } }', ("ui://a",)),
        (b'{"ui":{"resourceUri":7},"ui/resourceUri":null}', ()),
        (b'{"ui":"ui://a"}', ()),
        (b'{"ui":{"resourceUri":""}}', ()),
        (b'{"resourceUri":"ui://a"}', ()),
        (b"{}", ()),
        (b"null", ()),
    ],
)
def test_both_forms_of_a_reference_are_found_each_uri_once(meta: bytes, found: tuple[str, ...]) -> None:
    assert references(b'{"name":"a","_meta":' + meta + b',"ui":{"resourceUri":"ui://b"}}') == found


def test_a_tool_without_meta_refers_to_nothing() -> None:
    definition = b'{"name":"a"}'
    assert references(definition) == ()
    assert with_ui_references(definition, moved) is definition


def test_both_forms_are_renamed_and_all_else_stays_byte_for_byte() -> None:
    definition = (
        rb'{"name":"ui://a","ui":{"resourceUri":"ui://a"},"_meta" : { "x":[1e400,{"ui":{"resourceUri":"ui://a"}}] ,'
        rb'"ui/resourceUri":"ui://a" , "ui":{"y":{"resourceUri":"ui://a"},"resourceUri": "ui:\/\/b\"" ,"z":"},\\"}}'
        rb',"ui/resourceUri":"ui://a"}'
    )
    assert with_ui_references(definition, moved) == (
        rb'{"name":"ui://a","ui":{"resourceUri":"ui://a"},"_meta" : { "x":[1e400,{"ui":{"resourceUri":"ui://a"}}] ,'
        rb'"ui/resourceUri":"ui://~b/a" , "ui":{"y":{"resourceUri":"ui://a"},"resourceUri": "ui://~b/b\"" ,"z":"},\\"}}'
        rb',"ui/resourceUri":"ui://a"}'
    )


def test_of_two_references_only_the_one_with_a_new_name_changes() -> None:
    definition = rb'{"_meta":{"ui":{"resourceUri":"ui:\/\/a"},"ui/resourceUri":"ui:\/\/b"}}'
    assert (
        with_ui_references(definition, lambda uri: "ui://c" if uri == "ui://b" else uri)
        == rb'{"_meta":{"ui":{"resourceUri":"ui:\/\/a"},"ui/resourceUri":"ui://c"}}'
    )


def test_a_definition_in_which_nothing_changes_is_the_same_object() -> None:
    definition = rb'{"_meta":{"ui":{"resourceUri":"ui:\/\/a"},"ui/resourceUri":7}}'
    assert with_ui_references(definition, lambda uri: uri) is definition


def test_a_reference_given_twice_leaves_none_behind_under_the_old_name() -> None:
    definition = b'{"_meta":{"ui":{"resourceUri":"ui://a"},"ui":{"resourceUri":"ui://a","resourceUri":"ui://b"}}}'
    assert with_ui_references(definition, moved) == definition.replace(b"ui://", b"ui://~b/")


names = st.one_of(
    st.sampled_from((b'"_meta"', b'"ui"', b'"ui/resourceUri"', b'"resourceUri"', rb'"\u0075i"')), strings(halves=False)
)
nested = st.recursive(
    values(halves=False),
    lambda inner: st.builds(
        object_, st.lists(st.tuples(names, inner), max_size=4, unique_by=lambda one: str(json.loads(one[0]))), SPACE
    ),
    max_leaves=12,
)


def renamed(definition: dict[str, Any]) -> dict[str, Any]:
    """The same on plain data."""
    meta = definition.get("_meta")
    for holder, name in ((meta, "ui/resourceUri"), (meta.get("ui") if isinstance(meta, dict) else None, "resourceUri")):
        if isinstance(holder, dict) and isinstance(holder.get(name), str) and holder[name]:
            holder[name] = "new:" + holder[name]
    return definition


@given(nested, SPACE)
def test_renaming_agrees_with_renaming_in_plain_data(meta: bytes, space: bytes) -> None:
    definition = object_([(b'"name"', b'"a"'), (b'"_meta"', meta), (b'"x"', b"[ ]")], space)
    result = with_ui_references(definition, lambda uri: "new:" + uri)
    assert json.loads(result) == renamed(json.loads(definition))
    assert references(result) == tuple("new:" + uri for uri in references(definition))
