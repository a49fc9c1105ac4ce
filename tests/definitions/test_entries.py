"""Prompts, resources and templates pass like tools: byte for byte, but for what would cost a client its whole list."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import Prompt, Resource, ResourceTemplate
from msgspec import Raw

from proxy import definitions
from proxy.definitions import DEEPEST, KEYS
from tests.support.json_texts import object_, strings, values
from tests.support.spans import members

OTHERS = ("prompts", "resources", "templates")
ENTRIES = {
    "tools": b'{"name":"a","inputSchema":{"type":"object"}%b}',
    "prompts": b'{"name":"a"%b}',
    "resources": b'{"uri":"a","name":"n"%b}',
    "templates": b'{"uriTemplate":"a","name":"n"%b}',
}
KNOWN = (
    *("name", "uri", "uriTemplate", "title", "description", "arguments", "mimeType", "size"),
    *("annotations", "icons", "_meta"),
)
MODELS: dict[str, type[Prompt | Resource | ResourceTemplate]] = {
    "prompts": Prompt,
    "resources": Resource,
    "templates": ResourceTemplate,
}
HIDDEN = "\x1b[31m\u202e\U000e0041\x00"


def entry(kind: str, more: bytes = b"") -> bytes:
    """The definition of an entry `a` with `more` raw members."""
    return ENTRIES[kind] % (b"," + more if more else b"")


def shown(kind: str, item: bytes, public: str = "a", described: str | None = None) -> bytes:
    """What clients see of a definition."""
    _, found, _ = definitions.read(kind, Raw(item))
    assert found is not None
    return definitions.edit(kind, found, public, described)[0]


def remarks(kind: str, item: bytes) -> list[str]:
    return definitions.read(kind, Raw(item))[2]


# What passes


WILD = {
    "prompts": (
        b'{"name":"a","title":"T","description":"D","arguments":[{"name":"x","title":"X","description":"Y",'
        b'"required":true,"new" : 1e400},{"name":""}],"icons":[{"src":"data:,","mimeType":"image/png",'
        b'"sizes":["any"],"theme":"dark"}],"_meta":{"x":{ }},"nobody/knows":[{ }]}'
    ),
    "resources": (
        b'{"uri":"a","name":"n","title":"T","description":"D","mimeType":"text/plain","size":12345678901,'
        b'"annotations":{"audience":["user","assistant"],"priority":0.5,"lastModified":"2025-01-12T15:00:58Z",'
        b'"new":null},"icons":[{"src":"x"}],"_meta":{},"nobody/knows":1.0}'
    ),
    "templates": (
        b'{"uriTemplate":"a","name":"n","title":"T","description":"D","mimeType":"text/plain","annotations":{},'
        b'"icons":[],"_meta":{},"size":"nobody knows this here"}'
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_definition_from_the_wild_passes_whole(kind: str) -> None:
    assert shown(kind, WILD[kind]) == WILD[kind]
    assert remarks(kind, WILD[kind]) == []


@given(st.sampled_from(OTHERS), st.lists(st.tuples(strings(halves=False), values(halves=False)), max_size=5))
def test_members_that_nobody_knows_pass_byte_for_byte(kind: str, written: list[tuple[bytes, bytes]]) -> None:
    written = [one for one in written if json.loads(one[0]) not in KNOWN]
    required = [(b'"%b"' % KEYS[kind].encode(), b'"a"'), (b'"name"', b'"a"')]
    expected = {json.loads(name): value for name, value in (*required, *written)}
    assert members(shown(kind, object_([*required, *written]))) == expected


@pytest.mark.parametrize(
    "moment",
    ["2025-01-12T15:00:58Z", "2024-02-29T23:59:59.123456789+05:30", "2025-01-12T15:00:58.5-00:00"],
)
def test_moments_of_any_offset_pass(moment: str) -> None:
    item = entry("resources", b'"annotations":{"lastModified":"%b"}' % moment.encode())
    assert shown("resources", item) == item


@pytest.mark.parametrize("number", [b"0", b"1", b"-0.0", b"1e-400", b"0.9999", b"10E-1"])
def test_priorities_from_none_to_all_pass_however_they_are_written(number: bytes) -> None:
    item = entry("templates", b'"annotations":{"priority":%b}' % number)
    assert shown("templates", item) == item


@pytest.mark.parametrize("kind", ["resources", "templates"])
def test_a_uri_that_stays_passes_byte_for_byte_and_another_takes_its_place(kind: str) -> None:
    item = b'{"%b":"test:\\/\\/\\u0061","name":"n","x":1}' % KEYS[kind].encode()
    assert definitions.read(kind, Raw(item))[0] == "test://a"
    assert shown(kind, item, "test://a") == item
    assert members(shown(kind, item, "test://~b/é")) == {
        KEYS[kind]: '"test://~b/é"'.encode(),
        "name": b'"n"',
        "x": b"1",
    }


def test_a_prompt_is_shown_under_its_public_name() -> None:
    assert shown("prompts", entry("prompts"), "git__a") == b'{"name":"git__a"}'


# What changes


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize(
    ("kind", "member"),
    [(kind, member) for kind in OTHERS for member in ("title", "description", "name")],
)
def test_texts_for_people_lose_what_hides(kind: str, member: str, escaped: bool) -> None:
    text = json.dumps(f"Reads{HIDDEN} a\nfile 日本", ensure_ascii=escaped).encode()
    item = object_([(b'"%b"' % KEYS[kind].encode(), b'"a"'), (b'"name"', b'"n"'), (json.dumps(member).encode(), text)])
    # The name of a prompt is what a request gives, so clients see another.
    expected = "a" if (kind, member) == ("prompts", "name") else "Reads a\nfile 日本"
    assert json.loads(shown(kind, item))[member] == expected


def test_a_uri_loses_nothing_since_a_read_has_to_give_it_back() -> None:
    item = b'{"uri":"test://\\u202e","name":"n"}'
    assert shown("resources", item, "test://\u202e") == item


@pytest.mark.parametrize("kind", OTHERS)
def test_the_users_description_takes_the_place_of_the_servers(kind: str) -> None:
    item = entry(kind, b'"description":"own"')
    _, found, _ = definitions.read(kind, Raw(item))
    assert found is not None
    assert definitions.edit(kind, found, "a", None)[1] == "own"
    definition, description = definitions.edit(kind, found, "a", 'so "to" say')
    assert json.loads(definition)["description"] == description == 'so "to" say'


# What is left out


BAD_TEXTS = (b"null", b"7", b'["x"]')
BAD_ICONS = (
    *(b"null", b"{}", b'["data:,"]', b'[{"src":7}]', b"[{}]", b'[{"src":"x","mimeType":null}]'),
    *(b'[{"src":"x","sizes":"any"}]', b'[{"src":"x","sizes":[1]}]', b'[{"src":"x","theme":"blue"}]'),
)
BAD_ARGUMENTS = (
    *(b"null", b"{}", b'["x"]', b"[{}]", b'[{"name":7}]', b'[{"name":"x"},null]', b'[{"name":"x","title":null}]'),
    *(b'[{"name":"x","description":7}]', b'[{"name":"x","required":"yes"}]', b'[{"name":"x","required":null}]'),
)
BAD_ANNOTATIONS = (
    *(b"null", b"[]", b'{"audience":"user"}', b'{"audience":["model"]}', b'{"audience":null}'),
    *(b'{"priority":"1"}', b'{"priority":1.1}', b'{"priority":-1}', b'{"priority":1e400}', b'{"priority":true}'),
    *(b'{"lastModified":7}', b'{"lastModified":"today"}', b'{"lastModified":"2025-01-12"}'),
    *(b'{"lastModified":"2025-01-12T15:00:58"}', b'{"lastModified":"2025-02-30T15:00:58Z"}'),
)
BAD = [
    *((kind, member, value) for kind in OTHERS for member in ("title", "description") for value in BAD_TEXTS),
    *((kind, "icons", value) for kind in OTHERS for value in BAD_ICONS),
    *((kind, "_meta", value) for kind in OTHERS for value in (b"null", b"[]")),
    *(("prompts", "arguments", value) for value in BAD_ARGUMENTS),
    *((kind, "mimeType", value) for kind in ("resources", "templates") for value in BAD_TEXTS),
    *((kind, "annotations", value) for kind in ("resources", "templates") for value in BAD_ANNOTATIONS),
    *(("resources", "size", value) for value in (b"null", b'"7"', b"1.5", b"1e400", b"true")),
]


@pytest.mark.parametrize(("kind", "member", "value"), BAD)
def test_a_member_that_clients_could_not_read_is_left_out_and_told(kind: str, member: str, value: bytes) -> None:
    item = entry(kind, b'"%b":%b,"x":1' % (member.encode(), value))
    assert shown(kind, item) == entry(kind, b'"x":1')
    [sentence] = remarks(kind, item)
    assert repr(member) in sentence
    assert "'a'" in sentence


@pytest.mark.parametrize(
    "item", [b"7", b"null", b'"a"', b"[]", b"{}", b'{"%b":7}', b'{"%b":null}', b'{"%b":""}', b'{"title":"a"}']
)
@pytest.mark.parametrize("kind", KEYS)
def test_an_item_that_no_request_could_name_is_left_out_and_told(kind: str, item: bytes) -> None:
    key, found, said = definitions.read(kind, Raw(item.replace(b"%b", KEYS[kind].encode())))
    assert (key, found, len(said)) == (None, None, 1)
    assert KEYS[kind] in said[0]


@pytest.mark.parametrize("name", [b"", b',"name":null', b',"name":7'])
@pytest.mark.parametrize("kind", ["resources", "templates"])
def test_a_resource_without_a_name_is_left_out_and_told(kind: str, name: bytes) -> None:
    key, found, said = definitions.read(kind, Raw(b'{"%b":"a"%b}' % (KEYS[kind].encode(), name)))
    assert (key, found) == ("a", None)
    assert "'a' is left out: it has no name" in said[0]


@pytest.mark.parametrize(
    "more",
    [rb'"x":"\ud800"', b'"x":' + b"9" * 5000, b'"x":' + b"[" * DEEPEST + b"]" * DEEPEST],
    ids=["half", "number", "depth"],
)
@pytest.mark.parametrize("kind", KEYS)
def test_an_entry_that_some_parsers_refuse_is_left_out_and_told(kind: str, more: bytes) -> None:
    key, found, said = definitions.read(kind, Raw(entry(kind, more)))
    assert (key, found) == ("a", None)
    assert "'a' is left out" in said[0]


def test_half_a_character_counts_where_clients_see_it() -> None:
    assert definitions.read("resources", Raw(rb'{"uri":"a\ud800","name":"n"}'))[1] is None
    assert definitions.read("resources", Raw(rb'{"uri":"a","name":"\ud800"}'))[1] is None
    assert definitions.read("templates", Raw(rb'{"uriTemplate":"a\ud800","name":"n"}'))[1] is None
    assert shown("prompts", rb'{"name":"a\ud800"}', "git__a") == b'{"name":"git__a"}'


known = st.sampled_from(KNOWN).map(lambda name: json.dumps(name).encode())


@given(st.sampled_from(OTHERS), st.lists(st.tuples(known, values()), max_size=6))
def test_whatever_a_definition_holds_a_clients_model_can_read_what_is_shown_of_it(
    kind: str, written: list[tuple[bytes, bytes]]
) -> None:
    required = [(b'"name"', b'"n"'), (json.dumps(KEYS[kind]).encode(), b'"a"')]
    key, found, said = definitions.read(kind, Raw(object_([*required, *written])))
    if found is None:
        assert said
        return
    definition, description = definitions.edit(kind, found, key or "", None)
    assert json.loads(definition)[KEYS[kind]] == key
    MODELS[kind].model_validate_json(definition)
    description.encode()


# Tasks


@pytest.mark.parametrize(
    ("execution", "left"),
    [
        (b'{"taskSupport":"required"}', b""),
        (b'{"taskSupport":"optional","new":{ }}', b',"execution":{"new":{ }}'),
        (b'{"new":{ }}', b',"execution":{"new":{ }}'),
        (b"{}", b',"execution":{}'),
    ],
)
def test_a_tool_of_a_server_without_tasks_does_not_offer_them(execution: bytes, left: bytes) -> None:
    _, found, _ = definitions.read("tools", Raw(entry("tools", b'"execution":' + execution + b',"x": 1')))
    assert found is not None
    before = dict(found)
    changed = definitions.without_task_support(found)
    assert definitions.edit("tools", changed, "a", None)[0] == entry(
        "tools", left[1:] + b',"x":1' if left else b'"x":1'
    )
    assert found == before


def test_a_tool_that_says_nothing_of_tasks_stays() -> None:
    _, found, _ = definitions.read("tools", Raw(entry("tools")))
    assert found is not None
    assert definitions.without_task_support(found) == found


@pytest.mark.parametrize(
    ("annotations", "harmless"),
    [
        (b'{"readOnlyHint":true}', True),
        (b'{"idempotentHint":true,"destructiveHint":true}', True),
        (b'{"title":"t","readOnlyHint": true }', True),
        (b'{"readOnlyHint":false,"idempotentHint":false}', False),
        (b'{"readOnlyHint":"true"}', False),
        (b'{"readOnlyHint":1}', False),
        (b'{"destructiveHint":false}', False),
        (b"{}", False),
        (b"null", False),
        (b"[true]", False),
        (None, False),
    ],
)
def test_only_a_tool_that_says_so_does_no_harm_twice(annotations: bytes | None, harmless: bool) -> None:
    tool = entry("tools", b'"annotations":' + annotations if annotations is not None else b"")
    raw = {name: Raw(value) for name, value in members(tool).items()}
    assert definitions.is_harmless(raw) is harmless
