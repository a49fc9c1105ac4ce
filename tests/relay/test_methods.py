"""To whom the requests of clients go: by name, by URI, by template, by asking around, and what a server can do."""

from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, SERVER_UNAVAILABLE
from proxy.events import RequestFinished
from proxy.relay import Session, Target
from proxy.relay.calls import MAYBE_OWNER_WAIT
from proxy.relay.methods import MOST_REMEMBERED, Methods
from proxy.relay.state import State
from proxy.relay.subscriptions import Subscriptions
from proxy.relay.target import Limits
from proxy.relay.tasks import Tasks
from tests.support.message import Message
from tests.support.relay import Client, Server, World, dump, ids, message

NOT_FOUND = b'{"code":-32002,"message":"no such thing"}'
NO_COMPLETION = {"completion": {"values": [], "total": 0, "hasMore": False}}


def read(uri: str, id: bytes = b"1") -> bytes:
    return message("resources/read", dump({"uri": uri}), id)


def contents(uri: str) -> bytes:
    return dump({"contents": [{"uri": uri, "text": "x"}]})


def two(**kinds: Any) -> tuple[World, Server, Server, Client]:
    """Servers `a` and `b`, both with resources, subscriptions, prompts and completions; each lists the same `kinds`."""
    world = World("a", "b")
    can = {"resources": {"subscribe": True}, "prompts": {}, "completions": {}}
    servers = [world.connect(key, **can) for key in ("a", "b")]
    for key in ("a", "b"):
        world.list_more(key, tools=[], **kinds)
    return world, servers[0], servers[1], world.client()


def around(*servers: Server) -> dict[str, Message]:
    """The one request that one of them got, by its server's key."""
    heard = {server.link.server: found for server in servers for found in server.heard() if found.id is not None}
    assert len(heard) == 1
    return heard


# Resources that are listed


def test_a_resource_is_read_from_who_lists_it_and_its_uri_passes_unchanged() -> None:
    world, a, b, client = two()
    world.list_more("b", resources=["test://b/only"])
    client.send(message("resources/read", b'{"uri":"test://b/only","_meta":{"x":1.0},"new":[ ]}', b"1"))
    assert a.heard() == []
    asked = b.one()
    assert asked.members["params"] == b'{"uri":"test://b/only","_meta":{"x":1.0},"new":[ ]}'
    result = b'{"contents" : [{"uri":"test://b/only","blob":"AA==","x":1e400}]}'
    b.answer(asked, result)
    assert client.one().raw_result == result
    world.assert_at_rest()


@pytest.mark.parametrize("listed", [b'"test://x/y"', rb'"test:\/\/x\/y"', rb'"\u0074est://x/y"'])
@pytest.mark.parametrize("wanted", [b'"test://x/y"', rb'"test:\/\/x\/y"', rb'"\u0074est://x/y"'])
def test_a_uri_is_the_same_however_it_is_escaped_and_the_server_gets_its_own_writing(
    listed: bytes, wanted: bytes
) -> None:
    world, a, b, client = two()
    world.list_more("b", resources=[b'{"name":"n","uri":' + listed + b"}"])
    client.send(message("resources/read", b'{"uri":' + wanted + b"}", b"1"))
    assert a.heard() == []
    assert b.one().members["params"] == b'{"uri":' + listed + b"}"


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("params", [None, b"null", b"[]", b"{}", b'{"uri":null}', b'{"uri":7}', b'{"uri":{}}', b"7"])
def test_a_request_that_names_no_uri_is_refused(method: str, params: bytes | None) -> None:
    world, a, b, client = two()
    error = client.ask(method, params).error
    assert error["code"] == INVALID_PARAMS
    assert "params.uri" in error["message"]
    assert a.heard() == b.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("uri", ["", " ", "x" * 20_000, "\ud800", "test://\u202e", "~a/", "test://~a/x", "test://~/"])
