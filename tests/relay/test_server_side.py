"""What servers send: answers, progress, log messages, changed lists, requests, and everything that is no message."""

import pytest

from proxy.errors import INTERNAL_ERROR, METHOD_NOT_FOUND
from proxy.events import Notice
from proxy.relay.peers import LEVELS, Reply
from proxy.relay.state import AFTERWORDS
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, dump, ids, message


def one_call(meta: bytes | None = None) -> tuple[World, Server, Client, Message]:
    """A server `git`, a client, and a call in flight."""
    world = World("git")
    git, client = world.start("git", "status"), world.client()
    client.send(call(b'"mine"', "git__status", meta=meta))
    return world, git, client, git.one()


def as_answer(line: bytes, request: Message) -> bytes:
    """The line with the request's id in place of `ID`."""
    return line.replace(b"ID", request.id or b"")


def log(level: str | None, **params: object) -> bytes:
    given = {} if level is None else {"level": level}
    return message("notifications/message", dump({**given, **params}))


# Answers


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":ID,"result":{"ok":1},"jsonrpc":"2.0"}',
        b' { "jsonrpc" : "2.0" , "id" : ID , "result" : {"ok":1} } \r',
        b'{"id":ID,"result":{"ok":1}}',
        b'{"jsonrpc":"2.0","id":"ID","result":{"ok":1}}',
        b'{"jsonrpc":"2.0","id":0,"id":ID,"result":7,"result":{"ok":1}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"ok":1},"x\\ud800":[{}]}',
        b'[{"jsonrpc":"2.0","id":ID,"result":{"ok":1}}]',
        b'[{"jsonrpc":"2.0","method":"notifications/cancelled"},{"jsonrpc":"2.0","id":ID,"result":{"ok":1}},7,[]]',
        b'Loading 100%... {"jsonrpc":"2.0","id":ID,"result":{"ok":1}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled"} {"jsonrpc":"2.0","id":ID,"result":{"ok":1}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"ok":1}}{"jsonrpc":"2.0","id":99,"result":{}}',
        b'{"jsonrpc":"2.0","id":ID,"method":null,"result":{"ok":1},"error":null}',
        b'\x1b[32m{{[{"jsonrpc":"2.0","id":ID,"result":{"ok":1}}',
    ],
)
def test_an_answer_may_be_written_in_many_ways(line: bytes) -> None:
    world, git, client, asked = one_call()
    git.send(as_answer(line, asked))
    assert client.one().line == b'{"jsonrpc":"2.0","id":"mine","result":{"ok":1}}'
    assert world.outcomes == ["ok"]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":ID,"result":{"ratio":NaN}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"cut of',
        b'{"jsonrpc":"2.0","id":ID,"result":{"text":"\xff"}}',
        b'{"jsonrpc":"2.0","id":ID,"result":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"jsonrpc":"2.0","id":ID}',
        b'{"jsonrpc":"2.0","id":ID.0,"result":{}}',
        b'{"jsonrpc":2.0,"id":ID,"result":{}}',
        b'stray {"jsonrpc":"2.0","id":ID,"result":{"ratio":NaN}}',
        b'{"jsonrpc":"2.0","id":ID,"result":{"id":99,"ratio":NaN}}',
        b'{"jsonrpc":"2.0","id":ID,"result":' + b'{"x":' * 150 + b"1" + b"}" * 150 + b"}",
        b'{"jsonrpc":"2.0","id":ID,"result":{"structuredContent":{"method":"GET","ratio":NaN}}}',
        b'{"jsonrpc":"2.0","id":ID,"error":{"code":1,"data":{"method":"GET","ratio":-Infinity}}}',
    ],
)
def test_a_broken_answer_fails_its_own_call_at_once(line: bytes) -> None:
    world, git, client, asked = one_call()
    other = world.client("s2")
    other.send(call(b"1", "git__status"))
    git.send(as_answer(line, asked))
    error = client.one().error
    assert error["code"] == INTERNAL_ERROR
    assert "'git'" in error["message"]
    assert error["data"] == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe"}
    assert other.heard() == []
    git.answer(asked)
    assert client.heard() == []
    git.answer(git.one())
    assert other.one().result == {"content": []}
    world.assert_at_rest()


