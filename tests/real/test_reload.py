"""The configuration changes while the proxy runs: what it says is what runs, and nothing else is touched."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.commands import python
from tests.support.manifold import Manifold, running, tools_until, write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left
from tests.support.servers import Entry

READ = "was read again: "
CHANGES = [f"notifications/{kind}/list_changed" for kind in ("prompts", "resources", "tools")]
LEAKY = "import os, sys; sys.exit('refused: ' + os.environ['KEY'])"


class Place:
    """A configuration file, with its log beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "hub.log"
        self.proxy = {"log": {"file": str(self.log), "level": "debug"}}

    def write(self, entries: dict[str, Entry]) -> Path:
        """Into the file itself, as an editor may do."""
        return write_config(self.folder, entries, **self.proxy)

    def replace(self, entries: dict[str, Entry]) -> None:
        """By another file under its name, as other editors do."""
        self._elsewhere(entries).replace(self.folder / "manifold.json")

    def give(self, entries: dict[str, Entry]) -> None:
        """To whoever reads it, where it is a pipe."""
        feed(self.folder / "manifold.json", self._elsewhere(entries).read_bytes())

    def _elsewhere(self, entries: dict[str, Entry]) -> Path:
        return write_config(self.folder / "new", entries, **{**self.proxy, "stateDir": str(self.folder / "state")})

    def lines(self, text: str) -> list[dict[str, Any]]:
        """The log's lines that hold this."""
        found = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        return [json.loads(line) for line in found if text in line]

    def logged(self, text: str, times: int = 1) -> dict[str, Any]:
        """Wait until a line with this text is there, so many times; the last of them."""
        eventually(lambda: len(self.lines(text)) >= times, lambda: f"no {text!r} in\n{self.log.read_text()[-3000:]}")
        return self.lines(text)[-1]


def feed(pipe: Path, data: bytes) -> None:
    """Write a few bytes to a FIFO, once somebody reads it."""
    opened: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # nobody yet
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    eventually(is_read, f"nobody reads {pipe}")
    os.write(opened[0], data)
    os.close(opened[0])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def full(key: str, mark: dict[str, str], **more: Any) -> Entry:
    return servers.script("full.py", key) | {"env": mark, **more}


@contextlib.contextmanager
def four() -> Iterator[dict[str, dict[str, str]]]:
    """A mark for each of four servers; nothing that carries one is left."""
    marks = {key: new_mark() for key in ("same", "changed", "removed", "added")}
    with nothing_left(*marks.values()):
        yield marks


def pid_of(mark: dict[str, str]) -> int:
    [pid] = marked(mark)
    return pid


def see_all(hub: Manifold) -> dict[str, list[str]]:
    """All lists, so that the client is told when one of them changes."""
    return {
        "tools": list(hub.tools()),
        "prompts": [one["name"] for one in hub.request("prompts/list").result["prompts"]],
        "resources": [one["uri"] for one in hub.request("resources/list").result["resources"]],
    }


def changes_told(hub: Manifold) -> list[str]:
    return sorted(m.method for m in hub.messages if m.method is not None and m.method.endswith("list_changed"))


def in_place(place: Place, entries: dict[str, Entry], hub: Manifold) -> None:
    place.write(entries)


def by_rename(place: Place, entries: dict[str, Entry], hub: Manifold) -> None:
    place.replace(entries)


@pytest.mark.parametrize("change", [in_place, by_rename])
def test_exactly_what_changed_is_started_stopped_or_restarted(
    change: Callable[[Place, dict[str, Entry], Manifold], None], place: Place
) -> None:
    with four() as marks:
        before = {key: full(key, marks[key]) for key in ("same", "changed", "removed")}
        with running(place.write(before)) as hub:
            tools_until(hub, {f"{key}__pid" for key in before})
            place.logged('"kind":"resources"', times=3)
            see_all(hub)
            pids = {key: pid_of(marks[key]) for key in before}
            after = {
                "added": full("added", marks["added"]),
                "same": before["same"],
                "changed": full("changed", marks["changed"], callTimeout=7),
            }
            change(place, after, hub)
            assert place.logged(READ)["text"].endswith("started added; restarted changed; stopped removed")
            for method in CHANGES:
                hub.wait_for_notification(method)
            assert see_all(hub) == {
                "tools": [f"{key}__{tool}" for key in after for tool in ("pid", "wait")],
                "prompts": [f"{key}__{key}" for key in after],
                "resources": [f"full://{key}" for key in after],
            }
            for key in after:
                assert hub.call(f"{key}__pid").result["content"][0]["text"] == str(pid_of(marks[key]))
            assert pid_of(marks["same"]) == pids["same"]
            assert pid_of(marks["changed"]) != pids["changed"]
            eventually(lambda: not marked(marks["removed"]), lambda: marked(marks["removed"]))
            place.logged('"kind":"resources"', times=5)
            hub.request("ping")
            assert changes_told(hub) == CHANGES, "each kind is told once"
            assert len(place.lines(READ)) == 1


