"""Problem documents."""

from proxy.web.asgi import Reply, Request
from proxy.web.problems import Problem
from tests.support.asgi import Exchange


async def answered(problem: Problem) -> Exchange:
    exchange = Exchange("GET", b"", {})

    async def handler(request: Request, reply: Reply) -> None:
        await problem.answer(reply)

    await exchange.run(handler)
    return exchange


async def test_a_problem_is_told_with_its_status_title_and_detail() -> None:
    exchange = await answered(Problem(404, "there is nothing"))
    assert exchange.status == 404
    assert exchange.headers["content-type"] == "application/problem+json"
    assert exchange.json == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is nothing"}


async def test_a_problem_has_further_members_and_headers() -> None:
    problem = Problem(429, "größer ☃", headers={"Retry-After": "3", "X-Odd": "☃"}, errors=[{"path": "/a"}])
    exchange = await answered(problem)
    assert exchange.json["errors"] == [{"path": "/a"}]
    assert exchange.json["detail"] == "größer ☃"
    assert exchange.headers["retry-after"] == "3"
    assert exchange.headers["x-odd"] == "?"  # rather than no answer at all
    assert str(problem) == "größer ☃"