@pytest.mark.parametrize(
    "line",
    [
        b"Server listening on stdio",
        b"",
        b"null",
        b"7",
        b"{}",
        b"[]",
        b"[[[[",
        b"\x00\xff\xfe",
        b"ID",
        b'"ID"',
        b"[ID]",
        b'{"id":ID,"name":"a row that somebody printed"}',
        b'debug: {"row":{"id":ID}}',
        b'received {"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"stat',
        b'{"jsonrpc":"2.0","id":"IDx","result":{}}',
        b'{"jsonrpc":"2.0","id":-ID,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}',
        b'{"jsonrpc":"2.0","id":ID000,"result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":' + b"9" * 300 + b',"result":{}}',
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":NaN,"id":ID}}',
    ],
)
def test_a_line_that_is_no_answer_harms_no_call(line: bytes) -> None:
    world, git, client, asked = one_call()
    git.send(as_answer(line, asked))
    assert client.heard() == []
    git.answer(asked)
    assert client.one().result == {"content": []}
    world.assert_at_rest()


def test_a_notification_with_an_id_of_null_is_a_notification() -> None:
    _, git, client, _ = one_call()
    git.send(message("notifications/message", b'{"level":"info","data":1}', id=b"null"))
    assert client.one().method == "notifications/message"
    assert git.heard() == []


def test_a_line_that_is_no_message_is_told_to_who_watches_the_server() -> None:
    _, git, _, asked = one_call()
    git.send(
        b"Listening...",
        b'{"jsonrpc":"2.0","id":99',
        b"[1,",
        as_answer(b'Bye {"jsonrpc":"2.0","id":ID,"result":1}', asked),
    )
    assert [line.strip() for line in git.noise] == [b"Listening...", b'{"jsonrpc":"2.0","id":99', b"[1,", b"Bye"]


def test_messages_are_counted_and_noise_is_not() -> None:
    _, git, _, asked = one_call()
    git.send(message("notifications/x"), message("ping", id=b"1"))
    git.answer(asked)
    git.answer(asked)
    git.send(b"Listening...", b'{"jsonrpc":"2.0","id":1', b"{}", b'{"id":1,"name":"a row"}', b'{"result":{}}')
    assert git.link.heard == 4
    assert len(git.noise) == 5


def test_an_answer_of_one_server_does_not_reach_the_call_of_another() -> None:
    world = World("git", "time")
    git, time = world.start("git", "status"), world.start("time", "now")
    client = world.client()
    client.send(call(b"1", "git__status"))
    asked = git.one()
    time.answer(asked)
    time.send(b'{"jsonrpc":"2.0","id":%b' % (asked.id or b""))
    assert client.heard() == []
    git.answer(asked)
    assert client.one().result == {"content": []}


def test_an_answer_that_is_too_long_fails_its_call_by_its_start() -> None:
    world, git, client, asked = one_call()
    start = as_answer(b'{"jsonrpc":"2.0","id":ID,"result":{"text":"', asked) + b"x" * 4000
    world.do(world.relay.server_overlong, git.link, start, world.now)
    error = client.one().error
    assert error["code"] == INTERNAL_ERROR
    assert "64 MiB" in error["message"]
    world.assert_at_rest()


def test_a_batch_of_a_server_that_is_absurdly_long_is_noise() -> None:
    world, git, client, asked = one_call()
    git.send(b"[" + b"{}," * 100_000 + b"{}]")
    assert len(git.noise) == 1
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


# Requests of our own


def test_a_request_of_ours_has_its_reply_once() -> None:
    world = World("git")
    git = world.open("git")
    replies: list[Reply | None] = []
    world.do(git.link.ask, "tools/list", b"{}", replies.append)
    asked = git.one()
    git.answer(asked, b'{"tools":[ ]}')
    git.answer(asked, b"7")
    world.lose(git)
    assert replies == [Reply(result=b'{"tools":[ ]}')]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b'{"jsonrpc":"2.0","id":ID,"error":{"code":1}}', Reply(error=b'{"code":1}')),
        (b'{"jsonrpc":"2.0","id":"ID","result":{}}', Reply(result=b"{}")),
    ],
)
def test_a_request_of_ours_hears_what_the_server_says(line: bytes, reply: Reply) -> None:
    world = World("git")
    git = world.open("git")
    replies: list[Reply | None] = []
    world.do(git.link.ask, "tools/list", b"", replies.append)
    git.send(as_answer(line, git.one()))
    assert replies == [reply]