def test_any_string_may_be_read(uri: str) -> None:
    world, a, b, client = two()
    client.send(read(uri))
    for server in (a, b):
        for asked in server.heard():
            assert asked.params == {"uri": uri}
            server.fail(asked, NOT_FOUND)
    assert client.one().error["code"] == RESOURCE_NOT_FOUND
    world.assert_at_rest()


def test_an_expansion_of_a_template_is_read_from_who_has_the_template() -> None:
    world, a, b, client = two()
    world.list_more("b", templates=["test://files/{+path}"])
    client.send(read("test://files/a/b?c#d"))
    assert a.heard() == []
    b.answer(b.one(), contents("test://files/a/b?c#d"))
    assert client.one().result


def test_who_lists_a_uri_comes_before_whose_template_fits() -> None:
    world, a, b, client = two()
    world.list_more("a", templates=["test://files/{name}"])
    world.list_more("b", resources=["test://files/x"])
    client.send(read("test://files/x"))
    assert list(around(a, b)) == ["b"]


def test_of_several_whose_template_fits_each_is_asked_until_one_knows_it() -> None:
    world, a, b, client = two()
    world.list_more("a", templates=["test://{x}/1"])
    world.list_more("b", templates=["test://y/{z}"])
    client.send(read("test://y/1"))
    assert b.heard() == []
    a.fail(a.one(), NOT_FOUND)
    b.answer(b.one(), contents("test://y/1"))
    assert client.one().result == {"contents": [{"uri": "test://y/1", "text": "x"}]}
    client.send(read("test://y/1"))
    assert list(around(a, b)) == ["b"]


# Resources that two servers claim


def test_a_uri_that_two_servers_claim_is_listed_twice_and_both_are_reached() -> None:
    world, a, b, client = two(resources=["test://x"])
    first, second = (found["uri"] for found in client.ask("resources/list").result["resources"])
    assert first == "test://x"
    assert second != first
    client.send(read(first, b"1"), read(second, b"2"))
    one, other = a.one(), b.one()
    assert one.params == other.params == {"uri": "test://x"}
    b.answer(other, contents("test://x"))
    a.answer(one, contents("test://x"))
    assert [(heard.id, heard.result["contents"][0]["uri"]) for heard in client.heard()] == [
        (b"2", second),
        (b"1", first),
    ]
    world.assert_at_rest()


def test_a_template_that_two_servers_claim_leads_each_expansion_to_its_own() -> None:
    _, a, b, client = two(templates=["test://{id}/x{?q}"])
    first, second = (
        found["uriTemplate"] for found in client.ask("resources/templates/list").result["resourceTemplates"]
    )
    for template, server, other in ((first, a, b), (second, b, a)):
        uri = template.replace("{id}", "7").replace("{?q}", "?q=1")
        client.send(read(uri))
        assert other.heard() == []
        asked = server.one()
        assert asked.params == {"uri": "test://7/x?q=1"}
        server.answer(asked, contents("test://7/x?q=1"))
        assert client.one().result["contents"][0]["uri"] == uri


def test_a_derived_uri_that_is_no_longer_listed_still_leads_to_its_server() -> None:
    world, a, b, client = two(resources=["test://x", "test://y"])
    world.list_more("b", resources=["test://y"])
    client.send(read("test://~b/x"))
    assert a.heard() == []
    assert b.one().params == {"uri": "test://x"}


def test_what_looks_derived_but_is_a_servers_own_uri_leads_to_that_server() -> None:
    world, a, b, client = two(resources=["test://x"])
    world.list_more("a", resources=["test://x", "test://~b/x2"])
    client.send(read("test://~b/x2"))
    assert around(a, b)["a"].params == {"uri": "test://~b/x2"}


# Resources that nobody lists


