"""Values against schemas: what is told of what does not fit, and which schemas are of no use."""

import json
import re
import socket
from typing import Any

import pytest

from proxy.web.schemas import MOST_TOLD, Mismatch, Unusable, mismatches, read, validator

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def judged(schema: dict[str, Any], value: Any) -> list[Mismatch]:
    return mismatches(validator(schema), value)


def test_what_does_not_fit_is_told_with_its_place() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}, "b~/c": {"required": ["d"]}}}
    assert judged(schema, {"a": [1, 2.0, 2.5], "b~/c": {}}) == [
        Mismatch("/a/2", "2.5 is not of type 'integer'"),
        Mismatch("/b~0~1c", "'d' is a required property"),
    ]
    assert judged(schema, {"a": [], "more": 1}) == []


def test_the_draft_that_a_schema_names_is_honoured() -> None:
    pair = {"items": [{"type": "integer"}], "additionalItems": False}
    assert judged({"$schema": DRAFT_7, **pair}, [1, 2])
    assert judged({"$schema": DRAFT_7, **pair}, [1]) == []
    assert judged({"$schema": DRAFT_4, "minimum": 1, "exclusiveMinimum": True}, 1)
    assert judged({"prefixItems": [{"type": "integer"}], "items": False}, [1, 2])


def test_formats_are_remarks() -> None:
    assert judged({"type": "string", "format": "date-time"}, "tomorrow") == []


def test_not_more_is_told_than_anybody_reads() -> None:
    found = judged({"items": {"maxLength": 1}}, ["long" * 1000] * 1000)
    assert len(found) == MOST_TOLD
    assert max(len(one.message) for one in found) < 400


def test_half_a_character_in_a_name_can_be_told_of() -> None:
    value = read(b'{"\\ud800": 1}')
    [found] = judged({"additionalProperties": {"type": "string"}}, value)
    assert json.dumps(found.path, ensure_ascii=False).encode() == b'"/?"'


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "#/$defs/missing"}, "/$defs/missing"),
        ({"$ref": "other.json#/a"}, "other.json"),
        ({"pattern": "(?<name>a)"}, "pattern"),
        ({"type": "strnig"}, "strnig"),
    ],
    ids=str,
)
def test_a_schema_that_can_not_be_used_says_why(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=re.escape(reason)):
        judged(schema, "a")


def test_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        with pytest.raises(Unusable, match=re.escape(url)):
            judged({"$ref": url}, "a")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_schema_may_refer_to_the_meta_schemas() -> None:
    assert judged({"$ref": DRAFT_7}, {"type": "strnig"})
    assert judged({"$ref": DRAFT_7}, {"type": "string"}) == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#"}, {}),
        ({"properties": []}, {}),
        ({"multipleOf": 0.5}, read(b"1e400")),
        ({"items": {"$ref": "#"}}, json.loads("[" * 500 + "]" * 500)),
    ],
    ids=["endless", "odd", "infinite", "deep"],
)
def test_what_the_library_can_not_take_is_not_held_against_the_value(schema: dict[str, Any], value: Any) -> None:
    assert judged(schema, value) == []


def test_numbers_of_any_size_can_be_judged() -> None:
    assert judged({"type": "integer"}, read(b"123456789012345678901234567890")) == []
    assert judged({"type": "number"}, read(b"1e400")) == []
    assert judged({"maximum": 10}, read(b"1e400"))
