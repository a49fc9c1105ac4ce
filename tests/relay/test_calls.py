"""Calls: each begins once, reaches its owner alone, and ends exactly once."""

import json
from typing import Any

import pytest

from proxy.errors import INTERNAL_ERROR, INVALID_PARAMS, REQUEST_TIMED_OUT, SERVER_UNAVAILABLE, Delivered
from proxy.events import CallFinished, RequestFinished
from proxy.relay.breaker import FAILURES
from proxy.relay.refusals import LONGEST_WAIT
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, dump, ids, message

REFUSED = {"origin": "mcp-manifold", "delivered": "no"}


# On the way to the server


def test_a_call_reaches_its_owner_under_the_tools_own_name() -> None:
    world = World("git", "time")
    git, time = world.start("git", "status"), world.start("time", "now")
    client = world.client()
    client.send(call(b"1", "time__now"))
    assert git.heard() == []
    asked = time.one()
    assert asked.method == "tools/call"
    assert asked.params["name"] == "now"


@pytest.mark.parametrize(
    "arguments",
    [
        b"{}",
        b"12345678901234567890.123",
        b"1e400",
        rb'"\ud800"',
        b'{ "b" : 1 , "a" : 2 }',
        b"[" * 50 + b"]" * 50,
        b"null",
    ],
)
def test_arguments_and_unknown_members_pass_byte_for_byte(arguments: bytes) -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(
        message(
            "tools/call",
            b'{"newer" : {"ttl":1.0}, "name":"git__status","arguments":'
            + arguments
            + b',"_meta":{"x/y":1E2}, "new":[ ]}',
            b"1",
        )
    )
    assert git.one().members["params"] == (
        b'{"newer":{"ttl":1.0},"name":"status","arguments":' + arguments + b',"_meta":{"x/y":1E2},"new":[ ]}'
    )


def test_a_name_written_with_escapes_is_the_same_name() -> None:
    world = World("git")
    git = world.start("git", "status")
    world.client().send(message("tools/call", rb'{"name":"git__st\u0061tus"}', b"1"))
    assert git.one().params == {"name": "status"}


def test_a_tools_own_name_is_sent_as_the_server_wrote_it() -> None:
    world = World("git")
    git = world.start("git", "größe/\u202e")
    client = world.client()
    [name] = client.tools()
    client.send(call(b"1", name))
    assert git.one().params["name"] == "größe/\u202e"


def test_calls_of_clients_with_one_id_are_kept_apart() -> None:
    world = World("git")
    git = world.start("git", "status")
    first, second = world.client("s1"), world.client("s2")
    first.send(call(b"1", "git__status", b'"first"'), call(b'"1"', "git__status", b'"third"'))
    second.send(call(b"1", "git__status", b'"second"'))
    asked = git.heard()
    assert len(set(ids(asked))) == 3
    for request in reversed(asked):
        git.answer(request, request.members["params"])
    assert [(heard.id, heard.result["arguments"]) for heard in first.heard()] == [(b'"1"', "third"), (b"1", "first")]
    assert [(heard.id, heard.result["arguments"]) for heard in second.heard()] == [(b"1", "second")]
    assert world.outcomes == ["ok"] * 3


@pytest.mark.parametrize("id", [b"0", b"-7", b'"1"', b'""', rb'"\u00e9"', b"9" * 200, b'"' + b"x" * 250 + b'"'])
def test_the_client_gets_its_id_back_as_it_wrote_it(id: bytes) -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(id, "git__status"))
    git.answer(git.one())
    assert client.one().id == id


def test_the_progress_token_on_the_way_is_ours() -> None:
    world = World("git")
    git = world.start("git", "status")
    world.client().send(call(b"1", "git__status", meta=b'{"a":1.0,"progressToken":"mine","z":[]}'))
    asked = git.one()
    assert asked.members["params"].endswith(b'"_meta":{"a":1.0,"progressToken":' + (asked.id or b"") + b',"z":[]}}')


@pytest.mark.parametrize("meta", [b"{}", b'{"a":1}', b"null", b"[1]", b'{"progressToken":null}'])
def test_a_meta_without_a_token_passes_unchanged(meta: bytes) -> None:
    world = World("git")
    git = world.start("git", "status")
    world.client().send(call(b"1", "git__status", meta=meta))
    assert git.one().members["params"].endswith(b'"_meta":' + meta + b"}")


# On the way back


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (b'{"content":[{"type":"text","text":"hi"}]}', "ok"),
        (b'{ "isError" : true, "content":[]}', "tool_error"),
        (b'{"content":[],"isError":false}', "ok"),
        (b'{"structuredContent":{"isError":true}}', "ok"),
        (rb'{"text":"\ud800","big":12345678901234567890.123,"huge":1e400}', "ok"),
        (b'{"x":"isError"}', "ok"),
        (b'{"t":"' + b"x" * 200_000 + b'","isError":true}', "tool_error"),
        (b'{"t":"' + b"x" * 200_000 + b'"}', "ok"),
    ],
)
def test_a_result_passes_byte_for_byte(result: bytes, outcome: str) -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git.answer(git.one(), result)
    assert client.one().line == b'{"jsonrpc":"2.0","id":1,"result":' + result + b"}"
    assert world.outcomes == [outcome]