def test_a_uri_that_nobody_lists_is_asked_for_in_order_until_one_knows_it_and_that_is_remembered() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    assert b.heard() == []
    a.fail(a.one(), NOT_FOUND)
    assert client.heard() == []
    asked = b.one()
    assert asked.params == {"uri": "test://hidden"}
    b.answer(asked, contents("test://hidden"))
    assert client.one().result
    client.send(read("test://hidden", b"2"))
    assert list(around(a, b)) == ["b"]
    [event] = world.of(RequestFinished)
    assert (event.server, event.tool, event.method, event.outcome) == ("b", "test://hidden", "resources/read", "ok")


@pytest.mark.parametrize(
    "error", [NOT_FOUND, b'{"code":-32602,"message":"x"}', b'{"code":0,"message":"x"}', b'{"code":-1e9,"message":"x"}']
)
def test_any_error_of_one_that_may_own_it_goes_on_to_the_next(error: bytes) -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), error.replace(b"-1e9", b"-" + b"9" * 40))
    b.answer(b.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


@pytest.mark.parametrize("first", [NOT_FOUND, b'{"code":-32603,"message":"odd"}'])
@pytest.mark.parametrize("second", [NOT_FOUND, b'{"code":-32603,"message":"odd"}'])
def test_where_all_refuse_the_best_error_is_the_answer(first: bytes, second: bytes) -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), first)
    b.fail(b.one(), second)
    best = NOT_FOUND if NOT_FOUND in (first, second) else second
    assert client.one().members["error"] == best
    assert [event.outcome for event in world.of(RequestFinished)] == ["error"]
    client.send(read("test://hidden"))
    assert list(around(a, b)) == ["a"], "what nobody knew is not remembered"


def test_each_server_that_is_asked_gets_the_whole_request_with_a_token_of_its_own() -> None:
    _, a, b, client = two()
    client.send(
        message("resources/read", b'{"_meta":{"progressToken":"mine","x":1.0},"uri":"test://hidden","y":[ ]}', b"1")
    )
    one = a.one()
    a.send(message("notifications/progress", b'{"progressToken":' + (one.id or b"") + b',"progress":1}'))
    assert client.one().members["params"] == b'{"progressToken":"mine","progress":1}'
    a.fail(one, NOT_FOUND)
    other = b.one()
    for asked in (one, other):
        assert asked.members["params"] == (
            b'{"_meta":{"progressToken":' + (asked.id or b"") + b',"x":1.0},"uri":"test://hidden","y":[ ]}'
        )
    a.send(message("notifications/progress", b'{"progressToken":99,"progress":2}'))
    b.send(message("notifications/progress", b'{"progressToken":' + (other.id or b"") + b',"progress":3}'))
    assert client.one().params["progress"] == 3


def test_the_late_second_answer_of_one_that_was_asked_falls() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    asked = a.one()
    a.fail(asked, NOT_FOUND)
    a.answer(asked, contents("test://hidden"))
    assert client.heard() == []
    b.answer(b.one(), contents("test://hidden"))
    assert client.one().result
    assert b.heard() == a.heard() == []
    world.assert_at_rest()


def test_a_server_that_did_not_declare_resources_is_not_asked() -> None:
    world = World("a", "b")
    a, b = world.start("a"), world.start("b", resources={})
    client = world.client()
    client.send(read("test://hidden"))
    assert a.heard() == []
    b.fail(b.one(), NOT_FOUND)
    assert client.one().error["code"] == RESOURCE_NOT_FOUND


def test_where_nobody_can_be_asked_the_answer_names_who_is_missing() -> None:
    world = World("a", "b")
    world.start("a")
    world.away("b")
    error = world.client().ask("resources/read", b'{"uri":"test://hidden"}').error
    assert error["code"] == RESOURCE_NOT_FOUND
    assert "test://hidden" in error["message"]
    assert "not connected: b" in error["message"]
    world.assert_at_rest()


