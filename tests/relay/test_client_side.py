"""What clients send: answered, passed on, or refused with a reason; whatever it is, the session goes on."""

import json
from typing import Any

import pytest

from proxy.eras.handshake import LATEST, REVISIONS
from proxy.errors import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from proxy.events import CallFinished, ClientConnected, ClientGone, Notice
from tests.support.relay import Client, Server, World, call, dump, hello, ids, message

BATCHING = "2025-03-26"


def one_server(protocol: str = "2025-11-25") -> tuple[World, Server, Client]:
    """A server `git` with a tool `status`, and a client."""
    world = World("git")
    return world, world.start("git", "status"), world.client(protocol=protocol)


def goes_on(client: Client) -> bool:
    return client.ask("ping", id=b'"still there?"').raw_result == b"{}"


# Opening


@pytest.mark.parametrize("protocol", REVISIONS)
def test_a_known_revision_is_agreed(protocol: str) -> None:
    world = World("git")
    client = world.client("s", initialized=False)
    answer = client.ask("initialize", hello(protocol, "claude-code"))
    assert (answer.result["protocolVersion"], answer.result["serverInfo"]) == (
        protocol,
        {"name": "hub", "version": "7"},
    )
    assert world.of(ClientConnected) == [ClientConnected("claude-code", "1", "s", protocol)]


@pytest.mark.parametrize("protocol", ["2026-07-28", "1999-01-01", "", "\ud800"])
def test_an_unknown_revision_is_answered_with_the_latest(protocol: str) -> None:
    client = World("git").client(initialized=False)
    assert client.ask("initialize", hello(protocol, "x")).result["protocolVersion"] == "2025-11-25"


def test_initialize_is_answered_before_any_server_is_up() -> None:
    world = World("git", "time")
    client = world.client(initialized=False)
    assert "instructions" not in client.ask("initialize", hello("2025-11-25", "x")).result
    world.instructions = "git: for repositories"
    world.start("git", "status")
    assert world.client("s2", initialized=False).ask("initialize", hello("2025-11-25", "x")).result["instructions"] == (
        "git: for repositories"
    )


@pytest.mark.parametrize("params", [None, b"null", b"[]", b"{}", b'{"protocolVersion":1}'])
def test_an_initialize_without_a_revision_is_refused(params: bytes | None) -> None:
    client = World("git").client(initialized=False)
    error = client.ask("initialize", params).error
    assert error["code"] == INVALID_PARAMS
    assert client.ask("tools/list").error["code"] == INVALID_REQUEST
    assert client.ask("initialize", hello("2025-11-25", "x")).result


@pytest.mark.parametrize("info", ["null", "[]", "{}", '{"name":null}', '{"name":7,"version":[]}'])
def test_a_client_that_does_not_say_who_it_is_is_served(info: str) -> None:
    world = World("git")
    client = world.client(initialized=False)
    assert client.ask("initialize", b'{"protocolVersion":"2025-11-25","clientInfo":' + info.encode() + b"}").result
    assert [(event.client, event.version) for event in world.of(ClientConnected)] == [("unknown", "")]


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "logging/setLevel"])
def test_nothing_but_ping_is_answered_before_initialize(method: str) -> None:
    client = World("git").client(initialized=False)
    assert client.ask("ping").result == {}
    error = client.ask(method, dump({"name": "x", "level": "info"})).error
    assert error["code"] == INVALID_REQUEST
    assert "initialize" in error["message"]


def test_server_discover_is_refused_at_once() -> None:
    client = World("git").client(initialized=False)
    probe = b'"server-discover-probe-1"'
    error = client.ask("server/discover", b'{"_meta":{}}', probe).error
    assert error["code"] == METHOD_NOT_FOUND
    assert error["data"] == {"origin": "mcp-manifold", "delivered": "no"}