@pytest.mark.parametrize(
    "error",
    [
        b'{"code":-32602,"message":"no","data":{"x" : 1.0}}',
        rb'{"message":"half \udfff","code":0}',
        b'{"code":7,"message":"","new":[ ]}',
    ],
)
def test_a_servers_own_error_passes_byte_for_byte(error: bytes) -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git.fail(git.one(), error)
    assert client.one().line == b'{"jsonrpc":"2.0","id":1,"error":' + error + b"}"
    [event] = world.of(CallFinished)
    code = json.loads(error)["code"]  # and nothing of its message, which may hold what the call was about
    assert (event.outcome, event.reason) == ("error", f"its server answered with error {code}")


@pytest.mark.parametrize(
    "answer",
    [
        b'"result":null',
        b'"result":[]',
        b'"result":"text"',
        b'"result":7',
        b'"error":null',
        b'"error":"text"',
        b'"error":{}',
        b'"error":{"code":"EPERM","message":"no"}',
        b'"error":{"code":1.5,"message":"no"}',
        b'"error":{"code":1,"message":null}',
        b'"result":null,"error":null',
    ],
)
def test_an_answer_that_clients_could_not_read_becomes_an_error_of_ours(answer: bytes) -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git.send(b'{"jsonrpc":"2.0","id":' + (git.one().id or b"") + b"," + answer + b"}")
    error = client.one().error
    assert error["code"] == INTERNAL_ERROR
    assert "'git'" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    assert world.outcomes == ["error"]


def test_what_an_unreadable_error_says_is_passed_on_without_what_hides() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git.fail(git.one(), '"disk \u202efull"'.encode())
    assert '"disk full"' in client.one().error["message"]


def test_the_member_that_is_null_is_not_the_answer() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"), call(b"2", "git__status"))
    one, two = git.heard()
    git.send(b'{"jsonrpc":"2.0","id":' + (one.id or b"") + b',"result":null,"error":{"code":5,"message":"no"}}')
    git.send(b'{"jsonrpc":"2.0","id":' + (two.id or b"") + b',"result":{"content":[]},"error":null}')
    failed, fine = client.heard()
    assert failed.error["code"] == 5
    assert fine.result == {"content": []}
    assert world.outcomes == ["error", "ok"]


def test_answers_come_in_the_order_in_which_calls_end() -> None:
    world = World("git", "time")
    git, time = world.start("git", "slow", "quick"), world.start("time", "now")
    client = world.client()
    client.send(call(b"1", "git__slow"), call(b"2", "git__quick"), call(b"3", "time__now"))
    slow, quick = git.heard()
    time.answer(time.one())
    git.answer(quick)
    git.answer(slow)
    assert ids(client.heard()) == [b"3", b"2", b"1"]


def test_a_second_answer_falls() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    git.answer(asked)
    client.one()
    git.answer(asked)
    git.fail(asked)
    assert client.heard() == []
    assert world.outcomes == ["ok"]


def test_an_answer_that_is_neither_result_nor_error_fails_its_call() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    git.send(b'{"jsonrpc":"2.0","id":' + (asked.id or b"") + b"}")
    error = client.one().error
    assert error["code"] == INTERNAL_ERROR
    assert "'git'" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    assert world.outcomes == ["error"]


def test_what_a_call_was_is_told_once_without_its_arguments() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client("session-7")
    line = call(b'"a"', "git__status", b'{"secret":1}')
    client.send(line)
    world.pass_time(2.5)
    git.answer(git.one())
    answer = client.one()
    assert world.of(CallFinished) == [
        CallFinished(
            client="client of session-7",
            session="session-7",
            request_id='"a"',
            server="git",
            tool="status",
            outcome="ok",
            seconds=2.5,
            bytes_in=len(line),
            bytes_out=len(answer.line) + 1,
        )
    ]


# Names nobody has


def test_an_unknown_tool_is_refused_with_the_nearest_names() -> None:
    world = World("git")
    world.start("git", "status", "commit")
    client = world.client()
    client.send(call(b"1", "git__statsu"))
    error = client.one().error
    assert error["code"] == INVALID_PARAMS
    assert "git__status" in error["message"]
    assert error["data"] == REFUSED
    [event] = world.of(CallFinished)
    assert (event.server, event.tool, event.outcome, event.name) == ("", "", "error", "git__statsu")
    assert event.reason == error["message"]


@pytest.mark.parametrize("name", [rb'"\ud800"', rb'"\u0000"', b'""', '"größe"'.encode(), b'"' + b"x" * 10_000 + b'"'])
def test_any_string_may_be_asked_for_as_a_name(name: bytes) -> None:
    world = World("git")
    world.start("git", "status")
    client = world.client()
    assert client.ask("tools/call", b'{"name":' + name + b"}").error["code"] == INVALID_PARAMS
    assert world.outcomes == ["error"]


def test_an_unknown_name_of_a_server_that_was_never_listed_says_why_that_one_is_missing() -> None:
    world = World("git", "time")
    world.start("git", "status")
    world.away("time", "no such command: timed")
    client = world.client()
    error = client.ask("tools/call", dump({"name": "time__now"})).error
    assert error["code"] == SERVER_UNAVAILABLE
    assert "'time'" in error["message"]
    assert "no such command: timed" in error["message"]
    assert error["data"] == {**REFUSED, "server": "time"}
    [event] = world.of(CallFinished)
    assert (event.server, event.tool, event.outcome, event.name) == ("time", "", "error", "time__now")