def test_servers_that_are_still_starting_are_waited_for_and_then_asked_in_order() -> None:
    world = World("a", "b")
    b = world.start("b", resources={})
    client = world.client()
    client.send(read("test://hidden"))
    assert b.heard() == []
    a = world.start("a", resources={})
    assert b.heard() == []
    a.fail(a.one(), NOT_FOUND)
    b.answer(b.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


def test_a_server_that_takes_for_ever_does_not_keep_the_others_from_being_asked() -> None:
    world = World("a", "b", list_wait=4)
    b = world.start("b", resources={})
    client = world.client()
    client.send(read("test://hidden"))
    world.pass_time(3.9)
    assert b.heard() == []
    world.pass_time(0.1)
    b.answer(b.one(), contents("test://hidden"))
    assert client.one().result
    client.send(read("test://other", b"2"))
    b.fail(b.one(), NOT_FOUND)
    assert client.one().error["code"] == RESOURCE_NOT_FOUND
    world.assert_at_rest()


def test_a_server_that_lists_the_uri_while_it_is_waited_for_gets_the_read() -> None:
    world = World("a", "b", "c")
    a = world.start("a", resources={})
    client = world.client()
    client.send(read("test://b/x"))
    b = world.connect("b", resources={})
    world.list_more("b", resources=["test://b/x"])
    assert a.heard() == []
    b.answer(b.one(), contents("test://b/x"))
    assert client.one().result
    world.assert_at_rest()


@pytest.mark.parametrize("how", ["lost", "retired", "broken", "cut"])
def test_one_that_fails_while_it_is_asked_leaves_the_read_to_the_others(how: str) -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    asked = a.one()
    if how == "lost":
        world.lose(a)
    elif how == "retired":
        world.retire("a")
    elif how == "broken":
        a.answer(asked, b"[]")
    else:
        a.send(b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b',"result":{"contents":[')
    assert client.heard() == []
    b.answer(b.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


@pytest.mark.parametrize("how", ["lost", "broken"])
def test_one_that_fails_as_the_last_one_fails_the_read(how: str) -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), NOT_FOUND)
    asked = b.one()
    if how == "lost":
        world.lose(b)
    else:
        b.answer(asked, b"[]")
    error = client.one().error
    assert error["code"] == (SERVER_UNAVAILABLE if how == "lost" else INTERNAL_ERROR)
    assert error["data"]["server"] == "b"
    world.assert_at_rest()


def test_what_one_knew_is_asked_of_the_others_once_it_knows_it_no_more() -> None:
    _, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), NOT_FOUND)
    b.answer(b.one(), contents("test://hidden"))
    client.one()
    client.send(read("test://hidden"))
    assert a.heard() == []
    b.fail(b.one(), NOT_FOUND)
    a.answer(a.one(), contents("test://hidden"))
    assert client.one().result
    client.send(read("test://hidden"))
    assert list(around(a, b)) == ["a"]


