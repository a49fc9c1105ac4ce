"""What keywords' values have to be: the meta-schema of JSON Schema itself says the same."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.web.keywords import FORMS

SAMPLES: list[Any] = [
    True,
    False,
    None,
    -1,
    0,
    1,
    2.0,
    2.5,
    "",
    "string",
    "nonsense",
    [],
    ["string"],
    ["string", "string"],
    ["string", "nonsense"],
    ["a", "b"],
    [True],
    [{}],
    [{}, 1],
    [1, None],
    {},
    {"a": {}},
    {"a": True},
    {"a": 1},
    {"a": ["b"]},
    {"a": ["b", "b"]},
]


@pytest.mark.parametrize("keyword", sorted(FORMS))
def test_a_keyword_takes_what_the_meta_schema_takes(keyword: str) -> None:
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    form = FORMS[keyword]
    for sample in SAMPLES:
        assert form(sample) == meta.is_valid({keyword: sample}), sample
