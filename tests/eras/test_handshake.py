"""`initialize` on either side: what is agreed, what is understood, and how 2 KB of instructions are shared."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.eras import handshake
from proxy.eras.handshake import INSTRUCTIONS_BUDGET, LATEST, REVISIONS, combined_instructions
from proxy.errors import WireError
from tests.support.json_texts import values

# As our client


def test_a_server_is_told_the_revision_and_the_capabilities_of_the_client_byte_for_byte() -> None:
    offer = handshake.offer([("2025-06-18", {"roots": b'{ "listChanged" : true }', "new": b"[1.0]"})])
    assert handshake.client_params("1.2", offer) == (
        b'{"protocolVersion":"2025-06-18","capabilities":{"roots":{ "listChanged" : true },"new":[1.0]},'
        b'"clientInfo":{"name":"mcp-manifold","version":"1.2"}}'
    )


def test_of_several_clients_a_server_is_told_all_together() -> None:
    one = {"elicitation": b'{"form":{}}', "roots": b"{}", "odd": b"1"}
    other = {"elicitation": b'{"url":{"x":1}}', "sampling": b"{}", "odd": b"{}"}
    offer = handshake.offer([("2025-06-18", one), ("2025-11-25", other), ("2024-11-05", {})])
    assert offer.protocol == "2025-11-25"
    assert json.loads(offer.capabilities) == {
        "elicitation": {"form": {}, "url": {"x": 1}},
        "roots": {},
        "odd": 1,
        "sampling": {},
    }


def test_what_a_server_says_is_read() -> None:
    hello = handshake.read_server(
        b'{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged" : true},"new":[1.0]},'
        b'"serverInfo":{"name":"git","version":"1.0","title":"Git"},"instructions":"Use it.","_meta":{}}'
    )
    assert hello == handshake.ServerHello(
        "2025-06-18", {"tools": b'{"listChanged" : true}', "new": b"[1.0]"}, "git", "1.0", "Use it."
    )


@pytest.mark.parametrize("revision", REVISIONS)
def test_any_revision_of_the_era_is_taken_from_a_server(revision: str) -> None:
    assert handshake.read_server(json.dumps({"protocolVersion": revision}).encode()).protocol == revision


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (b"{}", "names no protocolVersion"),
        (b'{"protocolVersion":null}', "names no protocolVersion"),
        (b'{"protocolVersion":20251125}', "names no protocolVersion"),
        (b'{"protocolVersion":"2026-07-28"}', "2026-07-28"),
        (b'{"protocolVersion":"1.0"}', "2025-11-25"),
        (rb'{"protocolVersion":"\ud800"}', "supported are"),
    ],
)
def test_a_server_that_can_not_be_used_is_told_from_the_others_in_words(result: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why) as caught:
        handshake.read_server(result)
    str(caught.value).encode()


@pytest.mark.parametrize("result", [b"null", b"[]", b'"text"', b"7", b""])
def test_an_answer_that_is_no_object_is_refused(result: bytes) -> None:
    with pytest.raises(WireError):
        handshake.read_server(result)


@pytest.mark.parametrize("nothing", [b"null", b"false"])
def test_a_capability_that_is_null_is_not_there(nothing: bytes) -> None:
    hello = handshake.read_server(
        b'{"protocolVersion":"2025-11-25","capabilities":{"logging":' + nothing + b',"tools":{}}}'
    )
    assert hello.capabilities.keys() == {"tools"}


@settings(max_examples=40)
@given(values(), values(), values())
def test_a_server_may_say_anything_else_of_itself(capabilities: bytes, info: bytes, instructions: bytes) -> None:
    hello = handshake.read_server(
        b'{"protocolVersion":"2025-11-25","capabilities":'
        + capabilities
        + b',"serverInfo":'
        + info
        + b',"instructions":'
        + instructions
        + b"}"
    )
    for text in (hello.name, hello.version, hello.instructions):
        text.encode()


# As the server of a client


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_known_revision_is_agreed_and_any_other_answered_with_the_latest(revision: str) -> None:
    assert handshake.agree(revision) == revision
    assert handshake.agree(f"{revision} ") == handshake.agree("") == handshake.agree("2026-07-28") == LATEST


def test_what_a_client_says_is_read() -> None:
    hello = handshake.read_client(
        b'{"protocolVersion":"2025-11-25","capabilities":{"roots" : {}},"clientInfo":{"name":"claude","version":"2"}}'
    )
    assert hello == handshake.ClientHello("2025-11-25", "claude", "2", {"roots": b"{}"})


@pytest.mark.parametrize("params", [b"", b"{}", b"[]", b"null", b'{"protocolVersion":null}', b'{"protocolVersion":7}'])
def test_a_client_without_a_revision_is_told_what_is_missing(params: bytes) -> None:
    with pytest.raises(WireError) as caught:
        handshake.read_client(params)
    assert "protocolVersion" in str(caught.value) or "object" in str(caught.value)


@settings(max_examples=40)
@given(values(), values())
def test_a_client_may_say_anything_else_of_itself(capabilities: bytes, info: bytes) -> None:
    hello = handshake.read_client(
        b'{"protocolVersion":"2025-11-25","capabilities":' + capabilities + b',"clientInfo":' + info + b"}"
    )
    assert bool(hello.capabilities) <= capabilities.startswith(b"{")
    assert hello.name
    (hello.name + hello.version).encode()


def test_our_answer_promises_what_we_keep() -> None:
    answer = json.loads(handshake.server_result("2025-06-18", "hub", "1", ""))
    assert answer == {
        "protocolVersion": "2025-06-18",
        "capabilities": {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "logging": {},
            "completions": {},
        },
        "serverInfo": {"name": "hub", "version": "1"},
    }
    assert json.loads(handshake.server_result("x", "hub", "1", "é \n"))["instructions"] == "é \n"


@pytest.mark.parametrize(
    ("revision", "promised"),
    [("2024-11-05", set()), ("2025-03-26", {"completions"}), ("2025-11-25", {"completions", "tasks"})],
)
def test_no_client_is_promised_what_its_revision_does_not_know(revision: str, promised: set[str]) -> None:
    capabilities = json.loads(handshake.server_result(revision, "hub", "1", ""))["capabilities"]
    assert capabilities.keys() & {"completions", "tasks"} == promised


# Instructions


def test_instructions_name_the_server_that_they_came_from() -> None:
    assert combined_instructions(" Ours. ", [("git", "For git.\n"), ("none", " "), ("time", "For time.")]) == (
        "Ours.\n\ngit: For git.\n\ntime: For time."
    )
    assert combined_instructions("", []) == ""


anything = st.text(st.characters(exclude_categories=()))
texts = st.one_of(
    anything, st.integers(0, 3000).map(lambda size: "é" * size), st.integers(0, 9000).map(lambda size: "x" * size)
)


@given(texts, st.lists(st.tuples(st.sampled_from(("git", "time", "x" * 40)), texts), max_size=8))
def test_instructions_are_at_most_two_kilobytes_and_can_be_sent(own: str, servers: list[tuple[str, str]]) -> None:
    combined = combined_instructions(own, servers)
    assert len(combined.encode()) <= INSTRUCTIONS_BUDGET
    assert json.loads(handshake.server_result("x", "hub", "1", combined)).get("instructions", "") == combined


def test_what_short_texts_leave_goes_to_the_long_ones() -> None:
    combined = combined_instructions("", [("a", "x" * 1900), ("b", "short"), ("c", "y" * 1900)])
    a, b, c = combined.split("\n\n")
    assert b == "b: short"
    assert abs(len(a) - len(c)) <= 1
    assert len(combined.encode()) > INSTRUCTIONS_BUDGET - 10


def test_texts_that_fit_are_whole() -> None:
    texts = [("a", "x" * 900), ("b", "y" * 900), ("c", "z" * 200)]
    assert combined_instructions("", texts) == "\n\n".join(f"{label}: {text}" for label, text in texts)


def test_our_own_text_comes_first_and_is_never_displaced() -> None:
    combined = combined_instructions("o" * 1500, [("a", "x" * 3000), ("b", "y" * 3000)])
    assert combined.startswith("o" * 1500 + "\n\na: ")
    assert combined_instructions("o" * 3000, [("a", "x")]) == "o" * (INSTRUCTIONS_BUDGET - 3) + "…"


def test_two_servers_under_one_label_keep_their_own_texts() -> None:
    combined = combined_instructions("", [("x", "a" * 10), ("x", "b" * 1900)])
    assert combined.startswith("x: aaaaaaaaaa\n\nx: bbb")


@pytest.mark.parametrize("nothing", ["", " \n", "\x1b[0m", "\u202e"])
def test_a_text_that_says_nothing_is_left_out(nothing: str) -> None:
    assert combined_instructions(nothing, [("a", nothing), ("b", "text")]) == "b: text"


def test_instructions_lose_what_hides() -> None:
    assert combined_instructions("o\x1b[0m", [("a", "x\u202ey\U000e0041")]) == "o\n\na: xy"


def test_so_many_servers_that_no_share_is_worth_reading_leave_some_out() -> None:
    combined = combined_instructions("", [(f"server{number}", "x" * 500) for number in range(100)])
    shares = combined.split("\n\n")
    assert 0 < len(shares) < 100
    assert all(len(share) > 60 for share in shares)