@pytest.mark.parametrize("how", ["lost", "away", "retired"])
def test_one_that_goes_before_it_was_asked_is_left_out(how: str) -> None:
    world = World("a", "b", "c")
    a, b, c = (world.start(key, resources={}) for key in ("a", "b", "c"))
    client = world.client()
    client.send(read("test://hidden"))
    asked = a.one()
    if how == "retired":
        world.lose(b)
        world.retire("b")
    else:
        world.lose(b)
        world.away("b", coming=how == "lost")
    a.fail(asked, NOT_FOUND)
    assert b.heard() == []
    c.answer(c.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


def test_what_the_others_said_is_the_answer_where_the_last_one_is_gone() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    asked = a.one()
    world.lose(b)
    world.away("b", "it failed too often")
    a.fail(asked, NOT_FOUND)
    assert client.one().members["error"] == NOT_FOUND
    world.assert_at_rest()


def test_what_a_server_knew_is_asked_around_again_once_that_server_is_retired() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), NOT_FOUND)
    b.answer(b.one(), contents("test://hidden"))
    client.one()
    world.lose(b)
    world.retire("b")
    client.send(read("test://hidden"))
    a.answer(a.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


def test_a_read_that_is_cancelled_while_servers_are_asked_ends_there() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    asked = a.one()
    client.cancel(b"1")
    assert dump(a.one().params["requestId"]) == asked.id
    a.fail(asked, NOT_FOUND)
    assert b.heard() == client.heard() == []
    world.assert_at_rest()


def test_a_read_takes_no_longer_than_its_time_however_many_servers_are_asked() -> None:
    world = World("a", "b", call_timeout=20)
    a, b = world.start("a", resources={}), world.start("b", resources={})
    client = world.client()
    client.send(read("test://hidden"))
    asked = a.one()
    world.pass_time(19)
    a.fail(asked, NOT_FOUND)
    assert b.one().method == "resources/read"
    world.pass_time(1)
    assert client.one().error["data"]["delivered"] == "maybe"
    assert b.one().method == "notifications/cancelled"
    world.assert_at_rest()


@pytest.mark.parametrize("listed", [False, True])
def test_one_that_may_own_it_and_does_not_answer_keeps_the_others_waiting_for_a_bounded_time(listed: bool) -> None:
    world, a, b, client = two(templates=["test://{x}/1", "test://y/{z}"] if listed else [])
    world.list_more("b", templates=["test://y/{z:3}"] if listed else [])
    client.send(read("test://y/1"))
    asked = a.one()
    world.pass_time(MAYBE_OWNER_WAIT - 0.1)
    assert b.heard() == []
    world.pass_time(0.1)
    told = a.one()
    assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
    second = b.one()
    a.answer(asked, contents("test://late"))
    world.pass_time(MAYBE_OWNER_WAIT + 1)
    b.answer(second, contents("test://y/1"))
    assert client.one().result["contents"][0]["uri"] == "test://y/1"
    world.assert_at_rest()


def test_what_one_knew_is_asked_of_those_whose_template_fits_before_anybody_else() -> None:
    world = World("a", "b", "c")
    a, b, c = (world.connect(key, resources={}) for key in ("a", "b", "c"))
    for key, templates in (("a", []), ("b", ["test://{x}/1"]), ("c", ["test://y/{z}"])):
        world.list_more(key, tools=[], templates=templates)
    client = world.client()
    client.send(read("test://y/1"))
    b.fail(b.one(), NOT_FOUND)
    c.answer(c.one(), contents("test://y/1"))
    client.one()
    client.send(read("test://y/1"))
    c.fail(c.one(), NOT_FOUND)
    b.fail(b.one(), NOT_FOUND)
    assert client.one().members["error"] == NOT_FOUND
    assert a.heard() == []
    world.assert_at_rest()


def test_one_that_knew_it_may_take_its_time() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.answer(a.one(), contents("test://hidden"))
    client.one()
    client.send(read("test://hidden"))
    world.pass_time(299)
    assert b.heard() == []
    a.answer(a.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


def test_a_server_that_knew_it_and_is_restarting_is_waited_for() -> None:
    world, a, b, client = two()
    client.send(read("test://hidden"))
    a.fail(a.one(), NOT_FOUND)
    b.answer(b.one(), contents("test://hidden"))
    client.one()
    world.lose(b)
    world.away("b", "it exited", coming=True)
    client.send(read("test://hidden"))
    assert a.heard() == client.heard() == []
    again = world.connect("b", resources={})
    again.answer(again.one(), contents("test://hidden"))
    assert client.one().result
    world.lose(again)
    world.away("b", "it failed too often")
    client.send(read("test://hidden"))
    a.answer(a.one(), contents("test://hidden"))
    assert client.one().result
    world.assert_at_rest()


# Prompts


def test_a_prompt_is_got_under_its_own_name_and_its_result_passes_byte_for_byte() -> None:
    world, a, b, client = two(prompts=["hi"])
    assert [found["name"] for found in client.ask("prompts/list").result["prompts"]] == ["a__hi", "b__hi"]
    asked = client.call("prompts/get", b, b'{"name":"b__hi","arguments":{"x":"\\ud800"},"new":1.0}')
    assert a.heard() == []
    assert asked.members["params"] == b'{"name":"hi","arguments":{"x":"\\ud800"},"new":1.0}'
    b.answer(asked, b'{"messages":[ ],"big":1e400}')
    assert client.one().raw_result == b'{"messages":[ ],"big":1e400}'
    [event] = world.of(RequestFinished)
    assert (event.server, event.tool, event.method) == ("b", "hi", "prompts/get")


def test_an_unknown_prompt_is_refused_with_the_nearest_names_of_prompts() -> None:
    world, a, b, client = two(prompts=["review"])
    world.publish("a", "reviews")
    error = client.ask("prompts/get", b'{"name":"a__revew"}').error
    assert error["code"] == INVALID_PARAMS
    assert "a__review" in error["message"]
    assert "a__reviews" not in error["message"]
    assert a.heard() == b.heard() == []


def test_tools_and_prompts_of_one_name_do_not_meet() -> None:
    world, a, _, client = two(prompts=["x"])
    world.publish("a", "x")
    client.call("prompts/get", a, b'{"name":"a__x"}', b"1")
    client.call("tools/call", a, b'{"name":"a__x"}', b"2")


def test_a_prompt_waits_for_a_server_that_is_still_starting() -> None:
    world = World("a", "b")
    client = world.client()
    client.send(message("prompts/get", b'{"name":"a__x"}', b"1"))
    a = world.connect("a", prompts={})
    world.list_more("a", tools=[], prompts=["x"])
    a.answer(a.one(), b'{"messages":[]}')
    assert client.one().result == {"messages": []}
    world.assert_at_rest()


# Completion


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (b'{"type":"ref/prompt","name":"b__hi"}', b'{"type":"ref/prompt","name":"hi"}'),
        (b'{"name":"b__hi","title":"x","type":"ref/prompt"}', b'{"name":"hi","title":"x","type":"ref/prompt"}'),
        (rb'{"type":"ref\/prompt","name":"b__h\u0069"}', rb'{"type":"ref\/prompt","name":"hi"}'),
        (b'{"type":"ref/resource","uri":"test://b/{x}"}', b'{"type":"ref/resource","uri":"test://b/{x}"}'),
        (b'{"type":"ref/resource","uri":"test://~b/{y}"}', b'{"type":"ref/resource","uri":"test://{y}"}'),
        (b'{"type":"ref/resource","uri":"test://b/7"}', b'{"type":"ref/resource","uri":"test://b/7"}'),
        (b'{"type":"ref/resource","uri":"test://~b/7"}', b'{"type":"ref/resource","uri":"test://7"}'),
    ],
)
def test_a_completion_goes_where_its_reference_leads(ref: bytes, expected: bytes) -> None:
    world, a, b, client = two(prompts=["hi"])
    world.list_more("a", templates=["test://{y}"])
    world.list_more("b", templates=["test://b/{x}", "test://{y}"])
    tail = b',"argument":{"name":"n","value":"v"},"context":{"arguments":{"z" :1.0}}}'
    asked = client.call("completion/complete", b, b'{"ref":' + ref + tail)
    assert a.heard() == []
    assert asked.members["params"] == b'{"ref":' + expected + tail
    b.answer(asked, b'{"completion":{"values":["x"],"hasMore":false}}')
    assert client.one().result["completion"]["values"] == ["x"]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "ref",
    [
        b'{"type":"ref/prompt","name":"hi"}',
        b'{"type":"ref/prompt","name":7}',
        b'{"type":"ref/prompt","uri":"test://x"}',
        b'{"type":"ref/prompt"}',
        b'{"type":"ref/resource"}',
        b'{"type":"ref/resource","uri":null}',
        b'{"type":null}',
        b"{}",
    ],
)
def test_a_reference_to_nothing_is_refused(ref: bytes) -> None:
    world, a, b, client = two(prompts=["hi"])
    params = b'{"ref":' + ref + b',"argument":{"name":"n","value":""}}'
    assert client.ask("completion/complete", params).error["code"] == INVALID_PARAMS
    assert a.heard() == b.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("params", [None, b"[]", b"{}", b'{"ref":null}', b'{"ref":"ref/prompt"}', b'{"ref":[]}'])
