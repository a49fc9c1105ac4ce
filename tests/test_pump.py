"""Bytes in, joined writes out, one timer."""

import anyio
import pytest
from msgspec import Raw

from proxy.catalogue import Catalogue, Offering, compile_listing
from proxy.config.models import ToolRules
from proxy.names import Namer
from proxy.policy import ToolPolicy
from proxy.pump import MOST_AT_ONCE
from proxy.relay import Link, Relay, Session, Target
from proxy.relay.target import Limits
from tests.support.message import Message
from tests.support.stage import Stage
from tests.support.virtual_time import VIRTUAL

INITIALIZE = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}\n'
PING = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n'


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


class Client:
    """A session whose writes are kept, each by itself."""

    def __init__(self, stage: Stage) -> None:
        self.writes: list[bytes] = []
        self.session: Session = stage.relay.open_session("test")
        self.session.sink = lambda data: self.writes.append(bytes(data))
        self.intake = stage.pump.client_intake(self.session)

    def answers(self) -> list[bytes | None]:
        return [Message.of(line).id for line in b"".join(self.writes).splitlines()]


def ready_server(stage: Stage, writes: list[bytes]) -> Link:
    """A server that is up, with no tools of its own; what is sent to it is kept."""
    stage.relay.add_target(Target("one", "one", Limits(call=30.0)))
    link = stage.relay.open_link("one")
    link.sink = lambda data: writes.append(bytes(data))
    stage.pump.do(stage.relay.greet, link, capabilities={})
    stage.pump.do(stage.relay.ready, link, stage.pump.now())
    return link


async def test_the_answer_is_on_its_way_when_the_bytes_have_been_taken() -> None:
    client = Client(Stage())
    client.intake.data(PING % 1)
    assert client.answers() == [b"1"]


async def test_all_that_one_read_causes_goes_out_in_one_write() -> None:
    client = Client(Stage())
    client.intake.data(b"".join(PING % number for number in range(50)))
    assert len(client.writes) == 1
    assert client.answers() == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_it_does_not_matter_how_lines_are_cut(size: int) -> None:
    client = Client(Stage())
    data = INITIALIZE + b"\n \r\n" + b"".join(PING % number for number in range(2, 12))
    for start in range(0, len(data), size):
        client.intake.data(data[start : start + size])
    assert client.answers() == [b"%d" % number for number in range(1, 12)]


async def test_a_last_line_without_its_end_counts() -> None:
    client = Client(Stage())
    client.intake.data((PING % 1).rstrip())
    assert client.writes == []
    client.intake.end()
    assert client.answers() == [b"1"]
    client.intake.end()
    assert len(client.writes) == 1


async def test_a_message_from_one_side_reaches_the_other_at_once() -> None:
    stage, sent = Stage(), list[bytes]()
    link = ready_server(stage, sent)
    client = Client(stage)
    client.intake.data(INITIALIZE)
    stage.pump.server_intake(link).data(
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n'
        b'{"jsonrpc":"2.0","id":"q","method":"ping"}\n'
    )
    assert b"notifications/message" in client.writes[-1]
    assert sent[-1] == b'{"jsonrpc":"2.0","id":"q","result":{}}\n'


async def test_bytes_are_counted_on_either_side() -> None:
    stage = Stage()
    client = Client(stage)
    client.intake.data(PING % 1)
    assert client.session.received == len(PING % 1)
    assert client.session.sent == len(client.writes[0])


class Breaking(Relay):
    """Has a defect: it raises for one kind of line."""

    def client_line(self, session: Session, line: bytes, now: float) -> None:
        if b"break" in line:
            raise ZeroDivisionError("a bug")
        super().client_line(session, line, now)


async def test_a_line_that_breaks_the_relay_is_told_and_harms_no_other() -> None:
    stage = Stage()
    stage.pump.relay = Breaking(emit=stage.emit, name="hub", version="0", list_wait=0)
    stage.relay = stage.pump.relay
    client = Client(stage)
    client.intake.data(PING % 1 + b'{"break":1}\n' + PING % 2)
    assert client.answers() == [b"1", b"2"]
    [told] = stage.notices("error")
    assert "ZeroDivisionError: a bug" in told


