"""How the page comes by the token: codes that are good once, and for a minute."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

from proxy.web.login import GOOD_FOR, Login
from tests.support.bare import Answer, a_site, ask
from tests.support.client import PATIENCE

TOKEN = "the-token-of-this-test-is-long-enough"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    with anyio.fail_after(PATIENCE):
        return await anyio.to_thread.run_sync(partial(work, *args))


def test_a_code_is_good_once() -> None:
    login = Login(TOKEN, Clock())
    one, other = login.make(), login.make()
    assert one != other
    assert len(one) >= 32
    assert TOKEN not in one
    assert login.redeem(one)
    assert not login.redeem(one)
    assert login.redeem(other)


def test_a_code_is_good_for_a_minute() -> None:
    clock = Clock()
    login = Login(TOKEN, clock)
    early, late = login.make(), login.make()
    clock.now += GOOD_FOR - 1
    assert login.redeem(early)
    clock.now += 1
    assert not login.redeem(late)


@pytest.mark.parametrize("code", ["", " ", "x", "\u00e9", "x" * 4000, TOKEN])
def test_nothing_else_is_a_code(code: str) -> None:
    login = Login(TOKEN, Clock())
    login.make()
    assert not login.redeem(code)


def test_codes_that_nobody_uses_are_no_heap() -> None:
    login = Login(TOKEN, Clock())
    codes = [login.make() for _ in range(100)]
    assert [login.redeem(code) for code in codes] == [False] * 84 + [True] * 16


async def test_a_link_needs_the_token_and_a_login_needs_the_link() -> None:
    login = Login(TOKEN, Clock())
    async with a_site({"links": login.links, "login": login.login}, token=TOKEN) as site:

        async def post(target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
            answer = await in_thread(ask, site.url, "POST", target, headers, body)
            assert isinstance(answer, Answer)
            return answer

        assert (await post("/links")).status == 401
        link = await post("/links", headers=SHOWN)
        made = msgspec.json.decode(link.body)
        assert link.status == 200
        assert made["seconds"] == GOOD_FOR
        assert TOKEN.encode() not in link.body
        assert link.headers["cache-control"] == "no-store"

        wrong = await post("/login", b'{"code":"guessed"}')
        assert (wrong.status, wrong.headers["content-type"]) == (401, "application/problem+json")
        given = await post("/login", msgspec.json.encode({"code": made["code"]}))
        assert (given.status, msgspec.json.decode(given.body)) == (200, {"token": TOKEN})
        assert given.headers["cache-control"] == "no-store"
        assert (await post("/login", msgspec.json.encode({"code": made["code"]}))).status == 401

        for body in (b"", b"[]", b"{", b"null", b'{"code":1}', b'{"code":null}', b'{"code":"\xff"}', b'"x"'):
            assert (await post("/login", body)).status in (400, 401)
        assert (await post("/login", b'{"code":"' + b"x" * 5000 + b'"}')).status == 413
        for method in ("GET", "PUT", "DELETE"):
            for target in ("/links", "/login"):
                answer = await in_thread(ask, site.url, method, target, SHOWN)
                assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_page_of_others_gets_nothing_for_a_code() -> None:
    login = Login(TOKEN, Clock())
    code = login.make()
    async with a_site({"login": login.login}, token=TOKEN) as site:
        body = msgspec.json.encode({"code": code})
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
            assert (await in_thread(ask, site.url, "POST", "/login", headers, body)).status in (403, 421)
        assert login.redeem(code), "and the code was not used up"


async def test_where_nobody_needs_a_token_there_is_none_to_be_had() -> None:
    login = Login(None, Clock())
    async with a_site({"login": login.login}) as site:
        answer = await in_thread(ask, site.url, "POST", "/login", None, b"{}")
        assert (answer.status, answer.body) == (200, b'{"token":null}')