def test_a_client_that_leaves_is_forgotten() -> None:
    world, git, client = one_server()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    client.leave()
    client.leave()
    told = git.one()
    assert (told.method, dump(told.params["requestId"])) == ("notifications/cancelled", asked.id)
    git.answer(asked)
    git.send(message("notifications/message", b'{"level":"error","data":1}'))
    world.publish("git", "other")
    assert client.heard() == []
    assert [type(event) for event in world.events[-2:]] == [CallFinished, ClientGone]
    assert world.outcomes == ["cancelled"]
    world.assert_at_rest()


# Lines that are no messages


@pytest.mark.parametrize(
    ("line", "code", "id"),
    [
        (b"hello", PARSE_ERROR, b"null"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping"', PARSE_ERROR, b"7"),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping",}', PARSE_ERROR, b'"a"'),
        (b'{"jsonrpc":"2.0","id":1,"method":"p\xff"}', PARSE_ERROR, b"1"),
        (b"null", INVALID_REQUEST, b"null"),
        (b'"text"', INVALID_REQUEST, b"null"),
        (b"{}", INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":7}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":"2.0","id":7,"method":""}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":"2.0","id":7,"method":null}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":"2.0","id":7,"method":[]}', INVALID_REQUEST, b"7"),
        (b'{"id":7,"method":"ping"}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":2.0,"id":7,"method":"ping"}', INVALID_REQUEST, b"7"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":{"id":1},"method":"ping"}', INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 300 + b'","method":"ping"}', INVALID_REQUEST, b"null"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 5000 + b"]" * 5000 + b"}",
            INVALID_REQUEST,
            b"1",
        ),
        (b"[" * 100_000, INVALID_REQUEST, b"null"),
    ],
)
def test_a_line_that_is_no_request_is_refused_and_the_session_goes_on(line: bytes, code: int, id: bytes) -> None:
    world, git, client = one_server()
    client.send(line)
    answer = client.one()
    assert answer.error["code"] == code
    assert answer.id == id
    assert goes_on(client)
    assert git.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize(
    "line",
    [
        message("notifications/initialized"),
        message("notifications/roots/list_changed", b"{}"),
        message("notifications/nobody/knows", b"7"),
        message("notifications/cancelled"),
        message("notifications/cancelled", b"[]"),
        message("notifications/cancelled", b'{"requestId":77}'),
        message("notifications/cancelled", b'{"requestId":null}'),
        message("tools/call", b'{"name":"git__status"}'),
        message("ping"),
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"no"}}',
    ],
)
def test_what_asks_for_no_answer_gets_none(line: bytes) -> None:
    world, git, client = one_server()
    client.send(line)
    assert client.heard() == []
    assert git.heard() == []
    assert goes_on(client)
    world.assert_at_rest()


def test_a_message_that_is_too_long_is_refused_by_its_start() -> None:
    world, _, client = one_server()
    start = b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"' + b"x" * 100
    world.do(world.relay.client_overlong, client.session, start, world.now)
    answer = client.one()
    assert answer.id == b"9"
    assert answer.error["code"] == INVALID_REQUEST
    assert "64 MiB" in answer.error["message"]
    assert goes_on(client)


@pytest.mark.parametrize("method", ["resources/write", "nonsense", "\ud800", "initialize/", "TOOLS/LIST"])
def test_an_unknown_method_is_refused_by_name(method: str) -> None:
    _, _, client = one_server()
    error = client.ask(method, b"{}").error
    assert error["code"] == METHOD_NOT_FOUND
    assert ascii(method)[1:-1] in error["message"]


def test_of_members_with_one_name_the_last_counts() -> None:
    _, git, client = one_server()
    client.send(
        b'{"id":1,"jsonrpc":"2.0","method":"ping","id":2,"method":"tools/call","params":1,"params":{"name":"git__status"}}'
    )
    git.answer(git.one())
    assert client.one().id == b"2"


# Ids


def test_an_id_that_is_in_flight_is_refused_and_its_first_request_goes_on() -> None:
    world, git, client = one_server()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    for again in (call(b"1", "git__status"), message("ping", id=b"1"), message("tools/list", id=b"1")):
        client.send(again)
        answer = client.one()
        assert answer.id == b"1"
        assert answer.error["code"] == INVALID_REQUEST
    assert git.heard() == []
    git.answer(asked)
    assert client.one().result == {"content": []}
    assert world.outcomes == ["ok"]