def test_what_a_server_says_is_no_part_of_the_fact_that_a_call_ended() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"), call(b"2", "git__status"), call(b"3", "git__status"))
    one, two, three = git.heard()
    git.fail(one, b'"a secret"')
    git.fail(two, b'{"code":1,"message":"a secret"}')
    git.answer(three, b'{"content":"a secret","isError":true}')
    assert len(client.heard()) == 3
    assert not any("secret" in str(event) for event in world.events)


def test_the_longest_prefix_says_whose_name_is_missing() -> None:
    world = World("a", "a__b")
    world.away("a", "it is broken")
    world.start("a__b", "x")
    client = world.client()
    assert client.ask("tools/call", dump({"name": "a__b__y"})).error["code"] == INVALID_PARAMS
    assert client.ask("tools/call", dump({"name": "a__x"})).error["code"] == SERVER_UNAVAILABLE


# Servers that are not there


def test_a_call_before_any_listing_waits_and_is_sent_when_its_server_was_listed() -> None:
    world = World("git", "time")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git = world.connect("git")
    assert git.heard() == []
    world.pass_time(3)
    world.publish("git", "status")
    git.answer(git.one())
    client.one()
    assert [(event.outcome, event.seconds) for event in world.of(CallFinished)] == [("ok", 3.0)]
    world.assert_at_rest()


def test_a_name_that_nobody_has_is_refused_as_soon_as_all_servers_are_known() -> None:
    world = World("git", "time")
    client = world.client()
    client.send(call(b"1", "other__thing"))
    world.start("git", "status")
    assert client.heard() == []
    world.away("time")
    assert client.one().error["code"] == INVALID_PARAMS
    world.assert_at_rest()


def test_a_call_waits_no_longer_than_the_list_for_servers_that_are_still_starting() -> None:
    world = World("git", "time", list_wait=4)
    client = world.client()
    client.send(call(b"1", "time__now"), call(b"2", "who__knows"))
    world.start("git", "status")
    world.pass_time(3.9)
    assert client.heard() == []
    world.pass_time(0.1)
    missing, unknown = client.heard()
    assert missing.error["data"] == {**REFUSED, "server": "time"}
    assert unknown.error["code"] == INVALID_PARAMS
    client.send(call(b"3", "time__now"))
    assert client.one().error["code"] == SERVER_UNAVAILABLE
    world.assert_at_rest()


def test_a_call_to_a_server_that_is_restarting_waits_for_it() -> None:
    world = World("git")
    first = world.start("git", "status")
    world.lose(first)
    world.away("git", "it exited; it is being started again", coming=True)
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.pass_time(LONGEST_WAIT - 1)
    second = world.connect("git")
    second.answer(second.one())
    assert client.one().result == {"content": []}
    assert first.heard() == []
    world.assert_at_rest()


def test_a_call_waits_a_bounded_time_for_a_restart() -> None:
    world = World("git")
    world.lose(world.start("git", "status"))
    world.away("git", "it exited", coming=True)
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.pass_time(LONGEST_WAIT - 0.1)
    assert client.heard() == []
    world.pass_time(0.1)
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert "it exited" in error["message"]
    assert error["data"]["delivered"] == "no"
    assert error["data"]["server"] == "git"
    assert error["data"]["retryAfterMs"] > 0
    assert world.connect("git").heard() == []
    world.assert_at_rest()


def test_a_call_to_a_server_that_is_given_up_fails_at_once() -> None:
    world = World("git")
    world.lose(world.start("git", "status"))
    client = world.client()
    client.send(call(b"1", "git__status"))
    assert client.heard() == []
    world.away("git", "it failed too often")
    assert "it failed too often" in client.one().error["message"]
    client.send(call(b"2", "git__status"))
    assert client.one().error["data"] == {**REFUSED, "server": "git"}
    assert world.outcomes == ["error", "error"]
    world.assert_at_rest()


def test_a_tool_that_a_restarted_server_no_longer_has_is_unknown() -> None:
    world = World("git")
    world.lose(world.start("git", "status"))
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.publish("git", "commit")
    git = world.connect("git")
    assert git.heard() == []
    assert client.one().error["code"] == INVALID_PARAMS
    world.assert_at_rest()


# Ends that are nobody's answer


def test_a_call_ends_when_its_time_is_over_and_its_server_is_told() -> None:
    world = World("git", call_timeout=5)
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    assert world.relay.wake_at == 5
    world.pass_time(4.9)
    assert client.heard() == []
    world.pass_time(0.1)
    error = client.one().error
    assert error["code"] == REQUEST_TIMED_OUT
    assert "callTimeout" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    told = git.one()
    assert told.method == "notifications/cancelled"
    assert dump(told.params["requestId"]) == asked.id
    git.answer(asked)
    assert client.heard() == []
    assert world.outcomes == ["timeout"]
    world.assert_at_rest()


def test_each_call_has_its_own_time() -> None:
    world = World("git", call_timeout=5)
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.pass_time(2)
    client.send(call(b"2", "git__status"))
    world.pass_time(3)
    assert ids(client.heard()) == [b"1"]
    git.answer(git.requests("tools/call")[1])
    assert ids(client.heard()) == [b"2"]
    assert world.outcomes == ["timeout", "ok"]
    world.assert_at_rest()


