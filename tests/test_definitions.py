"""Definitions pass byte for byte, except for what would hide something or cost a client its whole list."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proxy import definitions, texts
from proxy.definitions import DEEPEST
from tests.support.json_texts import SPACE, object_, strings, values
from tests.support.spans import members

SCHEMA = b'"inputSchema":{"type":"object"}'
# What is looked at; every other member passes.
KNOWN = {"name", "title", "description", "annotations", "inputSchema", "outputSchema", "icons", "execution", "_meta"}
HIDDEN = "\x1b[31m\u202e\U000e0041\x00"


def tool(more: bytes, schema: bytes = SCHEMA) -> bytes:
    """The definition of a tool `a` with `more` raw members."""
    return b'{"name":"a"' + b"".join(b"," + part for part in (more, schema) if part) + b"}"


def shown(item: bytes, described: str | None = None) -> bytes:
    """What clients see of a definition, under the name `git__a`."""
    _, found, _ = definitions.read("tools", Raw(item))
    assert found is not None
    definition, _ = definitions.edit("tools", found, "git__a", described)
    return definition


def remarks(item: bytes) -> list[str]:
    return definitions.read("tools", Raw(item))[2]


def is_left_out(item: bytes) -> bool:
    name, found, said = definitions.read("tools", Raw(item))
    assert (found is None) == any("is left out" in sentence and "tool 'a' is" in sentence for sentence in said)
    assert name == "a"
    return found is None


# What passes


@settings(max_examples=40)
@given(st.lists(st.tuples(strings(halves=False), values(halves=False)), max_size=5), st.integers(0, 5), SPACE)
def test_members_that_nobody_knows_pass_byte_for_byte_and_in_place(
    written: list[tuple[bytes, bytes]], at: int, space: bytes
) -> None:
    written = [one for one in written if json.loads(one[0]) not in KNOWN]
    written[at:at] = [(b'"name"', b'"a"'), (b'"inputSchema"', b'{"type":"object"}')]
    expected = {json.loads(name): value for name, value in written}
    found = members(shown(object_(written, space)))
    assert found == {**expected, "name": b'"git__a"'}
    assert list(found) == list(expected)


def test_a_definition_from_the_wild_passes_whole() -> None:
    raw = (
        b'{"name":"a","title":"A b","description":"Does it.","inputSchema":{"type":"object","x-big":1e400 ,'
        b'"properties":{"x":{ }},"required":["x"]},"outputSchema":{"type":"object" },'
        b'"annotations":{"readOnlyHint":true,"title":"T","odd":12345678901234567890.5},"icons":[{"src":"data:,"}],'
        b'"execution":{"taskSupport":"optional"},"_meta":{"anthropic/maxResultSizeChars":5E5},"nobody/knows":[{ }]}'
    )
    assert shown(raw) == raw.replace(b'"a"', b'"git__a"', 1)
    assert remarks(raw) == []


def test_of_members_with_one_name_the_last_counts_and_one_is_passed_on() -> None:
    item = b'{"name":"b","x":1,"name":"a","x":2,' + SCHEMA + b"}"
    assert definitions.read("tools", Raw(item))[0] == "a"
    assert shown(item) == b'{"name":"git__a","x":2,' + SCHEMA + b"}"


@pytest.mark.parametrize(
    "text",
    [
        b'"plain"',
        b'"tab\\tline\\nquote\\"\\u00e9"',
        '"日本 é"'.encode(),
        b'"back\\\\ubash"',
        b'"\\/"',
        b'""',
        rb'"\ud83d\ude00"',
    ],
)
@pytest.mark.parametrize("member", [b"title", b"description", b"new"])
def test_texts_that_hide_nothing_pass_byte_for_byte(text: bytes, member: bytes) -> None:
    assert shown(tool(b'"' + member + b'":' + text)) == tool(b'"' + member + b'":' + text).replace(
        b'"a"', b'"git__a"', 1
    )


def test_nesting_that_clients_can_follow_passes() -> None:
    deep = b'"x":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)
    assert shown(tool(deep)) == tool(deep).replace(b'"a"', b'"git__a"', 1)
    wide = b'"x":[' + b"[],{}," * 1000 + rb'"[[[[\"{{"]'
    assert shown(tool(wide)) == tool(wide).replace(b'"a"', b'"git__a"', 1)


# What changes


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("member", ["title", "description"])
def test_titles_and_descriptions_lose_what_hides(member: str, escaped: bool) -> None:
    text = json.dumps(f"Reads{HIDDEN} a\nfile 日本", ensure_ascii=escaped).encode()
    assert json.loads(shown(tool(b'"' + member.encode() + b'":' + text)))[member] == "Reads a\nfile 日本"


def test_a_member_whose_name_is_written_with_escapes_is_no_way_around() -> None:
    assert json.loads(shown(tool(rb'"\u0064escription":"x\u202e"')))["description"] == "x"


def test_a_title_among_the_annotations_loses_what_hides_and_the_others_pass() -> None:
    found = members(shown(tool(rb'"annotations":{"x" : 1.0,"title":"A\u001b[0m\u202eb","y":"\u202e"}')))
    assert found["annotations"] == rb'{"x":1.0,"title":"Ab","y":"\u202e"}'


@given(st.text(max_size=30), st.booleans())
def test_no_description_keeps_anything_hidden(text: str, escaped: bool) -> None:
    item = tool(b'"description":' + json.dumps(text, ensure_ascii=escaped).encode())
    _, found, _ = definitions.read("tools", Raw(item))
    assert found is not None
    definition, description = definitions.edit("tools", found, "git__a", None)
    assert json.loads(definition)["description"] == description == texts.clean(text)


@pytest.mark.parametrize("own", [b"", b'"description":"own"', b'"description":7'])
@pytest.mark.parametrize("described", ["", 'so "to" say', "half \ud800"])
def test_the_users_description_takes_the_place_of_the_servers(own: bytes, described: str) -> None:
    assert json.loads(shown(tool(own), described))["description"] == described


@pytest.mark.parametrize("schema", [b'"x":1', b'"inputSchema":null', b'"inputSchema":{}'])
def test_a_tool_without_arguments_has_a_schema_that_says_so(schema: bytes) -> None:
    assert json.loads(shown(tool(b'"x":1', schema))) == {"name": "git__a", "x": 1, "inputSchema": {"type": "object"}}


@pytest.mark.parametrize("member", ["inputSchema", "outputSchema"])
def test_no_schema_is_without_the_type_that_clients_require(member: str) -> None:
    given = b'"' + member.encode() + b'":{"properties":{"x":{ }},"new":1.0}'
    found = members(shown(tool(given, b"" if member == "inputSchema" else SCHEMA)))
    if member in found:
        assert members(found[member]) == {"type": b'"object"', "properties": b'{"x":{ }}', "new": b"1.0"}
    else:
        assert member == "outputSchema"


# What is left out


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("title", b"null"),
        ("title", b"7"),
        ("description", b"null"),
        ("description", b'["x"]'),
        ("annotations", b"null"),
        ("annotations", b"[]"),
        ("annotations", b'{"readOnlyHint":"yes"}'),
        ("annotations", b'{"destructiveHint":null}'),
        ("annotations", b'{"title":7}'),
        ("outputSchema", b"null"),
        ("outputSchema", b'{"type":"array"}'),
        ("icons", b"null"),
        ("icons", b"{}"),
        ("icons", b'["data:,"]'),
        ("icons", b'[{"src":7}]'),
        ("execution", b"7"),
        ("execution", b'{"taskSupport":"maybe"}'),
        ("_meta", b"null"),
        ("_meta", b"[]"),
    ],
)
def test_a_member_that_clients_could_not_read_is_left_out_and_told(member: str, value: bytes) -> None:
    item = tool(b'"' + member.encode() + b'":' + value + b',"x":1')
    assert shown(item) == b'{"name":"git__a","x":1,' + SCHEMA + b"}"
    [sentence] = remarks(item)
    assert repr(member) in sentence
    assert "'a'" in sentence


@pytest.mark.parametrize(
    "schema",
    [
        b"[]",
        b"7",
        b'"object"',
        b'{"type":"array"}',
        b'{"type":["object"]}',
        b'{"type":"object","properties":[]}',
        b'{"type":"object","properties":{"x":true}}',
        b'{"type":"object","required":"x"}',
        b'{"type":"object","required":[7]}',
    ],
)
def test_a_tool_whose_arguments_clients_could_not_read_is_left_out(schema: bytes) -> None:
    assert is_left_out(tool(b"", b'"inputSchema":' + schema))


def test_a_name_that_some_parsers_refuse_costs_nothing_since_clients_see_another() -> None:
    name, found, said = definitions.read("tools", Raw(rb'{"name":"a\ud800",' + SCHEMA + b"}"))
    assert (name, said) == ("a\ud800", [])
    assert found is not None
    assert definitions.edit("tools", found, "git__a", None)[0] == tool(b"").replace(b'"a"', b'"git__a"')


@pytest.mark.parametrize(
    "more",
    [
        rb'"x":"\ud800"',
        rb'"x":{"\uDFFF":1}',
        rb'"x":"\ud83d \ude00"',
        b'"x":' + b"9" * 5000,
        b'"x":' + b"[" * DEEPEST + b"]" * DEEPEST,
        b'"x":' + b'{"x":' * DEEPEST + b"1" + b"}" * DEEPEST,
    ],
    ids=["half", "half a name", "halves apart", "number", "arrays", "objects"],
)
def test_a_tool_that_some_parsers_refuse_is_left_out(more: bytes) -> None:
    assert is_left_out(tool(more))


@pytest.mark.parametrize("item", [b"7", b"null", b'"a"', b"[]", b"{}", b'{"name":7}', b'{"name":null}', b'{"name":""}'])
def test_an_item_without_a_name_is_no_tool(item: bytes) -> None:
    name, found, said = definitions.read("tools", Raw(item))
    assert (name, found, len(said)) == (None, None, 1)


known = st.sampled_from(sorted(KNOWN)).map(lambda name: json.dumps(name).encode())


@given(st.lists(st.tuples(known, values()), max_size=6))
def test_whatever_a_definition_holds_what_is_shown_of_it_can_be_read(written: list[tuple[bytes, bytes]]) -> None:
    item = object_([(b'"name"', b'"a"'), *written])
    _, found, said = definitions.read("tools", Raw(item))
    if found is None:
        assert said
        return
    definition, description = definitions.edit("tools", found, "git__a", None)
    read = json.loads(definition)
    assert read["inputSchema"]["type"] == "object"
    assert all(isinstance(read.get(member, ""), str) for member in ("title", "description"))
    assert all(isinstance(read.get(member, {}), dict) for member in ("annotations", "_meta"))
    assert read.get("outputSchema", {"type": "object"})["type"] == "object"
    definition.decode()
    description.encode()


def test_a_schema_loses_its_nulls() -> None:
    given = b'"inputSchema":{"type":"object","properties":null,"required":null,"x":null}'
    assert b'"inputSchema":{"type":"object","x":null}' in shown(tool(given, schema=b""))
