"""Tasks in both directions: ids lead to who holds them, they are theirs who asked, and they end in their own way."""

from typing import Any

import pytest

from proxy.errors import INVALID_PARAMS, METHOD_NOT_FOUND, SERVER_UNAVAILABLE
from proxy.events import QuestionFinished
from proxy.relay import Session
from proxy.relay.ghosts import HAUNTS
from proxy.relay.state import AFTERWORDS
from proxy.relay.target import Limits
from proxy.relay.tasks import MOST_KEPT, Tasks
from tests.support.message import Message
from tests.support.relay import Client, Server, World, dump, message

RELATED = "io.modelcontextprotocol/related-task"
SERVER_TASKS: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
CLIENT_TASKS: dict[str, Any] = {
    "list": {},
    "cancel": {},
    "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}},
}
CLIENT = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "tasks": CLIENT_TASKS}
STATUS = "notifications/tasks/status"


def task(id: str, status: str = "working", **more: Any) -> dict[str, Any]:
    return {"taskId": id, "status": status, "createdAt": "x", "lastUpdatedAt": "x", "ttl": None, **more}


def related(id: str) -> dict[str, Any]:
    return {"_meta": {RELATED: {"taskId": id}}}


def started(*keys: str, **options: Any) -> tuple[World, list[Server], Client]:
    """Servers with a tool `t` that may be called as a task, and a client that can do everything."""
    world = World(*keys, **options)
    servers = [world.start(key, "t", tasks=SERVER_TASKS) for key in keys]
    return world, servers, world.client(capabilities=CLIENT)


def augmented(client: Client, server: Server, id: bytes = b"1", **params: Any) -> Message:
    """A call that asks for a task, as the server gets it."""
    return client.call(
        "tools/call", server, dump({"name": f"{server.link.server}__t", "task": {"ttl": 1}, **params}), id
    )


def begun(client: Client, server: Server, own: str = "t1", **params: Any) -> str:
    """A task of a server; returns the id that the client knows."""
    server.answer(augmented(client, server, b'"begin"', **params), dump({"task": task(own)}))
    public = client.one().result["task"]["taskId"]
    assert isinstance(public, str)
    return public


def asked_for(server: Server, client: Client, own: str = "c1", id: bytes = b"7", **params: Any) -> str:
    """A task of a client; returns the id that the server knows."""
    asked = server.ask("sampling/createMessage", client, dump({"messages": [], "task": {}, **params}), id)
    client.answer(asked, dump({"task": task(own)}))
    public = server.one().result["task"]["taskId"]
    assert isinstance(public, str)
    return public


# Calls as tasks


def test_a_call_may_be_a_task_and_everything_about_it_passes_byte_for_byte() -> None:
    world, [a], client = started("a")
    asked = client.call("tools/call", a, b'{"name":"a__t","arguments":{},"task":{ "ttl":60000.0,"x":1}}')
    assert asked.members["params"] == b'{"name":"t","arguments":{},"task":{ "ttl":60000.0,"x":1}}'
    created = b'{"task":{"taskId":"t/1","status":"working", "ttl":1e400},"_meta":{"x" :1}}'
    a.answer(asked, created)
    assert client.one().raw_result == created
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        asked = client.call(method, a, b'{"taskId":"t/1","_meta":{"x":1.0}}')
        assert asked.members["params"] == b'{"taskId":"t/1","_meta":{"x":1.0}}'
        result = (
            b'{ "taskId":"t/1","status":"completed","content":[ ],"_meta":{"'
            + RELATED.encode()
            + b'":{"taskId":"t/1"}}}'
        )
        a.answer(asked, result)
        assert client.one().raw_result == result
    assert world.outcomes == ["ok"]
    world.assert_at_rest()


@pytest.mark.parametrize("capabilities", [{}, {"tasks": {}}, {"tasks": {"requests": {}}}, {"tasks": None}])
def test_a_server_that_knows_no_tasks_is_called_the_plain_way(capabilities: dict[str, Any]) -> None:
    world = World("a")
    a = world.start("a", "t", **capabilities)
    client = world.client()
    asked = client.call("tools/call", a, b'{"task":{"ttl":1},"name":"a__t","arguments":{}}')
    assert asked.members["params"] == b'{"name":"t","arguments":{}}'
    client.cancel(b"1")
    assert a.one().method == "notifications/cancelled"
    world.assert_at_rest()


def test_a_task_of_null_is_no_task() -> None:
    world, [a], client = started("a")
    client.call("tools/call", a, b'{"name":"a__t","task":null}')
    client.cancel(b"1")
    assert a.one().method == "notifications/cancelled"
    world.assert_at_rest()