def test_a_broken_reply_is_an_error_at_once() -> None:
    world = World("git")
    git = world.open("git")
    replies: list[Reply | None] = []
    world.do(git.link.ask, "tools/list", b"", replies.append)
    git.send(as_answer(b'{"jsonrpc":"2.0","id":ID,"result":{"tools":[NaN]}}', git.one()))
    [reply] = replies
    assert reply is not None
    assert b"-32603" in reply.error


def test_a_null_beside_an_error_is_no_reply() -> None:
    world = World("git")
    git = world.open("git")
    replies: list[Reply | None] = []
    world.do(git.link.ask, "tools/list", b"", replies.append)
    git.send(as_answer(b'{"jsonrpc":"2.0","id":ID,"result":null,"error":{"code":1}}', git.one()))
    [reply] = replies
    assert reply is not None
    assert reply.error == b'{"code":1}'


# Progress


def test_progress_goes_to_the_call_that_asked_for_it_under_its_own_token() -> None:
    world = World("git")
    git = world.start("git", "status")
    first, second, third = world.client("s1"), world.client("s2"), world.client("s3")
    first.send(call(b"1", "git__status", meta=b'{"progressToken":"same"}'))
    second.send(call(b"1", "git__status", meta=b'{"progressToken":"same"}'))
    third.send(call(b"1", "git__status"))
    tokens = [heard.params.get("_meta", {}).get("progressToken") for heard in git.heard()]
    assert tokens[2] is None
    git.send(message("notifications/progress", b'{"progress" : 1.0,"progressToken":%d,"new":{"x" :1}}' % tokens[1]))
    assert first.heard() == third.heard() == []
    assert second.one().members["params"] == b'{"progress":1.0,"progressToken":"same","new":{"x" :1}}'


@pytest.mark.parametrize("token", [b"0", b'"text"', b"1e3", b"-12.50", rb'"\ud800"', b'{"odd":1}'])
def test_a_token_comes_back_as_the_client_wrote_it(token: bytes) -> None:
    _, git, client, asked = one_call(b'{"progressToken":' + token + b"}")
    git.send(message("notifications/progress", b'{"progressToken":' + (asked.id or b"") + b',"progress":1}'))
    assert client.one().members["params"] == b'{"progressToken":' + token + b',"progress":1}'


@pytest.mark.parametrize(
    "params", [b"{}", b"[]", b'{"progressToken":null}', b'{"progressToken":99}', b'{"progressToken":1.5}']
)
def test_progress_of_nothing_falls(params: bytes) -> None:
    _, git, client, _ = one_call(b'{"progressToken":1}')
    git.send(message("notifications/progress", params))
    assert client.heard() == []


def test_progress_after_the_end_falls() -> None:
    _, git, client, asked = one_call(b'{"progressToken":1}')
    git.answer(asked)
    client.one()
    git.send(message("notifications/progress", b'{"progressToken":' + (asked.id or b"") + b',"progress":1}'))
    assert client.heard() == []


def test_a_call_that_asked_for_no_progress_gets_none() -> None:
    _, git, client, asked = one_call(b'{"progressToken":null}')
    git.send(message("notifications/progress", b'{"progressToken":' + (asked.id or b"") + b',"progress":1}'))
    assert client.heard() == []


# Log messages


def test_a_log_message_names_its_server_and_passes_otherwise_unchanged() -> None:
    world, git, client, _ = one_call()
    other = world.client("s2")
    git.send(
        message("notifications/message", rb'{"level":"info","logger":"db","data":{"x" : 1e400,"y":"\ud800"},"new":1}')
    )
    expected = rb'{"level":"info","logger":"git/db","data":{"x" : 1e400,"y":"\ud800"},"new":1}'
    assert client.one().members["params"] == expected
    assert other.heard() == []


