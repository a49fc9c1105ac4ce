"""What the relay does with trace context: read from `_meta`, passed on with our span in it, told at the end."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.config.models import ToolRules
from proxy.events import CallFinished, QuestionFinished, RequestFinished
from proxy.relay.tracing import Tracing
from proxy.tracecontext import Trace, TraceParent, parse
from tests.support.json_texts import values
from tests.support.message import Message
from tests.support.relay import Server, World, call, dump, message
from tests.support.spans import members

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = dump(f"00-{TRACE}-{SPAN}-01")
UNSAMPLED = dump(f"00-{TRACE}-{SPAN}-00")


def traced(ratio: float = 1.0) -> tuple[World, Server]:
    """A relay that traces, with the same ids each time."""
    world = World("git")
    server = world.start("git", "status")
    world.relay.trace(Tracing(ratio, random.Random(7).getrandbits))
    return world, server


def meta_of(asked: Message) -> dict[str, bytes]:
    return members(members(asked.members["params"])["_meta"])


def parent_of(asked: Message) -> TraceParent:
    found = parse(meta_of(asked)["traceparent"].decode().strip('"'))
    assert found is not None
    return found


def trace_of(world: World) -> Trace:
    [event] = world.of(RequestFinished)
    assert event.trace is not None
    return event.trace


def test_the_clients_span_is_the_parent_of_ours_and_ours_the_parent_of_the_servers() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status", meta=b'{"traceparent":' + PARENT + b"}"))
    asked = server.one()
    server.answer(asked)
    trace = trace_of(world)
    assert (trace.trace_id, trace.parent) == (TRACE, SPAN)
    assert parent_of(asked) == TraceParent(TRACE, trace.asked, 1)
    assert len({SPAN, trace.served, trace.asked}) == 3


def test_without_a_context_a_trace_begins_here() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status"))
    asked = server.one()
    server.answer(asked)
    trace = trace_of(world)
    assert trace.parent == ""
    assert parent_of(asked) == TraceParent(trace.trace_id, trace.asked, 3)
    assert members(asked.members["params"])["arguments"] == b"{}"


@pytest.mark.parametrize("meta", [None, b'{"traceparent":' + PARENT + b"}", b'{"traceparent":"junk"}', b"[]", b"7"])
def test_without_tracing_everything_passes_as_it_came(meta: bytes | None) -> None:
    world = World("git")
    server = world.start("git", "status")
    client = world.client()
    client.send(call(b"7", "git__status", meta=meta))
    asked = server.one()
    told = members(asked.members["params"])
    assert told.get("_meta") == meta
    server.answer(asked)
    [event] = world.of(CallFinished)
    assert event.trace is None


def test_a_context_that_is_not_sampled_passes_as_it_came_and_nothing_is_told() -> None:
    world, server = traced()
    client = world.client()
    meta = b'{ "traceparent" : ' + UNSAMPLED + b', "x":1e400}'
    client.send(call(b"7", "git__status", meta=meta))
    asked = server.one()
    assert members(asked.members["params"])["_meta"] == meta
    server.answer(asked)
    [event] = world.of(CallFinished)
    assert event.trace is None


def test_of_traces_that_begin_here_the_ratio_decides_and_the_server_is_told() -> None:
    world, server = traced(ratio=0.0)
    client = world.client()
    client.send(call(b"7", "git__status"))
    asked = server.one()
    assert not parent_of(asked).sampled
    server.answer(asked)
    assert world.of(CallFinished)[0].trace is None
    client.send(call(b"8", "git__status", meta=b'{"traceparent":' + PARENT + b"}"))
    server.answer(server.one())
    assert world.of(CallFinished)[1].trace is not None, "who asks has decided"


def test_the_ratio_is_the_share_that_is_sampled() -> None:
    bits = random.Random(7).getrandbits
    tracing = Tracing(0.25, bits)
    spans = [tracing.begin(None) for _ in range(4000)]
    sampled = [span for span in spans if span is not None and span.ended("", 0.0, 1.0) is not None]
    assert 900 < len(sampled) < 1100
    assert len({span.header for span in spans if span is not None}) == 4000


@pytest.mark.parametrize(("last", "is_sampled"), [(0x3FFFFFFFFFFFFFFF, True), (0x4000000000000001, False)])
def test_the_last_half_of_a_traces_id_decides(last: int, is_sampled: bool) -> None:
    first = 0 if not is_sampled else (1 << 64) - 1
    span = Tracing(0.25, lambda bits: (first << 64 | last) << (bits - 128)).begin(None)
    assert span is not None
    parent = parse(span.header.decode().strip('"'))
    assert parent is not None
    assert (parent.trace_id, parent.sampled) == (f"{first:016x}{last:016x}", is_sampled)


def test_ids_are_never_zero() -> None:
    for meta in (None, Raw(b'{"traceparent":' + PARENT + b"}")):
        span = Tracing(1.0, lambda bits: 0).begin(meta)
        assert span is not None
        assert parse(span.header.decode().strip('"')) is not None
        trace = span.ended("", 0.0, 1.0)
        assert trace is not None
        assert trace.served.strip("0")


@pytest.mark.parametrize(
    "bad", [b'"junk"', b"7", b"null", dump(f"ff-{TRACE}-{SPAN}-01"), dump(f"00-{'0' * 32}-{SPAN}-01")]
)
def test_a_context_that_makes_no_sense_is_replaced_and_its_state_goes_no_further(bad: bytes) -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status", meta=b'{"traceparent":' + bad + b',"tracestate":"a=b","baggage":"c=d"}'))
    asked = server.one()
    meta = meta_of(asked)
    assert parent_of(asked).trace_id != TRACE
    assert "tracestate" not in meta
    assert meta["baggage"] == b'"c=d"'
    server.answer(asked)
    assert trace_of(world).state == ""


def test_state_and_baggage_go_on_as_they_came() -> None:
    world, server = traced()
    client = world.client()
    state, baggage = b'"rojo=1,congo=t61"', b'"who=me\\u0041"'
    meta = b'{"tracestate":' + state + b',"traceparent":' + PARENT + b',"baggage":' + baggage + b"}"
    client.send(call(b"7", "git__status", meta=meta))
    asked = server.one()
    assert list(meta_of(asked)) == ["tracestate", "traceparent", "baggage"]
    assert (meta_of(asked)["tracestate"], meta_of(asked)["baggage"]) == (state, baggage)
    server.answer(asked)
    assert trace_of(world).state == "rojo=1,congo=t61"


@given(values())
def test_whatever_else_is_in_meta_stays_byte_for_byte(value: bytes) -> None:
    world, server = traced()
    client = world.client()
    client.send(
        call(b"7", "git__status", meta=b'{"a/b":' + value + b',"traceparent":' + PARENT + b',"z":' + value + b"}")
    )
    meta = meta_of(server.one())
    assert list(meta) == ["a/b", "traceparent", "z"]
    assert (meta["a/b"], meta["z"]) == (value, value)


def test_progress_still_finds_its_way() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status", meta=b'{"progressToken":"mine","traceparent":' + PARENT + b"}"))
    asked = server.one()
    token = meta_of(asked)["progressToken"]
    assert token == asked.id
    server.send(message("notifications/progress", b'{"progressToken":' + token + b',"progress":1}'))
    assert client.one().params["progressToken"] == "mine"
    server.answer(asked)
    assert client.one().id == b"7"
    world.assert_at_rest()


def test_a_meta_that_is_no_object_is_left_to_the_server() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status", meta=b'"mine"'))
    asked = server.one()
    assert members(asked.members["params"])["_meta"] == b'"mine"'
    server.answer(asked)
    assert trace_of(world).sends == 1


def test_the_time_that_a_call_waited_shows() -> None:
    world = World("git")
    world.relay.trace(Tracing(1.0, random.Random(1).getrandbits))
    client = world.client()
    client.send(call(b"7", "git__status"))
    world.pass_time(2.0)
    server = world.start("git", "status")
    world.pass_time(1.0)
    server.answer(server.one())
    [event] = world.of(CallFinished)
    assert event.trace is not None
    assert (event.trace.sent_after, event.seconds, event.trace.ended) == (2.0, 3.0, 3.0)


def test_a_call_that_is_sent_again_is_one_span_from_the_first_time_on() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status"))
    first = server.one()
    assert first.id is not None
    world.pass_time(1.0)
    world.do(world.relay.undelivered, server.link, first.id, "it is away", world.now)
    again = world.connect("git")
    second = again.one()
    assert meta_of(second) == meta_of(first)
    again.answer(second)
    trace = trace_of(world)
    assert (trace.sends, trace.sent_after, trace.asked_id) == (2, 0.0, int(second.id or b""))
    assert world.outcomes == ["ok"]


def test_a_call_that_nobody_is_asked_for_has_no_span_of_a_server() -> None:
    world, server = traced()
    client = world.client()
    assert client.ask("tools/call", dump({"name": "git__nothing"})).error["code"] == -32602
    trace = trace_of(world)
    assert (trace.sent_after, trace.code, trace.ours, trace.name) == (None, -32602, True, "git__nothing")
    assert server.heard() == []


def test_errors_of_a_server_are_told_from_ours() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status"))
    server.fail(server.one(), b'{"code":-32050,"message":"secret"}')
    trace = trace_of(world)
    assert (trace.code, trace.ours) == (-32050, False)
    client.send(call(b"8", "git__status"))
    world.pass_time(400.0)
    late = world.of(CallFinished)[1]
    assert late.outcome == "timeout"
    assert late.trace is not None
    assert late.trace.ours
    assert late.trace.code is not None


def test_a_cancelled_call_ends_its_span_once() -> None:
    world, server = traced()
    client = world.client()
    client.send(call(b"7", "git__status"))
    asked = server.one()
    client.cancel(b"7")
    server.answer(asked)
    [event] = world.of(CallFinished)
    assert event.outcome == "cancelled"
    assert event.trace is not None
    assert event.trace.code is None


def test_a_client_that_leaves_ends_the_spans_of_its_calls() -> None:
    world, _ = traced()
    client = world.client()
    client.send(call(b"7", "git__status"), call(b"8", "git__status"))
    client.leave()
    assert len({event.trace.served for event in world.of(CallFinished) if event.trace is not None}) == 2


def test_a_name_is_told_as_the_client_knows_it() -> None:
    world, server = traced()
    world.publish("git", "status", rules=ToolRules(rename={"status": "state"}))
    client = world.client()
    client.send(call(b"7", "git__state"))
    server.answer(server.one())
    [event] = world.of(CallFinished)
    assert event.trace is not None
    assert (event.tool, event.trace.name) == ("status", "git__state")


def test_other_requests_are_traced_alike() -> None:
    world, server = traced()
    world.list_more("git", prompts=["greet"])
    client = world.client()
    asked = client.call("prompts/get", server, b'{"name":"git__greet","_meta":{"traceparent":' + PARENT + b"}}")
    server.answer(asked, b'{"messages":[]}')
    trace = trace_of(world)
    assert (trace.parent, trace.name) == (SPAN, "git__greet")
    assert parent_of(asked).span_id == trace.asked


# What servers ask of clients


def question_of(world: World) -> QuestionFinished:
    [event] = world.of(QuestionFinished)
    return event


def test_what_a_server_asks_within_its_only_call_belongs_to_that_calls_trace() -> None:
    world, server = traced()
    client = world.client(capabilities={"roots": {}})
    client.send(call(b"7", "git__status", meta=b'{"traceparent":' + PARENT + b"}"))
    working = parent_of(server.one())
    asked = server.ask("roots/list", client, id=b'"q"')
    client.answer(asked, b'{"roots":[]}')
    event = question_of(world)
    assert event.trace is not None
    assert (event.trace.trace_id, event.trace.parent) == (TRACE, working.span_id)
    assert parent_of(asked) == TraceParent(TRACE, event.trace.asked, 1)
    assert event.request_id == '"q"'


@pytest.mark.parametrize("own", [b"{}", b'{"tracestate":"of=nothing"}'])
def test_what_a_server_asks_within_a_call_has_the_state_of_that_calls_trace(own: bytes) -> None:
    world, server = traced()
    client = world.client(capabilities={"roots": {}})
    client.send(call(b"7", "git__status", meta=b'{"traceparent":' + PARENT + b',"tracestate":"a=1, b=2"}'))
    server.one()
    asked = server.ask("roots/list", client, b'{"_meta":' + own + b"}")
    assert meta_of(asked)["tracestate"] == b'"a=1,b=2"'


def test_what_a_server_asks_within_a_call_that_begins_an_unsampled_trace_belongs_there() -> None:
    world, server = traced(ratio=0.0)
    client = world.client(capabilities={"sampling": {}})
    client.send(call(b"7", "git__status"))
    working = parent_of(server.one())
    params = b'{"messages":[],"maxTokens":1,"_meta":{"tracestate":"a=b","x":1}}'
    asked = server.ask("sampling/createMessage", client, params)
    parent = parent_of(asked)
    assert (parent.trace_id, parent.sampled) == (working.trace_id, False)
    assert parent.span_id != working.span_id
    assert meta_of(asked).keys() == {"traceparent", "x"}
    client.answer(asked, b"{}")
    assert question_of(world).trace is None


def test_what_a_server_asks_with_a_context_of_its_own_belongs_there() -> None:
    world, server = traced()
    client = world.client(capabilities={"sampling": {}})
    client.send(call(b"7", "git__status"))
    params = b'{"messages":[],"maxTokens":1,"_meta":{"x":1,"traceparent":' + PARENT + b"}}"
    asked = server.ask("sampling/createMessage", client, params)
    assert meta_of(asked)["x"] == b"1"
    client.fail(asked, b'{"code":-1,"message":"no"}')
    event = question_of(world)
    assert event.trace is not None
    assert (event.trace.parent, event.trace.code, event.trace.ours) == (SPAN, -1, False)


def test_what_a_server_asks_within_an_unsampled_call_is_not_told() -> None:
    world, server = traced()
    client = world.client(capabilities={"roots": {}})
    client.send(call(b"7", "git__status", meta=b'{"traceparent":' + UNSAMPLED + b"}"))
    server.one()
    asked = server.ask("roots/list", client)
    assert "params" not in asked.members
    client.answer(asked, b'{"roots":[]}')
    assert question_of(world).trace is None


def test_a_question_that_is_not_answered_in_time_ends_its_span() -> None:
    world, server = traced()
    client = world.client(capabilities={"roots": {}})
    server.ask("roots/list", client)
    world.pass_time(700.0)
    event = question_of(world)
    assert event.outcome == "timeout"
    assert event.trace is not None
    assert event.trace.ours


def test_without_tracing_a_question_passes_as_it_came() -> None:
    world = World("git")
    server = world.start("git", "status")
    client = world.client(capabilities={"roots": {}})
    assert "params" not in server.ask("roots/list", client).members


@given(st.binary(max_size=40) | st.builds(dump, st.text(max_size=60)))
def test_no_meta_makes_it_raise(junk: bytes) -> None:
    tracing = Tracing(1.0, random.Random(1).getrandbits)
    for meta in (junk, b'{"traceparent":' + junk + b"}"):
        span = tracing.begin(meta)  # type: ignore[arg-type]
        assert span is not None