@pytest.mark.parametrize(
    "result",
    [
        b'{"content":[ ]}',
        b'{"task":null}',
        b'{"task":7}',
        b'{"task":{}}',
        b'{"task":{"taskId":7}}',
        b'{"task":{"taskId":null}}',
        b'{"task":[]}',
    ],
)
def test_an_answer_that_is_no_task_passes_unchanged(result: bytes) -> None:
    world, [a], client = started("a")
    a.answer(augmented(client, a), result)
    assert client.one().raw_result == result
    assert client.ask("tasks/get", b'{"taskId":"7"}').error["code"] == INVALID_PARAMS
    world.assert_at_rest()


@pytest.mark.parametrize("id", ["", " ", "\ud800", 'a"\\b', "é/~2", "x" * 5000])
def test_a_task_may_have_any_id(id: str) -> None:
    _, [a, b], client = started("a", "b")
    assert begun(client, a, id) == id
    other = begun(client, b, id)
    assert other != id
    for public, server in ((id, a), (other, b)):
        asked = client.call("tasks/get", server, dump({"taskId": public}))
        assert asked.params == {"taskId": id}
        server.answer(asked, dump(task(id)))
        assert client.one().result["taskId"] == public


@pytest.mark.parametrize("written", [rb'"t\/1"', rb'"\u0074/1"'])
def test_an_id_is_the_same_however_it_is_escaped(written: bytes) -> None:
    _, [a], client = started("a")
    a.answer(augmented(client, a), b'{"task":{"taskId":' + written + b',"status":"working"}}')
    client.one()
    assert client.call("tasks/get", a, b'{"taskId":"t/1"}').params == {"taskId": "t/1"}
    assert client.call("tasks/get", a, b'{"taskId":' + written + b"}", b"2").params == {"taskId": "t/1"}


def test_tasks_with_one_id_at_several_servers_are_told_apart_everywhere() -> None:
    world, [a, b, c], client = started("a", "b", "c")
    publics = {key: begun(client, server) for key, server in (("a", a), ("b", b), ("c", c))}
    assert publics["a"] == "t1"
    assert len(set(publics.values())) == 3
    public = publics["b"]
    b.send(message(STATUS, dump(task("t1", "input_required", **related("t1")))))
    told = client.one()
    assert (told.params["taskId"], told.params["_meta"][RELATED]["taskId"]) == (public, public)
    for method in ("tasks/get", "tasks/cancel"):
        asked = client.call(method, b, dump({"taskId": public}))
        assert asked.params == {"taskId": "t1"}
        b.answer(asked, dump(task("t1")))
        assert client.one().result["taskId"] == public
    asked = client.call("tasks/result", b, dump({"taskId": public}))
    b.answer(asked, dump({"content": [], "_meta": {"x": 1, RELATED: {"taskId": "t1", "y": 2}}}))
    assert client.one().result == {"content": [], "_meta": {"x": 1, RELATED: {"taskId": public, "y": 2}}}
    assert a.heard() == c.heard() == []
    world.assert_at_rest()


def test_an_id_that_looks_like_one_of_ours_is_told_apart_too() -> None:
    _, [a, b], client = started("a", "b")
    begun(client, a, "t")
    second = begun(client, b, "t")
    third = begun(client, a, second)
    assert len({"t", second, third}) == 3
    assert client.call("tasks/get", a, dump({"taskId": third})).params == {"taskId": second}


def test_tasks_are_their_clients_alone() -> None:
    world, [a], client = started("a")
    other = world.client("s2", capabilities=CLIENT)
    begun(client, a)
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        assert other.ask(method, b'{"taskId":"t1"}').error["code"] == INVALID_PARAMS
    a.send(message(STATUS, dump(task("t1"))))
    assert other.heard() == a.heard() == []
    assert client.one().method == STATUS


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
@pytest.mark.parametrize(
    "params", [None, b"[]", b"{}", b'{"taskId":null}', b'{"taskId":7}', b'{"taskId":""}', rb'{"taskId":"\ud800"}']
)
def test_a_task_that_nobody_knows_is_refused(method: str, params: bytes | None) -> None:
    world, [a], client = started("a")
    assert client.ask(method, params).error["code"] == INVALID_PARAMS
    assert a.heard() == []
    world.assert_at_rest()


