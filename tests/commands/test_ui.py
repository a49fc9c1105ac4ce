"""`mcp-manifold ui`: a link to the page of a running hub, good once."""

import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.bare import ask, line_to
from tests.support.commands import Here, apart
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.tls import make_certificate, trusting


def port(hub: Hub) -> str:
    return hub.url.rpartition(":")[2]


def redeemed(hub: Hub, link: str, **more: Any) -> Any:
    """What the page gets for a link."""
    with line_to(hub.url, **more) as line:
        answer = line.ask("POST", "/login", None, json.dumps({"code": link.partition("#")[2]}).encode())
    return json.loads(answer.body).get("token") if answer.status == 200 else answer.status


def test_it_prints_a_link_that_is_good_once_and_has_no_token(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    with serving(config) as hub:
        done = here("ui", "--config", config, "--port", port(hub), "--print")
        assert (done.code, done.err) == (0, b"")
        [link] = done.lines
        assert re.fullmatch(re.escape(hub.url) + r"/#[\w-]{32,}", link), "where no server and no proxy sees it"
        assert hub.token not in link
        assert redeemed(hub, link) == hub.token
        assert redeemed(hub, link) == 401


def test_it_opens_the_browser(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    has_browser = True

    def open_link(link: str) -> bool:
        opened.append(link)
        return has_browser

    monkeypatch.setattr(webbrowser, "open", open_link)
    config = write_config(tmp_path, {})
    with serving(config) as hub:
        done = here("ui", "--config", config, "--port", port(hub))
        assert (done.code, done.lines) == (0, opened)
        has_browser = False
        done = here("ui", "--config", config, "--port", port(hub))
        assert done.lines[0] == opened[1]
        assert done.lines[1].startswith("no browser was found")


def test_without_a_token_the_link_is_the_page(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {}, http={"auth": "none"})
    assert here("ui", "--config", config, "--print").lines == ["http://127.0.0.1:8765/"]
    done = here("ui", "--config", config, "--print", "--host", "::1", "--port", "1")
    assert done.lines == ["http://[::1]:1/"]
    assert here("ui", "--config", config, "--print", "--host", "0.0.0.0").lines == ["http://127.0.0.1:8765/"]


def test_it_trusts_the_certificate_of_the_configuration(here: Here, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    config = write_config(tmp_path, {}, http={"tlsCert": str(cert), "tlsKey": str(key)})
    with serving(config) as hub:
        done = here("ui", "--config", config, "--port", port(hub), "--print")
        assert done.code == 0, done.err
        assert redeemed(hub, done.lines[0], trusted=trusting(cert)) == hub.token


def test_where_no_hub_answers_it_says_how_to_start_one(here: Here, tmp_path: Path) -> None:
    free = raw_http.refused_url().rpartition(":")[2].removesuffix("/mcp")
    done = here("ui", "--config", write_config(tmp_path, {}), "--port", free, "--print")
    assert (done.code, done.out) == (1, b"")
    assert re.fullmatch(
        r"no hub answers at http://127.0.0.1:\d+ \(.*\); `mcp-manifold serve` starts one\n", done.err.decode()
    )


def test_a_hub_of_another_token_is_not_ours(here: Here, tmp_path: Path) -> None:
    other = write_config(tmp_path / "other", {})
    with serving(write_config(tmp_path / "one", {})) as hub:
        done = here("ui", "--config", other, "--port", port(hub), "--print")
        assert (done.code, done.out) == (1, b"")
        assert done.err.decode() == (
            f"the hub at {hub.url} does not take this token: it has another configuration (--config), "
            "or was started before the token was made; then start it again\n"
        )


def test_the_token_goes_past_no_proxy_that_the_environment_names(tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    away = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with serving(config) as hub:
        done = apart(["ui", "--config", config, "--port", port(hub), "--print"], env={**away, "NO_PROXY": ""})
        assert done.code == 0, done.err
        assert ask(hub.url, "GET", "/healthz").status == 200