def test_the_number_1_and_the_text_1_are_two_ids() -> None:
    _, git, client = one_server()
    client.send(call(b"1", "git__status"), call(b'"1"', "git__status"))
    number, text = git.heard()
    git.answer(text, b'{"to":"text"}')
    git.answer(number, b'{"to":"number"}')
    assert [(heard.id, heard.result["to"]) for heard in client.heard()] == [(b'"1"', "text"), (b"1", "number")]


def test_an_id_can_be_used_again_once_it_was_answered() -> None:
    _, git, client = one_server()
    for _ in range(3):
        client.send(call(b"1", "git__status"))
        git.answer(git.one())
        assert client.one().id == b"1"


# Lists


def test_the_list_is_the_catalogue_under_public_names() -> None:
    world = World("git", "time")
    world.start("time", "now")
    world.start("git", "status", "commit")
    assert world.client().tools() == ["git__status", "git__commit", "time__now"]


@pytest.mark.parametrize("params", [None, b"{}", b"null", b'{"cursor":null}', b'{"_meta":{"x":1}}'])
def test_a_list_may_be_asked_for_in_any_of_the_usual_ways(params: bytes | None) -> None:
    _, _, client = one_server()
    assert len(client.ask("tools/list", params).result["tools"]) == 1


@pytest.mark.parametrize("params", [b'{"cursor":"x"}', b'{"cursor":""}', b"[]", b"7"])
def test_a_cursor_of_nobodys_is_refused(params: bytes) -> None:
    _, _, client = one_server()
    assert client.ask("tools/list", params).error["code"] == INVALID_PARAMS


def test_a_list_waits_for_servers_that_are_still_starting_but_not_for_failed_ones() -> None:
    world = World("git", "time", "broken")
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    world.start("git", "status")
    world.away("broken", "no such command")
    assert client.heard() == []
    world.start("time", "now")
    assert [tool["name"] for tool in client.one().result["tools"]] == ["git__status", "time__now"]
    world.assert_at_rest()


def test_a_list_waits_at_most_the_list_wait_and_a_notice_follows_when_others_come() -> None:
    world = World("git", "time", list_wait=4)
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    world.pass_time(1)
    world.start("git", "status")
    world.pass_time(2.9)
    assert client.heard() == []
    world.pass_time(0.1)
    assert [tool["name"] for tool in client.one().result["tools"]] == ["git__status"]
    world.start("time", "now")
    assert client.one().method == "notifications/tools/list_changed"
    assert client.tools() == ["git__status", "time__now"]
    world.assert_at_rest()


def test_the_list_wait_is_spent_once_and_not_by_each_list() -> None:
    world = World("git", list_wait=4)
    first, second = world.client("s1"), world.client("s2")
    world.pass_time(100)
    first.send(message("tools/list", id=b"1"))
    world.pass_time(3)
    second.send(message("tools/list", id=b"1"))
    world.pass_time(1)
    assert ids(first.heard()) == ids(second.heard()) == [b"1"]
    assert first.tools() == []


def test_without_a_list_wait_a_list_is_answered_at_once() -> None:
    assert World("git", list_wait=0).client().tools() == []


def test_a_list_that_waits_can_be_cancelled() -> None:
    world = World("git")
    client = world.client()
    client.send(message("tools/list", id=b"1"), message("tools/list", id=b"2"))
    client.cancel(b"1")
    world.start("git", "status")
    assert ids(client.heard()) == [b"2"]
    world.assert_at_rest()


def test_a_list_that_waits_holds_its_id() -> None:
    world = World("git")
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    assert client.ask("ping", id=b"1").error["code"] == INVALID_REQUEST
    world.start("git", "status")
    assert client.one().result["tools"]


