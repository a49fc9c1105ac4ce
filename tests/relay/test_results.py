"""Results on their way to the client: URIs that it knows otherwise are rewritten, everything else is not."""

from typing import Any

import pytest

from tests.support.relay import Client, Server, World, dump

SHARED = "test://x"
DERIVED = "test://~b/x"
APP = "ui://app/index.html"


def two() -> tuple[World, Server, Server, Client]:
    """Servers `a` and `b` with a tool, a prompt and one resource of the same URI."""
    world = World("a", "b")
    servers = [world.connect(key, resources={}, prompts={}) for key in ("a", "b")]
    for key in ("a", "b"):
        world.list_more(key, tools=["t"], prompts=["p"], resources=[SHARED], templates=["test://by/{id}"])
    return world, servers[0], servers[1], world.client()


def through(client: Client, server: Server, method: str, params: Any, result: bytes) -> bytes:
    """What the client gets of this result, raw."""
    server.answer(client.call(method, server, dump(params)), result)
    return client.one().raw_result


LINK = b'{"type":"resource_link","name":"n","uri":"test://x","z":1.0}'
EMBEDDED = b'{"type":"resource","resource":{"text":"t","uri":"test://x","z":1.0},"y":[ ]}'


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("tools/call", {"name": "b__t"}, b'{"content":[' + LINK + b"," + EMBEDDED + b'],"big":1e400}'),
        ("prompts/get", {"name": "b__p"}, b'{"messages":[{"role":"user","content":' + LINK + b"}]}"),
        ("prompts/get", {"name": "b__p"}, b'{"messages":[{"role":"user","content":' + EMBEDDED + b"}]}"),
        (
            "resources/read",
            {"uri": DERIVED},
            b'{"contents":[{"uri":"test://x","text":"t","z":1e400},{"uri":"test://o"}]}',
        ),
    ],
)
def test_each_uri_in_a_result_is_the_one_that_the_client_knows_and_all_else_is_as_it_was(
    method: str, params: Any, result: bytes
) -> None:
    world, _, b, client = two()
    assert through(client, b, method, params, result) == result.replace(b"test://x", b"test://~b/x")
    world.assert_at_rest()


@pytest.mark.parametrize("uri", [rb"test:\/\/x", rb"\u0074est://x"])
def test_a_uri_is_found_however_it_is_escaped(uri: bytes) -> None:
    _, _, b, client = two()
    result = b'{"content":[{"type":"resource_link","uri":"' + uri + b'"}]}'
    assert through(client, b, "tools/call", {"name": "b__t"}, result) == (
        b'{"content":[{"type":"resource_link","uri":"test://~b/x"}]}'
    )


def test_an_expansion_of_a_template_in_a_result_is_the_one_that_the_client_would_read() -> None:
    _, _, b, client = two()
    result = dump({"content": [{"type": "resource_link", "name": "n", "uri": "test://by/7"}]})
    found = through(client, b, "tools/call", {"name": "b__t"}, result)
    assert found == result.replace(b"test://by", b"test://~b/by")
    assert client.call("resources/read", b, b'{"uri":"test://~b/by/7"}').params == {"uri": "test://by/7"}


@pytest.mark.parametrize(
    "result",
    [
        b'{ "content" : [ {"type":"resource_link", "uri":"test://other"} ] }',
        b'{"content":[{"type":"text","text":"test://x"}]}',
        b'{"structuredContent":{"uri":"test://x"}}',
        b'{"content":[],"_meta":{"uri":"test://x"}}',
        b'{"content":"test://x"}',
        b'{"content":[7,null,"test://x",[]]}',
        b'{"content":[{"type":"resource","resource":"test://x"}]}',
        b'{"content":[{"type":"resource_link","uri":7},{"uri":null}]}',
        b'{"contents":null,"messages":{}}',
        b"{}",
    ],
)
def test_what_is_no_uri_that_two_servers_claim_passes_byte_for_byte(result: bytes) -> None:
    world, _, b, client = two()
    for method, params in (("tools/call", {"name": "b__t"}), ("prompts/get", {"name": "b__p"})):
        assert through(client, b, method, params, result) == result
    world.assert_at_rest()


def test_an_odd_block_does_not_keep_the_others_from_being_rewritten() -> None:
    _, _, b, client = two()
    result = b'{"content":[7,' + LINK + b',{"type":"resource","resource":null}]}'
    assert through(client, b, "tools/call", {"name": "b__t"}, result) == result.replace(b"//x", b"//~b/x")


def test_the_server_that_keeps_its_uris_has_its_results_unchanged() -> None:
    _, a, _, client = two()
    result = b'{ "content":[' + LINK + b"] }"
    assert through(client, a, "tools/call", {"name": "a__t"}, result) == result


def test_a_read_of_what_is_derived_but_not_listed_is_answered_under_the_uri_that_was_asked_for() -> None:
    _, _, b, client = two()
    found = through(
        client, b, "resources/read", {"uri": "test://~b/deep"}, b'{"contents":[{"uri":"test://deep","text":""}]}'
    )
    assert found == b'{"contents":[{"uri":"test://~b/deep","text":""}]}'


def test_errors_pass_unchanged_though_they_name_the_servers_own_uri() -> None:
    _, _, b, client = two()
    error = b'{"code":-32002,"message":"no test://x","data":{"uri":"test://x"}}'
    b.fail(client.call("resources/read", b, dump({"uri": DERIVED})), error)
    assert client.one().members["error"] == error


# MCP Apps


def app(name: str) -> bytes:
    schema = {"type": "object"}
    return dump({"name": name, "inputSchema": schema, "_meta": {"ui": {"resourceUri": APP}, "ui/resourceUri": APP}})


def test_apps_of_two_servers_with_one_uri_are_both_shown_and_read() -> None:
    world = World("a", "b")
    a, b = world.connect("a", resources={}), world.connect("b", resources={})
    for key in ("a", "b"):
        world.list_more(key, tools=[app("show")])
    client = world.client()
    tools = client.ask("tools/list").result["tools"]
    uris = [tool["_meta"]["ui"]["resourceUri"] for tool in tools]
    assert uris == [tool["_meta"]["ui/resourceUri"] for tool in tools]
    assert uris[0] == APP
    assert uris[1] != APP
    assert uris[1].startswith("ui://")
    for uri, server, other in zip(uris, (a, b), (b, a), strict=True):
        asked = client.call("resources/read", server, dump({"uri": uri}))
        assert asked.params == {"uri": APP}
        server.answer(asked, dump({"contents": [{"uri": APP, "text": "<html>"}]}))
        assert client.one().result["contents"][0]["uri"] == uri
        assert other.heard() == []


def test_an_app_that_one_server_lists_and_another_ones_tool_names_is_told_apart() -> None:
    world = World("a", "b")
    a, b = world.connect("a", resources={}), world.connect("b", resources={})
    world.list_more("a", tools=[], resources=[APP])
    world.list_more("b", tools=[app("show")])
    client = world.client()
    [tool] = client.ask("tools/list").result["tools"]
    uri = tool["_meta"]["ui"]["resourceUri"]
    assert client.call("resources/read", a, dump({"uri": APP})).params == {"uri": APP}
    assert client.call("resources/read", b, dump({"uri": uri}), id=b"2").params == {"uri": APP}
