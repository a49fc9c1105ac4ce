"""Which tools are shown, and under what name and description, as the user decided."""

import msgspec
import pytest

from proxy.config.models import ToolRules
from proxy.policy import ToolPolicy

TOOLS = ("read_file", "write_file", "Read_File", "list")


def shown(**rules: object) -> list[str]:
    policy = ToolPolicy(msgspec.convert(rules, ToolRules))
    return [tool for tool in TOOLS if policy.shows(tool)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [*TOOLS]),
        ({"allow": []}, []),
        ({"allow": ["*"]}, [*TOOLS]),
        ({"allow": ["*_file"]}, ["read_file", "write_file"]),
        ({"allow": ["read_file", "list"]}, ["read_file", "list"]),
        ({"allow": ["[rw]*_file", "?ist"]}, ["read_file", "write_file", "list"]),
        ({"deny": ["*_file"]}, ["Read_File", "list"]),
        ({"deny": ["*"]}, []),
        ({"allow": ["*_file"], "deny": ["write_*"]}, ["read_file"]),
        ({"allow": ["read_file"], "deny": ["read_file"]}, []),
        ({"allow": ["git__read_file"]}, []),
    ],
)
def test_a_tool_is_shown_if_it_is_allowed_and_not_denied(rules: dict[str, object], expected: list[str]) -> None:
    assert shown(**rules) == expected


def test_a_glob_takes_the_whole_name() -> None:
    assert not ToolPolicy(ToolRules(allow=("read",))).shows("read_file")
    assert not ToolPolicy(ToolRules(allow=("read_file",))).shows("read_file\n")


def test_names_and_descriptions_are_the_users_where_there_are_any() -> None:
    policy = ToolPolicy(ToolRules(rename={"a": "b"}, describe={"a": "text", "c": ""}))
    assert (policy.renamed("a"), policy.renamed("b")) == ("b", None)
    assert (policy.described("a"), policy.described("b"), policy.described("c")) == ("text", None, "")


def test_rules_for_tools_that_are_not_there_are_told() -> None:
    policy = ToolPolicy(ToolRules(allow=("x*",), deny=("y",), rename={"b": "c", "a": "d"}, describe={"a": "", "e": ""}))
    assert policy.idle(frozenset({"b"})) == ("a", "e", "x*", "y")
    assert policy.idle(frozenset({"a", "b", "e", "x1", "y"})) == ()