def test_sighup_reads_a_file_that_cannot_be_watched(place: Place) -> None:
    """Here it is a pipe, whose content comes when somebody reads."""
    with four() as marks:
        one, two = ({key: full(key, marks[key])} for key in ("same", "added"))
        config = place.write(one)
        config.unlink()
        os.mkfifo(config)
        with running(config, handshake=False) as hub:
            place.give(one)
            hub.initialize()
            tools_until(hub, {"same__pid"})
            pid = pid_of(marks["same"])
            os.kill(hub.pid, signal.SIGHUP)
            place.give(one | two)
            tools_until(hub, {"same__pid", "added__pid"})
            assert pid_of(marks["same"]) == pid
            os.kill(hub.pid, signal.SIGHUP)
            place.give(one | two)
            assert "nothing changed" in place.logged("nothing changed")["text"]


def test_calls_in_flight_go_on_or_fail_with_their_server(place: Place) -> None:
    gate = place.folder / "gate"
    os.mkfifo(gate)
    with four() as marks:
        before = {key: full(key, marks[key]) for key in ("same", "changed", "removed")}
        with running(place.write(before)) as hub:
            tools_until(hub, {f"{key}__wait" for key in before})
            calls = {key: hub.start_call(f"{key}__wait", {"gate": str(gate)}) for key in before}
            hub.request("ping")
            since = len(hub.messages)
            place.write({"same": before["same"], "changed": full("changed", marks["changed"], callTimeout=7)})
            for key, why in (("removed", "no longer in the configuration"), ("changed", "configuration changed")):
                error = hub.wait(calls[key]).error
                assert why in error["message"]
                assert error["data"] | {"server": key, "origin": "mcp-manifold", "delivered": "maybe"} == error["data"]
            hub.request("ping")
            assert not [m for m in hub.messages if m.id == calls["same"] and m.method is None]
            feed(gate, b"open")
            assert hub.wait(calls["same"]).result["content"][0]["text"] == "the gate is open"
            hub.wait_for_notification("notifications/tools/list_changed", since=since)
            assert "unknown tool" in hub.call("removed__pid").error["message"]


def test_what_a_removed_server_asked_is_withdrawn(place: Place) -> None:
    with running(place.write({"everything": servers.everything()}), handshake=False) as hub:
        hub.will_answer("elicitation/create", lambda _: None)
        hub.initialize(capabilities={"elicitation": {"form": {}}})
        tools_until(hub, {"everything__trigger-elicitation-request"})
        call = hub.start_call("everything__trigger-elicitation-request")
        question = hub.wait_for_question("elicitation/create")
        place.write({})
        withdrawn = hub.wait_for_notification("notifications/cancelled")
        assert json.dumps(withdrawn.params["requestId"]).encode() == question.id
        assert "no longer in the configuration" in hub.wait(call).error["message"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"mcpServers": {"same": {"command": "x", "env": {"KEY": "s3cr3t-value"}}, }', "line 1"),
        ('{"mcpServers": {"same": {"comand": "x", "env": {"KEY": "s3cr3t-value"}}}}', "comand"),
        ('{"mcpServers": {"same": {"command": "x", "env": {"KEY": ["s3cr3t-value"]}}}}', "KEY"),
        ("", "manifold.json"),
    ],
)
def test_a_file_that_is_not_valid_changes_nothing_and_is_told_in_the_log(content: str, says: str, place: Place) -> None:
    with four() as marks:
        entries = {"same": full("same", marks["same"])}
        config = place.write(entries)
        with running(config) as hub:
            tools = tools_until(hub, {"same__pid"})
            pid = pid_of(marks["same"])
            config.write_text(content)
            assert says in place.logged("the configuration stays as it was")["text"]
            assert hub.tools() == tools
            assert hub.call("same__pid").result["content"][0]["text"] == str(pid)
            place.write(entries | {"added": full("added", marks["added"])})
            tools_until(hub, {"same__pid", "added__pid"})
            assert pid_of(marks["same"]) == pid
            assert changes_told(hub) == ["notifications/tools/list_changed"]
        assert "s3cr3t-value" not in place.log.read_text()