def test_a_client_that_leaves_while_its_list_waits_is_forgotten() -> None:
    world = World("git", list_wait=4)
    client = world.client()
    client.send(message("tools/list", id=b"1"))
    assert "lists=1" in repr(client.session)
    client.leave()
    assert "lists=0" in repr(client.session)
    world.pass_time(5)
    world.start("git", "status")
    assert client.heard() == []
    world.assert_at_rest()


# Calls, as far as they are refused here


@pytest.mark.parametrize(
    "params", [None, b"null", b"[]", b"{}", b'{"name":null}', b'{"name":7}', b'{"Name":"git__status"}']
)
def test_a_call_without_a_name_is_refused(params: bytes | None) -> None:
    _, git, client = one_server()
    error = client.ask("tools/call", params).error
    assert error["code"] == INVALID_PARAMS
    assert "params.name" in error["message"]
    assert git.heard() == []


# Levels


@pytest.mark.parametrize("params", [None, b"null", b"{}", b'{"level":"loud"}', b'{"level":7}', rb'{"level":"\ud800"}'])
def test_an_unknown_level_is_refused(params: bytes | None) -> None:
    _, git, client = one_server()
    error = client.ask("logging/setLevel", params).error
    assert error["code"] == INVALID_PARAMS
    assert "emergency" in error["message"]
    assert git.heard() == []


def test_a_level_is_accepted_though_no_server_logs() -> None:
    _, git, client = one_server()
    assert client.ask("logging/setLevel", b'{"level":"info"}').result == {}
    assert git.heard() == []


# Batches


def test_a_batch_is_answered_with_one_array_when_its_last_answer_is_there() -> None:
    world, git, client = one_server(BATCHING)
    client.batch(
        message("ping", id=b"1"), call(b'"a"', "git__status"), message("notifications/x"), call(b"2", "git__status")
    )
    first, second = git.heard()
    git.answer(second)
    assert client.lines() == []
    git.answer(first, b'{"text":"\\ud800"}')
    answers = client.one_batch()
    assert ids(answers) == [b"1", b"2", b'"a"']
    assert answers[2].raw_result == b'{"text":"\\ud800"}'
    assert world.outcomes == ["ok", "ok"]


@pytest.mark.parametrize("length", [1, 100, 200_000])
def test_an_answer_of_any_length_stays_within_its_batch(length: int) -> None:
    _, git, client = one_server(BATCHING)
    client.batch(call(b"1", "git__status"), message("ping", id=b"2"))
    git.answer(git.one(), dump({"text": "x" * length}))
    assert ids(client.one_batch()) == [b"2", b"1"]


def test_items_that_are_refused_do_not_hold_their_batch() -> None:
    _, git, client = one_server(BATCHING)
    client.batch(
        message("ping", id=b"1"),
        b'{"id":2,"method":"ping"}',
        message("nonsense", id=b"3"),
        message("tools/call", b"{}", b"4"),
        call(b"5", "git__nothing"),
        b'{"jsonrpc":"2.0","id":[],"method":"ping"}',
        message("initialize", b"{}", b"7"),
        b"7",
        b"{}",
        b"[]",
    )
    assert set(ids(client.answers())) == {b"1", b"2", b"3", b"4", b"5", b"7", b"null"}
    assert git.heard() == []
    assert client.ask("ping", id=b"2").result == {}


@pytest.mark.parametrize("items", [[], [message("notifications/x")]])
def test_a_batch_that_asks_for_nothing_is_refused_only_if_it_is_empty(items: list[bytes]) -> None:
    _, _, client = one_server(BATCHING)
    client.batch(*items)
    assert [heard.error["code"] for heard in client.heard()] == ([] if items else [INVALID_REQUEST])
    assert goes_on(client)


def test_a_batch_may_cancel_its_own_call() -> None:
    world, git, client = one_server(BATCHING)
    client.batch(
        message("ping", id=b"1"), call(b"2", "git__status"), message("notifications/cancelled", b'{"requestId":2}')
    )
    assert ids(client.one_batch()) == [b"1"]
    assert [heard.method for heard in git.heard()] == ["tools/call", "notifications/cancelled"]
    assert world.outcomes == ["cancelled"]