def test_the_time_of_a_call_runs_from_its_arrival() -> None:
    world = World("git", call_timeout=5)
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.pass_time(3)
    world.start("git", "status")
    world.pass_time(1.9)
    assert client.heard() == []
    world.pass_time(0.1)
    assert client.one().error["code"] == REQUEST_TIMED_OUT


def test_a_call_whose_time_is_over_before_its_server_came_is_never_sent() -> None:
    world = World("git", call_timeout=1, list_wait=10)
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.pass_time(5)
    git = world.start("git", "status")
    assert git.heard() == []
    world.pass_time(0)
    assert client.one().error["data"]["delivered"] == "no"
    world.assert_at_rest()


def test_a_cancelled_call_is_cancelled_at_its_server_and_not_answered() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b'"a"', "git__status"))
    asked = git.one()
    client.send(message("notifications/cancelled", rb'{"reason":"\ud800 no","requestId":"a","_meta":{"x":1.0}}'))
    assert git.one().line == (
        rb'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"\ud800 no","requestId":'
        + (asked.id or b"")
        + b',"_meta":{"x":1.0}}}'
    )
    git.answer(asked)
    assert client.heard() == []
    assert world.outcomes == ["cancelled"]
    world.assert_at_rest()


def test_an_id_is_free_again_after_its_call_was_cancelled() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status", b'"old"'))
    old = git.one()
    client.cancel(b"1")
    git.heard()
    client.send(call(b"1", "git__status", b'"new"'))
    new = git.one()
    git.answer(old, b'{"to":"old"}')
    assert client.heard() == []
    git.answer(new, b'{"to":"new"}')
    assert client.one().result == {"to": "new"}
    assert world.outcomes == ["cancelled", "ok"]


def test_a_call_that_still_waits_can_be_cancelled() -> None:
    world = World("git", "time")
    world.lose(world.start("git", "status"))
    client = world.client()
    client.send(call(b"1", "git__status"), call(b"2", "time__now"))
    client.cancel(b"1")
    client.cancel(b"2")
    assert world.connect("git").heard() == []
    assert world.start("time", "now").heard() == []
    assert client.heard() == []
    assert world.outcomes == ["cancelled"] * 2
    world.assert_at_rest()


def test_a_client_can_cancel_only_calls_of_its_own() -> None:
    world = World("git")
    git = world.start("git", "status")
    owner, other = world.client("s1"), world.client("s2")
    owner.send(call(b"1", "git__status"))
    asked = git.one()
    other.cancel(b"1")
    owner.cancel(b'"1"')
    assert git.heard() == []
    git.answer(asked)
    assert owner.one().result == {"content": []}
    assert other.heard() == []


def test_a_lost_server_fails_its_own_calls_and_says_that_they_may_have_been_done() -> None:
    world = World("git", "time")
    git, time = world.start("git", "status"), world.start("time", "now")
    client = world.client()
    client.send(call(b"1", "git__status"), call(b"2", "time__now"), call(b"3", "git__status"))
    world.lose(git, "it was killed by signal 9")
    failed = client.heard()
    assert ids(failed) == [b"1", b"3"]
    for answer in failed:
        assert answer.error["code"] == SERVER_UNAVAILABLE
        assert "it was killed by signal 9" in answer.error["message"]
        assert answer.error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    time.answer(time.one())
    assert ids(client.heard()) == [b"2"]
    assert world.outcomes == ["error", "error", "ok"]
    world.assert_at_rest()


def test_a_new_connection_does_not_inherit_the_calls_of_the_old_one() -> None:
    world = World("git")
    old = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status", b'"old"'))
    asked = old.one()
    world.lose(old)
    client.one()
    new = world.connect("git")
    client.send(call(b"1", "git__status", b'"new"'))
    old.answer(asked, b'{"is":"late"}')
    assert client.heard() == []
    new.answer(new.one(), b'{"is":"fine"}')
    assert client.one().result == {"is": "fine"}


def test_of_very_many_calls_that_were_given_up_the_oldest_are_forgotten() -> None:
    world = World("git")
    git = world.start("git", "status")
    client = world.client()
    for _ in range(3000):
        client.send(call(b"1", "git__status"))
        client.cancel(b"1")
    git.heard()
    assert len(git.link.ghosts) == 1000
    world.pass_time(60)
    client.send(call(b"1", "git__status"))
    client.cancel(b"1")
    assert len(git.link.ghosts) == 1
    world.assert_at_rest()


# Servers that are taken out of the configuration


def test_a_call_in_flight_at_a_retired_server_fails_and_says_why() -> None:
    world = World("git", "time")
    git, time = world.start("git", "status"), world.start("time", "now")
    client = world.client()
    client.send(call(b"1", "git__status"), call(b"2", "time__now"))
    asked = git.one()
    world.retire("git", "it is no longer in the configuration")
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert "no longer in the configuration" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    git.answer(asked)
    assert client.heard() == []
    time.answer(time.one())
    assert ids(client.heard()) == [b"2"]
    world.assert_at_rest()


def test_a_call_that_waits_for_a_server_that_is_retired_fails_at_once() -> None:
    world = World("git")
    world.lose(world.start("git", "status"))
    world.away("git", "it exited", coming=True)
    client = world.client()
    client.send(call(b"1", "git__status"))
    assert client.heard() == []
    world.retire("git")
    assert client.one().error["data"] == {**REFUSED, "server": "git"}
    assert client.ask("tools/call", b'{"name":"git__status"}').error["code"] == INVALID_PARAMS
    world.assert_at_rest()


