"""What servers ask: it reaches the one client that it can be for, and ends once, whatever either side does."""

from typing import Any

import pytest

from proxy.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMED_OUT,
    SERVER_UNAVAILABLE,
)
from proxy.events import CallFinished, QuestionFinished
from proxy.relay.ghosts import HAUNTS
from proxy.relay.state import AFTERWORDS
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, dump, hello, ids, message

ALL = {"roots": {"listChanged": True}, "sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}}
OURS = {"origin": "mcp-manifold", "server": "a", "delivered": "no"}
FORM = b'{"message":"Your name?","requestedSchema":{"type":"object","properties":{}}}'
URL = b'{"mode":"url","message":"Sign in","url":"https:\\/\\/x","elicitationId":"e1"}'
COMPLETE = "notifications/elicitation/complete"


def one(capabilities: dict[str, Any] | None = None, **options: Any) -> tuple[World, Server, Client]:
    """A server `a` with a tool `t`, and a client that can do these things, else everything."""
    world = World("a", **options)
    return world, world.start("a", "t"), world.client(capabilities=ALL if capabilities is None else capabilities)


def several(count: int) -> tuple[World, Server, list[Client]]:
    world = World("a")
    a = world.start("a", "t")
    return world, a, [world.client(f"s{number}", capabilities=ALL) for number in range(count)]


def busy(client: Client, server: Server, id: bytes = b'"busy"') -> Message:
    """A call of this client that goes on, as the server got it."""
    return client.call("tools/call", server, dump({"name": f"{server.link.server}__t"}), id)


def outcomes(world: World) -> list[str]:
    return [event.outcome for event in world.of(QuestionFinished)]


# There and back


@pytest.mark.parametrize("id", [b"0", b"-7", b"1", b'"1"', b'""', rb'"\u00e9\/"', b'"roots"', b"9" * 200])
@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "vendor/ask"])
def test_a_question_reaches_the_client_as_it_is_and_its_answer_the_server_under_its_own_id(
    id: bytes, method: str
) -> None:
    world, a, client = one()
    asked = a.ask(method, client, rb'{"x":1e400,"_meta":{"y" :1.0},"text":"\ud800"}', id)
    assert asked.members["params"] == rb'{"x":1e400,"_meta":{"y" :1.0},"text":"\ud800"}'
    result = rb'{ "roots":[ ],"big":1e400,"text":"\ud800" }'
    client.answer(asked, result)
    assert a.one().line == b'{"jsonrpc":"2.0","id":' + id + b',"result":' + result + b"}"
    [event] = world.of(QuestionFinished)
    assert (event.server, event.session, event.method, event.outcome) == ("a", "s1", method, "ok")
    world.assert_at_rest()


@pytest.mark.parametrize("params", [None, b"{}"])
def test_a_question_without_params_stays_without(params: bytes | None) -> None:
    _, a, client = one()
    assert a.ask("roots/list", client, params).members.get("params") == params


@pytest.mark.parametrize("params", [b"null", b'{"_meta":null}', b'{"_meta":7}', b'{"_meta":{"progressToken":null}}'])
def test_odd_params_pass_as_they_are(params: bytes) -> None:
    world, a, client = one()
    asked = a.ask("sampling/createMessage", client, params)
    assert asked.members.get("params") in ({params, None} if params == b"null" else {params})
    client.answer(asked)
    assert a.one().result == {}
    world.assert_at_rest()


@pytest.mark.parametrize("params", [b"[]", b"7", b'"x"', b"true"])
def test_params_that_are_no_object_are_refused(params: bytes) -> None:
    world, a, client = one()
    a.send(message("sampling/createMessage", params, b"1"))
    assert a.one().error["code"] == INVALID_PARAMS
    assert client.heard() == []
    assert outcomes(world) == ["refused"]
    world.assert_at_rest()


def test_the_clients_error_passes_byte_for_byte() -> None:
    world, a, client = one()
    error = b'{"code":-1,"message":"User rejected","data":{"x" : 1.0}}'
    client.fail(a.ask("sampling/createMessage", client, b"{}"), error)
    assert a.one().members["error"] == error
    assert outcomes(world) == ["error"]
    world.assert_at_rest()


def test_questions_of_several_servers_with_one_id_are_told_apart() -> None:
    world = World("a", "b")
    a, b = world.start("a", "t"), world.start("b", "t")
    client = world.client(capabilities=ALL)
    of_a, of_b = a.ask("roots/list", client), b.ask("roots/list", client)
    assert of_a.id != of_b.id
    client.answer(of_b, b'{"to":"b"}')
    client.answer(of_a, b'{"to":"a"}')
    assert (a.one().line, b.one().line) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"to":"a"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"to":"b"}}',
    )


def test_the_number_1_and_the_text_1_are_two_questions() -> None:
    _, a, client = one()
    number, text = a.ask("roots/list", client, id=b"1"), a.ask("roots/list", client, id=b'"1"')
    client.answer(text, b'{"to":"text"}')
    client.answer(number, b'{"to":"number"}')
    assert [(heard.id, heard.result["to"]) for heard in a.heard()] == [(b'"1"', "text"), (b"1", "number")]


