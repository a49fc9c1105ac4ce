"""The page as people use it, in a real Chromium, in front of a real hub and real servers."""

import contextlib
import http.client
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from proxy.web.token import token_file
from tests.support import servers
from tests.support.client import PATIENCE, ChildWire
from tests.support.hub import SERVE, Hub, serving
from tests.support.manifold import write_config

CHROMIUM = Path("/usr/bin/chromium")
ARGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = servers.NPM / "axe-core/axe.min.js"
LONG = "every__trigger-long-running-operation"
TEXT = {"type": "string"}
ADDRESSED = {"street": TEXT, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}}
PERSON = {
    "type": "object",
    "properties": {"name": TEXT, "address": {"type": "object", "properties": ADDRESSED, "required": ["street"]}},
    "required": ["name"],
}
ARTICLE = {
    "type": "object",
    "properties": {"sku": TEXT, "qty": {"type": "integer", "default": 1}, "part": {"$ref": "#/$defs/article"}},
    "required": ["sku"],
}
ODD: dict[str, Any] = {
    "order": {
        "type": "object",
        "$defs": {"article": ARTICLE},
        "properties": {"user": PERSON, "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/article"}}},
        "required": ["user", "items"],
    },
    "loose": {
        "type": "object",
        "properties": {
            "id": {"anyOf": [{"type": "integer"}, TEXT]},
            "maybe": {"anyOf": [TEXT, {"type": "null"}]},
            "size": {"type": ["integer", "null"], "default": None},
            "note": {"type": "string", "default": ""},
            "flag": {"type": "boolean", "default": True},
        },
        "required": ["id"],
    },
    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
    "either": {
        "type": "object",
        "oneOf": [
            {"properties": {"left": TEXT}, "required": ["left"]},
            {"properties": {"right": TEXT}, "required": ["right"]},
        ],
    },
    **{f"{'long_' * 9}{number}": {"type": "object", "properties": {}} for number in range(45)},
}
"""What servers ask for that forms have no words for, or many; by the names of tools that give their arguments back."""


def sample(name: str) -> servers.Entry:
    return servers.entry([sys.executable, "-m", f"proxy.samples.{name}"], cwd=str(servers.ROOT))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = {
        "every": servers.everything(),
        "fragile": sample("fragile"),
        "hostile": servers.script("hostile.py"),
        "curious": servers.script("curious.py"),
        "odd": servers.script("schemas.py", json.dumps(ODD)),
        "gone": servers.entry(["/no/such/command"]),
    }
    return write_config(tmp_path_factory.mktemp("page"), entries)