@pytest.mark.parametrize("end", ["time", "cancel", "leave"])
def test_a_call_whose_tool_vanished_and_whose_server_was_retired_ends_once(end: str) -> None:
    world = World("git", "late", list_wait=20)
    world.lose(world.start("git", "status"))
    world.away("git", "it exited", coming=True)
    client = world.client()
    client.send(call(b"1", "git__status"))
    world.publish("git", settled=False)
    world.retire("git")
    assert client.heard() == [], "the other server may still list it"
    if end == "time":
        world.pass_time(20)
        assert client.one().error["code"] == INVALID_PARAMS
    elif end == "cancel":
        client.cancel(b"1")
    else:
        client.leave()
    assert client.heard() == []
    assert len(world.outcomes) == 1
    world.assert_at_rest()


def test_a_call_of_a_prompt_or_a_resource_is_told_as_another_event() -> None:
    world = World("git")
    git = world.connect("git")
    world.list_more("git", tools=["t"], prompts=["p"])
    client = world.client()
    git.answer(client.call("prompts/get", git, b'{"name":"git__p"}'))
    git.answer(client.call("tools/call", git, b'{"name":"git__t"}', b"2"))
    assert [(type(event), event.method, event.tool) for event in world.of(RequestFinished)] == [
        (RequestFinished, "prompts/get", "p"),
        (CallFinished, "tools/call", "t"),
    ]


# Only so many at a time


def limited(**limits: Any) -> tuple[World, Server, Client]:
    """A server of one tool, `git__a`, with these limits, and a client."""
    world = World("git")
    world.targets["git"].limits = Limits(**limits)
    return world, world.start("git", "a"), world.client()


def start_calls(client: Client, count: int, first: int = 0) -> None:
    client.send(*(call(b"%d" % number, "git__a", b"%d" % number) for number in range(first, first + count)))


def arguments_of(requests: list[Message]) -> list[int]:
    """Which of the calls of `start_calls` these are."""
    return [request.params["arguments"] for request in requests]


def test_the_65th_call_waits_and_is_sent_when_one_ends_in_turn() -> None:
    world, git, client = limited()
    start_calls(client, 70)
    running = git.requests("tools/call")
    assert arguments_of(running) == list(range(64))
    git.answer(running[5])
    git.fail(running[60])
    client.cancel(b"20")
    assert arguments_of(git.requests("tools/call")) == [64, 65, 66]
    assert ids(client.heard()) == [b"5", b"60"]
    assert world.relay.in_flight() == [("git", 64)]


def test_a_broken_answer_and_a_time_out_make_room_too() -> None:
    world, git, client = limited(running=1, call=5)
    start_calls(client, 3)
    [first] = git.requests("tools/call")
    git.answer(first, b"[]")
    assert arguments_of(git.requests("tools/call")) == [1]
    world.pass_time(4)
    start_calls(client, 1, first=3)
    world.pass_time(1)
    assert arguments_of(git.requests("tools/call")) == [3], "the time of the third one is over, too"
    assert world.outcomes == ["error", "timeout", "timeout"]


def test_the_257th_call_that_would_wait_is_refused_at_once() -> None:
    world, git, client = limited()
    start_calls(client, 64 + 256)
    assert client.heard() == []
    start_calls(client, 1, first=1000)
    error = client.one().error
    assert error["code"] == SERVER_UNAVAILABLE
    assert error["data"] == {**REFUSED, "server": "git", "retryAfterMs": 10_000}
    assert "64 calls running" in error["message"]
    assert "256 more wait" in error["message"]
    assert len(git.requests("tools/call")) == 64
    client.leave()
    world.assert_at_rest()


def test_a_call_waits_10_seconds_for_its_turn_and_is_not_sent_then() -> None:
    world, git, client = limited(running=1)
    start_calls(client, 2)
    [first] = git.requests("tools/call")
    world.pass_time(9.9)
    assert client.heard() == []
    world.pass_time(0.1)
    error = client.one().error
    assert error["data"] == {**REFUSED, "server": "git", "retryAfterMs": 10_000}
    assert "waited 10 s and was not sent" in error["message"]
    git.answer(first)
    assert git.requests("tools/call") == []
    world.pass_time(0)
    world.assert_at_rest()


def test_one_deadline_covers_waiting_and_running() -> None:
    world, git, client = limited(running=1, call=12)
    start_calls(client, 1)
    [first] = git.requests("tools/call")
    world.pass_time(1)
    start_calls(client, 1, first=1)
    world.pass_time(8)
    git.answer(first)
    assert len(git.requests("tools/call")) == 1
    client.heard()
    world.pass_time(3.9)
    assert client.heard() == []
    world.pass_time(0.1)
    [answer] = client.heard()
    assert answer.error["code"] == REQUEST_TIMED_OUT
    assert answer.error["data"]["delivered"] == "maybe"
    assert "`callTimeout`" in answer.error["message"]


def test_a_call_that_may_take_less_than_the_queue_waits_no_longer_than_it_may_take() -> None:
    world, git, client = limited(running=1, call=3)
    client.send(call(b"1", "git__a", meta=b'{"progressToken":7}'))
    start_calls(client, 1, first=2)
    world.pass_time(2)
    progress(git, git.one())
    client.heard()
    world.pass_time(1)
    error = client.one().error
    assert error["code"] == REQUEST_TIMED_OUT
    assert error["data"] == {**REFUSED, "server": "git"}