def test_a_completion_without_a_reference_is_refused(params: bytes | None) -> None:
    _, _, _, client = two()
    error = client.ask("completion/complete", params).error
    assert error["code"] == INVALID_PARAMS
    assert "params.ref" in error["message"]


def test_a_server_without_completions_has_none_to_offer_and_is_not_asked() -> None:
    world = World("a")
    a = world.connect("a", prompts={})
    world.list_more("a", prompts=["hi"])
    client = world.client()
    params = b'{"ref":{"type":"ref/prompt","name":"a__hi"},"argument":{"name":"n","value":"v"}}'
    assert client.ask("completion/complete", params).result == NO_COMPLETION
    assert a.heard() == []
    assert [event.outcome for event in world.of(RequestFinished)] == ["ok"]
    world.assert_at_rest()


# What a server must have declared


@pytest.mark.parametrize("capability", [{}, {"subscribe": False}, {"subscribe": None}, "x", [], 7])
def test_what_a_server_did_not_declare_is_not_asked_of_it(capability: Any) -> None:
    world = World("a")
    a = world.connect("a", resources=capability)
    world.list_more("a", resources=["test://x"])
    error = world.client().ask("resources/subscribe", b'{"uri":"test://x"}').error
    assert error["code"] == METHOD_NOT_FOUND
    assert "'a'" in error["message"]
    assert "resources.subscribe" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "a", "delivered": "no"}
    assert a.heard() == []
    world.assert_at_rest()