@pytest.fixture(scope="module")
def hub(config: Path) -> Iterator[Hub]:
    with serving(config) as hub:
        yield hub


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("the page needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@dataclass
class Visitors:
    """Who opens the page. What a page complains of, or fetches from elsewhere, is found out at the end."""

    browser: Browser
    hub: Hub
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that the test provokes."""
    complaints: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, path: str = "/", *, token: str | None = None, **options: Any) -> Page:
        """A new tab, which has the hub's token unless another one is given ("" for none)."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", **options)
        context.set_default_timeout(PATIENCE * 1000)
        self._contexts.append(context)
        token = self.hub.token if token is None else token
        if token:
            context.add_init_script(f"sessionStorage.setItem('mcp-manifold-token', {json.dumps(token)})")
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        page.on("request", self._look)
        page.goto(self.hub.url + path)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        found = [text for text in self.complaints if not any(part in text for part in self.expected)]
        assert found == []

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _look(self, request: Request) -> None:
        if not request.url.startswith((self.hub.url, "data:")):
            self.complaints.append(f"fetched {request.url}")
        if self.hub.token in request.url:
            self.complaints.append("the token stands in a URL")


@pytest.fixture
def visitors(browser: Browser, hub: Hub) -> Iterator[Visitors]:
    expect.set_options(timeout=PATIENCE * 1000)
    visitors = Visitors(browser, hub)
    yield visitors
    visitors.close()


Open = Callable[..., Page]


@pytest.fixture
def visit(visitors: Visitors) -> Open:
    return visitors.open


def row(page: Page, key: str) -> Locator:
    """A server's row."""
    return page.locator(f"table.servers tr[data-key={key}]")


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def result(page: Page) -> Locator:
    return page.get_by_role("region", name="Result")


def ask(hub: Hub, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


# As files


def test_the_page_is_served_without_a_token_and_lets_nothing_else_run(hub: Hub) -> None:
    answer = ask(hub, "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "img-src 'self' data:;"):
        assert part in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_file_that_is_known_is_not_sent_again(hub: Hub) -> None:
    first = ask(hub, "/page/main.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = ask(hub, "/page/main.js", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.headers["etag"]) == (304, first.headers["etag"])
    assert ask(hub, "/page/main.js", {"If-None-Match": '"another"'}).status == 200


@pytest.mark.parametrize("path", ["/page/", "/page/nothing.js", "/page/../status.py", "/page/%2e%2e/status.py"])
def test_nothing_else_is_a_file_of_the_page(hub: Hub, path: str) -> None:
    assert ask(hub, path).status == 404


def test_files_are_only_there_to_be_read(hub: Hub) -> None:
    refused = ask(hub, "/", method="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


# Who may see it


def test_without_a_token_the_page_asks_for_it_and_a_wrong_one_is_said_to_be_wrong(visitors: Visitors) -> None:
    visitors.expected = ["401 (Unauthorized)"]
    page = visitors.open(token="")
    field = page.get_by_label("paste the token")
    expect(field).to_be_focused()
    expect(page.get_by_text("mcp-manifold ui")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    field.fill("x" * 43)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not take this token")
    expect(page.locator("#app")).to_be_hidden()
    field.fill(visitors.hub.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    page.get_by_role("button", name="Sign out").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_another_tab_is_let_in_where_the_token_is_to_be_remembered(visitors: Visitors) -> None:
    visitors.expected = ["401 (Unauthorized)"]
    page = visitors.open(token="")
    page.get_by_label("paste the token").fill(visitors.hub.token)
    expect(page.get_by_label("Remember on this computer")).not_to_be_checked()
    page.get_by_label("Remember on this computer").check()
    page.keyboard.press("Enter")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="curious").click(button="middle")
    expect(opened.value.get_by_role("heading", name="curious", level=1)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("paste the token")).to_be_visible()
    opened.value.reload()
    expect(opened.value.get_by_label("paste the token")).to_be_visible()
    expect(opened.value.get_by_role("alert")).to_have_count(0)
    page.evaluate("localStorage.setItem('mcp-manifold-token', 'of-yesterday')")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("token has changed")
    assert page.evaluate("localStorage.length") == 0


def test_a_link_lets_in_once_and_leaves_nothing_in_the_address(visitors: Visitors) -> None:
    visitors.expected = ["401 (Unauthorized)"]
    connection = http.client.HTTPConnection(urlsplit(visitors.hub.url).netloc, timeout=PATIENCE)
    connection.request("POST", "/links", headers=visitors.hub.headers)
    code = json.loads(connection.getresponse().read())["code"]
    connection.close()
    page = visitors.open(f"/#{code}", token="")
    expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    assert page.url == f"{visitors.hub.url}/"
    page.reload()
    expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    other = visitors.open(f"/#{code}", token="")
    expect(other.get_by_role("alert")).to_contain_text("used already")


# Servers


def test_it_shows_what_is_known_of_each_server(visit: Open) -> None:
    page = visit()
    every = row(page, "every")
    expect(every).to_contain_text("Ready")
    expect(every).to_contain_text("mcp-servers/everything 2.0.0")
    expect(row(page, "gone")).to_contain_text("Failed")
    expect(row(page, "gone")).to_contain_text("was not found")
    expect(page.locator(".link-state")).to_have_text("Live")
    expect(page).to_have_title("Servers · mcp-manifold")
    every.get_by_role("link", name="every").click()
    expect(page.get_by_role("heading", name="every", level=1)).to_be_focused()
    expect(page.locator(".chips")).to_contain_text("trigger-long-running-operation")
    expect(page.locator(".facts", has_text="Protocol")).to_contain_text("2025-11-25")


def test_a_killed_server_is_seen_to_go_and_to_come_back(visit: Open) -> None:
    page = visit("/#/tools/fragile__greet")
    run(page)
    process = re.search(r"process (\d+)", result(page).locator("pre").inner_text())
    assert process is not None
    page.goto(page.url.partition("#")[0] + "#/servers")
    expect(row(page, "fragile")).to_contain_text("Ready")
    os.kill(int(process[1]), signal.SIGKILL)
    expect(row(page, "fragile").locator(".error-column")).to_contain_text("SIGKILL")
    expect(row(page, "fragile")).to_contain_text("Ready")
    row(page, "fragile").get_by_role("link").click()
    states = page.locator(".steps li")
    expect(states).to_have_count(5)
    expect(states.first).to_contain_text("Ready")
    expect(states.nth(2)).to_contain_text("Retrying")


def test_a_server_is_restarted_by_its_button_after_a_warning_where_calls_are_under_way(visit: Open) -> None:
    page = visit("/#/tools/fragile__hang")
    run(page)
    expect(result(page)).to_contain_text("Running")
    page.goto(page.url.partition("#")[0] + "#/servers/fragile")
    expect(page.locator(".figures .facts div", has_text="In flight")).to_contain_text("1")
    restarts = page.locator(".facts div", has_text="Restarts").locator("dd")
    before = int(restarts.inner_text())
    page.get_by_role("button", name="Restart fragile").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 call in flight will fail")
    dialog.get_by_role("button", name="Restart").click()
    expect(restarts).to_have_text(str(before + 1))
    page.goto(page.url.partition("#")[0] + "#/tools/fragile__hang")
    expect(result(page).locator(".note.bad")).to_contain_text("restarted by hand")


def test_a_configuration_that_can_not_be_used_is_told_of_until_it_can(visit: Open, config: Path) -> None:
    page = visit("/#/servers")
    expect(row(page, "every")).to_be_visible()
    good = config.read_text()
    config.write_text("<b>")
    try:
        expect(page.get_by_role("alert")).to_contain_text("The configuration file can't be used as it is now")
        expect(page.get_by_role("alert")).to_contain_text("manifold.json")
    finally:
        config.write_text(good)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_what_a_server_prints_is_seen_as_it_comes(visit: Open) -> None:
    page = visit("/#/servers/fragile")
    log = page.get_by_role("log")
    other = visit("/#/tools/fragile__complain")
    other.get_by_label("text").fill("the sky is falling")
    run(other)
    expect(log).to_contain_text("the sky is falling")


# Calls and tools


def test_a_tool_is_tried_through_its_form_and_its_call_is_in_the_stream(visit: Open) -> None:
    stream = visit("/#/calls")
    expect(stream.locator(".link-state")).to_have_text("Live")
    page = visit("/#/tools")
    expect(page.locator(".tool-list a").first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("get-sum")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("every__get-sum", exact=True)).to_be_visible()
    run(page)
    expect(page.get_by_text("This is needed.").first).to_be_visible()
    expect(page.get_by_label("a", exact=True)).to_be_focused()
    page.keyboard.type("40")
    page.get_by_label("b", exact=True).fill("two")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("This is no number.")).to_be_visible()
    page.get_by_label("b", exact=True).fill("2")
    page.keyboard.press("Control+Enter")
    expect(result(page)).to_contain_text("OK")
    expect(result(page).locator("pre")).to_contain_text("42")
    page.get_by_role("button", name="As JSON").click()
    arguments = page.get_by_label("Arguments as JSON")
    assert json.loads(arguments.input_value()) == {"a": 40, "b": 2}
    arguments.fill('{"a": 1, "b": "x"}')
    run(page)
    page.get_by_role("button", name="Run anyway").click()
    expect(result(page)).to_contain_text("Tool error")
    calls = stream.locator("tr.call", has_text="get-sum")
    expect(calls).to_have_count(2)
    expect(calls.first).to_contain_text("Tool error")
    stream.get_by_label("Outcome").select_option("ok")
    expect(calls).to_have_count(1)
    calls.get_by_role("button").click()
    expect(stream.locator("tr.details:visible")).to_contain_text("tools/call")
    expect(stream.get_by_role("link", name="Try every__get-sum")).to_have_attribute("href", "#/tools/every__get-sum")
    stream.get_by_label("Filter calls").fill("no call has this")
    expect(stream.get_by_text("No call fits this filter")).to_be_visible()


def test_a_long_call_shows_its_progress_is_under_way_in_the_stream_and_can_be_cancelled(visit: Open) -> None:
    stream = visit("/#/calls")
    page = visit(f"/#/tools/{LONG}")
    page.get_by_label("duration").fill("300")
    page.get_by_label("steps").fill("1500")
    run(page)
    expect(result(page).get_by_text(re.compile(r"[1-9]\d* of 1500"))).to_be_visible()
    assert float(page.get_by_role("progressbar").get_attribute("value") or 0) > 0
    active = stream.locator("tbody.active tr", has_text="trigger-long-running-operation")
    expect(active).to_contain_text("Running")
    expect(active.locator(".num").first).to_have_text(re.compile(r"^\d+(\.\d)? s$"))
    page.get_by_role("button", name="Cancel").click()
    expect(result(page)).to_contain_text("You cancelled it")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()
    expect(active).to_have_count(0)
    expect(stream.locator("tr.call", has_text="trigger-long-running-operation")).to_contain_text("Cancelled")


def test_images_links_and_structured_content_are_shown_as_what_they_are(visit: Open) -> None:
    page = visit("/#/tools/every__get-tiny-image")
    run(page)
    image = result(page).get_by_role("img")
    expect(image).to_be_visible()
    expect(result(page)).to_contain_text("image/png, 20")
    page.goto(page.url.partition("#")[0] + "#/tools/every__get-structured-content")
    page.get_by_label("location").select_option(label="Chicago")
    run(page)
    tree = result(page).get_by_role("group", name="Structured value")
    expect(tree).to_contain_text("temperature")
    tree.locator("summary").first.click()
    expect(tree.get_by_text("temperature")).to_be_hidden()


def given(page: Page) -> Any:
    """The arguments that the server was called with, as it gives them back."""
    raw = result(page).locator("details.raw")
    raw.locator("summary").click()
    return json.loads(raw.locator("pre").inner_text())["structuredContent"]


def write_json(page: Page, text: str) -> None:
    """Write arguments as JSON, and have them shown in the form."""
    page.get_by_role("button", name="As JSON").click()
    page.get_by_label("Arguments as JSON").fill(text)
    page.get_by_role("button", name="As form").click()


def test_what_may_be_left_out_is_only_there_from_when_it_is_added(visit: Open) -> None:
    page = visit("/#/tools/odd__order")
    add, remove = page.get_by_role("button", name="Add address"), page.get_by_role("button", name="Remove address")
    page.get_by_label("name", exact=True).press_sequentially("Ada")
    page.keyboard.press("Tab")
    expect(add).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("street", exact=True)).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("This is needed.").first).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(remove).to_be_focused()
    page.keyboard.press("Enter")
    expect(add).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("At least 1 of them.")).to_be_visible()
    expect(page.get_by_role("button", name="Add to items")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("k1")
    deeper = page.get_by_role("button", name="Add part")
    for name in ("k2", "k3"):
        expect(deeper).to_have_count(1)
        deeper.press("Enter")
        page.keyboard.type(name)
    page.keyboard.press("Control+Enter")
    expect(result(page)).to_contain_text("OK")
    parts = {"sku": "k1", "qty": 1, "part": {"sku": "k2", "qty": 1, "part": {"sku": "k3", "qty": 1}}}
    assert given(page) == {"user": {"name": "Ada"}, "items": [parts]}


def test_what_the_form_can_not_show_stays_json_and_nothing_gets_lost(visit: Open) -> None:
    page = visit("/#/tools/odd__loose")
    expect(page.locator("form .need")).to_have_count(1)
    expect(page.locator("form .name", has_text="id")).to_have_count(1)
    text, problem = page.get_by_label("Arguments as JSON"), page.locator("form .error:visible")
    for wrong, why in (('{"maybe": 5}', "/maybe is no text"), ('{"id": 1, "more": [1.0]}', "/more has no field")):
        write_json(page, wrong)
        expect(problem).to_contain_text(f"The form can't show this: {why}")
        expect(text).to_have_value(wrong)
        text.fill('{"id": 1}')
        page.get_by_role("button", name="As form").click()
        expect(text).to_be_hidden()
    exact = '{"id":12345678901234567890,"maybe":null,"size":1.50e2,"note":"","flag":false}'
    write_json(page, exact)
    run(page)
    expect(result(page).get_by_role("group", name="Structured value")).to_contain_text("id: 12345678901234567890")
    page.get_by_role("button", name="As JSON").click()
    assert "".join(text.input_value().split()) == exact
    text.fill('{"id": "a"}')
    page.get_by_role("button", name="As form").click()
    page.get_by_role("button", name="As JSON").click()
    assert json.loads(text.input_value()) == {"id": "a"}


def test_null_and_the_empty_text_can_be_given(visit: Open) -> None:
    page = visit("/#/tools/odd__loose")
    page.get_by_role("button", name="As JSON").click()
    begun = page.get_by_label("Arguments as JSON").input_value()
    assert json.loads(begun) == {"size": None, "note": "", "flag": True}
    page.get_by_role("button", name="As form").click()
    page.get_by_label("id", exact=True).first.select_option("integer")
    page.get_by_label("id", exact=True).last.fill("0.0")
    expect(page.get_by_label("note", exact=True)).to_have_attribute("placeholder", "empty text")
    expect(page.get_by_label("null for size")).to_be_checked()
    page.get_by_label("maybe", exact=True).fill("x")
    page.get_by_label("null for maybe").check()
    expect(page.get_by_label("maybe", exact=True)).to_have_value("")
    run(page)
    expect(result(page).get_by_role("group", name="Structured value")).to_contain_text("id: 0.0")
    assert given(page) == {"id": 0, "maybe": None, "size": None, "note": "", "flag": True}
    page.get_by_label("size", exact=True).fill("7")
    expect(page.get_by_label("null for size")).not_to_be_checked()


def test_arguments_that_do_not_fit_are_told_of_before_the_server_gets_them(visit: Open) -> None:
    page = visit("/#/tools/odd__counts")
    doubts = page.get_by_role("alert")
    field = page.get_by_label("Arguments", exact=True)
    expect(page.locator("form .need")).to_have_count(0)
    field.fill('{"one": 1, "two": "x", "three": 1.5}')
    page.keyboard.press("Control+Enter")
    expect(doubts).to_contain_text("/two has to be a whole number")
    expect(doubts).to_contain_text("/three has to be a whole number")
    expect(doubts).not_to_contain_text("/one")
    expect(result(page)).to_be_hidden()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Run anyway")).to_be_focused()
    page.keyboard.press("Enter")
    expect(result(page)).to_contain_text("OK")
    expect(doubts).to_be_hidden()
    page.goto(page.url.partition("#")[0] + "#/tools/odd__either")
    run(page)
    expect(page.get_by_text("This is needed.").first).to_be_visible()
    page.get_by_role("button", name="As JSON").click()
    run(page)
    expect(doubts).to_contain_text("fits none of the 2 kinds: /left is needed; or /right is needed")
    page.get_by_label("Arguments as JSON").fill('{"right": "y"}')
    expect(doubts).to_be_hidden()
    page.get_by_role("button", name="As form").click()
    expect(page.get_by_label("right", exact=True)).to_have_value("y")
    page.keyboard.press("Control+Enter")
    expect(result(page)).to_contain_text('right: "y"')


def test_long_lists_of_tools_show_what_is_chosen_and_hide_nothing_without_saying_so(visit: Open) -> None:
    page = visit(f"/#/tools/odd__{'long_' * 9}20")
    chosen = page.locator(".tool-list [aria-current]")
    expect(chosen).to_be_visible()
    # Asked in the page until it holds: while the lists arrive the link is drawn anew, and one asked for may be gone.
    page.wait_for_function(
        "() => { const link = document.querySelector('.tool-list [aria-current]'); return link &&"
        " link.closest('.tool-list').getBoundingClientRect().bottom - link.getBoundingClientRect().bottom >= 24 }"
    )
    page.wait_for_function(
        "() => { const link = document.querySelector('.tool-list [aria-current]'), list = link?.closest('.tool-list');"
        " const headings = [...list?.querySelectorAll('.group-name') ?? []];"
        " const heading = headings.find((each) => each.textContent.includes('odd'));"
        " list?.scrollTo(0, list.scrollHeight); link?.focus();"
        " return heading && link.getBoundingClientRect().top >= heading.getBoundingClientRect().bottom }"
    )
    page.goto(page.url.partition("#")[0] + "#/servers/odd")
    chips = page.locator(".chip")
    expect(chips).to_have_count(40)
    assert page.locator(".chips").evaluate("list => list.scrollHeight <= list.clientHeight")
    page.get_by_role("button", name=f"All {len(ODD)}").click()
    expect(chips).to_have_count(len(ODD))
    page.goto(page.url.partition("#")[0] + "#/servers/gone")
    expect(page.get_by_text("No calls yet")).to_have_text("No calls yet.")
    page.goto(page.url.partition("#")[0] + "#/servers")
    ready = page.locator(".tiles > div").first
    expect(ready.locator(".bad-ink")).to_have_text("· 1 down")
    expect(ready.locator(".figure")).to_have_class("figure ")


def test_prompts_are_got_and_resources_are_read(visit: Open) -> None:
    page = visit("/#/prompts")
    page.get_by_label("Filter prompts").fill("args")
    page.locator(".tool-list").get_by_role("link").click()
    expect(page.locator(".tool-head")).to_contain_text("every__args-prompt of every")
    page.get_by_role("button", name="Get", exact=True).click()
    expect(page.get_by_label("city")).to_be_focused()
    page.get_by_label("city").fill("Rome")
    page.get_by_role("button", name="Get", exact=True).click()
    expect(result(page)).to_contain_text("What's weather in Rome?")
    page.goto(page.url.partition("#")[0] + "#/resources")
    page.locator(".tool-list").get_by_role("link", name="Dynamic Text Resource").click()
    page.get_by_label("URI").fill("demo://resource/dynamic/text/7")
    page.get_by_role("button", name="Read").click()
    expect(result(page)).to_contain_text("Resource 7: This is a plaintext resource")
    page.get_by_label("URI").fill("demo://resource/dynamic/text/none")
    page.get_by_role("button", name="Read").click()
    expect(result(page)).to_contain_text("JSON-RPC error")


QUESTION = {
    "message": "Who are you?",
    "requestedSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "as people call you"},
            "size": {"type": "string", "enum": ["small", "large"]},
            "old": {"type": "boolean", "default": True},
        },
        "required": ["name"],
    },
}
ADDRESS = {"mode": "url", "message": "Sign in there", "url": "javascript:window.hacked=1", "elicitationId": "1"}


def be_asked(page: Page, params: dict[str, Any]) -> Locator:
    """The dialog with what a server asks."""
    page.get_by_label("Arguments", exact=True).fill(json.dumps({"method": "elicitation/create", "params": params}))
    run(page)
    return page.get_by_role("dialog", name="A server asks you")


def test_what_a_server_asks_is_asked_in_a_dialog(visit: Open) -> None:
    page = visit("/#/tools/curious__ask")
    dialog = be_asked(page, QUESTION)
    expect(dialog).to_contain_text("curious__ask")
    expect(dialog.get_by_label("name")).to_be_focused()
    dialog.get_by_role("button", name="Send").click()
    expect(dialog.get_by_text("This is needed.")).to_be_visible()
    dialog.get_by_label("name").fill("Ada")
    dialog.get_by_label("size").select_option("small")
    dialog.get_by_role("button", name="Send").click()
    expect(result(page)).to_contain_text('action: "accept"')
    expect(result(page)).to_contain_text('name: "Ada"size: "small"old: true')
    be_asked(page, QUESTION).get_by_role("button", name="Decline").click()
    expect(result(page)).to_contain_text('action: "decline"')
    dialog = be_asked(page, ADDRESS)
    expect(dialog).to_contain_text("javascript:window.hacked=1")
    expect(dialog.get_by_role("link")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(result(page)).to_contain_text('action: "cancel"')


def test_a_tool_that_a_server_learns_is_in_the_list_at_once(visit: Open) -> None:
    page = visit("/#/tools/curious__learn")
    page.get_by_label("Arguments", exact=True).fill('{"name": "knit"}')
    run(page)
    expect(page.locator(".tool-list").get_by_role("link", name="knit")).to_be_visible()


def test_what_hostile_servers_say_stays_text(visit: Open) -> None:
    page = visit("/#/servers/hostile")
    expect(page.locator(".facts", has_text="Version").last).to_contain_text("name <img src=x")
    page.goto(page.url.partition("#")[0] + "#/tools/hostile__markup")
    expect(page.locator(".tool-title")).to_contain_text("<b class=evil>bold</b>")
    page.get_by_label("nothing").fill("0")
    page.get_by_role("button", name="Add deep").click()
    expect(page.get_by_role("button", name="Add deep")).to_have_count(1)
    page.get_by_role("button", name="Remove deep").click()
    run(page)
    shown = result(page)
    expect(shown).to_contain_text("javascript:window.hacked")
    expect(shown).to_contain_text("123456789012345678901234567890")
    expect(shown).to_contain_text("An image of type text/html, which is not shown")
    links = shown.locator("a").evaluate_all("found => found.map((link) => [link.href, link.rel, link.target])")
    assert links == [["https://example.com/a", "noopener noreferrer", "_blank"]]
    sources = page.locator("img").evaluate_all("found => found.map((image) => image.getAttribute('src'))")
    assert [source[:20] for source in sources if source != "page/icon.svg"] == ["data:image/svg+xml;b"]
    page.locator(".schema summary").first.click()
    page.goto(page.url.partition("#")[0] + "#/prompts/hostile__words")
    page.get_by_role("button", name="Get", exact=True).click()
    expect(result(page)).to_contain_text("<b class=evil>bold</b>")
    page.goto(page.url.partition("#")[0] + "#/resources/" + quote("javascript:window.hacked='link'"))
    page.get_by_role("button", name="Read", exact=True).click()
    expect(result(page)).to_contain_text("<b class=evil>bold</b>")
    expect(page.locator(".tool-place a[href^=javascript]")).to_have_count(0)
    page.goto(page.url.partition("#")[0] + "#/servers/hostile")
    expect(page.get_by_role("log")).to_contain_text("printed <img")
    assert page.locator(".evil, script:not([src])").count() == 0
    assert page.evaluate("[typeof window.hacked, typeof {}.evil]") == ["undefined", "undefined"]


# For everyone


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


def test_it_is_dark_where_the_system_is_or_where_it_is_chosen_and_stays_so(visit: Open) -> None:
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert background(dark) == "rgb(14, 16, 20)"
    before = background(light)
    assert before == "rgb(247, 248, 250)"
    light.get_by_role("radio", name="Dark").check(force=True)
    assert background(light) == background(dark)
    light.reload()
    assert background(light) == background(dark)
    light.get_by_role("radio", name="System").check(force=True)
    assert background(light) == before


def test_nobody_is_kept_out(visitors: Visitors) -> None:
    page = visitors.open("/#/tools", bypass_csp=True)
    page.add_script_tag(path=AXE)
    found = []
    tools = [f"/tools/{name}" for name in ("every__get-sum", "odd__order", "odd__loose")]
    for view in [
        *tools,
        "/tools",
        "/prompts/every__args-prompt",
        "/resources",
        "/calls",
        "/servers",
        "/servers/gone",
        "/servers/fragile",
    ]:
        page.goto(f"{visitors.hub.url}/#{view}")
        expect(page.locator(".chips li, tr.call, .tool-list a, tr.link").first).to_be_visible()
        if view.endswith("get-sum"):
            page.get_by_label("a", exact=True).fill("1")
            page.get_by_label("b", exact=True).fill("1")
            run(page)
            expect(result(page)).to_contain_text("OK")
            page.get_by_label("b", exact=True).fill("x")
            run(page)
            expect(page.get_by_text("This is no number.")).to_be_visible()
        if view.endswith("order"):
            page.get_by_role("button", name="Add address").click()
            page.get_by_role("button", name="Add to items").click()
        if view.endswith("loose"):
            write_json(page, '{"maybe": 5}')
            run(page)
            expect(page.get_by_role("alert")).to_be_visible()
        if view == "/calls":
            page.locator("tr.call button").first.click()
        found += problems(page, view)
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    found += problems(page, "narrow")
    door = visitors.open(token="", bypass_csp=True)
    visitors.expected = ["401 (Unauthorized)"]
    expect(door.get_by_label("paste the token")).to_be_visible()
    door.add_script_tag(path=AXE)
    found += problems(door, "sign in")
    assert found == []


def problems(page: Page, view: str) -> list[str]:
    """What axe finds serious; in the dark only colours are others. The list of tools beside a tool was looked at."""
    found: list[str] = []
    for scheme, rules in (("dark", {"runOnly": ["color-contrast"]}), ("light", {})):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        where = ".tool-place" if "/odd__" in view else "html"
        run = "([where, rules]) => axe.run(where, {resultTypes: ['violations'], ...rules})"
        answer = page.evaluate(run, [where, rules])
        found += [
            f"{view}, {scheme}: {rule['id']}: {node['html'][:200]} {node['failureSummary'][:200]}"
            for rule in answer["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
    return found


def test_all_of_it_can_be_reached_by_keyboard(visit: Open) -> None:
    page = visit("/#/servers")
    expect(row(page, "every")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(row(page, "every").get_by_role("link")).to_be_focused()
    page.keyboard.press("Tab")
    expect(row(page, "every").get_by_role("button", name="Restart every")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="every", level=1)).to_be_focused()


@contextlib.contextmanager
def again(hub: Hub, config: Path) -> Iterator[None]:
    """The hub, once more at the same address."""
    child = ChildWire([*SERVE[: SERVE.index("--port")], "--port", str(urlsplit(hub.url).port), "--config", str(config)])
    child.open(lambda line: None)
    try:
        yield
    finally:
        child.close()


def test_a_hub_that_was_gone_is_found_again_and_one_with_a_new_token_asks_for_it(
    browser: Browser, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"fragile": sample("fragile")})
    with serving(config) as hub:
        expected = ["WebSocket connection", "ERR_CONNECTION_REFUSED", "401 (Unauthorized)"]
        visitors = Visitors(browser, hub, expected=expected)
        page = visitors.open()
        expect(row(page, "fragile")).to_contain_text("Ready")
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Disconnected from the hub")
    expect(page.locator(".link-state")).to_have_text("Disconnected")
    with again(hub, config):
        expect(page.locator(".link-state")).to_have_text("Live")
        expect(banner).to_be_hidden()
        expect(row(page, "fragile")).to_contain_text(re.compile("Ready|Asleep"))
    token_file(tmp_path / "state").unlink()
    with again(hub, config):
        expect(page.get_by_role("alert")).to_contain_text("token has changed since you signed in")
        expect(page.locator("#app")).to_be_hidden()
        visitors.close()
