"""Payloads beside the SDK: a ticket goes in, the same bytes come out, however a stream is cut."""

import itertools
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import wire
from proxy.transports.payloads import TICKET, Payloads, StrippedEvents, StrippedJson
from proxy.transports.uploads import Upload, Uploads
from tests.support.spans import members

ODD = rb'{"big":12345678901234567890.123,"huge":1e400,"half":"\ud800","d":' + b"[" * 50 + b"]" * 50 + b"}"


class Body(httpx2.AsyncByteStream):
    """A response body in these pieces; after the last one it breaks off if told to."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self._pieces = pieces
        self._breaks = breaks
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise httpx2.ReadError("connection reset")

    async def aclose(self) -> None:
        self.closed = True


async def collect(stream: httpx2.AsyncByteStream) -> bytes:
    return b"".join([part async for part in stream])


def outgoing(id: int) -> Upload:
    """A message to a server."""
    return Uploads(lambda full: None).add(b'{"jsonrpc":"2.0","id":%d,"method":"x","params":%b}' % (id, ODD))


def ticket_of(stripped: bytes, member: str) -> object:
    return json.loads(stripped)[member]


# Messages


def test_an_outgoing_message_is_exchanged_for_its_ticket_once() -> None:
    payloads = Payloads()
    upload = outgoing(1)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": payloads.deposit(upload)}).encode()
    assert payloads.withdraw(body) is upload
    assert payloads.withdraw(body) is None


def claimed(payloads: Payloads, ticket: object) -> wire.Envelope | None:
    incoming = payloads.claim(ticket)
    return incoming.envelope if incoming is not None else None


def test_messages_that_wait_at_once_are_not_mixed_up() -> None:
    payloads = Payloads()
    uploads = [outgoing(number) for number in range(20)]
    bodies = [json.dumps(payloads.deposit(upload)).encode() for upload in uploads]
    assert [payloads.withdraw(body) for body in reversed(bodies)] == uploads[::-1]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"mcp-manifold":"999"}', b'{"mcp-manifold":5}'])
def test_a_body_without_a_ticket_of_ours_stays_as_it_is(body: bytes) -> None:
    assert Payloads().withdraw(body) is None


@pytest.mark.parametrize("member", ["result", "params"])
def test_an_incoming_payload_waits_under_its_ticket(member: str) -> None:
    payloads = Payloads()
    other = b'"method":"x",' if member == "params" else b'"id":"\\u00e9",'
    stripped = payloads.strip(b'{"jsonrpc":"2.0",' + other + f'"{member}":'.encode() + ODD + b',"unknown":1}')
    assert ODD not in stripped
    ticket = ticket_of(stripped, member)
    envelope = claimed(payloads, ticket)
    assert envelope is not None
    assert bytes(getattr(envelope, member)) == ODD
    assert payloads.claim(ticket) is None
    if member == "result":
        assert members(stripped)["id"] == b'"\\u00e9"'


@pytest.mark.parametrize("id", [b'"id":3,', b'"id":null,', b""])
def test_an_error_waits_under_its_ticket_with_or_without_id(id: bytes) -> None:
    payloads = Payloads()
    own = b'{"code":-32602,"message":"no","data":' + ODD + b"}"
    stripped = json.loads(payloads.strip(b'{"jsonrpc":"2.0",' + id + b'"error":' + own + b"}"))
    envelope = claimed(payloads, stripped["error"]["data"])
    assert envelope is not None
    assert bytes(envelope.error) == own
    assert isinstance(stripped["error"]["code"], int)
    assert isinstance(stripped["error"]["message"], str)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"detail":"not found"}',
        b'{"error":"invalid_token"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":',
        b"\xff",
    ],
)
def test_what_is_no_message_stays_as_it_is(body: bytes) -> None:
    assert Payloads().strip(body) == body


@pytest.mark.parametrize("payload", [None, [], "x", {}, {TICKET: 1}, {TICKET: "99"}, {"other": "1"}])
def test_what_is_no_ticket_claims_nothing(payload: object) -> None:
    payloads = Payloads()
    payloads.strip(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    assert payloads.claim(payload) is None


# JSON bodies


async def test_a_json_body_in_pieces_is_one_message() -> None:
    payloads = Payloads()
    text = b'{"jsonrpc":"2.0","id":1,"result":' + ODD + b"}"
    body = Body(*(text[start : start + 5] for start in range(0, len(text), 5)))
    stream = StrippedJson(body, payloads, b"1")
    envelope = claimed(payloads, ticket_of(await collect(stream), "result"))
    assert envelope is not None
    assert bytes(envelope.result) == ODD
    await stream.aclose()
    assert body.closed


async def test_a_json_body_that_breaks_off_fails_its_request() -> None:
    stream = StrippedJson(Body(b'{"jsonrpc"', breaks=True), Payloads(), b'"my id"')
    answer = json.loads(await collect(stream))
    assert answer["id"] == "my id"
    assert "connection reset" in answer["error"]["message"]
    assert answer["error"]["data"]["delivered"] == "maybe"


async def test_a_refusal_that_is_no_message_fails_its_request_and_says_how() -> None:
    stream = StrippedJson(Body(b'{"detail":"oops"}'), Payloads(), b"1", "it answered HTTP 500")
    assert json.loads(await collect(stream))["error"]["message"] == "it answered HTTP 500"


async def test_a_refusal_that_is_a_message_is_kept() -> None:
    payloads, own = Payloads(), b'{"code":-32602,"message":"no"}'
    stream = StrippedJson(Body(b'{"jsonrpc":"2.0","id":null,"error":' + own + b"}"), payloads, b"1", "HTTP 400")
    stripped = json.loads(await collect(stream))
    assert stripped["id"] == 1
    envelope = claimed(payloads, stripped["error"]["data"])
    assert envelope is not None
    assert bytes(envelope.error) == own


# Event streams


def text_of(stream: bytes) -> list[tuple[str, str, str]]:
    """Events as (type, data, id), read as the HTML standard says."""
    found, event, data, id = [], "message", list[str](), ""
    for line in stream.decode().split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((event, "\n".join(data), id))
            event, data = "message", []
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            id = value
    return found


def message(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{"n":%d,"huge":1e400}}' % (number, number)


STREAM = (
    b": hello\n\n"
    b"id: 1\ndata:\n\n"
    b"event: endpoint\ndata: /messages\n\n"
    b"event: message\nid: 2\ndata: " + message(1) + b"\n\n"
    b"retry: 5\r\nid:3\r\ndata:" + message(2) + b"\r\n\r\n"
    b'data: {"jsonrpc":"2.0",\ndata:  "id":3,\ndata: "result":{"n":3,"huge":1e400}}\n\n'
    b"data: nonsense\n\n"
    b'event: other\ndata: {"jsonrpc":"2.0","id":9,"result":{}}\n\n'
    b"data: " + message(4) + b"\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
async def test_cutting_a_stream_never_changes_its_events(cuts: list[int]) -> None:
    payloads = Payloads()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    out = await collect(StrippedEvents(Body(*pieces), payloads))
    seen = []
    for event, data, id in text_of(out):
        found = None
        if data.startswith("{"):
            found = payloads.claim(json.loads(data).get("result"))
        seen.append((event, bytes(found.envelope.result) if found else data, id))
    assert seen == [
        ("message", "", "1"),
        ("endpoint", "/messages", "1"),
        ("message", b'{"n":1,"huge":1e400}', "2"),
        ("message", b'{"n":2,"huge":1e400}', "3"),
        ("message", b'{"n":3,"huge":1e400}', "3"),
        ("message", "", "3"),  # what is no message stays out of the SDK's log
        ("other", '{"jsonrpc":"2.0","id":9,"result":{}}', "3"),
        ("message", b'{"n":4,"huge":1e400}', "3"),
    ]


async def test_an_event_that_is_not_finished_is_not_passed_on() -> None:
    assert await collect(StrippedEvents(Body(b"data: " + message(1) + b"\n"), Payloads())) == b""


async def test_events_pass_as_soon_as_they_are_complete() -> None:
    """Not only when the next one comes."""
    stream = aiter(StrippedEvents(Body(b"event: x\ndata: 1\n", b"\n", b"event: y\ndata: 2\n\n"), Payloads()))
    assert await anext(stream) == b"event: x\ndata: 1\n\n"
    assert await anext(stream) == b"event: y\ndata: 2\n\n"


async def test_a_large_event_costs_time_in_proportion_to_its_length() -> None:
    """In many small pieces; anything quadratic would take minutes."""
    text = b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 20_000_000 + b'"}'
    data = b"data: " + text + b"\n\n"
    payloads = Payloads()
    body = Body(*(data[start : start + 1000] for start in range(0, len(data), 1000)))
    out = await collect(StrippedEvents(body, payloads))
    [(_, stripped, _)] = text_of(out)
    envelope = claimed(payloads, json.loads(stripped)["result"])
    assert envelope is not None
    assert len(envelope.result) == 20_000_002


@pytest.mark.parametrize(
    "line", [b"x" * (1 << 20), (b"data: " + b"x" * (1 << 18) + b"\n") * 4, (b":" + b"x" * (1 << 18) + b"\n") * 4]
)
async def test_an_event_without_end_is_given_up_before_it_eats_the_memory(line: bytes) -> None:
    class Endless(httpx2.AsyncByteStream):
        given = 0

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(200):
                self.given += 1
                yield line

        async def aclose(self) -> None:
            pass

    body = Endless()
    with pytest.raises(httpx2.ReadError, match="64 MiB"):
        await collect(StrippedEvents(body, Payloads()))
    assert body.given < 80
