"""Ended requests as spans: names, kinds, parents, times, statuses and attributes of the conventions, and no secret."""

import os

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, mcp_attributes

from proxy.config.models import ServerEntry
from proxy.events import CallFinished, Outcome, QuestionFinished, RequestFinished
from proxy.telemetry.ended import Ended, Way, of_question, of_request, way_to
from proxy.telemetry.redact import Redactor
from proxy.telemetry.spans import Encoder, rejected
from proxy.tracecontext import Trace
from tests.support.otlp import attributes

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER, SERVED, ASKED = "b7ad6b7169203331", "00000000000000a1", "00000000000000a2"
CLIENT = Way("s1", "2025-11-25", "pipe")
SERVER = way_to(ServerEntry(url="https://mcp.example:8443/mcp?key=12345678"), "2025-06-18")


def trace(**changes: object) -> Trace:
    usual: dict[str, object] = {
        "trace_id": TRACE,
        "parent": CALLER,
        "served": SERVED,
        "asked": ASKED,
        "flags": 1,
        "state": "rojo=1",
        "ended": 100.5,
        "name": "git__status",
        "sent_after": 0.0,
        "sends": 1,
        "asked_id": 17,
    }
    return Trace(**{**usual, **changes})  # type: ignore[arg-type]


def call(outcome: Outcome = "ok", *, reason: str = "", tool: str = "status", **changes: object) -> Ended:
    event = CallFinished("editor", "s1", "7", "git", tool, outcome, 0.5, 10, 20, reason=reason)
    return of_request(event, trace(**changes), CLIENT, SERVER)


def other(method: str, asked: str) -> Ended:
    event = RequestFinished("editor", "s1", '"a-7"', "git", asked, "ok", 0.5, 10, 20, method=method)
    return of_request(event, trace(name=f"public {asked}"), CLIENT, SERVER)


def spans(*items: Ended, secrets: tuple[str, ...] = ()) -> list[Span]:
    message = ExportTraceServiceRequest.FromString(Encoder(Redactor(secrets), lambda: 1000.0)(items))
    [resource] = message.resource_spans
    [scope] = resource.scope_spans
    return list(scope.spans)


def test_a_call_is_a_span_of_a_server_and_within_it_one_of_a_client() -> None:
    served, asked = spans(call(sent_after=0.25))
    assert (served.kind, asked.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (served.trace_id.hex(), asked.trace_id.hex()) == (TRACE, TRACE)
    assert (served.span_id.hex(), served.parent_span_id.hex()) == (SERVED, CALLER)
    assert (asked.span_id.hex(), asked.parent_span_id.hex()) == (ASKED, SERVED)
    assert (served.start_time_unix_nano, served.end_time_unix_nano) == (1_100_000_000_000, 1_100_500_000_000)
    assert (asked.start_time_unix_nano, asked.end_time_unix_nano) == (1_100_250_000_000, 1_100_500_000_000)
    assert attributes(served.attributes)["mcp_manifold.waited"] == 0.25
    assert (served.trace_state, asked.trace_state) == ("rojo=1", "rojo=1")
    assert (served.flags, asked.flags) == (0x301, 0x101)


def test_attributes_are_those_of_the_conventions() -> None:
    served, asked = spans(call())
    assert attributes(served.attributes) == {
        "mcp.method.name": "tools/call",
        "mcp.session.id": "s1",
        "mcp.protocol.version": "2025-11-25",
        "network.transport": "pipe",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "git__status",
        "jsonrpc.request.id": "7",
        "mcp_manifold.server": "git",
        "mcp_manifold.client": "editor",
        "mcp_manifold.outcome": "ok",
    }
    assert attributes(asked.attributes) == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2025-06-18",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "server.address": "mcp.example",
        "server.port": 8443,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "status",
        "jsonrpc.request.id": "17",
        "mcp_manifold.server": "git",
        "mcp_manifold.outcome": "ok",
    }
    assert (served.name, asked.name) == ("tools/call git__status", "tools/call status")