@pytest.mark.parametrize("logger", [b"", b',"logger":""', b',"logger":null', b',"logger":7'])
def test_a_log_message_without_a_logger_is_named_for_its_server(logger: bytes) -> None:
    _, git, client, _ = one_call()
    git.send(message("notifications/message", b'{"level":"info"' + logger + b',"data":1}'))
    assert client.one().params == {"level": "info", "logger": "git", "data": 1}


def test_a_client_hears_only_the_levels_that_it_asked_for() -> None:
    world, git, client, asked = one_call()
    git.answer(asked)
    assert client.one().result
    other = world.client("s2")
    client.ask("logging/setLevel", b'{"level":"warning"}')
    for level in (*LEVELS, "strange", None):
        git.send(log(level, data=level))
    assert [heard.params["data"] for heard in client.heard()] == [*LEVELS[3:], "strange", None]
    assert len(other.heard()) == len(LEVELS) + 2


def test_a_client_that_has_not_said_hello_hears_no_log() -> None:
    world, git, _, _ = one_call()
    early = world.client("s2", initialized=False)
    git.send(log("error", data=1))
    assert early.heard() == []


@pytest.mark.parametrize("params", [b"[]", b"7", b"null", b"{"])
def test_a_log_message_that_is_none_falls(params: bytes) -> None:
    world, git, client, asked = one_call()
    git.send(message("notifications/message", params))
    assert client.heard() == []
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


def test_servers_are_told_the_most_talkative_level_that_anybody_asked_for() -> None:
    world = World("git", "time")
    git, time = world.connect("git", logging={}), world.connect("time")
    first, second = world.client("s1"), world.client("s2")
    told = []
    for client, level in ((first, "warning"), (second, "error"), (first, "debug"), (second, "info"), (first, "alert")):
        client.ask("logging/setLevel", dump({"level": level}))
        told += [heard.params["level"] for heard in git.requests("logging/setLevel")]
    assert told == ["warning", "warning", "debug", "debug", "info"]
    assert time.heard() == []


def test_a_server_that_comes_later_is_told_the_level_after_the_handshake() -> None:
    world = World("git", "time")
    world.client().ask("logging/setLevel", b'{"level":"notice"}')
    git, time = world.open("git"), world.open("time")
    assert git.heard() == []
    world.do(world.relay.greet, git.link, capabilities={"logging": b"{}"})
    world.do(world.relay.ready, git.link, world.now)
    world.do(world.relay.greet, time.link, capabilities={})
    world.do(world.relay.ready, time.link, world.now)
    assert [heard.method for heard in git.heard()] == ["notifications/initialized", "logging/setLevel"]
    assert [heard.method for heard in time.heard()] == ["notifications/initialized"]


def test_a_server_that_refuses_a_level_goes_on() -> None:
    world = World("git")
    git, client = world.connect("git", logging={}), world.client()
    assert client.ask("logging/setLevel", b'{"level":"debug"}').result == {}
    git.fail(git.one())
    git.send(log("debug", data=1))
    assert client.one().params["data"] == 1


# Changed lists


@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
def test_a_changed_list_is_told_to_who_watches_the_server_and_not_passed_on(kind: str) -> None:
    _, git, client, _ = one_call()
    for _ in range(3):
        git.send(message(f"notifications/{kind}/list_changed"))
    assert git.announced == [f"notifications/{kind}/list_changed"] * 3
    assert client.heard() == []


# Requests of the server


@pytest.mark.parametrize("id", [b"0", b"1", b'"1"', b'"roots"', b"-5"])
def test_a_ping_of_a_server_is_answered_under_its_own_id(id: bytes) -> None:
    world, git, client, asked = one_call()
    git.send(message("ping", id=id))
    assert git.one().line == b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}'
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create", "tasks/list"])
def test_what_was_not_declared_is_refused_and_shown_to_no_client(method: str) -> None:
    world, git, client, _ = one_call()
    other = world.client("s2")
    git.send(message(method, b'{"secret":1}', b"0"))
    answer = git.one()
    assert answer.id == b"0"
    assert answer.error["code"] == METHOD_NOT_FOUND
    assert client.heard() == other.heard() == []