def test_a_batch_whose_every_call_was_cancelled_is_not_answered() -> None:
    world, _, client = one_server(BATCHING)
    client.batch(call(b"1", "git__status"), call(b"2", "git__status"))
    client.cancel(b"1")
    client.cancel(b"2")
    assert client.lines() == []
    assert world.outcomes == ["cancelled"] * 2
    assert goes_on(client)


def test_the_id_of_a_waiting_call_is_refused_in_a_batch_without_holding_it() -> None:
    _, git, client = one_server(BATCHING)
    client.send(call(b"1", "git__status"))
    asked = git.one()
    client.batch(message("ping", id=b"1"), message("ping", id=b"2"))
    lines = client.lines()
    assert sum(line.count(b'"id":1,"error"') for line in lines) == 1
    assert sum(line.count(b'"id":2,"result"') for line in lines) == 1
    git.answer(asked)
    assert client.one().id == b"1"


def test_two_batches_may_wait_at_once() -> None:
    _, git, client = one_server(BATCHING)
    client.batch(call(b"1", "git__status"), call(b"2", "git__status"))
    client.batch(call(b"3", "git__status"), message("ping", id=b"4"))
    one, two, three = git.heard()
    git.answer(one)
    git.answer(three)
    assert ids(client.one_batch()) == [b"4", b"3"]
    git.answer(two)
    assert ids(client.one_batch()) == [b"1", b"2"]


def test_a_lost_server_and_a_time_out_complete_a_batch() -> None:
    world = World("git", "time", call_timeout=5)
    git, _ = world.start("git", "status"), world.start("time", "now")
    client = world.client(protocol=BATCHING)
    client.batch(call(b"1", "git__status"), call(b"2", "time__now"))
    world.lose(git)
    assert client.lines() == []
    world.pass_time(5)
    assert ids(client.one_batch()) == [b"1", b"2"]
    world.assert_at_rest()


def test_a_list_in_a_batch_may_wait_for_servers() -> None:
    world = World("git")
    client = world.client(protocol=BATCHING)
    client.batch(message("tools/list", id=b"1"), message("ping", id=b"2"))
    assert client.lines() == []
    world.start("git", "status")
    assert ids(client.one_batch()) == [b"2", b"1"]


def test_a_list_that_is_cancelled_does_not_hold_its_batch() -> None:
    client = World("git").client(protocol=BATCHING)
    client.batch(message("tools/list", id=b"1"), message("ping", id=b"2"))
    client.cancel(b"1")
    assert ids(client.one_batch()) == [b"2"]


@pytest.mark.parametrize("protocol", [revision for revision in REVISIONS if revision != BATCHING])
def test_other_revisions_have_no_batches(protocol: str) -> None:
    _, git, client = one_server(protocol)
    client.batch(message("ping", id=b"1"), call(b"2", "git__status"))
    answer = client.one()
    assert answer.id == b"null"
    assert answer.error["code"] == INVALID_REQUEST
    assert git.heard() == []
    assert goes_on(client)


def test_batches_are_refused_before_a_revision_is_agreed() -> None:
    client = World("git").client(initialized=False)
    client.batch(message("initialize", hello(BATCHING, "x"), b"1"))
    assert client.one().error["code"] == INVALID_REQUEST


# Two clients


def test_what_one_client_does_is_not_heard_by_another() -> None:
    world, git, client = one_server()
    other = world.client("s2")
    client.send(b"rubbish", call(b"1", "git__status"), message("ping", id=b"2"), message("tools/list", id=b"3"))
    assert len(client.heard()) == 3
    client.ask("logging/setLevel", b'{"level":"error"}', b"4")
    git.answer(git.requests("tools/call")[0])
    assert client.heard()
    assert other.heard() == []


# Notifications that servers are told of