async def test_an_overlong_line_is_refused_under_its_id_and_the_next_one_is_read() -> None:
    client = Client(Stage())
    client.intake.data(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"')
    for _ in range(65):
        client.intake.data(b"x" * (1 << 20))
    client.intake.data(b'"}}\n' + PING % 2)
    lines = [Message.of(line) for line in b"".join(client.writes).splitlines()]
    assert sorted(line.id or b"" for line in lines) == [b"1", b"2"]
    assert [line.error["code"] for line in lines if line.id == b"1"] == [-32600]


async def test_the_timer_rings_when_the_relay_wants_it() -> None:
    stage = Stage(list_wait=5.0)
    stage.relay.add_target(Target("one", "one", Limits(call=30.0)))
    client = Client(stage)
    client.intake.data(INITIALIZE)
    began = stage.pump.now()
    waiting = b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n'
    client.intake.data(waiting % 2)
    await anyio.sleep(3)
    client.intake.data(waiting % 3)
    assert client.answers() == [b"1"]
    await anyio.sleep(3)
    assert client.answers() == [b"1", b"2", b"3"]
    assert stage.pump.now() == pytest.approx(began + 6, abs=0.01)


async def test_an_earlier_deadline_moves_the_timer() -> None:
    """A call may take 30 s here, a list of tools waits for 50 s."""
    stage, sent = Stage(list_wait=50.0), list[bytes]()
    link = ready_server(stage, sent)
    stage.relay.add_target(Target("away", "away", Limits(call=30.0)))
    client = Client(stage)
    client.intake.data(INITIALIZE + b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n')
    tools = compile_listing(
        "tools", "one", [Raw(b'{"name":"t"}')], Namer("one", "one", [], 60), ToolPolicy(ToolRules())
    )
    stage.pump.do(
        stage.relay.publish,
        Catalogue([Offering("one", "one", {"tools": tools})]),
        listed=frozenset(["one"]),
        settled=frozenset(),
        instructions="",
        now=0.0,
    )
    client.intake.data(b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"one__t"}}\n')
    assert link.calls
    await anyio.sleep(31)
    assert client.answers() == [b"1", b"3"]
    await anyio.sleep(20)
    assert client.answers() == [b"1", b"3", b"2"]


async def test_a_closed_pump_rings_no_more() -> None:
    stage = Stage(list_wait=5.0)
    stage.relay.add_target(Target("one", "one", Limits(call=30.0)))
    client = Client(stage)
    client.intake.data(INITIALIZE + b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n')
    stage.pump.close()
    await anyio.sleep(60)
    assert client.answers() == [b"1"]


# Peers that do not read, and their requests


async def test_a_held_peer_is_not_read_and_what_was_read_waits() -> None:
    client = Client(Stage())
    throttled: list[bool] = []
    client.intake.throttle = throttled.append
    client.intake.data(b"".join(PING % number for number in range(MOST_AT_ONCE + 10)))
    client.intake.hold(True)
    await anyio.sleep(1)
    assert len(client.answers()) == MOST_AT_ONCE
    assert throttled[-1]
    client.intake.hold(False)
    await anyio.sleep(1)
    assert client.answers() == [b"%d" % number for number in range(MOST_AT_ONCE + 10)]
    assert not throttled[-1]


async def test_a_peer_that_is_held_while_nothing_waits_goes_on_at_once() -> None:
    client = Client(Stage())
    throttled: list[bool] = []
    client.intake.throttle = throttled.append
    client.intake.hold(True)
    client.intake.hold(False)
    assert throttled == [True, False]
    client.intake.data(PING % 1)
    assert client.answers() == [b"1"]


async def test_holding_and_letting_go_in_one_turn_handles_every_line_once() -> None:
    client = Client(Stage())
    client.intake.data(b"".join(PING % number for number in range(4 * MOST_AT_ONCE)))
    for _ in range(3):
        client.intake.hold(True)
        client.intake.hold(False)
    await anyio.sleep(1)
    assert client.answers() == [b"%d" % number for number in range(4 * MOST_AT_ONCE)]


async def test_a_peer_that_is_choked_by_what_it_is_sent_gets_the_rest_when_it_reads_again() -> None:
    """Its sink says so in the middle of a delivery."""
    stage = Stage()
    link = ready_server(stage, [])
    client = Client(stage)
    client.intake.data(INITIALIZE + b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    client.writes.clear()

    def full(data: bytes | memoryview) -> None:
        client.writes.append(bytes(data))
        stage.pump.choke(client.session, True)

    client.session.sink = full
    log = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%d"}}\n'
    intake = stage.pump.server_intake(link)
    for number in range(3):
        intake.data(log % number)
    assert len(client.writes) == 1
    stage.pump.choke(client.session, False)
    assert [Message.of(line).params["data"] for line in b"".join(client.writes).splitlines()] == ["0", "1", "2"]


def one_in_flight(stage: Stage, sent: list[bytes]) -> tuple[Link, Client, bytes]:
    """A connection with a call on it, the client whose call 3 it is, and our id of it."""
    link = ready_server(stage, sent)
    client = Client(stage)
    client.intake.data(INITIALIZE)
    tools = compile_listing(
        "tools", "one", [Raw(b'{"name":"t"}')], Namer("one", "one", [], 60), ToolPolicy(ToolRules())
    )
    stage.pump.do(
        stage.relay.publish,
        Catalogue([Offering("one", "one", {"tools": tools})]),
        listed=frozenset(["one"]),
        settled=frozenset(),
        instructions="",
        now=0.0,
    )
    client.intake.data(b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"one__t"}}\n')
    return link, client, Message.of(sent[-1]).id or b""


async def test_a_transport_can_say_that_a_request_never_left() -> None:
    stage, sent = Stage(), list[bytes]()
    link, client, id = one_in_flight(stage, sent)
    stage.pump.server_intake(link).undelivered(id, "no connection")
    stage.pump.do(stage.relay.close_link, link, "no connection", stage.pump.now())
    assert client.answers() == [b"1"]
    again, resent = stage.relay.open_link("one"), list[bytes]()
    again.sink = lambda data: resent.append(bytes(data))
    stage.pump.do(stage.relay.greet, again, capabilities={})
    stage.pump.do(stage.relay.ready, again, stage.pump.now())
    assert b'"tools/call"' in b"".join(resent)


async def test_a_transport_can_say_that_a_request_broke() -> None:
    stage, sent = Stage(), list[bytes]()
    link, client, id = one_in_flight(stage, sent)
    stage.pump.server_intake(link).failed(id, "the connection broke", "maybe")
    assert client.answers() == [b"1", b"3"]
