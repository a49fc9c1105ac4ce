"""Our own requests to a server: the handshake, and listings read to the last page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from proxy.conversation import MOST_PAGES, Conversation, Refused
from proxy.eras.handshake import Offer
from proxy.errors import ConnectionLost, StartFailed, WireError
from proxy.relay import Target
from proxy.relay.target import Limits
from proxy.transports.channel import Intake
from tests.support.message import Message
from tests.support.scripted import PATIENCE, Connection, Outcome, ScriptedServer, error, result
from tests.support.stage import Stage
from tests.support.virtual_time import VIRTUAL

OFFER = Offer("2025-11-25", b"{}")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


class Talk:
    """A conversation with a scripted server, without supervisor."""

    def __init__(self, server: ScriptedServer) -> None:
        self.stage = Stage()
        self.stage.relay.add_target(Target("one", "one", Limits(call=30.0)))
        self.link = self.stage.relay.open_link("one")
        intake: Intake = self.stage.pump.server_intake(self.link)
        self.connection = Connection(server, intake, print)
        self.link.sink = lambda data: self.connection.write(bytes(data))
        self.conversation = Conversation(self.link, self.stage.pump)

    def lose(self) -> None:
        self.stage.pump.do(self.stage.relay.close_link, self.link, "gone", self.stage.pump.now())


def pages(*answers: Any) -> Any:
    """A script for tools/list that gives one answer after the other."""
    left: Iterator[Any] = iter(answers)
    return lambda connection, message: result(next(left))


@contextmanager
def listing(server: ScriptedServer) -> Iterator[Talk]:
    with anyio.fail_after(PATIENCE):
        yield Talk(server)


def tools(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


async def test_the_handshake_offers_the_latest_revision_and_tells_who_we_are() -> None:
    with listing(ScriptedServer()) as talk:
        hello = await talk.conversation.initialize(OFFER)
    assert (hello.protocol, hello.name, hello.version) == ("2025-11-25", "scripted", "7")
    [asked] = talk.connection.received
    assert asked.params["protocolVersion"] == "2025-11-25"
    assert asked.params["clientInfo"]["name"] == "mcp-manifold"
    assert asked.params["capabilities"] == {}, "nothing is declared that is not passed on"


async def test_all_pages_are_read_in_their_order() -> None:
    server = ScriptedServer(
        tools__list=pages(
            {"tools": tools("a", "b"), "nextCursor": "p2"},
            {"tools": [], "nextCursor": "p3"},
            {"tools": tools("c"), "nextCursor": None},
        )
    )
    with listing(server) as talk:
        found = await talk.conversation.list_all("tools")
    assert [json.loads(bytes(item))["name"] for item in found] == ["a", "b", "c"]
    assert [m.params for m in talk.connection.received] == [None, {"cursor": "p2"}, {"cursor": "p3"}]


async def test_an_entry_comes_as_the_server_wrote_it() -> None:
    odd = b'{"name":"t", "big":12345678901234567890.123,"huge":1e400,"half":"\\ud800"}'
    server = ScriptedServer(tools__list=lambda *_: b'"result":{"tools":[' + odd + b"]}")
    with listing(server) as talk:
        assert [bytes(item) for item in await talk.conversation.list_all("tools")] == [odd]


async def test_a_cursor_goes_back_as_it_came() -> None:
    first = b'"result":{"tools":[],"nextCursor":"\\u00e9\\ud800"}'
    answers = iter([first, result({"tools": []})])
    with listing(ScriptedServer(tools__list=lambda *_: next(answers))) as talk:
        await talk.conversation.list_all("tools")
    assert b'{"cursor":"\\u00e9\\ud800"}' in talk.connection.received[1].line


@pytest.mark.parametrize("repeats", [["same"] * 2, ["a", "b", "a"]])
async def test_pages_that_go_round_in_circles_are_an_error(repeats: list[str]) -> None:
    answers = pages(*({"tools": [], "nextCursor": cursor} for cursor in repeats))
    with listing(ScriptedServer(tools__list=answers)) as talk, pytest.raises(WireError, match="circles"):
        await talk.conversation.list_all("tools")


async def test_a_list_without_end_is_an_error() -> None:
    numbers = iter(range(MOST_PAGES + 5))
    endless = ScriptedServer(tools__list=lambda *_: result({"tools": tools("t"), "nextCursor": str(next(numbers))}))
    with listing(endless) as talk, pytest.raises(WireError, match="1000 pages"):
        await talk.conversation.list_all("tools")
    assert len(talk.connection.received) == MOST_PAGES


@pytest.mark.parametrize("answer", [{}, {"tools": {}}, {"tools": None}, [], "text", None])
async def test_what_is_no_list_is_an_error(answer: Any) -> None:
    with listing(ScriptedServer(tools__list=lambda *_: result(answer))) as talk, pytest.raises(WireError):
        await talk.conversation.list_all("tools")


async def test_a_list_that_was_announced_but_is_not_there_is_empty() -> None:
    with listing(ScriptedServer()) as talk:
        assert await talk.conversation.list_all("templates") == []


async def test_a_refusal_carries_code_and_message() -> None:
    server = ScriptedServer(tools__list=lambda *_: error(-32603, "database is locked"))
    with listing(server) as talk, pytest.raises(Refused, match="database is locked") as caught:
        await talk.conversation.list_all("tools")
    assert caught.value.code == -32603


@pytest.mark.parametrize("outcome", [b'"error":"no object"', b'"error":{}', b'"error":{"code":"x"}', b'"x":1'])
async def test_an_error_that_is_none_is_a_refusal_too(outcome: bytes) -> None:
    with listing(ScriptedServer(tools__list=lambda *_: outcome)) as talk, pytest.raises(Refused, match="tools/list"):
        await talk.conversation.list_all("tools")


async def test_an_answer_that_is_no_json_fails_the_request_that_it_names() -> None:
    def broken(connection: Connection, message: Message) -> Outcome:
        connection.say(b'{"jsonrpc":"2.0","id":%b,"result":{"tools":[}' % (message.id or b""))
        return None

    with listing(ScriptedServer(tools__list=broken)) as talk, pytest.raises(Refused, match="not JSON"):
        await talk.conversation.list_all("tools")


async def test_a_lost_connection_ends_the_request() -> None:
    with listing(ScriptedServer(tools__list=lambda *_: None)) as talk:
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(ConnectionLost):
                    await talk.conversation.list_all("tools")

            tasks.start_soon(wait)
            await anyio.sleep(1)
            talk.lose()


async def test_giving_up_a_request_tells_the_server_and_a_late_answer_falls() -> None:
    with listing(ScriptedServer(tools__list=lambda *_: None)) as talk:
        with anyio.move_on_after(5) as scope:
            await talk.conversation.list_all("tools")
        assert scope.cancelled_caught
        asked, told = talk.connection.received
        assert told.method == "notifications/cancelled"
        assert told.params["requestId"] == json.loads(asked.id or b"")
        talk.connection.respond(asked, result({"tools": []}))
        await anyio.sleep(1)
        assert talk.stage.events == []


async def test_initialize_is_never_cancelled_since_the_protocol_forbids_it() -> None:
    with listing(ScriptedServer(initialize=lambda *_: None)) as talk:
        with anyio.move_on_after(5):
            await talk.conversation.initialize(OFFER)
        assert [m.method for m in talk.connection.received] == ["initialize"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (error(-32022, "unsupported"), "not supported yet"),
        (error(-32603, "no licence"), "no licence"),
        (result({"protocolVersion": "2099-01-01", "capabilities": {}}), "2099-01-01"),
        (result({}), "protocolVersion"),
        (result({"protocolVersion": "2" * 100}), "2222…'; supported are"),
        (result(7), "its answer to initialize can't be used: not a JSON object"),
        (error(-1, ""), "it answered initialize with error -1"),
        (error(-1, "\x1b[31mno\nlicence"), "it answered initialize with error -1: no licence"),
        (error(-1, "x" * 1000), "x" * 299 + "…"),
    ],
)
async def test_a_handshake_of_no_use_is_a_failed_start_that_names_the_server(outcome: bytes, words: str) -> None:
    with listing(ScriptedServer(initialize=lambda *_: outcome)) as talk, pytest.raises(StartFailed) as caught:
        await talk.conversation.initialize(OFFER)
    assert caught.value.server == "one"
    assert words in caught.value.reason