def test_changed_roots_are_told_to_every_server_that_is_ready() -> None:
    world = World("git", "time", "late", "away")
    git, time, late = world.start("git"), world.start("time"), world.open("late")
    client = world.client(capabilities={"roots": {"listChanged": True}})
    client.send(message("notifications/roots/list_changed", b'{"_meta":{"x" :1.0}}'))
    for server in (git, time):
        told = server.one()
        assert told.method == "notifications/roots/list_changed"
        assert told.members["params"] == b'{"_meta":{"x" :1.0}}'
    assert late.heard() == []
    client.send(message("notifications/roots/list_changed"))
    assert "params" not in git.one().members
    assert client.heard() == []


@pytest.mark.parametrize("params", [b"[]", b"7", b"null", b'{"_meta":null}'])
def test_odd_words_about_changed_roots_harm_nobody(params: bytes) -> None:
    world = World("git")
    git = world.start("git")
    client = world.client(capabilities={"roots": {}})
    client.send(message("notifications/roots/list_changed", params))
    assert len(git.heard()) <= 1
    assert goes_on(client)


@pytest.mark.parametrize("capabilities", [{}, {"roots": None}, {"roots": False}])
def test_who_has_no_roots_can_not_change_them(capabilities: dict[str, Any]) -> None:
    world = World("git")
    git = world.start("git")
    world.client(capabilities=capabilities).send(message("notifications/roots/list_changed"))
    assert git.heard() == []


def test_a_notification_that_nobody_knows_is_passed_to_no_server_and_noted() -> None:
    world, git, client = one_server()
    client.send(message("notifications/vendor/\ud800", b'{"name":"git__status"}'))
    assert git.heard() == client.heard() == []
    [notice] = world.of(Notice)
    assert notice.level == "debug"
    assert "notifications/vendor/" in notice.text


# A client that is gone


def test_what_a_client_still_says_after_it_left_is_not_listened_to() -> None:
    world, git, client = one_server()
    client.leave()
    client.send(call(b"1", "git__status"), message("ping", id=b"2"), b"rubbish", message("initialize", b"{}", b"3"))
    assert client.heard() == git.heard() == []
    assert world.relay.offer is None
    world.assert_at_rest()


# What servers are told of clients


def offered(world: World) -> tuple[str, Any]:
    """Revision and capabilities."""
    offer = world.relay.offer
    assert offer is not None
    return offer.protocol, json.loads(offer.capabilities)


def test_servers_are_told_what_all_clients_together_can_do() -> None:
    world = World("git")
    told = 0

    def count() -> None:
        nonlocal told
        told += 1

    world.relay.on_offer(count)
    first = world.client("s1", "2025-06-18", capabilities={"roots": {"listChanged": True}, "x": 1})
    assert offered(world) == ("2025-06-18", {"roots": {"listChanged": True}, "x": 1})
    world.client("s2", capabilities={"sampling": {}, "roots": None})
    assert offered(world) == ("2025-11-25", {"roots": {"listChanged": True}, "sampling": {}, "x": 1})
    assert told == 2
    first.leave()
    assert offered(world) == ("2025-11-25", {"sampling": {}})


def test_a_batch_of_too_many_messages_is_refused() -> None:
    world = World("git")
    world.start("git", "a")
    client = world.client(protocol="2025-03-26")
    ping = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}'
    client.batch(*(ping % number for number in range(257)))
    assert "a batch may have 256 messages" in client.one().error["message"]
    client.batch(*(ping % number for number in range(256)))
    assert len(client.one_batch()) == 256


def test_answers_that_are_too_long_together_for_one_batch_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.relay.peers.MOST_IN_BATCH", 2000)
    world = World("git")
    world.start("git", *(f"tool{number}" for number in range(20)))
    client = world.client(protocol="2025-03-26")
    client.batch(*(b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}' % number for number in range(3)))
    first, *others = sorted(client.one_batch(), key=lambda answer: answer.id or b"")
    assert len(first.result["tools"]) == 20
    assert all("too long" in answer.error["message"] for answer in others)


def test_capabilities_without_end_are_refused() -> None:
    client = World("git").client(initialized=False)
    client.send(message("initialize", hello(LATEST, "big", {"experimental": {"x": "y" * 70_000}}), b"1"))
    assert "64 KiB" in client.one().error["message"]