def test_of_those_that_may_own_it_the_ones_that_can_not_do_it_are_left_out() -> None:
    world = World("a", "b", "c")
    a = world.start("a", resources={})
    b = world.start("b", resources={"subscribe": True})
    c = world.start("c", resources={})
    client = world.client()
    asked = client.call("resources/subscribe", b, b'{"uri":"test://hidden"}')
    assert a.heard() == c.heard() == []
    b.fail(asked, NOT_FOUND)
    assert client.one().members["error"] == NOT_FOUND
    assert a.heard() == c.heard() == []
    world.assert_at_rest()


# Methods that no revision defines


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        (b'{"name":"b__t","x":1.0}', b'{"name":"t","x":1.0}'),
        (b'{"name":"b__p"}', b'{"name":"p"}'),
        (b'{"y":[ ],"uri":"test://b"}', b'{"y":[ ],"uri":"test://b"}'),
        (b'{"uri":"test://~b/x"}', b'{"uri":"test://x"}'),
        (b'{"name":"nothing","uri":"test://b"}', b'{"name":"nothing","uri":"test://b"}'),
        (b'{"name":7,"uri":"test://b"}', b'{"name":7,"uri":"test://b"}'),
    ],
)
def test_a_method_that_nobody_defines_goes_to_the_one_server_that_it_names(params: bytes, sent: bytes) -> None:
    world, a, b, client = two(resources=["test://x"])
    world.list_more("b", tools=["t"], prompts=["p"], resources=["test://x", "test://b"])
    asked = client.call("vendor/own", b, params)
    assert a.heard() == []
    assert asked.members["params"] == sent
    b.answer(asked, b'{"any":1.0}')
    assert client.one().raw_result == b'{"any":1.0}'
    assert [(event.server, event.method) for event in world.of(RequestFinished)] == [("b", "vendor/own")]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "params",
    [
        None,
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"name":"t"}',
        b'{"name":null,"uri":null,"taskId":null}',
        b'{"uri":"test://hidden"}',
        b'{"uri":"test://both/1"}',
        b'{"taskId":"t"}',
        b'{"name":"a__t","uri":"test://b"}',
    ],
)
def test_a_method_that_nobody_defines_and_that_names_no_one_server_is_refused(params: bytes | None) -> None:
    world, a, b, client = two()
    world.list_more("a", tools=["t"], templates=["test://both/{x}"])
    world.list_more("b", resources=["test://b"], templates=["test://{y}/1"])
    error = client.ask("vendor/own", params).error
    assert error["code"] == METHOD_NOT_FOUND
    assert "vendor/own" in error["message"]
    assert a.heard() == b.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("method", ["\ud800", 'a"b\\', "x" * 10_000, "", "tools/call "])