def test_a_cancellation_goes_only_to_servers_that_know_it() -> None:
    world = World("a")
    a = world.start("a", "t", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    begun(client, a)
    assert client.ask("tasks/cancel", b'{"taskId":"t1"}').error["code"] == METHOD_NOT_FOUND
    client.call("tasks/get", a, b'{"taskId":"t1"}')


def test_what_a_server_says_of_a_task_as_an_error_passes_unchanged() -> None:
    _, [a], client = started("a")
    begun(client, a)
    error = b'{"code":-32602,"message":"Cannot cancel task: already in terminal status","data":[ ]}'
    a.fail(client.call("tasks/cancel", a, b'{"taskId":"t1"}'), error)
    assert client.one().members["error"] == error


@pytest.mark.parametrize("answered", [False, True])
def test_a_server_that_counts_anew_may_use_an_id_again(answered: bool) -> None:
    world, [a], client = started("a")
    assert begun(client, a) == "t1"
    if answered:
        a.answer(client.call("tasks/get", a, b'{"taskId":"t1"}'), dump(task("t1", "completed")))
        client.one()
    world.lose(a)
    again = world.connect("a", tasks=SERVER_TASKS)
    other = world.client("s2")
    assert begun(other, again) == "t1"
    assert other.call("tasks/get", again, b'{"taskId":"t1"}').params == {"taskId": "t1"}
    assert client.ask("tasks/get", b'{"taskId":"t1"}').error["code"] == INVALID_PARAMS


def test_the_tasks_of_a_retired_server_are_unknown() -> None:
    world, [a, _], client = started("a", "b")
    begun(client, a)
    world.retire("a")
    assert client.ask("tasks/get", b'{"taskId":"t1"}').error["code"] == INVALID_PARAMS
    assert client.ask("vendor/own", b'{"taskId":"t1"}').error["code"] == METHOD_NOT_FOUND
    world.assert_at_rest()


def test_a_task_outlives_the_connection_of_its_server() -> None:
    world, [a], client = started("a")
    begun(client, a)
    world.lose(a)
    again = world.connect("a", tasks=SERVER_TASKS)
    assert client.call("tasks/get", again, b'{"taskId":"t1"}').params == {"taskId": "t1"}


def test_a_method_that_nobody_defines_finds_its_server_by_the_task() -> None:
    _, [a, b], client = started("a", "b")
    begun(client, a)
    public = begun(client, b)
    assert client.call("vendor/own", b, dump({"taskId": public})).params == {"taskId": "t1"}


# The result of a task


def test_the_result_of_a_task_may_take_any_time() -> None:
    world, [a], client = started("a", call_timeout=30)
    begun(client, a)
    asked = client.call("tasks/result", a, b'{"taskId":"t1"}')
    world.pass_time(100_000)
    assert client.heard() == a.heard() == []
    a.answer(asked, b'{"content":[],"isError":false}')
    assert client.one().result == {"content": [], "isError": False}
    world.assert_at_rest()


@pytest.mark.parametrize("end", ["cancel", "lost", "retired", "leaves"])
def test_who_waits_for_the_result_of_a_task_waits_for_no_more_than_its_server(end: str) -> None:
    world, [a], client = started("a")
    begun(client, a)
    asked = client.call("tasks/result", a, b'{"taskId":"t1"}', b"5")
    if end == "cancel":
        client.cancel(b"5")
    elif end == "leaves":
        client.leave()
    elif end == "lost":
        world.lose(a)
    else:
        world.retire("a")
    if end in ("cancel", "leaves"):
        told = a.one()
        assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
        assert client.heard() == []
    else:
        assert client.one().error["code"] == SERVER_UNAVAILABLE
    a.answer(asked)
    assert client.heard() == []
    world.assert_at_rest()


# Progress and status of a task


def progress(token: object, number: int = 1, **more: Any) -> bytes:
    return message("notifications/progress", dump({"progressToken": token, "progress": number, **more}))


def test_progress_goes_on_after_the_first_answer_until_the_task_has_ended() -> None:
    _, [a], client = started("a")
    asked = augmented(client, a, _meta={"progressToken": "mine"})
    token = asked.params["_meta"]["progressToken"]
    a.send(progress(token, 1))
    a.answer(asked, dump({"task": task("t1")}))
    a.send(progress(token, 2, **related("t1")))
    a.answer(client.call("tasks/get", a, b'{"taskId":"t1"}', b"2"), dump(task("t1")))
    a.send(progress(token, 3))
    found = [heard.params for heard in client.heard() if heard.method == "notifications/progress"]
    assert [(one["progress"], one["progressToken"]) for one in found] == [(1, "mine"), (2, "mine"), (3, "mine")]
    assert found[1]["_meta"] == related("t1")["_meta"]
    a.answer(client.call("tasks/get", a, b'{"taskId":"t1"}', b"3"), dump(task("t1", "completed")))
    client.one()
    a.send(progress(token, 4))
    assert client.heard() == []
    assert a.link.tasks == {}


@pytest.mark.parametrize("end", ["status", "get", "cancel", "result", "created"])
@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_progress_of_a_task_ends_with_it_however_its_end_is_heard_of(end: str, status: str) -> None:
    _, [a], client = started("a")
    asked = augmented(client, a, _meta={"progressToken": 0})
    a.answer(asked, dump({"task": task("t1", status if end == "created" else "working")}))
    client.one()
    if end == "status":
        a.send(message(STATUS, dump(task("t1", status))))
    elif end != "created":
        a.answer(client.call(f"tasks/{end}", a, b'{"taskId":"t1"}', b"2"), dump(task("t1", status)))
    client.heard()
    a.send(progress(asked.params["_meta"]["progressToken"]))
    assert client.heard() == []


def test_progress_of_a_task_names_it_as_its_client_knows_it() -> None:
    _, [a, b], client = started("a", "b")
    begun(client, a)
    asked = augmented(client, b, _meta={"progressToken": "mine"})
    b.answer(asked, dump({"task": task("t1")}))
    public = client.one().result["task"]["taskId"]
    b.send(progress(asked.params["_meta"]["progressToken"], **related("t1")))
    told = client.one().params
    assert (told["progressToken"], told["_meta"][RELATED]["taskId"]) == ("mine", public)


@pytest.mark.parametrize(
    "params", [None, b"null", b"[]", b"7", b"{}", b'{"taskId":null}', b'{"taskId":"other"}', rb'{"taskId":"\ud800"}']
)
def test_a_status_of_nothing_falls_on_either_side(params: bytes | None) -> None:
    world, [a], client = started("a")
    begun(client, a)
    a.send(message(STATUS, params))
    client.send(message(STATUS, params))
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("company", [False, True])
def test_a_status_that_comes_before_the_answer_is_told_only_where_it_can_be_for_nobody_else(company: bool) -> None:
    world, [a], client = started("a")
    other = world.client("s2") if company else client
    asked = augmented(client, a, _meta={"progressToken": "mine"})
    a.send(message(STATUS, dump(task("t1"))))
    assert [heard.method for heard in client.heard()] == ([] if company else [STATUS])
    assert other.heard() == []
    a.answer(asked, dump({"task": task("t1")}))
    assert client.one().result["task"]["taskId"] == "t1"
    a.send(progress(asked.params["_meta"]["progressToken"]), message(STATUS, dump(task("t1", "completed"))))
    assert [heard.method for heard in client.heard()] == ["notifications/progress", STATUS]
    assert client.call("tasks/get", a, b'{"taskId":"t1"}').params == {"taskId": "t1"}


@pytest.mark.parametrize("meta", [b"null", b"7", b"[]", b'{"%b":7}', b'{"%b":{"taskId":7}}', b'{"%b":null}', b'"%b"'])
def test_odd_words_about_a_task_pass_as_they_are(meta: bytes) -> None:
    _, [a, b], client = started("a", "b")
    begun(client, a)
    public = begun(client, b)
    meta = meta.replace(b"%b", RELATED.encode())
    b.send(message("notifications/message", b'{"level":"info","data":1,"_meta":' + meta + b"}"))
    assert client.one().members["params"] == b'{"level":"info","data":1,"_meta":' + meta + b',"logger":"b"}'
    b.answer(client.call("tasks/result", b, dump({"taskId": public})), b'{"content":[ ],"_meta":' + meta + b"}")
    assert client.one().raw_result == b'{"content":[ ],"_meta":' + meta + b"}"
    b.send(message("elicitation/create", b'{"message":7,"_meta":' + meta + b"}", b"1"))
    assert client.one().members["params"] == b'{"message":7,"_meta":' + meta + b"}"


def test_a_log_message_about_a_task_reaches_its_client_alone() -> None:
    world, [a, b], client = started("a", "b")
    other = world.client("s2")
    begun(client, a)
    public = begun(client, b)
    other.call("tools/call", b, b'{"name":"b__t"}')
    b.send(message("notifications/message", dump({"level": "info", "data": 1, **related("t1")})))
    assert client.one().params["_meta"][RELATED]["taskId"] == public
    assert other.heard() == []


# Giving a call that may be a task up


@pytest.mark.parametrize("end", ["cancel", "time-out", "leaves"])
def test_a_call_that_is_to_be_a_task_is_given_up_by_cancelling_the_task(end: str) -> None:
    world, [a], client = started("a", call_timeout=30)
    asked = augmented(client, a)
    if end == "cancel":
        client.cancel(b"1")
        assert client.heard() == []
    elif end == "leaves":
        client.leave()
    else:
        world.pass_time(30)
        assert client.one().error["data"]["delivered"] == "maybe"
    assert a.heard() == [], "it must not be told by notifications/cancelled"
    world.assert_at_rest()
    a.answer(asked, dump({"task": task("t1")}))
    told = a.one()
    assert (told.method, told.params) == ("tasks/cancel", {"taskId": "t1"})
    assert told.id is not None
    a.answer(told, dump(task("t1", "cancelled")))
    a.answer(asked, dump({"task": task("t2")}))
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize(
    "answer",
    [
        b'"result":{"content":[]}',
        b'"result":{"task":null}',
        b'"result":{"task":[]}',
        b'"result":7',
        b'"result":null',
        b'"error":{"code":1,"message":"x"}',
        b'"error":null',
    ],
)
def test_what_was_given_up_and_is_no_task_after_all_needs_no_cancellation(answer: bytes) -> None:
    world, [a], client = started("a")
    asked = augmented(client, a)
    client.cancel(b"1")
    a.send(b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b"," + answer + b"}")
    assert a.heard() == client.heard() == []
    world.assert_at_rest()


def test_a_server_that_knows_no_cancellation_of_tasks_is_not_asked_for_it() -> None:
    world = World("a")
    a = world.start("a", "t", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    asked = augmented(client, a)
    client.cancel(b"1")
    a.answer(asked, dump({"task": task("t1")}))
    assert a.heard() == []


def test_a_task_that_was_given_up_is_nobodys() -> None:
    world, [a], client = started("a")
    asked = augmented(client, a)
    client.leave()
    other = world.client("s2")
    a.answer(asked, dump({"task": task("t1")}))
    a.heard()
    a.answer(other.call("tasks/list", a), dump({"tasks": [task("t1", "cancelled")]}))
    assert other.one().result == {"tasks": []}


# What a server asks during a task


@pytest.mark.parametrize("company", [False, True])
def test_the_rest_of_what_is_said_of_a_task_stays_as_it_is(company: bool) -> None:
    _, [a, b], client = started("a", "b")
    if company:
        begun(client, a)
    public = begun(client, b)
    meta = b'"_meta":{"x":1.0,"' + RELATED.encode() + b'":{"y":[ ],"taskId":%b,"z":1e400}}'
    theirs, ours = meta.replace(b"%b", b'"t1"'), meta.replace(b"%b", dump(public))
    b.send(message("elicitation/create", b'{"message":7,' + theirs + b"}", b"1"))
    assert client.one().members["params"] == b'{"message":7,' + ours + b"}"
    b.send(message("notifications/message", b'{"data":1,' + theirs + b"}"))
    assert client.one().members["params"] == b'{"data":1,' + ours + b',"logger":"b"}'
    b.answer(client.call("tasks/result", b, dump({"taskId": public})), b'{"content":[ ],' + theirs + b"}")
    assert client.one().raw_result == b'{"content":[ ],' + ours + b"}"


def test_what_a_server_asks_for_a_task_goes_to_the_client_whose_task_it_is() -> None:
    world, [a, b], client = started("a", "b")
    other = world.client("s2", capabilities=CLIENT)
    begun(client, a)
    public = begun(client, b)
    other.call("tools/call", b, b'{"name":"b__t"}')
    asked = b.ask("elicitation/create", client, dump({"message": "?", **related("t1")}))
    assert asked.params["_meta"][RELATED]["taskId"] == public
    assert other.heard() == []
    client.answer(asked, dump({"action": "accept", **related(public)}))
    assert b.one().result == {"action": "accept", **related("t1")}


def test_a_response_about_a_task_that_needs_no_other_id_passes_byte_for_byte() -> None:
    _, [a], client = started("a")
    begun(client, a)
    asked = a.ask("elicitation/create", client, dump({"message": "?", **related("t1")}))
    answer = b'{ "action":"accept","_meta":{"' + RELATED.encode() + b'" :{"taskId":"t1"}}}'
    client.answer(asked, answer)
    assert a.one().raw_result == answer


@pytest.mark.parametrize("company", [False, True])
def test_what_is_asked_for_the_task_of_a_client_that_left_is_shown_to_nobody_else(company: bool) -> None:
    world, [a], client = started("a")
    begun(client, a)
    client.leave()
    other = world.client("s2", capabilities=CLIENT)
    if company:
        other.call("tools/call", a, b'{"name":"a__t"}')
    a.send(message("elicitation/create", dump({"message": "your password", **related("t1")}), b"1"))
    assert a.one().error["code"]
    assert other.heard() == []
    world.client("s3")
    a.send(message("elicitation/create", dump({"message": "your password", **related("t1")}), b"1"))
    assert a.one().error["code"]
    assert other.heard() == []


def test_what_is_asked_for_a_task_before_it_was_announced_goes_to_who_called() -> None:
    world, [a], client = started("a")
    other = world.client("s2", capabilities=CLIENT)
    asked = augmented(client, a)
    question = a.ask("elicitation/create", client, dump({"message": "?", **related("t1")}))
    a.answer(asked, dump({"task": task("t1")}))
    client.one()
    client.answer(question, b'{"action":"decline"}')
    assert a.one().result == {"action": "decline"}
    assert other.heard() == []
    world.assert_at_rest()


def test_what_is_asked_for_the_task_of_a_call_that_was_given_up_is_for_its_client_and_not_for_ever() -> None:
    world, [a], client = started("a")
    other = world.client("s2", capabilities=CLIENT)
    augmented(client, a)
    client.cancel(b"1")
    question = dump({"message": "?", **related("t1")})
    client.answer(a.ask("elicitation/create", client, question))
    a.heard()
    world.pass_time(HAUNTS)
    busy = other.call("tools/call", a, b'{"name":"a__t"}')
    a.send(message("elicitation/create", question, b"2"))
    assert a.one().error["code"]
    assert client.heard() == other.heard() == []
    a.answer(busy)
    other.one()
    world.assert_at_rest()


# Tasks of clients


def test_what_a_server_asks_may_be_a_task_of_the_client() -> None:
    world, [a], client = started("a")
    asked = a.ask("sampling/createMessage", client, b'{"messages":[ ],"task":{"ttl":1.0}}', b'"q"')
    assert asked.members["params"] == b'{"messages":[ ],"task":{"ttl":1.0}}'
    client.answer(asked, b'{"task":{"taskId":"c/1","status":"working","ttl":1.0},"_meta":{}}')
    answer = a.one()
    assert answer.id == b'"q"'
    assert answer.result["task"]["taskId"] == "c/1"
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        question = a.ask(method, client, b'{"taskId":"c/1","_meta":{"x":1.0}}')
        assert question.members["params"] == b'{"taskId":"c/1","_meta":{"x":1.0}}'
        client.answer(question, dump(task("c/1", "completed", **related("c/1"))))
        assert a.one().result == task("c/1", "completed", **related("c/1"))
    world.assert_at_rest()


def test_tasks_of_clients_with_one_id_are_told_apart_for_a_server_that_they_share() -> None:
    world, [a], first = started("a")
    second = world.client("s2", capabilities=CLIENT)
    publics = []
    for client, id in ((first, b"1"), (second, b"2")):
        call = client.call("tools/call", a, b'{"name":"a__t"}', b"9")
        publics.append(asked_for(a, client, "c", id))
        a.answer(call)
        client.one()
        world.pass_time(AFTERWORDS)
    assert len(set(publics)) == 2
    for client, other, public in ((first, second, publics[0]), (second, first, publics[1])):
        client.send(message(STATUS, dump(task("c", "input_required"))))
        assert a.one().params["taskId"] == public
        for method in ("tasks/get", "tasks/cancel", "tasks/result"):
            asked = a.ask(method, client, dump({"taskId": public}))
            assert asked.params == {"taskId": "c"}
            client.answer(asked, dump(task("c", **related("c"))))
            answer = a.one().result
            assert answer["_meta"][RELATED]["taskId"] == public if method == "tasks/result" else True
            assert answer["taskId"] == public if method != "tasks/result" else True
        assert other.heard() == []
    world.assert_at_rest()


def test_a_client_works_for_several_servers_and_each_sees_its_own_tasks() -> None:
    world, [a, b], client = started("a", "b")
    asked_for(a, client, "c1")
    asked_for(b, client, "c2")
    for server, own in ((a, "c1"), (b, "c2")):
        asked = server.ask("tasks/list", client)
        items = [7, None, {}, {"taskId": 7}, task("c1"), task("c2"), task("others")]
        client.answer(asked, dump({"tasks": items, "nextCursor": "more", "x": 1}))
        result = server.one().result
        assert (result["nextCursor"], result["x"]) == ("more", 1)
        assert [one["taskId"] for one in result["tasks"]] == [own]
    b.send(message("tasks/get", b'{"taskId":"c1"}', b"1"))
    assert b.one().error["code"] == INVALID_PARAMS
    assert client.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("result", [b'{"tasks":7}', b'{"tasks":null}', b'{"tasks":{"taskId":"c1"}}'])
def test_a_list_of_tasks_that_is_none_tells_the_server_nothing(result: bytes) -> None:
    world, [a, b], client = started("a", "b")
    asked_for(a, client, "c1")
    client.answer(b.ask("tasks/list", client), result)
    assert b"c1" not in b.one().line
    world.assert_at_rest()


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
@pytest.mark.parametrize("id", [b'"other"', b"7", b"null", rb'"\ud800"'])
def test_a_server_is_refused_a_task_that_it_did_not_ask_for(method: str, id: bytes) -> None:
    world, [a], client = started("a")
    a.send(message(method, b'{"taskId":' + id + b"}", b"1"))
    assert a.one().error["code"] == INVALID_PARAMS
    assert client.heard() == []
    world.assert_at_rest()


def test_a_client_without_tasks_is_not_asked_for_any() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(capabilities={"sampling": {}})
    for method in ("tasks/get", "tasks/result", "tasks/list", "tasks/cancel"):
        a.send(message(method, b'{"taskId":"c"}', b"1"))
        assert a.one().error["code"] == METHOD_NOT_FOUND
    assert client.heard() == []
    world.assert_at_rest()


def test_a_client_that_makes_no_tasks_of_this_is_asked_the_plain_way_and_told_when_it_is_over() -> None:
    world = World("a")
    a = world.start("a", "t")
    client = world.client(capabilities={"sampling": {}})
    asked = a.ask("sampling/createMessage", client, b'{"task":{"ttl":1},"messages":[ ]}', b"3")
    assert asked.members["params"] in (b'{"messages":[ ]}', b'{"task":{"ttl":1},"messages":[ ]}')
    a.send(message("notifications/cancelled", b'{"requestId":3}'))
    told = client.one()
    assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
    world.assert_at_rest()


def test_the_result_of_a_clients_task_may_take_any_time_and_holds_no_call_for_ever() -> None:
    world, [a], client = started("a", call_timeout=30)
    asked_for(a, client)
    call = client.call("tools/call", a, b'{"name":"a__t"}', b"5")
    question = a.ask("tasks/result", client, b'{"taskId":"c1"}', b"8")
    world.pass_time(100_000)
    assert client.heard() == a.heard() == []
    client.answer(question, b'{"role":"assistant"}')
    assert a.one().result == {"role": "assistant"}
    world.pass_time(100_031)
    assert client.one().error["data"]["delivered"] == "maybe"
    assert dump(a.one().params["requestId"]) == call.id
    world.assert_at_rest()


@pytest.mark.parametrize("end", ["cancel", "lost", "retired", "leaves"])
def test_who_waits_for_the_result_of_a_clients_task_waits_for_no_more_than_that_client(end: str) -> None:
    world, [a], client = started("a")
    asked_for(a, client)
    question = a.ask("tasks/result", client, b'{"taskId":"c1"}', b"8")
    if end == "cancel":
        a.send(message("notifications/cancelled", b'{"requestId":8}'))
    elif end == "leaves":
        client.leave()
        assert a.one().error["code"] == SERVER_UNAVAILABLE
    elif end == "lost":
        world.lose(a)
    else:
        world.retire("a")
    if end != "leaves":
        told = client.one()
        assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", question.id)
    client.answer(question)
    assert a.heard() == []
    world.assert_at_rest()


def test_progress_of_a_clients_task_goes_on_until_it_has_ended() -> None:
    _, [a], client = started("a")
    params = dump({"messages": [], "task": {}, "_meta": {"progressToken": "theirs"}})
    asked = a.ask("sampling/createMessage", client, params, b"3")
    token = asked.params["_meta"]["progressToken"]
    client.send(progress(token, 1))
    client.answer(asked, dump({"task": task("c1")}))
    client.send(progress(token, 2))
    found = [heard.params for heard in a.heard() if heard.method == "notifications/progress"]
    assert [(one["progress"], one["progressToken"]) for one in found] == [(1, "theirs"), (2, "theirs")]
    client.send(message(STATUS, dump(task("c1", "failed"))), progress(token, 3))
    assert [heard.method for heard in a.heard()] == [STATUS]


def test_progress_of_a_clients_task_ends_with_its_result() -> None:
    _, [a], client = started("a")
    params = dump({"messages": [], "task": {}, "_meta": {"progressToken": "theirs"}})
    asked = a.ask("sampling/createMessage", client, params, b"3")
    client.answer(asked, dump({"task": task("c1")}))
    a.one()
    result = b'{ "role":"assistant","_meta":{"' + RELATED.encode() + b'":{ "taskId":"c1"}} }'
    client.answer(a.ask("tasks/result", client, b'{"taskId":"c1"}'), result)
    assert a.one().raw_result == result
    client.send(progress(asked.params["_meta"]["progressToken"]))
    assert a.heard() == []


@pytest.mark.parametrize("end", ["cancel", "lost", "time-out"])
def test_a_question_that_is_to_be_a_task_is_given_up_by_cancelling_the_task(end: str) -> None:
    world, [a], client = started("a")
    world.targets["a"].limits = Limits(ask=20)
    asked = a.ask("sampling/createMessage", client, b'{"messages":[],"task":{}}', b"3")
    if end == "cancel":
        a.send(message("notifications/cancelled", b'{"requestId":3}'))
    elif end == "lost":
        world.lose(a)
    else:
        world.pass_time(20)
        assert a.one().error["code"]
    assert client.heard() == [], "it must not be told by notifications/cancelled"
    client.answer(asked, dump({"task": task("c1")}))
    told = client.one()
    assert (told.method, told.params) == ("tasks/cancel", {"taskId": "c1"})
    client.answer(told, dump(task("c1", "cancelled")))
    client.answer(asked, dump({"task": task("c2")}))
    assert client.heard() == a.heard() == []
    assert [event.outcome for event in world.of(QuestionFinished)] == [
        {"time-out": "timeout"}.get(end, "cancelled"),
    ]
    world.assert_at_rest()


@pytest.mark.parametrize("answer", [b'"result":{"role":"x"}', b'"result":{"task":[]}', b'"result":7', b'"error":{}'])
def test_a_question_that_was_given_up_and_became_no_task_needs_no_cancellation(answer: bytes) -> None:
    world, [a], client = started("a")
    asked = a.ask("sampling/createMessage", client, b'{"messages":[],"task":{}}', b"3")
    a.send(message("notifications/cancelled", b'{"requestId":3}'))
    client.send(b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b"," + answer + b"}")
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


def test_a_client_that_knows_no_cancellation_of_tasks_is_not_asked_for_it() -> None:
    world = World("a")
    a = world.start("a", "t")
    requests: dict[str, Any] = {"requests": {"sampling": {"createMessage": {}}}}
    client = world.client(capabilities={"sampling": {}, "tasks": requests})
    asked = a.ask("sampling/createMessage", client, b'{"messages":[],"task":{}}', b"3")
    a.send(message("notifications/cancelled", b'{"requestId":3}'))
    client.answer(asked, dump({"task": task("c1")}))
    assert client.heard() == []


def test_tasks_that_a_lost_server_asked_for_are_nobodys() -> None:
    world, [a], client = started("a")
    asked_for(a, client)
    world.lose(a)
    again = world.connect("a", tasks=SERVER_TASKS)
    client.send(message(STATUS, dump(task("c1", "completed"))))
    again.send(message("tasks/get", b'{"taskId":"c1"}', b"1"))
    assert again.one().error["code"] == INVALID_PARAMS
    assert client.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
@pytest.mark.parametrize("result", [b"7", b"null", b"[]", b"{}", b'{"taskId":7}', b'{"taskId":"other"}'])
def test_odd_answers_about_a_clients_task_harm_nobody(method: str, result: bytes) -> None:
    world, [a], client = started("a")
    asked_for(a, client)
    client.answer(a.ask(method, client, b'{"taskId":"c1"}'), result)
    assert a.one().id == b"1"
    world.assert_at_rest()


# The book


def test_of_very_many_tasks_the_oldest_are_forgotten() -> None:
    tasks, asker = Tasks(), Session([], "s")
    for number in range(MOST_KEPT + 1):
        tasks.begin("a", f"t{number}", asker)
    assert tasks.held("a", "t0") is None
    assert tasks.asked(asker, "t0") is None
    assert len(tasks.of(asker)) == MOST_KEPT
    tasks.forget(asker)
    assert tasks.of(asker) == []
    assert tasks.is_orphan("a", f"t{MOST_KEPT}")
    tasks.disown("a", "x")
    assert not tasks.is_orphan("a", "t1")


def test_a_task_that_is_heard_of_twice_is_one_task() -> None:
    tasks, asker = Tasks(), Session([], "s")
    begun = tasks.begin("a", "t", asker)
    assert tasks.begin("a", "t", asker) is begun
    assert tasks.of(asker) == [begun]