def test_each_question_has_an_id_that_this_client_has_not_seen() -> None:
    _, a, client = one()
    seen = []
    for _ in range(3):
        asked = a.ask("roots/list", client)
        seen.append(asked.id)
        client.answer(asked)
        a.one()
    asked = a.ask("roots/list", client)
    a.send(message("notifications/cancelled", b'{"requestId":1}'))
    client.heard()
    seen.append(asked.id)
    seen.append(a.ask("roots/list", client).id)
    assert len(set(seen)) == 5


def test_a_question_and_a_call_may_have_one_id() -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client, id=b"1")
    assert asked.id is not None
    sent = busy(client, a, asked.id)
    client.answer(asked, b'{"roots":[]}')
    assert a.one().result == {"roots": []}
    a.answer(sent)
    assert client.one().result == {"content": []}
    world.assert_at_rest()


def test_an_id_that_is_in_flight_is_refused_and_the_first_question_goes_on() -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client, id=b"5")
    a.send(message("sampling/createMessage", b"{}", b"5"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert client.heard() == []
    client.answer(asked)
    assert a.one().result == {}
    client.answer(a.ask("roots/list", client, id=b"5"))
    assert a.one().result == {}
    world.assert_at_rest()


def test_a_server_can_not_ask_without_end() -> None:
    world, a, client = one()
    for number in range(1000):
        a.send(message("roots/list", id=b"%d" % number))
    assert len(client.heard()) == 1000
    a.send(message("roots/list", id=b"1000"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert client.heard() == []
    world.pass_time(700)
    assert len(a.heard()) == 1000
    world.assert_at_rest()


# Answers of clients


@pytest.mark.parametrize("written", [b"ID", b'"ID"'])
def test_a_client_may_write_the_id_as_a_text(written: bytes) -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client)
    client.send(b'{"jsonrpc":"2.0","id":' + written.replace(b"ID", asked.id or b"") + b',"result":{"x":1}}')
    assert a.one().result == {"x": 1}
    world.assert_at_rest()


def test_a_second_answer_falls() -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client)
    client.answer(asked)
    client.answer(asked, b'{"second":1}')
    client.fail(asked)
    assert a.one().result == {}
    assert client.heard() == []
    assert outcomes(world) == ["ok"]


@pytest.mark.parametrize("id", [b"77", b'"77"', b"-1", b'"x"', b'""', b"9" * 40])
def test_an_answer_to_nothing_falls(id: bytes) -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client)
    client.send(b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}')
    assert a.heard() == client.heard() == []
    client.answer(asked)
    assert a.one().result == {}
    world.assert_at_rest()


def test_a_client_can_not_answer_what_another_was_asked() -> None:
    _, a, [first, second] = several(2)
    busy(first, a)
    asked = a.ask("roots/list", first)
    second.answer(asked, b'{"roots":["mine"]}')
    assert a.heard() == []
    first.answer(asked)
    assert a.one().result == {}


@pytest.mark.parametrize(
    ("members", "outcome"),
    [
        (b'"result":{"x":1},"error":null', "ok"),
        (b'"result":null,"error":{"code":5,"message":"no"}', "error"),
        (b'"result":null', "error"),
        (b'"error":null', "error"),
        (b'"result":null,"error":null', "error"),
        (b'"method":null,"result":{"x":1}', "ok"),
    ],
)
def test_the_member_that_is_null_is_not_the_answer(members: bytes, outcome: str) -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client, id=b"5")
    client.send(b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b"," + members + b"}")
    answer = a.one()
    assert answer.id == b"5"
    assert ("result" in answer.members) == (outcome == "ok")
    assert ("error" in answer.members) == (outcome == "error")
    assert outcomes(world) == [outcome]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":ID}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"text":"\xff"}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"text":"cut of',
        b'{"jsonrpc":"2.0","id":ID,"result":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"jsonrpc":"2.0","id":ID,"error":{"code":1,"data":{"method":"GET","x":NaN}}}',
    ],
)
def test_an_answer_that_can_not_be_read_fails_its_question_and_no_request_of_the_client(line: bytes) -> None:
    world, a, client = one()
    asked = a.ask("roots/list", client, id=b"5")
    assert asked.id is not None
    sent = busy(client, a, asked.id)
    client.send(line.replace(b"ID", asked.id))
    answer = a.one()
    assert (answer.id, answer.error["code"]) == (b"5", INTERNAL_ERROR)
    assert [heard.id for heard in client.heard() if heard.id == asked.id] == []
    a.answer(sent)
    assert client.one().result == {"content": []}
    assert outcomes(world) == ["error"]
    world.assert_at_rest()


