"""Who may speak to us: Host, Origin and token, decided from the head alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.web.guard import BEARER, OPEN, Guard, WrongTokens, is_loopback, part_of, reached_at

TOKEN = "0123456789abcdefghijklmnopqrstuvwxyz_-ABCDE"
SHOWN = {"authorization": f"Bearer {TOKEN}"}


def status(guard: Guard, path: str = "/mcp", *, scheme: str = "http", method: str = "GET", **headers: str) -> int:
    """What a request is refused with; 0 where it is taken."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    denial = guard.verdict(path, named, scheme=scheme, method=method)
    return denial.status if denial is not None else 0


@pytest.fixture
def guard() -> Guard:
    return Guard(host="127.0.0.1", token=TOKEN)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8765", "127.8.9.1:1", "localhost", "LocalHost:80", "localhost:", "[::1]", "[::1]:8765"],
)
def test_whoever_names_this_machine_is_heard(guard: Guard, host: str) -> None:
    assert status(guard, host=host, **SHOWN) == 0
    assert status(guard, host=host, **SHOWN) == 0, "the second time, too"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8765",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.example:8765",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1/evil.example",
        "127.0.0.1:8765@evil.example",
        "127.0.0.1 evil.example",
        "127.0.0.1, evil.example",
        "127.0.0.1:80, 127.0.0.1:80",
        "localhost.",
        "0.0.0.0",
        "0.0.0.0:8765",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "10.0.0.1",
        "[::]",
        "[::1",
        "[::1]8765",
        "[::1]:x",
        "[::1]evil.example",
        "[fe80::1]",
        "::1",
        "127.0.0.1:8765:1",
        "127.0.0.1:-1",
        "127.0.0.1:\u00b2",
        "loc\u00e0lhost",
        "[]",
        ":8765",
        "null",
    ],
)
def test_a_name_that_is_not_ours_is_refused_whatever_else_is_right(guard: Guard, host: str) -> None:
    for path in ("/mcp", "/", "/healthz"):
        assert status(guard, path, host=host, origin=f"http://{host}", **SHOWN) == 421


@given(st.text(max_size=40))
def test_no_host_but_a_loopback_address_or_localhost_is_ours(host: str) -> None:
    guard = Guard(host="127.0.0.1", token=None)
    if status(guard, host=host) == 0:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        assert is_loopback(name)


@given(st.lists(st.text(max_size=8), max_size=200))
def test_a_host_that_was_refused_stays_refused(hosts: list[str]) -> None:
    guard = Guard(host="127.0.0.1", token=None, hosts=["one.example"])
    for host in [*hosts, "one.example", *(f"127.0.0.1:{port}" for port in range(100)), *hosts]:
        assert status(guard, host=host) == status(Guard(host="127.0.0.1", token=None, hosts=["one.example"]), host=host)


def test_other_names_are_ours_where_the_configuration_says_so() -> None:
    guard = Guard(host="127.0.0.1", token=None, hosts=["Hub.Example", "exact.example:8443"])
    assert status(guard, host="hub.example") == 0
    assert status(guard, host="HUB.example:9") == 0
    assert status(guard, host="exact.example:8443") == 0
    assert status(guard, host="exact.example:8444") == 421
    assert status(guard, host="other.example") == 421


def test_beyond_loopback_addresses_are_ours_and_so_is_the_name_it_listens_at() -> None:
    guard = Guard(host="Hub.Example", token=None)
    assert [status(guard, host=host) for host in ("hub.example:1", "192.0.2.7:1", "[2001:db8::1]", "localhost")] == [
        0,
        0,
        0,
        0,
    ]
    assert status(guard, host="rebound.example") == 421
    assert status(Guard(host="0.0.0.0", token=None), host="192.0.2.7:8765") == 0
    assert status(Guard(host="0.0.0.0", token=None), host="rebound.example") == 421


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "https://127.0.0.1:8765",
        "http://127.0.0.1",
        "http://127.0.0.1:9",
        "http://localhost:8765",
        "http://127.0.0.1:8765.evil.example",
        "http://127.0.0.1:8765/",
        "http://127.0.0.1:8765, http://evil.example",
        "file://",
        "127.0.0.1:8765",
    ],
)
def test_pages_of_other_origins_are_refused_though_they_have_the_token(guard: Guard, origin: str) -> None:
    for path in ("/mcp", "/", "/login", "/healthz"):
        for method in ("GET", "POST", "OPTIONS"):
            assert status(guard, path, host="127.0.0.1:8765", origin=origin, method=method, **SHOWN) == 403