def test_a_method_may_have_any_name(method: str) -> None:
    world, a, _, client = two()
    world.publish("a", "t")
    client.send(message(method, b'{"name":"a__t"}', b"1"))
    if not method:
        assert client.one().error["code"]
        return
    asked = a.one()
    assert asked.method == method
    a.answer(asked, b"{}")
    assert client.one().result == {}
    world.assert_at_rest()


def test_nothing_that_nobody_defines_passes_before_initialize() -> None:
    world, a, _, _ = two()
    world.publish("a", "t")
    early = world.client("s2", initialized=False)
    assert early.ask("vendor/own", b'{"name":"a__t"}').error["code"] == METHOD_NOT_FOUND
    assert a.heard() == []


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
def test_what_servers_ask_of_clients_can_not_be_asked_by_clients(method: str) -> None:
    _, a, b, client = two(prompts=["x"])
    assert client.ask(method, b"{}").error["code"] == METHOD_NOT_FOUND
    assert a.heard() == b.heard() == []


# Time


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", b'{"name":"a__p"}'),
        ("resources/read", b'{"uri":"test://x"}'),
        ("resources/subscribe", b'{"uri":"test://x"}'),
        ("resources/unsubscribe", b'{"uri":"test://x"}'),
        ("completion/complete", b'{"ref":{"type":"ref/prompt","name":"a__p"}}'),
        ("vendor/own", b'{"name":"a__p"}'),
    ],
)
@pytest.mark.parametrize("end", ["time-out", "cancel", "lost", "retired", "leaves"])
def test_each_request_ends_once_whatever_happens_in_the_middle_of_it(method: str, params: bytes, end: str) -> None:
    world, a, _, client = two()
    world.list_more("a", prompts=["p"], resources=["test://x"])
    asked = client.call(method, a, params)
    if end == "time-out":
        world.pass_time(301)
        assert client.one().error["data"]["delivered"] == "maybe"
        assert dump(a.first().params["requestId"]) == asked.id
    elif end == "cancel":
        client.cancel(b"1")
        assert dump(a.first().params["requestId"]) == asked.id
    elif end == "leaves":
        client.leave()
        assert dump(a.first().params["requestId"]) == asked.id
    else:
        if end == "lost":
            world.lose(a)
        else:
            world.retire("a")
        assert ids(client.heard()) == [b"1"]
    a.answer(asked, b"{}")
    world.pass_time(301)
    assert client.heard() == []
    assert [event.outcome for event in world.of(RequestFinished)] == [
        {"time-out": "timeout", "cancel": "cancelled", "leaves": "cancelled"}.get(end, "error")
    ]
    world.assert_at_rest()


def test_of_very_many_uris_that_were_found_the_oldest_are_forgotten() -> None:
    state = State(lambda event: None, 10.0, 1000, "hub", "1")
    state.targets["a"] = Target("a", "a", Limits(call=5.0))
    methods = Methods(state, Tasks(), Subscriptions())
    session = Session([], "s")
    find = methods.get("resources/read")
    assert find is not None
    for number in range(MOST_REMEMBERED + 1):
        methods.remember(f"test://{number}", "a")
    assert find.find(session, Raw(b'"test://0"')) == ()
    for uri in ("test://1", f"test://{MOST_REMEMBERED}"):
        assert [route.server for route in find.find(session, Raw(dump(uri)))] == ["a"]
    assert "resources/read" in repr(find)