def test_a_secret_that_came_with_a_reload_is_shown_nowhere(place: Place) -> None:
    with four() as marks:
        same = full("same", marks["same"])
        with running(place.write({"same": same}), env={"TOKEN": "from-outside-7"}) as hub:
            tools_until(hub, {"same__pid"})
            place.write({"same": same, "leaky": python(LEAKY, env={"KEY": "s3cr3t ${TOKEN}"})})
            line = place.logged('"new":"backoff"')
            assert line["server"] == "leaky"
            assert "refused: ***" in line["reason"]
            place.logged('"new":"failed"')
            error = hub.call("leaky__anything").error
            for text in (json.dumps(error), place.log.read_text(), hub.child.stderr()):
                assert "s3cr3t" not in text
                assert "from-outside-7" not in text


def test_a_reload_before_the_client_has_come_is_what_it_finds(place: Place) -> None:
    with four() as marks:
        before = {key: full(key, marks[key]) for key in ("same", "removed")}
        with running(place.write(before), handshake=False) as hub:
            eventually(lambda: all(marked(marks[key]) for key in before), "servers boot before there is a client")
            pid = pid_of(marks["same"])
            place.write({"same": before["same"], "added": full("added", marks["added"])})
            place.logged(READ)
            eventually(lambda: not marked(marks["removed"]), lambda: marked(marks["removed"]))
            hub.initialize()
            assert set(hub.tools()) == {f"{key}__{tool}" for key in ("same", "added") for tool in ("pid", "wait")}
            assert pid_of(marks["same"]) == pid
            assert changes_told(hub) == []


@pytest.mark.parametrize("moment", ["at once", "when servers are started", "with signals"])
def test_a_change_in_the_first_moments_is_not_missed(moment: str, place: Place) -> None:
    with four() as marks, running(place.write({"removed": full("removed", marks["removed"])}), handshake=False) as hub:
        if moment != "at once":
            eventually(lambda: bool(marked(marks["removed"])), "it is started")
        place.replace({"added": full("added", marks["added"])})
        for _ in range(3 if moment == "with signals" else 0):
            os.kill(hub.pid, signal.SIGHUP)
        hub.initialize()
        tools_until(hub, {"added__pid"})
        eventually(lambda: not marked(marks["removed"]), lambda: marked(marks["removed"]))


def test_many_changes_one_after_the_other_end_with_the_last(place: Place) -> None:
    with four() as marks:
        entries = {"same": full("same", marks["same"])}
        with running(place.write(entries)) as hub:
            tools_until(hub, {"same__pid"})
            pid = pid_of(marks["same"])
            for number in range(30):
                change = place.write if number % 2 else place.replace
                change(entries | {"changed": full("changed", marks["changed"], prefix=f"p{number}")})
            tools_until(hub, {"p29__pid", "same__pid"})
            assert len(marked(marks["changed"])) == 1
            assert pid_of(marks["same"]) == pid
            assert "error" not in {line["level"] for line in place.lines('"event":"notice"')}


def test_a_server_that_is_switched_off_ends_and_comes_back_when_switched_on(place: Place) -> None:
    with four() as marks:
        on = {"same": full("same", marks["same"]), "added": full("added", marks["added"])}
        with running(place.write(on)) as hub:
            tools_until(hub, {"same__pid", "added__pid"})
            place.write(on | {"added": {**on["added"], "enabled": False}})
            eventually(lambda: not marked(marks["added"]), lambda: marked(marks["added"]))
            hub.wait_for_notification("notifications/tools/list_changed")
            assert set(hub.tools()) == {"same__pid", "same__wait"}
            place.write(on)
            tools_until(hub, {"same__pid", "added__pid"})
            assert place.logged(READ, times=2)["text"].endswith("started added")
            assert place.lines(READ)[0]["text"].endswith("stopped added")