def test_a_request_of_a_server_under_the_id_of_a_call_does_not_end_that_call() -> None:
    world, git, client, asked = one_call()
    assert asked.id is not None
    git.send(message("roots/list", id=asked.id))
    assert git.one().error["code"] == METHOD_NOT_FOUND
    assert client.heard() == []
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


@pytest.mark.parametrize(
    "method", ["notifications/cancelled", "notifications/elicitation/complete", "notifications/tasks/status"]
)
def test_notifications_about_what_nobody_knows_fall(method: str) -> None:
    _, git, client, _ = one_call()
    git.send(message(method, b'{"requestId":1}'))
    assert client.heard() == git.heard() == []


def test_a_link_that_is_over_is_not_listened_to() -> None:
    world, git, client, asked = one_call()
    world.lose(git)
    assert ids(client.heard()) == [b'"mine"']
    git.send(message("roots/list", id=b"0"), as_answer(b'{"jsonrpc":"2.0","id":ID,"result":1}', asked), b"rubbish")
    assert git.heard() == client.heard() == []
    world.assert_at_rest()


# Notifications that no revision has


@pytest.mark.parametrize("params", [None, b"null", b"{}", rb'{"x" : 1e400,"text":"\ud800"}'])
def test_a_notification_that_nobody_knows_reaches_the_client_as_it_is_and_is_noted(params: bytes | None) -> None:
    world, git, client, _ = one_call()
    git.send(message("notifications/vendor/event", params))
    heard = client.one()
    assert (heard.method, heard.members.get("params")) == ("notifications/vendor/event", params)
    notes = [(event.level, event.server) for event in world.of(Notice) if "vendor/event" in event.text]
    assert notes == [("debug", "git")]


@pytest.mark.parametrize("method", ["\ud800", "x" * 100_000, "no/prefix", 'a"\\b'])
def test_a_notification_may_have_any_name(method: str) -> None:
    world, git, client, asked = one_call()
    git.send(message(method, b"{}"))
    assert client.one().method == method
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


def test_a_notification_that_nobody_knows_reaches_who_has_a_call_there_or_else_everybody() -> None:
    world, git, client, asked = one_call()
    other, early = world.client("s2"), world.client("s3", initialized=False)
    git.send(message("notifications/vendor/event"))
    assert client.one().method == "notifications/vendor/event"
    assert other.heard() == []
    git.answer(asked)
    client.one()
    git.send(message("notifications/vendor/event"))
    assert (len(client.heard()), other.heard()) == (1, []), "it may still speak of that call"
    world.pass_time(AFTERWORDS)
    git.send(message("notifications/vendor/event"))
    assert len(client.heard()) == len(other.heard()) == 1
    assert early.heard() == [], "it has not finished its handshake"


@pytest.mark.parametrize("params", [b"[]", b"7", b'"x"'])
def test_a_notification_whose_params_are_no_object_falls(params: bytes) -> None:
    world, git, client, asked = one_call()
    git.send(message("notifications/vendor/event", params))
    assert client.heard() == []
    git.answer(asked)
    assert client.one().result
    world.assert_at_rest()


# Log messages of several clients


def test_a_log_message_during_the_calls_of_several_clients_is_shown_to_none_of_them() -> None:
    world, git, client, asked = one_call()
    other = world.client("s2")
    other.send(call(b"1", "git__status"))
    second = git.one()
    git.send(log("error", data="secret"))
    assert client.heard() == other.heard() == []
    git.answer(asked)
    client.one()
    git.send(log("error", data="of either"))
    assert client.heard() == other.heard() == []
    world.pass_time(AFTERWORDS)
    git.send(log("error", data="of the other"))
    assert other.one().params["data"] == "of the other"
    git.answer(second)
    other.one()
    world.pass_time(AFTERWORDS)
    git.send(log("error", data="of nobody"))
    assert len(client.heard()) == len(other.heard()) == 1


def test_what_is_said_about_the_call_of_a_client_that_left_is_shown_to_nobody_else() -> None:
    world, git, client, asked = one_call()
    other = world.client("s2")
    client.leave()
    git.heard()
    git.send(log("error", data="secret"), message("notifications/vendor/event", b'{"secret":1}'))
    assert other.heard() == []
    git.answer(asked)
    git.send(log("error", data="of nobody"))
    assert other.one().params["data"] == "of nobody"