def test_our_own_page_is_heard(guard: Guard) -> None:
    assert status(guard, host="127.0.0.1:8765", origin="http://127.0.0.1:8765", **SHOWN) == 0
    assert status(guard, host="localhost:1", origin="HTTP://LOCALHOST:1", **SHOWN) == 0
    assert status(guard, host="[::1]:1", origin="https://[::1]:1", scheme="https", **SHOWN) == 0
    assert status(guard, host="127.0.0.1", origin="http://127.0.0.1") == 401, "but it needs the token"


def test_an_origin_that_the_configuration_names_is_heard_and_is_foreign() -> None:
    guard = Guard(host="127.0.0.1", token=None, origins=["https://App.example/"])
    assert status(guard, host="127.0.0.1", origin="https://app.example") == 0
    assert guard.is_foreign("https://app.example", "127.0.0.1", "http")
    assert not guard.is_foreign("https://other.example", "127.0.0.1", "http")
    assert not guard.is_foreign("http://127.0.0.1", "127.0.0.1", "http")
    assert not guard.is_foreign("", "127.0.0.1", "http")
    for other in ("http://app.example", "https://app.example:444", "https://sub.app.example", "null"):
        assert status(guard, host="127.0.0.1", origin=other) == 403


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"},
        {"authorization": "Bearer \u00e9\u00ff"},
        {"sec_websocket_protocol": f"mcp, {TOKEN}"},
        {"sec_websocket_protocol": f"mcp, {BEARER}"},
        {"sec_websocket_protocol": f"mcp, {BEARER}x{TOKEN}"},
        {"cookie": f"token={TOKEN}"},
        {"x_token": TOKEN},
    ],
)
def test_without_the_token_nothing_is_answered_but_what_holds_nothing(guard: Guard, shown: dict[str, str]) -> None:
    for path in ("/mcp", "/tools/call", "/metrics", "/links", "/pages", "/Page", "/login2", "/mcp/page", "/%70age"):
        assert status(guard, path, host="127.0.0.1", **shown) == 401
    for part in OPEN:
        assert status(guard, f"/{part}", host="127.0.0.1", **shown) == 0


@given(st.text(max_size=60))
def test_no_other_text_is_taken_for_the_token(text: str) -> None:
    guard = Guard(host="127.0.0.1", token=TOKEN)
    assert status(guard, host="127.0.0.1", authorization=f"Bearer {text}") == (0 if text.strip() == TOKEN else 401)


def test_the_token_is_shown_as_a_header_or_as_a_subprotocol_of_a_websocket(guard: Guard) -> None:
    assert status(guard, host="127.0.0.1", authorization=f"bearer  {TOKEN}") == 0
    assert status(guard, host="127.0.0.1", sec_websocket_protocol=f"mcp, {BEARER}{TOKEN}") == 0
    assert status(guard, host="127.0.0.1", sec_websocket_protocol=f"{BEARER}{TOKEN},mcp") == 0


def test_the_token_is_not_taken_from_the_address(guard: Guard) -> None:
    assert status(guard, f"/mcp?token={TOKEN}", host="127.0.0.1") == 401


def test_the_part_that_is_judged_is_the_part_that_answers() -> None:
    assert [part_of(path) for path in ("/", "/mcp", "/mcp/", "//mcp", "/page/../mcp", "")] == [
        "",
        "mcp",
        "mcp",
        "",
        "page",
        "",
    ]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("a.example", "a.example"),
    ],
)
def test_this_machine_reaches_it_by_an_address_that_can_be_called(host: str, name: str) -> None:
    assert reached_at(host) == name


def test_wrong_tokens_are_told_of_once_a_minute_and_missing_ones_not() -> None:
    events: list[Any] = []
    now = [0.0]
    guard = Guard(host="127.0.0.1", token="a" * 43, wrong=WrongTokens(events.append, lambda: now[0]))

    def ask(given: str) -> str:
        headers = {"host": "127.0.0.1", **({"authorization": f"Bearer {given}"} if given else {})}
        denial = guard.verdict("/mcp", headers, scheme="http")
        return denial.reason if denial else ""

    assert ask("a" * 43) == ""
    assert ask("").startswith("a token is needed")
    assert events == []
    assert ask("wrong").startswith("this is not the hub's token")
    ask("wrong")
    ask("wrong")
    now[0] = 61.0
    ask("wrong")
    assert [event.text for event in events] == [
        "refused a request with a token that is not the hub's",
        "refused 3 requests with a token that is not the hub's",
    ]
    assert not any("wrong" in event.text for event in events)
