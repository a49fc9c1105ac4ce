"""Whether the hub is there, can be used, and its figures."""

from functools import partial

import anyio.to_thread
import pytest

from proxy.web.health import Health
from tests.support.bare import Answer, a_site, ask

TOKEN = "the-token-of-this-test-is-long-enough"


async def test_it_is_healthy_at_once_and_ready_once_every_server_was_looked_at() -> None:
    ready: list[str] = []
    health = Health(lambda: bool(ready), lambda: b"")
    async with a_site({"healthz": health.healthz, "readyz": health.readyz}, token=TOKEN) as site:

        async def get(target: str) -> Answer:
            return await anyio.to_thread.run_sync(partial(ask, site.url, "GET", target))

        assert [(await get(target)).status for target in ("/healthz", "/readyz")] == [200, 503]
        assert (await get("/readyz")).body == b'{"status":"starting"}'
        ready.append("now")
        answer = await get("/readyz")
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
        assert answer.headers["cache-control"] == "no-store"


async def test_the_figures_need_the_token_and_come_in_prometheus_format() -> None:
    health = Health(lambda: True, lambda: b"calls_total 3.0\n")
    async with a_site({"metrics": health.metrics}, token=TOKEN) as site:

        async def call(method: str, headers: dict[str, str]) -> Answer:
            return await anyio.to_thread.run_sync(partial(ask, site.url, method, "/metrics", headers))

        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert (await call("GET", {})).status == 401
        answer = await call("GET", shown)
        assert (answer.status, answer.body) == (200, b"calls_total 3.0\n")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        for method in ("OPTIONS", "HEAD"):
            assert (await call(method, {})).body == b""


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/metrics"])
async def test_they_are_only_there_to_be_read(target: str) -> None:
    health = Health(lambda: True, lambda: b"")
    handlers = {"healthz": health.healthz, "readyz": health.readyz, "metrics": health.metrics}
    async with a_site(handlers) as site:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await anyio.to_thread.run_sync(partial(ask, site.url, method, target))
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        answer = await anyio.to_thread.run_sync(partial(ask, site.url, "HEAD", target))
        assert (answer.status, answer.body) == (200, b"")
