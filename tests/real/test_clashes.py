"""Two servers that have the same: each stays reachable as a whole, and nothing of one is taken for the other's."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import able, servers
from tests.support.client import ChildWire, RawClient, connected
from tests.support.commands import apart
from tests.support.manifold import Manifold, running, tools_until, write_config
from tests.support.message import Message
from tests.support.processes import eventually

LAST_TOOL = "trigger-url-elicitation"
CLOCK = re.compile(r"\d+:\d\d:\d\d [AP]M")
BOTH = ("one", "two")


@dataclass(frozen=True)
class Twins:
    """`everything` twice behind one proxy."""

    hub: Manifold
    config: Path


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    config = write_config(tmp_path_factory.mktemp("twins"), {key: servers.everything() for key in BOTH})
    with running(config, handshake=False) as hub:
        able.introduce(hub)
        tools_until(hub, {f"{key}__{LAST_TOOL}" for key in BOTH})
        yield Twins(hub, config)


def clashing(uri: str, key: str) -> str:
    """What clients know a URI of `everything` by."""
    return uri if key == "one" else uri.replace("demo://", "demo://~two/")


def text_of(answer: Message) -> str:
    return str(answer.result["content"][0]["text"])


# Questions


def test_two_forms_at_once_name_their_servers_and_each_answer_reaches_its_own(twins: Twins) -> None:
    hub = twins.hub
    hub.will_answer("elicitation/create", lambda _: None)
    asked: dict[str, Message] = {}
    calls = {key: hub.start_call(f"{key}__trigger-elicitation-request") for key in BOTH}
    for key in BOTH:
        asked[key] = hub.wait_for(
            lambda m, key=key: m.method == "elicitation/create" and m.params["message"].startswith(f"{key}: "),  # type: ignore[misc]
            f"a question of {key}",
        )
    for key in reversed(BOTH):
        hub.respond(asked[key], {"action": "accept", "content": {"name": f"for {key}"}})
        assert f"for {key}" in hub.wait(calls[key]).result["content"][1]["text"]
    assert len(hub.questions("elicitation/create")) == 2


def test_many_samplings_at_once_each_get_their_own_text(twins: Twins) -> None:
    calls = {
        (key, number): twins.hub.start_call(f"{key}__trigger-sampling-request", {"prompt": f"{number} of {key}."})
        for number in range(20)
        for key in BOTH
    }
    for (key, number), call in calls.items():
        assert f'context: {number} of {key}."' in text_of(twins.hub.wait(call))


def test_both_know_the_roots(twins: Twins) -> None:
    for key in BOTH:
        assert "file:///home/ada" in text_of(twins.hub.call(f"{key}__get-roots-list"))


def test_log_messages_name_their_server(twins: Twins) -> None:
    for key in BOTH:
        since = len(twins.hub.messages)
        uri = clashing("demo://resource/dynamic/text/1", key)
        twins.hub.request("resources/subscribe", {"uri": uri})
        logged = twins.hub.wait_for_notification("notifications/message", since=since).params
        assert logged["logger"] == key
        assert "URI: demo://resource/dynamic/text/1" in logged["data"], "the server's own words are not touched"
        twins.hub.request("resources/unsubscribe", {"uri": uri})


# Resources


def test_all_resources_of_both_are_listed_and_read(twins: Twins) -> None:
    listed = [one["uri"] for one in twins.hub.request("resources/list").result["resources"]]
    own = [uri for uri in listed if "~two" not in uri]
    assert listed == [clashing(uri, key) for key in BOTH for uri in own]
    assert len(own) > 5
    for uri in own:
        one, two = (
            [*twins.hub.request("resources/read", {"uri": clashing(uri, key)}).result["contents"]] for key in BOTH
        )
        assert [content["uri"] for content in one + two] == [uri, clashing(uri, "two")]
        assert one[0]["text"] == two[0]["text"]


def test_what_templates_of_both_make_is_read(twins: Twins) -> None:
    listed = [one["uriTemplate"] for one in twins.hub.request("resources/templates/list").result["resourceTemplates"]]
    assert listed == [
        clashing(f"demo://resource/dynamic/{kind}/{{resourceId}}", key) for key in BOTH for kind in ("text", "blob")
    ]
    for template in listed:
        uri = template.replace("{resourceId}", "7")
        [content] = twins.hub.request("resources/read", {"uri": uri}).result["contents"]
        assert content["uri"] == uri


@pytest.mark.parametrize("key", BOTH)
def test_uris_within_results_are_those_that_can_be_read(key: str, twins: Twins) -> None:
    hub = twins.hub
    links = hub.call(f"{key}__get-resource-links", {"count": 2}).result["content"][1:]
    inside = hub.call(f"{key}__get-resource-reference", {"resourceType": "Text", "resourceId": 3}).result["content"][1]
    params = {"name": f"{key}__resource-prompt", "arguments": {"resourceType": "Text", "resourceId": "4"}}
    prompt = hub.request("prompts/get", params).result["messages"][1]["content"]
    uris = [*(link["uri"] for link in links), inside["resource"]["uri"], prompt["resource"]["uri"]]
    assert uris == [
        clashing(f"demo://resource/dynamic/{path}", key) for path in ("blob/1", "text/2", "text/3", "text/4")
    ]
    for uri in uris:
        assert hub.request("resources/read", {"uri": uri}).result["contents"][0]["uri"] == uri


def test_updates_come_under_the_uri_that_was_subscribed_to(twins: Twins) -> None:
    hub, own = twins.hub, "demo://resource/dynamic/text/5"
    for key in BOTH:
        assert hub.request("resources/subscribe", {"uri": clashing(own, key)}).result == {}
    for key in reversed(BOTH):
        since = len(hub.messages)
        hub.call(f"{key}__toggle-subscriber-updates")
        told = hub.wait_for_notification("notifications/resources/updated", since=since)
        assert told.params == {"uri": clashing(own, key)}
        hub.call(f"{key}__toggle-subscriber-updates")
    for key in BOTH:
        hub.request("resources/unsubscribe", {"uri": clashing(own, key)})


@pytest.mark.parametrize("key", BOTH)
def test_completions_know_both_templates_and_both_prompts(key: str, twins: Twins) -> None:
    template = clashing("demo://resource/dynamic/text/{resourceId}", key)
    for ref, name, value, values in (
        ({"type": "ref/resource", "uri": template}, "resourceId", "3", ["3"]),
        ({"type": "ref/prompt", "name": f"{key}__completable-prompt"}, "department", "M", ["Marketing"]),
    ):
        params = {"ref": ref, "argument": {"name": name, "value": value}}
        assert twins.hub.request("completion/complete", params).result["completion"]["values"] == values


def test_what_both_make_under_one_name_are_two_resources(twins: Twins) -> None:
    hub = twins.hub
    own = "demo://resource/session/same.gz"
    for key in BOTH:
        link = {"name": "same.gz", "data": f"data:text/plain,of%20{key}", "outputType": "resourceLink"}
        hub.call(f"{key}__gzip-file-as-resource", link)
    wanted = {clashing(own, key) for key in BOTH}

    def listed() -> set[str]:
        return {one["uri"] for one in hub.request("resources/list").result["resources"]}

    eventually(lambda: wanted <= listed(), listed)
    blobs = [hub.request("resources/read", {"uri": clashing(own, key)}).result["contents"][0]["blob"] for key in BOTH]
    assert blobs[0] != blobs[1]


def test_check_tells_which_uris_are_others(twins: Twins) -> None:
    done = apart(["check", "--config", twins.config, "--json"])
    assert done.code == 0
    reports = {report["server"]: report for report in json.loads(done.out)["servers"]}
    assert reports["one"]["derived"] == []
    derived = {found["own"]: found for found in reports["two"]["derived"]}
    assert len(derived) == 7 + 2
    template = derived["demo://resource/dynamic/text/{resourceId}"]
    assert (template["kind"], template["first"]) == ("templates", "one")
    assert template["public"] == "demo://~two/resource/dynamic/text/{resourceId}"
    lines = apart(["check", "--config", twins.config]).out.decode()
    assert "demo://~two/resource/static/document/features.md" in "".join(lines.split())


# MCP Apps


def test_each_app_gets_its_own_page_though_both_have_one_uri(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {key: servers.script("app.py", f"this is {key}") for key in BOTH})) as hub:
        tools = tools_until(hub, {f"{key}__show" for key in BOTH})
        pages = {}
        for key in BOTH:
            meta = json.loads(tools[f"{key}__show"])["_meta"]
            uri = meta["ui"]["resourceUri"]
            assert uri.startswith("ui://"), "hosts know pages by their scheme"
            assert meta == {"ui": {"resourceUri": uri, "visibility": ["model"]}, "ui/resourceUri": uri}
            [content] = hub.request("resources/read", {"uri": uri}).result["contents"]
            assert content == {"uri": uri, "mimeType": "text/html;profile=mcp-app", "text": f"<p>this is {key}</p>"}
            [link] = hub.call(f"{key}__show").result["content"]
            assert link["uri"] == uri
            pages[key] = uri
        assert pages["one"] == "ui://panel/main.html" != pages["two"]
        assert [one["uri"] for one in hub.request("resources/list").result["resources"]] == list(pages.values())


# Tasks


def test_tasks_of_two_servers_with_one_id_go_their_own_ways(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {key: servers.script("tasking.py", key) for key in BOTH})) as hub:
        tools_until(hub, {f"{key}__work" for key in BOTH})
        begun = {
            key: hub.request("tools/call", {"name": f"{key}__work", "arguments": {}, "task": {}}).result["task"]
            for key in BOTH
        }
        ids = {key: task["taskId"] for key, task in begun.items()}
        assert ids["one"] == "task-1" != ids["two"]
        for key, id in ids.items():
            assert hub.request("tasks/get", {"taskId": id}).result == begun[key]
        listed = hub.request("tasks/list").result["tasks"]
        assert {(task["taskId"], task["statusMessage"]) for task in listed} == {(ids[key], key) for key in BOTH}
        waiting = {key: hub.start("tasks/result", {"taskId": ids[key]}) for key in BOTH}
        hub.call("two__finish", {"task": 1})
        answer = hub.wait(waiting["two"])
        assert text_of(answer) == "two is through"
        assert answer.result["_meta"] == {"io.modelcontextprotocol/related-task": {"taskId": ids["two"]}}
        assert hub.request("tasks/get", {"taskId": ids["one"]}).result["status"] == "working"
        cancelled = hub.request("tasks/cancel", {"taskId": ids["one"]})
        assert cancelled.result == {**begun["one"], "status": "cancelled"}
        assert hub.wait(waiting["one"]).error["message"] == "one was told to stop"
        told = [m.params for m in hub.notifications("notifications/tasks/status")]
        assert [(one["taskId"], one["status"]) for one in told] == [
            (ids["two"], "completed"),
            (ids["one"], "cancelled"),
        ]


# Roots


def test_the_clients_roots_decide_what_filesystem_may_touch(tmp_path: Path) -> None:
    configured, first, second = (tmp_path / name for name in ("configured", "first", "second"))
    for folder in (configured, first, second):
        folder.mkdir()
        (folder / "note.txt").write_text(folder.name)
    entry = servers.filesystem(configured)
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(running(write_config(tmp_path / "hub", {"files": entry}), handshake=False))
        direct = stack.enter_context(connected(ChildWire(servers.command_of(entry))))
        for client, prefix in ((direct, ""), (hub, "files__")):
            client.will_answer("roots/list", rooted(first))
            client.initialize(capabilities={"roots": {"listChanged": True}})
            assert_only_one_allowed(client, prefix, first, not_any_more=configured)
            client.will_answer("roots/list", rooted(second))
            client.notify("notifications/roots/list_changed")
            assert_only_one_allowed(client, prefix, second, not_any_more=first)


def rooted(folder: Path) -> dict[str, Any]:
    return {"roots": [{"uri": folder.as_uri(), "name": folder.name}]}


def assert_only_one_allowed(client: RawClient, prefix: str, folder: Path, *, not_any_more: Path) -> None:
    """Once the server has asked for the roots, which it tells nobody."""

    def allowed() -> str:
        return text_of(client.call(f"{prefix}list_allowed_directories"))

    eventually(lambda: allowed() == f"Allowed directories:\n{folder}", allowed)
    read = client.call(f"{prefix}read_text_file", {"path": str(folder / "note.txt")})
    assert text_of(read) == folder.name
    assert client.call(f"{prefix}read_text_file", {"path": str(not_any_more / "note.txt")}).result["isError"]