def test_an_answer_that_is_too_long_fails_its_question() -> None:
    world, a, client = one()
    asked = a.ask("sampling/createMessage", client, b"{}", b"5")
    start = b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b',"result":{"content":"' + b"x" * 4000
    world.do(world.relay.client_overlong, client.session, start, world.now)
    answer = a.one()
    assert (answer.id, answer.error["code"]) == (b"5", INTERNAL_ERROR)
    assert "64 MiB" in answer.error["message"]
    world.assert_at_rest()


@pytest.mark.parametrize("result", [b"7", b"[]", b'"x"', b"true"])
def test_a_result_that_is_no_object_ends_the_question_all_the_same(result: bytes) -> None:
    world, a, client = one()
    client.answer(a.ask("roots/list", client, id=b"5"), result)
    assert a.one().id == b"5"
    world.assert_at_rest()


def test_answers_may_come_in_a_batch() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(protocol="2025-03-26", capabilities=ALL)
    first, second = a.ask("roots/list", client, id=b"1"), a.ask("roots/list", client, id=b"2")
    client.batch(
        b'{"jsonrpc":"2.0","id":%b,"result":{"n":1}}' % (first.id or b""),
        message("ping", id=second.id),
        b'{"jsonrpc":"2.0","id":%b,"result":{"n":2}}' % (second.id or b""),
    )
    assert [heard.result["n"] for heard in a.heard()] == [1, 2]
    assert ids(client.one_batch()) == [second.id]
    world.assert_at_rest()


# Whom it is for


def test_the_only_client_is_asked_whether_it_has_a_call_in_flight_or_not() -> None:
    _, a, client = one()
    client.answer(a.ask("roots/list", client))
    assert a.one().result == {}
    busy(client, a)
    client.answer(a.ask("roots/list", client))
    assert a.one().result == {}


def test_of_several_clients_the_one_with_a_call_in_flight_there_is_asked() -> None:
    world = World("a", "b")
    a, b = world.start("a", "t"), world.start("b", "t")
    first, second = (world.client(label, capabilities=ALL) for label in ("s1", "s2"))
    busy(first, a)
    busy(second, b)
    a.ask("elicitation/create", first, FORM)
    b.ask("elicitation/create", second, FORM)
    assert first.heard() == second.heard() == []


@pytest.mark.parametrize("callers", [0, 2])
@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create", "vendor/ask"])
def test_where_it_can_not_be_told_whom_it_is_for_nobody_is_asked(method: str, callers: int) -> None:
    world, a, clients = several(3)
    for client in clients[:callers]:
        busy(client, a)
    a.send(message(method, FORM, b"7"))
    answer = a.one()
    assert (answer.id, answer.error["code"]) == (b"7", INTERNAL_ERROR)
    assert answer.error["data"] == OURS
    assert "in flight" in answer.error["message"]
    assert [client.heard() for client in clients] == [[], [], []]
    [event] = world.of(QuestionFinished)
    assert (event.session, event.request_id, event.outcome) == ("", "7", "refused")


def test_without_any_client_nobody_is_asked() -> None:
    world = World("a")
    a = world.start("a", "t")
    a.send(message("roots/list", id=b"1"))
    assert a.one().error["code"] == INTERNAL_ERROR
    world.assert_at_rest()


