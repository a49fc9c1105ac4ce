"""Servers nobody here wrote: what comes through the proxy is what comes without it, byte for byte."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.real.conftest import Beside
from tests.support.client import RawClient
from tests.support.manifold import tools_until
from tests.support.spans import members

STDIO = ["everything", "filesystem", "memory", "time", "git"]
WEB = ["http", "sse"]

# Registered by `everything` only once it has seen `initialized`, and announced then.
LATE = "simulate-research-query"


def side(key: str, request: pytest.FixtureRequest) -> Beside:
    found: Beside = request.getfixturevalue("web" if key in WEB else "five")
    return found


def listed(key: str, beside: Beside) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Definitions directly, and through the proxy under their names of there without the prefix."""
    late = {LATE} if key in ("everything", *WEB) else set[str]()
    direct = tools_until(beside.direct[key], late)
    through = tools_until(beside.hub, {f"{key}__{name}" for name in direct})
    prefix = f"{key}__"
    return direct, {name.removeprefix(prefix): text for name, text in through.items() if name.startswith(prefix)}


@pytest.mark.parametrize("key", STDIO + WEB)
def test_all_tools_are_listed_under_their_prefix(key: str, request: pytest.FixtureRequest) -> None:
    direct, through = listed(key, side(key, request))
    assert direct
    assert list(through) == list(direct)


@pytest.mark.parametrize("key", STDIO + WEB)
def test_a_definition_is_the_servers_own_but_for_the_name(key: str, request: pytest.FixtureRequest) -> None:
    direct, through = listed(key, side(key, request))
    for name, text in direct.items():
        expected = members(text) | {"name": json.dumps(f"{key}__{name}").encode()}
        assert members(through[name]) == expected
        assert list(members(through[name])) == list(expected), "the order of the members changed"


def test_nothing_else_is_listed(five: Beside) -> None:
    listed("everything", five)
    assert {name.split("__")[0] for name in five.hub.tools()} == set(STDIO)


EVERYTHING_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("echo", {"message": 'ä "quoted" \\ \u2028 😀'}),
    ("get-sum", {"a": 0.1, "b": 12345678901234567890}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-structured-content", {"location": "Chicago"}),
    ("get-tiny-image", {}),
    ("get-resource-links", {"count": 3}),
    ("echo", {}),  # refused by the server itself
]


@pytest.mark.parametrize("key", ["everything", *WEB])
@pytest.mark.parametrize(("tool", "arguments"), EVERYTHING_CALLS)
def test_a_result_of_everything_is_the_servers_own(
    key: str, tool: str, arguments: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    beside = side(key, request)
    # Two of it are behind one proxy here; the URIs of the second one are others.
    renamed = {b'"uri":"demo://': b'"uri":"demo://~sse/'} if key == "sse" else {}
    assert_same_result(beside.direct[key], beside.hub, key, tool, arguments, renamed)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_text_file", {"path": "note.txt"}),
        ("read_text_file", {"path": "empty.txt"}),
        ("read_media_file", {"path": "note.txt"}),
        ("list_directory", {"path": ""}),
        ("list_allowed_directories", {}),
        ("read_text_file", {"path": "missing.txt"}),
        ("read_text_file", {"path": "../../etc/passwd"}),
    ],
)
def test_a_result_of_filesystem_is_the_servers_own(tool: str, arguments: dict[str, Any], five: Beside) -> None:
    if "path" in arguments:
        arguments = {"path": str(five.folder / "files" / arguments["path"])}
    assert_same_result(five.direct["filesystem"], five.hub, "filesystem", tool, arguments)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("git_log", {"max_count": 5}),
        ("git_show", {"revision": "HEAD"}),
        ("git_diff_unstaged", {}),
        ("git_branch", {"branch_type": "local"}),
        ("git_show", {"revision": "no-such-revision"}),
    ],
)
def test_a_result_of_git_is_the_servers_own(tool: str, arguments: dict[str, Any], five: Beside) -> None:
    arguments = {"repo_path": str(five.folder / "repository"), **arguments}
    assert_same_result(five.direct["git"], five.hub, "git", tool, arguments)


def test_results_of_memory_are_the_servers_own(five: Beside) -> None:
    """Two stores, told the same."""
    entities = [
        {"name": "Ada", "entityType": "person", "observations": ["wrote notes", 'said "ä"']},
        {"name": "Engine", "entityType": "machine", "observations": []},
    ]
    told: list[tuple[str, dict[str, Any]]] = [
        ("create_entities", {"entities": entities}),
        ("create_relations", {"relations": [{"from": "Ada", "to": "Engine", "relationType": "programs"}]}),
        ("search_nodes", {"query": "notes"}),
        ("read_graph", {}),
        ("delete_entities", {"entityNames": ["Ada", "Engine"]}),
    ]
    for tool, arguments in told:
        assert_same_result(five.direct["memory"], five.hub, "memory", tool, arguments)


def test_a_result_of_time_is_the_servers_own(five: Beside) -> None:
    arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    before = five.direct["time"].call("convert_time", arguments).raw_result
    through = five.hub.call("time__convert_time", arguments).raw_result
    after = five.direct["time"].call("convert_time", arguments).raw_result
    assert through in (before, after), "the two differ only in the date, at midnight"
    assert_same_result(five.direct["time"], five.hub, "time", "get_current_time", {"timezone": "Nowhere/Land"})


@pytest.mark.parametrize("key", ["everything", *WEB])
def test_resources_and_prompts_of_everything_are_the_servers_own(key: str, request: pytest.FixtureRequest) -> None:
    beside = side(key, request)
    direct, hub = beside.direct[key], beside.hub
    tag = "~sse/" if key == "sse" else ""
    uris = [one["uri"] for one in direct.request("resources/list").result["resources"]]
    assert uris
    for uri in uris:
        public = uri.replace("demo://", f"demo://{tag}")
        expected = direct.request("resources/read", {"uri": uri}).raw_result
        actual = hub.request("resources/read", {"uri": public}).raw_result
        assert actual == expected.replace(uri.encode(), public.encode(), 1)
    prompt = {"arguments": {"city": "Rome"}}
    expected = direct.request("prompts/get", {"name": "args-prompt", **prompt}).raw_result
    assert hub.request("prompts/get", {"name": f"{key}__args-prompt", **prompt}).raw_result == expected


def assert_same_result(
    direct: RawClient,
    hub: RawClient,
    key: str,
    tool: str,
    arguments: dict[str, Any],
    renamed: Mapping[bytes, bytes] = MappingProxyType({}),
) -> None:
    """Byte for byte, but for what is `renamed`."""
    expected = direct.call(tool, arguments)
    actual = hub.call(f"{key}__{tool}", arguments)
    assert set(actual.members) == set(expected.members)
    for member in {"result", "error"} & set(expected.members):
        text = expected.members[member]
        for own, public in renamed.items():
            text = text.replace(own, public)
        assert actual.members[member] == text