def test_the_conventions_have_these_names() -> None:
    known = {
        value
        for module in (mcp_attributes, gen_ai_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    made = spans(call(), other("prompts/get", "p"), other("resources/read", "a://b"))
    used = {key for span in made for key in attributes(span.attributes)}
    assert {key for key in used if key.startswith(("mcp.", "gen_ai."))} <= known


def test_a_trace_that_begins_here_has_no_parent() -> None:
    served, _ = spans(call(parent=""))
    assert served.parent_span_id == b""
    assert served.flags == 0x101


def test_who_was_never_asked_has_no_span() -> None:
    [served] = spans(call("error", tool="", sent_after=None, code=-32602, ours=True, reason="unknown tool"))
    assert served.name == "tools/call", "a name that somebody invented is an attribute, but names no span"
    assert attributes(served.attributes)["gen_ai.tool.name"] == "git__status"
    assert (served.status.code, served.status.message) == (Status.STATUS_CODE_ERROR, "unknown tool")


@pytest.mark.parametrize(
    ("item", "served", "asked"),
    [
        (call("ok"), None, None),
        (call("tool_error"), "tool_error", "tool_error"),
        (call("error", code=-32050), "-32050", "-32050"),
        (call("error", code=-32000, ours=True, reason="it exited"), "-32000", "_OTHER"),
        (call("timeout", code=-32001, ours=True, reason="too late"), "-32001", "timeout"),
        (call("cancelled"), None, "cancelled"),
    ],
    ids=["ok", "tool-error", "error", "lost", "timeout", "cancelled"],
)
def test_each_outcome_has_its_status(item: Ended, served: str | None, asked: str | None) -> None:
    for span, expected in zip(spans(item), (served, asked), strict=True):
        assert attributes(span.attributes).get("error.type") == expected
        assert span.status.code == (Status.STATUS_CODE_ERROR if expected else Status.STATUS_CODE_UNSET)


def test_the_code_of_an_answer_is_told_where_it_came_from() -> None:
    served, asked = spans(call("error", code=-32050))
    assert attributes(served.attributes)["rpc.response.status_code"] == "-32050"
    assert attributes(asked.attributes)["rpc.response.status_code"] == "-32050"
    served, asked = spans(call("timeout", code=-32001, ours=True))
    assert attributes(served.attributes)["rpc.response.status_code"] == "-32001"
    assert "rpc.response.status_code" not in attributes(asked.attributes)


def test_prompts_and_resources_have_attributes_of_their_own() -> None:
    served, asked = spans(other("prompts/get", "greet"))
    assert (served.name, asked.name) == ("prompts/get public greet", "prompts/get greet")
    assert attributes(asked.attributes)["gen_ai.prompt.name"] == "greet"
    served, asked = spans(other("resources/read", "a://b"))
    assert (served.name, asked.name) == ("resources/read", "resources/read")
    assert attributes(asked.attributes)["mcp.resource.uri"] == "a://b"
    assert attributes(served.attributes)["jsonrpc.request.id"] == "a-7"


def test_what_a_server_asks_of_a_client_is_the_other_way_round() -> None:
    event = QuestionFinished("git", "s1", "sampling/createMessage", "ok", 0.5, "", '"q"')
    served, asked = spans(of_question(event, trace(name=""), SERVER, CLIENT))
    assert (served.name, served.kind) == ("sampling/createMessage", Span.SPAN_KIND_SERVER)
    assert attributes(served.attributes)["network.transport"] == "tcp"
    assert attributes(asked.attributes)["mcp.session.id"] == "s1"
    assert attributes(served.attributes)["jsonrpc.request.id"] == "q"


def test_a_call_that_was_sent_again_says_so() -> None:
    _, asked = spans(call(sends=2))
    assert attributes(asked.attributes)["mcp_manifold.sends"] == 2


def test_many_calls_keep_their_own_ids_and_texts() -> None:
    items = [
        call(parent=f"{number:016x}", served=f"{number + 100:016x}", asked=f"{number + 200:016x}", asked_id=number)
        for number in range(1, 50)
    ]
    failed = [call("error", code=code, ours=True, reason=f"because {code}") for code in (-1, -2)]
    made = spans(*items, *failed)
    assert [span.parent_span_id.hex() for span in made[:98:2]] == [f"{number:016x}" for number in range(1, 50)]
    assert [attributes(span.attributes)["jsonrpc.request.id"] for span in made[1:98:2]] == list(map(str, range(1, 50)))
    assert [span.status.message for span in made[98::2]] == ["because -1", "because -2"]


def test_calls_that_are_else_alike_keep_all_that_is_their_own() -> None:
    items = [
        call(), call(parent=""), call(flags=3), call(state="a=b"), call("error", code=-1), call("error", code=-2),
        call("error", code=-1, ours=True), call("cancelled", reason="too slow"), call("cancelled", reason="no need"),
    ]  # fmt: skip
    alone = [spans(item) for item in items]
    assert spans(*items) == [span for pair in alone for span in pair]
    assert all(one != other for number, one in enumerate(alone) for other in alone[:number])


def test_ids_of_any_length_and_so_messages_of_any_size_are_whole() -> None:
    for length in (*range(140), *range(140, 6000, 40)):
        event = CallFinished("editor", "s1", f'"{"a" * length}"', "git", "status", "ok", 0.5, 10, 20)
        made = spans(*[of_request(event, trace(), CLIENT, SERVER)] * 3)
        assert [attributes(span.attributes)["jsonrpc.request.id"] for span in made[::2]] == ["a" * length] * 3


def test_no_secret_and_nothing_that_hides_is_in_any_text() -> None:
    secret = "correct-horse-battery"
    event = RequestFinished(
        f"c {secret}", f"s {secret}", f'"{secret}\\ud800"', f"v {secret}", f"a://{secret}\x1b[31m", "error", 0.5, 1, 1,
        reason=f"r {secret}", method="resources/read",
    )  # fmt: skip
    way = Way(f"s {secret}", f"p {secret}", "pipe", "", f"h {secret}", 1)
    item = of_request(event, trace(name=f"n {secret}", state=f"k={secret}", code=-1, ours=True), way, way)
    body = Encoder(Redactor([secret]), lambda: 0.0)([item])
    assert secret.encode() not in body
    assert b"[31m" not in body
    assert b"a://***" in body


def test_a_secret_that_is_learned_later_is_hidden_from_then_on() -> None:
    redactor = Redactor()
    encode = Encoder(redactor, lambda: 0.0)
    assert b"git__status" in encode([call()])
    redactor.learn(["git__status"])
    assert b"git__status" not in encode([call()])


def test_the_process_is_named() -> None:
    message = ExportTraceServiceRequest.FromString(Encoder(Redactor(), lambda: 0.0)([call()]))
    about = attributes(message.resource_spans[0].resource.attributes)
    assert (about["service.name"], about["process.pid"]) == ("mcp-manifold", os.getpid())


def test_a_collectors_answer_tells_what_it_did_not_take() -> None:
    answer = ExportTraceServiceResponse()
    assert rejected(answer.SerializeToString()) == (0, "")
    answer.partial_success.rejected_spans = 3
    answer.partial_success.error_message = "too old"
    assert rejected(answer.SerializeToString()) == (3, "too old")


@pytest.mark.parametrize(
    ("entry", "way"),
    [
        (ServerEntry(command="x"), Way("", "v", "pipe")),
        (ServerEntry(url="http://127.0.0.1/mcp"), Way("", "v", "tcp", "http", "127.0.0.1", 80)),
        (ServerEntry(url="https://[::1]/mcp"), Way("", "v", "tcp", "http", "::1", 443)),
        (ServerEntry(url="https://me:secret@x.example/mcp"), Way("", "v", "tcp", "http", "x.example", 443)),
        (ServerEntry(url="http://x:99999/"), Way("", "v", "tcp", "http")),
        (None, Way("", "v")),
    ],
)
def test_the_way_to_a_server_is_what_its_entry_says(entry: ServerEntry | None, way: Way) -> None:
    assert way_to(entry, "v") == way