@pytest.mark.parametrize("method", ["\ud800", "x" * 100_000, 'a"\\b'])
@pytest.mark.parametrize("clients", [0, 1])
def test_a_question_may_have_any_method(method: str, clients: int) -> None:
    world, a, found = several(clients)
    a.send(message(method, b"{}", b"1"))
    for client in found:
        client.fail(client.one())
    assert a.one().error["code"]
    world.assert_at_rest()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "test://x"}),
        ("prompts/get", {"name": "a__p"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a__p"}}),
        ("resources/subscribe", {"uri": "test://x"}),
    ],
)
def test_any_request_in_flight_tells_whom_it_is_for(method: str, params: Any) -> None:
    world = World("a")
    a = world.connect("a", resources={"subscribe": True}, completions={})
    world.list_more("a", tools=[], prompts=["p"], resources=["test://x"])
    first, second = (world.client(label, capabilities=ALL) for label in ("s1", "s2"))
    sent = first.call(method, a, dump(params))
    a.ask("elicitation/create", first, FORM)
    a.answer(sent, b"{}")
    assert first.one().result == {}
    a.send(message("elicitation/create", FORM, b"2"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert second.heard() == first.heard() == []


@pytest.mark.parametrize("end", ["cancel", "time-out", "leaves"])
def test_what_is_asked_for_a_call_that_was_given_up_is_shown_to_nobody_else(end: str) -> None:
    world, a, [first, second] = several(2)
    busy(first, a, b"1")
    if end == "cancel":
        first.cancel(b"1")
    elif end == "leaves":
        first.leave()
    else:
        world.pass_time(300)
        assert first.one().error["code"] == REQUEST_TIMED_OUT
    a.heard()
    a.send(message("elicitation/create", FORM, b"1"))
    assert second.heard() == []
    if end == "leaves":
        assert a.one().error["code"] == INTERNAL_ERROR
    busy(second, a)
    a.send(message("elicitation/create", FORM, b"2"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert second.heard() == []
    world.pass_time(HAUNTS)
    a.ask("elicitation/create", second, FORM, b"3")


def test_what_the_late_answer_shows_to_be_over_haunts_nobody() -> None:
    _, a, [first, second] = several(2)
    given_up = busy(first, a, b"1")
    first.cancel(b"1")
    a.heard()
    a.answer(given_up)
    busy(second, a)
    a.ask("elicitation/create", second, FORM)


# What clients can do


@pytest.mark.parametrize(
    ("method", "params", "capabilities", "code"),
    [
        ("roots/list", None, {}, METHOD_NOT_FOUND),
        ("roots/list", None, {"roots": None}, METHOD_NOT_FOUND),
        ("roots/list", None, {"roots": False}, METHOD_NOT_FOUND),
        ("roots/list", None, {"roots": {}}, 0),
        ("sampling/createMessage", b"{}", {}, METHOD_NOT_FOUND),
        ("sampling/createMessage", b"{}", {"sampling": {}}, 0),
        ("sampling/createMessage", b'{"tools":[]}', {"sampling": {}}, INVALID_PARAMS),
        ("sampling/createMessage", b'{"toolChoice":{"mode":"auto"}}', {"sampling": {}}, INVALID_PARAMS),
        ("sampling/createMessage", b'{"toolChoice":{}}', {"sampling": {"context": {}}}, INVALID_PARAMS),
        ("sampling/createMessage", b'{"tools":null,"toolChoice":null}', {"sampling": {}}, 0),
        ("sampling/createMessage", b'{"tools":[],"toolChoice":{}}', {"sampling": {"tools": {}}}, 0),
        ("elicitation/create", FORM, {}, METHOD_NOT_FOUND),
        ("elicitation/create", FORM, {"elicitation": {}}, 0),
        ("elicitation/create", FORM, {"elicitation": {"form": {}}}, 0),
        ("elicitation/create", FORM, {"elicitation": {"url": {}}}, INVALID_PARAMS),
        ("elicitation/create", b'{"mode":"form","message":"x"}', {"elicitation": {"url": {}}}, INVALID_PARAMS),
        ("elicitation/create", b'{"mode":null,"message":"x"}', {"elicitation": {}}, 0),
        ("elicitation/create", URL, {"elicitation": {}}, INVALID_PARAMS),
        ("elicitation/create", URL, {"elicitation": {"form": {}}}, INVALID_PARAMS),
        ("elicitation/create", URL, {"elicitation": {"form": {}, "url": None}}, INVALID_PARAMS),
        ("elicitation/create", URL, {"elicitation": {"form": {}, "url": {}}}, 0),
        ("elicitation/create", URL, {"elicitation": {"url": {}}}, 0),
        ("elicitation/create", rb'{"mode":"\ud800","message":"x"}', ALL, INVALID_PARAMS),
        ("vendor/ask", b'{"tools":[],"mode":"url"}', {}, 0),
    ],
)
def test_a_client_is_asked_only_what_it_declared(
    method: str, params: bytes | None, capabilities: dict[str, Any], code: int
) -> None:
    world, a, client = one(capabilities)
    a.send(message(method, params, b"7"))
    if code:
        answer = a.one()
        assert (answer.id, answer.error["code"], answer.error["data"]) == (b"7", code, OURS)
        assert client.heard() == []
        assert outcomes(world) == ["refused"]
    else:
        client.answer(client.one())
        assert a.one().result == {}
    world.assert_at_rest()


def test_what_one_client_declared_is_not_asked_of_another() -> None:
    world = World("a")
    a = world.start("a", "t")
    world.client("s1", capabilities=ALL)
    second = world.client("s2", capabilities={"roots": {}})
    busy(second, a)
    a.send(message("elicitation/create", FORM, b"1"))
    assert a.one().error["code"] == METHOD_NOT_FOUND
    assert second.heard() == []


# Elicitation


@pytest.mark.parametrize(
    ("text", "shown"),
    [(b'"Your name?"', "a: Your name?"), (rb'"x\ud800\u202ey"', "a: x\ud800y"), (b'""', "a: ")],
)
def test_who_is_asked_sees_which_server_asks_and_nothing_that_hides(text: bytes, shown: str) -> None:
    _, a, client = one()
    asked = a.ask("elicitation/create", client, b'{"x":1.0,"message":' + text + b',"requestedSchema":{ }}')
    assert asked.params["message"] == shown
    assert asked.members["params"].startswith(b'{"x":1.0,"message":"a: ')
    assert asked.members["params"].endswith(b',"requestedSchema":{ }}')


@pytest.mark.parametrize("params", [b"{}", b'{"message":7}', b'{"message":null,"mode":7}', b'{"mode":"url"}'])
def test_an_odd_elicitation_is_for_the_client_to_judge(params: bytes) -> None:
    world, a, client = one()
    asked = a.ask("elicitation/create", client, params)
    assert asked.members["params"] == params
    client.fail(asked)
    assert a.one().error["code"] == -1
    world.assert_at_rest()


def test_that_a_url_was_dealt_with_is_told_to_the_client_whose_user_was_sent_there_once() -> None:
    _, a, [first, second] = several(2)
    sent = busy(first, a)
    asked = a.ask("elicitation/create", first, URL)
    assert asked.params == {"mode": "url", "message": "a: Sign in", "url": "https://x", "elicitationId": "e1"}
    first.answer(asked, b'{"action":"accept"}')
    a.heard()
    a.answer(sent)
    first.heard()
    busy(second, a)
    for _ in range(2):
        a.send(message(COMPLETE, b'{"elicitationId":"e1","new":1.0}'))
    assert first.one().members["params"] == b'{"elicitationId":"e1","new":1.0}'
    assert second.heard() == []


def test_two_servers_may_choose_one_id_for_their_urls() -> None:
    world = World("a", "b")
    a, b = world.start("a", "t"), world.start("b", "t")
    first, second = (world.client(label, capabilities=ALL) for label in ("s1", "s2"))
    for client, server in ((first, a), (second, b)):
        busy(client, server)
        client.answer(server.ask("elicitation/create", client, URL))
        server.one()
    b.send(message(COMPLETE, b'{"elicitationId":"e1"}'))
    assert first.heard() == []
    assert second.one().method == COMPLETE
    a.send(message(COMPLETE, b'{"elicitationId":"e1"}'))
    assert first.one().method == COMPLETE


@pytest.mark.parametrize(
    "params",
    [None, b"null", b"[]", b"7", b"{}", b'{"elicitationId":null}', b'{"elicitationId":"e2"}', b'{"elicitationId":1}'],
)
def test_that_something_else_was_dealt_with_is_told_to_nobody(params: bytes | None) -> None:
    world, a, client = one()
    client.answer(a.ask("elicitation/create", client, URL))
    a.one()
    a.send(message(COMPLETE, params))
    assert client.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("first", [False, True])
def test_a_form_needs_no_completion(first: bool) -> None:
    _, a, client = one()
    params = b'{"message":"x","elicitationId":"e1"' + (b',"mode":"form"}' if first else b"}")
    client.answer(a.ask("elicitation/create", client, params))
    a.one()
    a.send(message(COMPLETE, b'{"elicitationId":"e1"}'))
    assert client.heard() == []


REQUIRED = (
    b'{"code":-32042,"message":"x","data":{"elicitations":['
    b'{"mode":"url","elicitationId":"e1","url":"https://x","message":"m"},{"elicitationId":"e2"}]}}'
)


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get"])
def test_urls_that_an_error_asks_for_are_completed_too(method: str) -> None:
    world = World("a")
    a = world.connect("a", resources={})
    world.list_more("a", tools=["t"], prompts=["t"], resources=["test://x"])
    first, second = (world.client(label, capabilities=ALL) for label in ("s1", "s2"))
    a.fail(first.call(method, a, b'{"name":"a__t","uri":"test://x"}'), REQUIRED)
    assert first.one().members["error"] == REQUIRED.replace(b'"message":"m"', b'"message":"a: m"')
    for id in ("e2", "e1", "e1"):
        a.send(message(COMPLETE, dump({"elicitationId": id})))
    assert [heard.params["elicitationId"] for heard in first.heard()] == ["e2", "e1"]
    assert second.heard() == []


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"7",
        b'{"elicitationId":"e1"}',
        b'{"elicitations":null}',
        b'{"elicitations":[7,"elicitationId"]}',
        b'{"elicitations":[{"elicitationId":null}]}',
        b'{"elicitations":{"elicitationId":"e1"}}',
    ],
)
def test_an_odd_error_that_asks_for_urls_passes_all_the_same(data: bytes) -> None:
    world, a, client = one()
    error = b'{"code":-32042,"message":"elicitationId","data":' + data + b"}"
    a.fail(busy(client, a), error)
    assert client.one().members["error"] == error
    world.assert_at_rest()


def test_the_urls_of_a_client_that_left_and_of_a_lost_connection_are_completed_for_nobody() -> None:
    world, a, [first, second] = several(2)
    a.fail(busy(first, a), REQUIRED)
    first.leave()
    a.send(message(COMPLETE, b'{"elicitationId":"e1"}'))
    a.fail(busy(second, a), REQUIRED)
    second.heard()
    world.lose(a)
    again = world.connect("a")
    again.send(message(COMPLETE, b'{"elicitationId":"e1"}'))
    assert first.heard() == [] or first.heard() == []
    assert second.heard() == []


def test_of_very_many_urls_the_oldest_are_forgotten() -> None:
    world, a, client = one()
    for number in range(1001):
        client.answer(a.ask("elicitation/create", client, URL.replace(b"e1", b"e%d" % number)))
        a.one()
    for id in ("e0", "e1", "e1000"):
        a.send(message(COMPLETE, dump({"elicitationId": id})))
    assert [heard.params["elicitationId"] for heard in client.heard()] == ["e1", "e1000"]
    world.assert_at_rest()


# A client that is not ready yet


def test_a_question_waits_until_the_client_has_said_that_it_is_ready() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(initialized=False)
    client.ask("initialize", hello("2025-11-25", "c", ALL))
    a.send(message("roots/list", id=b"1"), message("roots/list", id=b"2"))
    assert client.heard() == a.heard() == []
    assert client.ask("ping").result == {}
    client.send(message("notifications/initialized"))
    first, second = client.heard()
    client.answer(first, b'{"n":1}')
    client.answer(second, b'{"n":2}')
    assert [heard.result["n"] for heard in a.heard()] == [1, 2]
    client.send(message("notifications/initialized"))
    assert client.heard() == []
    world.assert_at_rest()


def test_a_client_that_goes_on_without_saying_so_is_ready() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(initialized=False)
    client.ask("initialize", hello("2025-11-25", "c", ALL))
    a.send(message("roots/list", id=b"1"))
    client.send(message("tools/list", id=b"2"))
    assert [heard.method for heard in client.heard()] == ["roots/list", None]


@pytest.mark.parametrize("end", ["cancel", "time-out", "lost", "leaves"])
def test_a_question_that_ends_before_it_was_asked_is_not_asked(end: str) -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(initialized=False)
    client.ask("initialize", hello("2025-11-25", "c", ALL))
    a.send(message("roots/list", id=b"5"))
    client.send(b'{"jsonrpc":"2.0","id":1,"result":{"guessed":true}}')
    assert a.heard() == []
    if end == "cancel":
        a.send(message("notifications/cancelled", b'{"requestId":5}'))
    elif end == "time-out":
        world.pass_time(600)
        assert a.one().error["code"] == REQUEST_TIMED_OUT
    elif end == "lost":
        world.lose(a)
    else:
        client.leave()
        assert a.one().error["code"] == SERVER_UNAVAILABLE
    client.send(message("notifications/initialized"))
    assert client.heard() == []
    world.assert_at_rest()


def test_a_client_that_has_not_said_hello_is_asked_nothing() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(initialized=False)
    a.send(message("roots/list", id=b"1"))
    assert a.one().error["code"] == METHOD_NOT_FOUND
    assert client.heard() == []
    client.send(message("notifications/initialized"))
    assert client.heard() == []


# Progress, cancellation, time


@pytest.mark.parametrize("token", [b"0", b'"text"', b'"1"', b"-12", b"1e3", rb'"\ud800"', b'{"odd":1}'])
def test_progress_of_a_question_reaches_the_server_under_its_own_token(token: bytes) -> None:
    _, a, client = one()
    params = b'{"_meta":{"x":1.0,"progressToken":' + token + b',"z":[ ]}}'
    asked = a.ask("sampling/createMessage", client, params)
    ours = dump(asked.params["_meta"]["progressToken"])
    assert asked.members["params"] == b'{"_meta":{"x":1.0,"progressToken":' + ours + b',"z":[ ]}}'
    client.send(message("notifications/progress", b'{"progress":1.0,"progressToken":' + ours + b',"new":[ ]}'))
    assert a.one().members["params"] == b'{"progress":1.0,"progressToken":' + token + b',"new":[ ]}'
    client.answer(asked)
    a.one()
    client.send(message("notifications/progress", b'{"progressToken":' + ours + b',"progress":2}'))
    assert a.heard() == []


@pytest.mark.parametrize(
    "params", [None, b"[]", b"{}", b'{"progressToken":null}', b'{"progressToken":99}', b'{"progressToken":{}}']
)
def test_progress_of_nothing_falls(params: bytes | None) -> None:
    _, a, client = one()
    a.ask("sampling/createMessage", client, b'{"_meta":{"progressToken":1}}')
    client.send(message("notifications/progress", params))
    assert a.heard() == client.heard() == []


def test_a_question_without_a_token_gets_no_progress_and_clients_not_each_others() -> None:
    _, a, [first, second] = several(2)
    busy(first, a)
    plain = a.ask("sampling/createMessage", first, b"{}", b"1")
    asked = a.ask("sampling/createMessage", first, b'{"_meta":{"progressToken":1}}', b"2")
    first.send(message("notifications/progress", b'{"progressToken":' + (plain.id or b"") + b',"progress":1}'))
    second.send(message("notifications/progress", b'{"progressToken":' + (asked.id or b"") + b',"progress":1}'))
    assert a.heard() == []


def test_a_server_that_cancels_its_question_is_taken_at_its_word_and_the_late_answer_falls() -> None:
    world, a, client = one()
    asked = a.ask("sampling/createMessage", client, b"{}", b'"q"')
    a.send(message("notifications/cancelled", b'{"reason":"x","requestId":"q","new":1.0}'))
    told = client.one()
    assert told.method == "notifications/cancelled"
    assert told.members["params"] == b'{"reason":"x","requestId":' + (asked.id or b"") + b',"new":1.0}'
    client.answer(asked)
    assert a.heard() == client.heard() == []
    assert outcomes(world) == ["cancelled"]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "params", [None, b"[]", b"{}", b'{"requestId":null}', b'{"requestId":"5"}', b'{"requestId":6}']
)
def test_a_cancellation_of_something_else_changes_nothing(params: bytes | None) -> None:
    _, a, client = one()
    asked = a.ask("roots/list", client, id=b"5")
    a.send(message("notifications/cancelled", params))
    assert client.heard() == []
    client.answer(asked)
    assert a.one().result == {}


def test_a_server_can_not_cancel_what_another_asked() -> None:
    world = World("a", "b")
    a, b = world.start("a", "t"), world.start("b", "t")
    client = world.client(capabilities=ALL)
    asked = a.ask("roots/list", client, id=b"1")
    b.send(message("notifications/cancelled", b'{"requestId":1}'))
    assert client.heard() == []
    client.answer(asked)
    assert a.one().result == {}


def test_a_client_can_not_cancel_what_it_was_asked() -> None:
    _, a, client = one()
    asked = a.ask("roots/list", client)
    assert asked.id is not None
    client.cancel(asked.id)
    assert a.heard() == []
    client.answer(asked)
    assert a.one().result == {}


def test_a_client_that_does_not_answer_is_waited_for_a_bounded_time_and_told_when_it_is_over() -> None:
    world, a, client = one()
    world.targets["a"].limits = Limits(ask=20)
    asked = a.ask("elicitation/create", client, FORM, b"5")
    world.pass_time(19.9)
    assert a.heard() == client.heard() == []
    world.pass_time(0.1)
    answer = a.one()
    assert (answer.id, answer.error["code"]) == (b"5", REQUEST_TIMED_OUT)
    assert "20 s" in answer.error["message"]
    told = client.one()
    assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
    client.answer(asked)
    assert a.heard() == client.heard() == []
    [event] = world.of(QuestionFinished)
    assert (event.outcome, event.seconds) == ("timeout", 20.0)
    world.assert_at_rest()


@pytest.mark.parametrize("end", ["answer", "error", "cancel", "time-out"])
def test_the_time_that_a_client_takes_to_answer_is_not_taken_from_its_call(end: str) -> None:
    world, a, client = one(call_timeout=30)
    world.targets["a"].limits = Limits(call=30, ask=1000)
    sent = busy(client, a, b"1")
    world.pass_time(20)
    asked = a.ask("elicitation/create", client, FORM, b"5")
    waited = 1000 if end == "time-out" else 500
    world.pass_time(waited - 1)
    assert client.heard() == a.heard() == []
    world.pass_time(1)
    if end == "answer":
        client.answer(asked)
    elif end == "error":
        client.fail(asked)
    elif end == "cancel":
        a.send(message("notifications/cancelled", b'{"requestId":5}'))
    a.heard()
    client.heard()
    world.pass_time(9.9)
    assert client.heard() == a.heard() == []
    world.pass_time(0.1)
    assert client.one().error["code"] == REQUEST_TIMED_OUT
    assert dump(a.one().params["requestId"]) == sent.id
    assert [event.seconds for event in world.of(CallFinished)] == [30.0 + waited]
    world.assert_at_rest()


def test_calls_of_others_are_not_given_more_time_by_a_question() -> None:
    world = World("a", "b", call_timeout=30)
    a, b = world.start("a", "t"), world.start("b", "t")
    first, second = (world.client(label, capabilities=ALL) for label in ("s1", "s2"))
    busy(first, a, b"1")
    a.ask("elicitation/create", first, FORM)
    busy(first, b, b"2")
    second.send(call(b"3", "a__t"))
    world.pass_time(30)
    assert [heard.error["code"] for heard in second.heard()] == [REQUEST_TIMED_OUT]
    assert ids(first.heard()) == [b"2"]
    world.pass_time(10_000)
    assert b"1" in ids(first.heard())
    world.assert_at_rest()


def test_what_has_ended_by_an_answer_needs_no_more_time() -> None:
    world, a, client = one(call_timeout=30)
    sent = busy(client, a)
    asked = a.ask("elicitation/create", client, FORM)
    world.pass_time(100)
    a.answer(sent)
    assert client.one().result == {"content": []}
    client.answer(asked)
    assert a.one().result == {}
    world.assert_at_rest()


# Ends of peers


def test_a_lost_server_withdraws_what_it_asked() -> None:
    world, a, client = one()
    asked = a.ask("elicitation/create", client, FORM)
    world.lose(a)
    told = client.one()
    assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
    client.answer(asked)
    assert client.heard() == a.heard() == []
    assert outcomes(world) == ["cancelled"]
    world.assert_at_rest()


def test_a_retired_server_withdraws_what_it_asked_and_asks_no_more() -> None:
    world, a, client = one()
    a.ask("elicitation/create", client, FORM)
    world.retire("a")
    assert client.one().method == "notifications/cancelled"
    a.send(message("roots/list", id=b"2"), message("notifications/message", b'{"level":"error","data":1}'))
    client.ask("logging/setLevel", b'{"level":"debug"}')
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


def test_a_server_that_is_lost_asks_nobody_any_more() -> None:
    world, a, client = one()
    world.lose(a)
    a.send(message("elicitation/create", FORM, b"1"))
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


def test_a_client_that_leaves_is_answered_for() -> None:
    world, a, client = one()
    a.ask("elicitation/create", client, FORM, b"1")
    a.ask("roots/list", client, id=b"2")
    client.leave()
    assert [(heard.id, heard.error["code"]) for heard in a.heard()] == [
        (b"1", SERVER_UNAVAILABLE),
        (b"2", SERVER_UNAVAILABLE),
    ]
    assert outcomes(world) == ["error"] * 2
    world.assert_at_rest()


def test_a_lost_server_fails_the_call_that_it_asked_something_for() -> None:
    world, a, client = one()
    busy(client, a, b"1")
    a.ask("elicitation/create", client, FORM)
    world.lose(a)
    failed, told = client.heard()
    assert (failed.id, told.method) == (b"1", "notifications/cancelled")
    world.assert_at_rest()


def test_a_server_may_ask_while_it_is_still_being_greeted() -> None:
    world = World("a")
    client = world.client(capabilities=ALL)
    a = world.open("a")
    client.answer(a.ask("roots/list", client, id=b"0"), b'{"roots":[]}')
    assert a.one().result == {"roots": []}
    world.assert_at_rest()


# Said on the stream of a call, which is how a transport may know whose it is


def test_what_is_asked_on_a_calls_stream_reaches_the_client_of_that_call_among_several() -> None:
    _, a, (one_client, other) = several(2)
    busy(one_client, a, b"1")
    second = busy(other, a, b"1")
    a.send_within(second, message("elicitation/create", FORM, b"7"))
    asked = other.one()
    assert asked.method == "elicitation/create"
    other.answer(asked, b'{"action":"accept"}')
    assert a.one().members["result"] == b'{"action":"accept"}'
    assert one_client.heard() == []


def test_what_is_told_on_a_calls_stream_reaches_the_client_of_that_call_among_several() -> None:
    _, a, (one_client, other) = several(2)
    first = busy(one_client, a, b"1")
    busy(other, a, b"1")
    a.send_within(first, message("notifications/message", b'{"level":"info","data":"for one"}'))
    assert one_client.one().members["params"] == b'{"level":"info","data":"for one","logger":"a"}'
    assert other.heard() == []


def test_a_question_on_the_stream_of_a_client_that_lacks_the_capability_is_refused_though_another_has_it() -> None:
    world = World("a")
    a = world.start("a", "t")
    able, unable = world.client("s1", capabilities=ALL), world.client("s2", capabilities={})
    busy(able, a)
    call_of_unable = busy(unable, a)
    a.send_within(call_of_unable, message("elicitation/create", FORM, b"7"))
    assert a.one().error["code"] == METHOD_NOT_FOUND
    assert able.heard() == unable.heard() == []


def test_a_question_on_the_stream_of_a_call_that_has_ended_reaches_nobody_else() -> None:
    _, a, (one_client, other) = several(2)
    busy(one_client, a)
    ended = busy(other, a)
    a.answer(ended)
    other.heard()
    a.send_within(ended, message("elicitation/create", FORM, b"7"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert one_client.heard() == other.heard() == []


def test_a_question_on_the_stream_of_a_cancelled_call_reaches_nobody_else() -> None:
    _, a, (one_client, other) = several(2)
    busy(one_client, a, b"1")
    given_up = busy(other, a, b"1")
    other.cancel(b"1")
    a.heard()
    other.leave()
    a.send_within(given_up, message("elicitation/create", FORM, b"7"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert one_client.heard() == []


def test_a_question_just_after_another_clients_answer_may_be_that_ones_and_is_refused() -> None:
    world, a, (first, second) = several(2)
    a.answer(busy(first, a))
    first.heard()
    busy(second, a)
    a.send(message("elicitation/create", FORM, b"7"))
    assert a.one().error["code"] == INTERNAL_ERROR
    assert first.heard() == second.heard() == []
    world.pass_time(AFTERWORDS)
    assert a.ask("elicitation/create", second, FORM, b"8")


def test_a_question_just_after_ones_own_answer_is_no_matter() -> None:
    _, a, (first, _) = several(2)
    a.answer(busy(first, a, b"1"))
    first.heard()
    busy(first, a, b"2")
    assert a.ask("elicitation/create", first, FORM, b"7")


def test_a_client_that_nobody_listens_for_any_more_is_in_nobodys_way() -> None:
    _, a, (first, second) = several(2)
    a.answer(busy(first, a))
    first.heard()
    first.session.is_there = False
    busy(second, a)
    assert a.ask("elicitation/create", second, FORM, b"7")