def test_what_waits_for_the_end_of_a_task_takes_nobodys_place() -> None:
    world = World("git")
    world.targets["git"].limits = Limits(running=1, queued=0)
    git = world.start("git", "a", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    begun = client.call("tools/call", git, b'{"name":"git__a","arguments":{},"task":{}}')
    git.answer(begun, b'{"task":{"taskId":"t","status":"working"}}')
    client.heard()
    waiting = client.call("tasks/result", git, b'{"taskId":"t"}', b"2")
    start_calls(client, 1, first=3)
    [running] = git.requests("tools/call")
    git.answer(waiting)
    start_calls(client, 1, first=4)
    assert ids(client.heard()) == [b"2", b"4"], "one runs, so there is no room for another"
    client.call("tasks/result", git, b'{"taskId":"t"}', b"5")
    client.cancel(b"5")
    git.answer(running)
    client.heard()
    start_calls(client, 1, first=6)
    assert arguments_of(git.requests("tools/call")) == [6]
    start_calls(client, 1, first=7)
    assert ids(client.heard()) == [b"7"]


def test_calls_of_other_servers_do_not_wait_for_a_full_one() -> None:
    world = World("git", "time")
    world.targets["git"].limits = Limits(running=1)
    world.start("git", "a")
    time, client = world.start("time", "now"), world.client()
    start_calls(client, 5)
    time.answer(client.call("tools/call", time, b'{"name":"time__now"}', b"9"))
    assert ids(client.heard()) == [b"9"]


def test_a_call_that_waits_can_be_cancelled_and_its_place_is_free() -> None:
    _, git, client = limited(running=1, queued=1)
    start_calls(client, 2)
    client.cancel(b"1")
    start_calls(client, 1, first=2)
    assert client.heard() == []
    [first] = git.requests("tools/call")
    git.answer(first)
    assert arguments_of(git.requests("tools/call")) == [2]


def test_calls_that_wait_for_a_connection_go_in_turn_and_only_so_many_at_once() -> None:
    world, git, client = limited(running=2, queued=5)
    world.lose(git)
    world.away("git", "it exited", coming=True)
    start_calls(client, 6)
    error = client.one().error
    assert "is away (it exited), and 5 more wait" in error["message"]
    world.away("git", "it exited again", coming=True)
    again = world.connect("git")
    running = again.requests("tools/call")
    assert arguments_of(running) == [0, 1]
    for answered in running:
        again.answer(answered)
    assert arguments_of(again.requests("tools/call")) == [2, 3]


@pytest.mark.parametrize("hangs", [True, False])
def test_a_server_that_is_full_or_hangs_does_not_hide_what_another_one_knows(hangs: bool) -> None:
    world = World("bad", "good", call_timeout=60)
    bad, good = world.start("bad", "a", resources={}), world.start("good", resources={})
    world.targets["bad"].limits = Limits(running=FAILURES, queued=0, call=60)
    client = world.client()
    client.send(*(call(b'"%d"' % number, "bad__a") for number in range(FAILURES)))
    world.pass_time(60 if hangs else 1)
    client.heard()
    client.send(message("resources/read", b'{"uri":"test://x"}', b"1"))
    good.answer(good.one(), b'{"contents":[]}')
    assert client.one().result == {"contents": []}
    assert all(heard.method != "resources/read" for heard in bad.heard())


def test_whoever_waited_in_vain_at_a_full_server_asks_the_next_one() -> None:
    world = World("full", "good", call_timeout=60)
    world.start("full", "a", resources={})
    good, client = world.start("good", resources={}), world.client()
    world.targets["full"].limits = Limits(running=1, call=60)
    client.send(call(b"1", "full__a"), message("resources/read", b'{"uri":"test://x"}', b"2"))
    assert good.heard() == []
    world.pass_time(LONGEST_WAIT)
    good.answer(good.one(), b'{"contents":[]}')
    assert client.one().result == {"contents": []}


# A server that does not read


def test_a_server_that_does_not_read_gets_no_calls_until_it_reads_again() -> None:
    world, git, client = limited()
    start_calls(client, 1)
    [before] = git.requests("tools/call")
    world.do(world.relay.choke, git.link, True, world.now)
    start_calls(client, 3, first=1)
    git.answer(before)
    assert git.heard() == []
    assert ids(client.heard()) == [b"0"]
    world.do(world.relay.choke, git.link, False, world.now)
    assert arguments_of(git.requests("tools/call")) == [1, 2, 3]


def test_a_call_does_not_wait_for_ever_for_a_server_to_read() -> None:
    world, git, client = limited()
    world.do(world.relay.choke, git.link, True, world.now)
    start_calls(client, 1)
    world.pass_time(LONGEST_WAIT)
    error = client.one().error
    assert "does not read its input" in error["message"]
    assert error["data"] == {**REFUSED, "server": "git", "retryAfterMs": 10_000}
    world.do(world.relay.choke, git.link, False, world.now)
    assert git.heard() == []
    world.assert_at_rest()


# Progress


def progress(server: Server, request: Message) -> None:
    token = dump(request.params["_meta"]["progressToken"])
    server.send(message("notifications/progress", b'{"progressToken":' + token + b',"progress":1}'))


def test_with_each_progress_the_time_of_a_call_runs_anew_up_to_its_maximum() -> None:
    world, git, client = limited(call=10, longest=25)
    client.send(call(b"1", "git__a", meta=b'{"progressToken":7}'))
    request = git.one()
    for _ in range(3):
        world.pass_time(8)
        progress(git, request)
        assert client.one().method == "notifications/progress"
    world.pass_time(0.9)
    assert client.heard() == []
    world.pass_time(0.1)
    error = client.one().error
    assert error["code"] == REQUEST_TIMED_OUT
    assert "within 25 s" in error["message"]
    assert "`callMaximum`" in error["message"]
    world.assert_at_rest()


def test_a_call_whose_progress_ends_has_its_time_from_there() -> None:
    world, git, client = limited(call=10, longest=100)
    client.send(call(b"1", "git__a", meta=b'{"progressToken":7}'))
    request = git.one()
    world.pass_time(6)
    progress(git, request)
    client.heard()
    world.pass_time(9.9)
    assert client.heard() == []
    world.pass_time(0.1)
    assert "`callTimeout`" in client.one().error["message"]


def test_progress_of_one_call_gives_no_other_more_time() -> None:
    world, git, client = limited(call=10)
    client.send(*(call(id, "git__a", meta=b'{"progressToken":%b}' % id) for id in (b"1", b"2")))
    first, _ = git.heard()
    world.pass_time(9)
    progress(git, first)
    client.heard()
    world.pass_time(1)
    assert ids(client.heard()) == [b"2"]


# Once more


def undelivered(world: World, server: Server, request: Message) -> None:
    """The transport could not send a request, and ends for that."""
    assert request.id is not None
    world.do(world.relay.undelivered, server.link, request.id, "no connection", world.now)
    world.lose(server, "no connection to http://x")
    world.away("git", "no connection; it is being tried again", coming=True)


def test_a_call_that_never_left_is_sent_once_more_when_the_server_is_back() -> None:
    world, first, client = limited()
    start_calls(client, 1)
    undelivered(world, first, first.one())
    world.pass_time(LONGEST_WAIT - 1)
    assert client.heard() == []
    second = world.connect("git")
    request = second.one()
    assert arguments_of([request]) == [0]
    second.answer(request)
    assert client.one().result == {"content": []}
    assert world.outcomes == ["ok"]
    world.assert_at_rest()


def test_a_call_that_never_left_twice_is_refused_and_was_not_done() -> None:
    world, first, client = limited()
    start_calls(client, 1)
    undelivered(world, first, first.one())
    second = world.connect("git")
    undelivered(world, second, second.one())
    error = client.one().error
    assert error["data"] == {**REFUSED, "server": "git"}
    assert "no connection" in error["message"]
    assert world.connect("git").heard() == []
    world.assert_at_rest()


def test_a_call_that_was_sent_the_second_time_and_is_lost_then_is_not_sent_a_third_time() -> None:
    world, first, client = limited()
    start_calls(client, 1)
    undelivered(world, first, first.one())
    second = world.connect("git")
    second.heard()
    world.lose(second)
    assert client.one().error["data"]["delivered"] == "maybe"
    assert world.connect("git").heard() == []
    world.assert_at_rest()


def test_a_call_that_never_left_waits_10_seconds_from_then_on_within_its_own_time() -> None:
    world, git, client = limited(call=100)
    start_calls(client, 1)
    request = git.one()
    world.pass_time(30)
    undelivered(world, git, request)
    world.pass_time(9.9)
    assert client.heard() == []
    world.pass_time(0.1)
    error = client.one().error
    assert error["data"]["delivered"] == "no"
    assert "within 10 s" in error["message"]
    world.assert_at_rest()


def test_a_call_that_never_left_is_refused_where_its_server_does_not_come_back() -> None:
    world, git, client = limited()
    start_calls(client, 1)
    request = git.one()
    world.targets["git"].coming = False
    world.do(world.relay.undelivered, git.link, request.id or b"", "no connection", world.now)
    assert client.one().error["data"] == {**REFUSED, "server": "git"}


def test_nothing_is_sent_again_after_a_time_out() -> None:
    world, git, client = limited(call=5)
    start_calls(client, 1)
    request = git.one()
    world.pass_time(5)
    assert client.one().error["data"]["delivered"] == "maybe"
    git.heard()
    undelivered(world, git, request)
    assert world.connect("git").heard() == []
    world.assert_at_rest()


def test_calls_that_come_meanwhile_do_not_go_to_a_connection_that_is_over() -> None:
    world, first, client = limited()
    start_calls(client, 2)
    asked = first.requests("tools/call")
    world.do(world.relay.undelivered, first.link, asked[0].id or b"", "no connection", world.now)
    start_calls(client, 1, first=2)
    first.answer(asked[1])
    assert first.heard() == []
    world.lose(first)
    assert arguments_of(world.connect("git").requests("tools/call")) == [0, 2]


def test_of_calls_in_flight_when_a_connection_ends_those_that_had_not_left_are_sent_once_more() -> None:
    world, first, client = limited()
    start_calls(client, 3)
    asked = first.requests("tools/call")
    first.link.take_back = lambda: [int(request.id or b"") for request in asked[1:]]
    world.lose(first)
    [lost] = client.heard()
    assert (lost.id, lost.error["data"]["delivered"]) == (b"0", "maybe")
    second = world.connect("git")
    again = second.requests("tools/call")
    assert arguments_of(again) == [1, 2]
    second.answer(again[0])
    assert client.one().id == b"1"
    second.link.take_back = lambda: [int(again[1].id or b"")]
    world.lose(second)
    assert client.one().error["data"] == {**REFUSED, "server": "git"}, "it never left, and that twice"
    world.assert_at_rest()


def test_what_was_cancelled_or_is_no_call_is_not_sent_again_though_it_had_not_left() -> None:
    world, git, client = limited()
    start_calls(client, 1)
    request = git.one()
    replies: list[object] = []
    probe = git.link.ask("ping", b"", replies.append)
    client.cancel(b"0")
    git.link.take_back = lambda: [int(request.id or b""), probe, 999]
    world.lose(git)
    assert replies == [None]
    assert world.connect("git").heard() == []
    assert client.heard() == []
    world.assert_at_rest()


def test_a_server_that_speaks_as_we_do_is_taken_at_its_word_and_asked_no_second_time() -> None:
    """It may be another one of us, and say so of a server of its own."""
    world, git, client = limited()
    start_calls(client, 1)
    error = b'{"code":-1,"message":"x","data":{"origin":"mcp-manifold","server":"git","delivered":"no"}}'
    git.fail(git.one(), error)
    assert client.one().error == json.loads(error)
    assert git.heard() == []
    world.assert_at_rest()


HARMLESS = (
    (b'{"readOnlyHint":true}', True),
    (b'{"idempotentHint":true}', True),
    (b'{"destructiveHint":false}', False),
    (b'{"readOnlyHint":false}', False),
)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(("hints", "harmless"), HARMLESS)
def test_what_may_have_been_done_is_sent_again_only_where_hints_are_trusted_and_say_that_it_does_no_harm(
    hints: bytes, harmless: bool, trusted: bool
) -> None:
    world, first, client = limited(repeats=trusted)
    tool = b'{"name":"a","inputSchema":{"type":"object"},"annotations":' + hints + b"}"
    world.list_more("git", tools=[tool])
    start_calls(client, 1)
    first.heard()
    world.lose(first)
    second = world.connect("git")
    if not (trusted and harmless):
        assert client.one().error["data"]["delivered"] == "maybe"
        assert second.heard() == []
        return
    assert client.heard() == []
    second.one()
    world.lose(second)
    assert client.one().error["data"]["delivered"] == "maybe"
    assert world.connect("git").heard() == []
    world.assert_at_rest()


# What breaks on its way, while the connection goes on


def broke(world: World, server: Server, request: Message, delivered: Delivered = "maybe") -> None:
    """The transport says that there will be no answer."""
    world.do(world.relay.failed, server.link, request.id or b"", "it answered HTTP 502", delivered, world.now)


def test_a_call_that_breaks_fails_with_its_reason_and_no_other_does() -> None:
    world, git, client = limited()
    start_calls(client, 2)
    first, second = git.requests("tools/call")
    broke(world, git, first)
    answer = client.one()
    assert answer.id == b"0"
    assert "'git': it answered HTTP 502" in answer.error["message"]
    assert answer.error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    git.answer(second)
    assert client.one().id == b"1"
    git.answer(first)
    assert client.heard() == [], "it has ended"
    assert world.outcomes == ["error", "ok"]
    world.assert_at_rest()


def test_a_call_that_broke_before_it_had_left_is_sent_once_more_at_once() -> None:
    world, git, client = limited()
    start_calls(client, 1)
    broke(world, git, git.one(), "no")
    again = git.one()
    assert arguments_of([again]) == [0]
    broke(world, git, again, "no")
    assert client.one().error["data"] == {**REFUSED, "server": "git"}
    assert git.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(("hints", "harmless"), HARMLESS)
def test_a_call_that_broke_is_sent_once_more_only_where_hints_are_trusted_and_say_that_it_does_no_harm(
    hints: bytes, harmless: bool, trusted: bool
) -> None:
    world, git, client = limited(repeats=trusted)
    world.list_more("git", tools=[b'{"name":"a","inputSchema":{"type":"object"},"annotations":' + hints + b"}"])
    start_calls(client, 1)
    broke(world, git, git.one())
    if trusted and harmless:
        assert client.heard() == []
        broke(world, git, git.one(), "no")
    assert client.one().error["data"]["delivered"] == "maybe"
    assert git.heard() == []
    world.assert_at_rest()


def test_room_is_made_by_a_call_that_breaks() -> None:
    world, git, client = limited(running=1)
    start_calls(client, 2)
    broke(world, git, git.one())
    assert arguments_of(git.requests("tools/call")) == [1]


@pytest.mark.parametrize("end", ["time", "given up", "retired"])
def test_a_call_that_waits_to_be_sent_again_may_have_been_done_however_it_ends(end: str) -> None:
    world, git, client = limited(repeats=True)
    world.list_more("git", tools=[b'{"name":"a","inputSchema":{},"annotations":{"readOnlyHint":true}}'])
    start_calls(client, 1)
    world.lose(git)
    assert client.heard() == []
    if end == "time":
        world.pass_time(LONGEST_WAIT)
    elif end == "given up":
        world.away("git", "no such command")
    else:
        world.retire("git")
    assert client.one().error["data"]["delivered"] == "maybe"
    world.assert_at_rest()
