"""What the protocol demands of everybody who passes messages about tasks on, and no module alone keeps."""

from typing import Any

import pytest

from tests.support.relay import Client, Server, World, dump, message

RELATED = "io.modelcontextprotocol/related-task"
TASKS: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
CLIENT: dict[str, Any] = {
    "sampling": {},
    "elicitation": {},
    "tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}},
}


def started() -> tuple[Server, Server, Client]:
    world = World("a", "b")
    return world.start("a", "t", tasks=TASKS), world.start("b", "t", tasks=TASKS), world.client(capabilities=CLIENT)


def begun(client: Client, server: Server) -> str:
    """A task `t1` of a server; returns the id that the client knows."""
    asked = client.call("tools/call", server, dump({"name": f"{server.link.server}__t", "task": {}}))
    server.answer(asked, b'{"task":{"taskId":"t1","status":"working"}}')
    return str(client.one().result["task"]["taskId"])


def asked_for(server: Server, client: Client) -> str:
    """A task `c1` of a client; returns the id that the server knows."""
    asked = server.ask("sampling/createMessage", client, b'{"messages":[],"task":{},"_meta":{"progressToken":"p"}}')
    client.answer(asked, b'{"task":{"taskId":"c1","status":"working"}}')
    assert asked.params["_meta"]["progressToken"] == int(asked.id or b"")
    return str(server.one().result["task"]["taskId"])


def related(id: str) -> dict[str, Any]:
    return {RELATED: {"taskId": id}}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
def test_the_task_id_of_a_request_decides_whatever_else_the_request_names(method: str) -> None:
    a, b, client = started()
    of_a, of_b = begun(client, a), begun(client, b)
    assert of_a != of_b
    for server, mine, other in ((a, of_a, of_b), (b, of_b, of_a)):
        asked = client.call(method, server, dump({"taskId": mine, "_meta": related(other)}))
        assert asked.params["taskId"] == "t1"
        server.answer(asked, dump({"taskId": "t1", "status": "completed", "_meta": related("t1")}))
        client.one()


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
def test_the_task_id_of_what_a_server_asks_decides_whatever_else_it_names(method: str) -> None:
    world = World("a")
    a = world.start("a", "t", tasks=TASKS)
    first = world.client("s1", capabilities=CLIENT)
    public = asked_for(a, first)
    second = world.client("s2", capabilities=CLIENT)
    begun(second, a)
    asked = a.ask(method, first, dump({"taskId": public, "_meta": related("t1")}))
    assert asked.params["taskId"] == "c1"
    assert second.heard() == []


def test_what_a_client_tells_about_a_task_names_it_as_the_server_knows_it() -> None:
    a, b, client = started()
    begun(client, a)
    public = begun(client, b)
    asked = b.ask(
        "elicitation/create", client, dump({"message": "?", "_meta": {"progressToken": "q", **related("t1")}})
    )
    told = {"progressToken": asked.params["_meta"]["progressToken"], "progress": 1, "_meta": related(public)}
    client.send(message("notifications/progress", dump(told)))
    assert b.one().params == {"progressToken": "q", "progress": 1, "_meta": related("t1")}


def test_what_a_client_tells_about_its_own_task_names_it_as_the_server_knows_it() -> None:
    world = World("a")
    a = world.start("a", "t", tasks=TASKS)
    publics = {}
    for label in ("s1", "s2"):
        client = world.client(label, capabilities=CLIENT)
        call = client.call("tools/call", a, b'{"name":"a__t"}')
        publics[client] = asked_for(a, client)
        a.answer(call)
        client.one()
    assert len(set(publics.values())) == 2
    for client, public in publics.items():
        [number] = client.session.tasks
        client.send(
            message("notifications/progress", dump({"progressToken": number, "progress": 1, "_meta": related("c1")})),
            message("notifications/tasks/status", dump({"taskId": "c1", "status": "working", "_meta": related("c1")})),
        )
        progress, status = a.heard()
        assert progress.params == {"progressToken": "p", "progress": 1, "_meta": related(public)}
        assert status.params == {"taskId": public, "status": "working", "_meta": related(public)}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
@pytest.mark.parametrize("answer", ["result", "error"])
def test_what_a_server_that_counts_anew_says_of_anothers_task_reaches_nobody(method: str, answer: str) -> None:
    world = World("a")
    a = world.start("a", "t", tasks=TASKS)
    first, second = world.client("s1"), world.client("s2")
    begun(first, a)
    world.lose(a)
    again = world.connect("a", tasks=TASKS)
    asked = first.call(method, again, b'{"taskId":"t1"}')
    begun(second, again)
    if answer == "result":
        again.answer(asked, b'{"taskId":"t1","status":"completed","content":["a secret"]}')
    else:
        again.fail(asked, b'{"code":-1,"message":"a secret"}')
    assert b"secret" not in first.one().line
    assert second.heard() == []
    assert second.call(method, again, b'{"taskId":"t1"}').params == {"taskId": "t1"}


@pytest.mark.parametrize("method", ["notifications/tasks/status", "notifications/message", "notifications/x"])
def test_what_is_said_of_the_task_of_a_client_that_left_is_no_other_clients(method: str) -> None:
    world = World("a")
    a = world.start("a", "t", tasks=TASKS)
    first = world.client("s1")
    begun(first, a)
    first.leave()
    second = world.client("s2", capabilities=CLIENT)
    second.call("tools/call", a, b'{"name":"a__t","task":{}}')
    a.send(message(method, dump({"taskId": "t1", "status": "working", "data": "a secret", "_meta": related("t1")})))
    a.send(message("elicitation/create", dump({"message": "a secret", "_meta": related("t1")}), b"1"))
    assert second.heard() == []
    assert a.one().error["code"]
