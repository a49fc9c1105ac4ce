"""A second session has its lists from the first one, and starts a server only when something needs it."""

import base64
import contextlib
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support import servers
from tests.support.changing import Changing, Memory, children_of
from tests.support.client import ChildWire, RawClient, connected
from tests.support.manifold import LIST_CHANGED, Manifold, running, tools_until, write_config
from tests.support.message import Message
from tests.support.processes import eventually, marked, new_mark
from tests.support.sdk_site import in_thread, make_server
from tests.support.servers import Entry

LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]
LATE = "simulate-research-query"
"""What server-everything registers only once it has seen `initialized`."""


@dataclass(frozen=True)
class First:
    """What a first session was told, which had to start all servers, and a direct connection to each of them."""

    config: Path
    marks: dict[str, dict[str, str]]
    answers: dict[str, bytes]
    direct: dict[str, RawClient]
    instructions: dict[str, str]
    file: Path

    def running(self) -> set[str]:
        return {key for key, mark in self.marks.items() if marked(mark)}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    folder = tmp_path_factory.mktemp("first")
    file = folder / "files" / "note.txt"
    file.parent.mkdir()
    file.write_text('A note: "ä", \\ and \u2028 and 😀\n')
    plain = {
        "everything": servers.everything(),
        "filesystem": servers.filesystem(file.parent),
        "git": servers.git(servers.make_repository(folder / "repository")),
        "time": servers.time(),
    }
    marks = {key: new_mark() for key in plain}
    config = write_config(folder, {key: entry | {"env": marks[key]} for key, entry in plain.items()})
    with contextlib.ExitStack() as stack:
        direct = {key: stack.enter_context(connected(ChildWire(servers.command_of(plain[key])))) for key in plain}
        hellos = {key: client.initialize().result for key, client in direct.items()}
        with running(config) as hub:
            tools_until(hub, {f"everything__{LATE}", "time__get_current_time", "git__git_log"})
            tools_until(hub, {"filesystem__list_directory"})
            Memory(config).has(4, LATE)
            answers = {method: hub.request(method).raw_result for method in LISTS}
        instructions = {key: hello.get("instructions", "") for key, hello in hellos.items()}
        yield First(config, marks, answers, direct, instructions, file)


def test_a_second_session_has_all_lists_as_the_first_one_had_them_and_starts_nothing(first: First) -> None:
    hellos = []
    for _ in range(2):
        with running(first.config, handshake=False) as hub:
            hellos.append(hub.initialize().raw_result)
            for method in LISTS:
                assert hub.request(method).raw_result == first.answers[method], method
            assert children_of(hub.pid) == []
            assert not [message for message in hub.messages if message.method is not None]
            hub.child.close_stdin()
            assert hub.child.wait_for_exit() == 0
    assert hellos[0] == hellos[1]
    assert first.running() == set()
    told = json.loads(hellos[0])["instructions"]
    assert any(first.instructions.values())
    for key, text in first.instructions.items():
        assert f"{key}: {text[:100]}".strip() in told or not text


ASKED: dict[str, tuple[str, Callable[[First], dict[str, Any]], Callable[[First], dict[str, Any]]]] = {
    # Server -> the method, and its params here and there.
    "git": (
        "tools/call",
        lambda first: {"name": "git__git_log", "arguments": {"repo_path": repository(first), "max_count": 5}},
        lambda first: {"name": "git_log", "arguments": {"repo_path": repository(first), "max_count": 5}},
    ),
    "everything": (
        "resources/read",
        lambda first: {"uri": resource(first)},
        lambda first: {"uri": resource(first)},
    ),
    "filesystem": (
        "tools/call",
        lambda first: {"name": "filesystem__read_text_file", "arguments": {"path": str(first.file)}},
        lambda first: {"name": "read_text_file", "arguments": {"path": str(first.file)}},
    ),
}


def repository(first: First) -> str:
    return str(first.file.parent.parent / "repository")


def resource(first: First) -> str:
    uri: str = json.loads(first.answers["resources/list"])["resources"][0]["uri"]
    return uri


def test_what_is_asked_first_starts_just_its_server_and_is_answered_as_without_us(first: First) -> None:
    with running(first.config) as hub:
        started: set[str] = set()
        for key, (method, here, there) in ASKED.items():
            through = hub.request(method, here(first))
            started.add(key)
            assert first.running() == started
            assert through.raw_result == first.direct[key].request(method, there(first)).raw_result
        assert len(children_of(hub.pid)) == len(started) + 1, "and the keeper"


def test_a_prompt_that_is_asked_first_starts_its_server(first: First) -> None:
    arguments = {"city": "Berlin", "state": "BE"}
    with running(first.config) as hub:
        through = hub.request("prompts/get", {"name": "everything__args-prompt", "arguments": arguments})
        direct = first.direct["everything"].request("prompts/get", {"name": "args-prompt", "arguments": arguments})
        assert through.raw_result == direct.raw_result
        assert first.running() == {"everything"}


def test_a_client_that_can_do_other_things_has_a_list_of_its_own(tmp_path: Path) -> None:
    mark = new_mark()
    config = write_config(tmp_path, {"everything": servers.everything() | {"env": mark}})
    abilities: list[dict[str, Any]] = [{}, {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}}]
    lists = []
    for number, capabilities in enumerate(abilities):
        with running(config, handshake=False) as hub:
            hub.will_answer("roots/list", {"roots": []})
            hub.initialize(capabilities=capabilities)
            expected = {f"everything__{LATE}"} | ({"everything__trigger-sampling-request"} if number else set())
            tools_until(hub, expected)
            assert marked(mark), "nothing is known for such a client"
            Memory(config).has(number + 1, *(["trigger-sampling-request"] if number else []), LATE)
            eventually(lambda: all(LATE in text for text in Memory(config).texts()), lambda: Memory(config).texts())
            lists.append(hub.request("tools/list").raw_result)
    assert lists[0] != lists[1]
    for capabilities, known in zip(abilities, lists, strict=True):
        with running(config, handshake=False) as hub:
            hub.initialize(capabilities=capabilities)
            assert hub.request("tools/list").raw_result == known
            assert children_of(hub.pid) == []


# One server that changes from start to start


def listed(hub: Manifold) -> set[str]:
    return set(hub.tools())


def pid(answer: Message) -> int:
    return int(answer.result["content"][0]["text"])


def lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def learn(config: Path, number: int, *names: str) -> None:
    """A first session: so many servers are started and remembered, and these names."""
    with running(config):
        Memory(config).has(number)
        if names:
            Memory(config).has_names(*names)


def health_check(config: Path) -> set[str]:
    """As a client does it to see whether we are there, and a look at the list; what is in it. Nothing is started."""
    with running(config, handshake=False) as hub:
        hub.initialize()
        found = listed(hub)
        assert children_of(hub.pid) == []
        hub.child.close_stdin()
        assert hub.child.wait_for_exit() == 0
        return found


@pytest.fixture
def place(tmp_path: Path) -> Changing:
    return Changing(tmp_path / "server")


def test_a_health_check_with_thirty_servers_starts_none(tmp_path: Path, place: Changing) -> None:
    keys = [f"s{number:02}" for number in range(30)]
    config = write_config(tmp_path, {key: place.entry(key) for key in keys})
    learn(config, 30)
    assert sorted(place.starts) == keys
    with running(config, handshake=False) as hub:
        hub.initialize()
        assert children_of(hub.pid) == []
        hub.child.close_stdin()
        assert hub.child.wait_for_exit() == 0
    assert health_check(config) == {f"{key}__pid" for key in keys}
    assert len(place.starts) == 30


def test_calls_at_once_share_one_start(tmp_path: Path, place: Changing) -> None:
    config = write_config(tmp_path, {"one": place.entry("one"), "two": place.entry("two")})
    learn(config, 2)
    with running(config) as hub:
        gate = place.gate("gate")
        place.becomes(gates={"initialize": str(gate.path)})
        calls = [hub.start_call("one__pid") for _ in range(10)]
        gate.reached()
        calls += [hub.start_call("one__pid") for _ in range(10)]
        hub.request("ping")
        gate.open()
        assert {pid(hub.wait(call)) for call in calls} == {place.pids[-1]}
    assert sorted(place.starts) == ["one", "one", "two"]


def test_a_start_that_fails_tells_each_call_why_and_the_next_call_works_once_it_is_mended(
    tmp_path: Path, place: Changing
) -> None:
    command = tmp_path / "command"
    config = write_config(tmp_path, {"removed": servers.entry([str(command)]), "ending": place.entry("ending")})

    def install() -> None:
        words = servers.command_of(place.entry("removed"))
        command.write_text("#!/bin/sh\nexec " + " ".join(words) + "\n")
        command.chmod(0o755)

    install()
    learn(config, 2)
    command.unlink()
    place.becomes(fails="the licence has expired")
    with running(config) as hub:
        for key, why in (("removed", "was not found"), ("ending", "the licence has expired")):
            for message in map(hub.wait, [hub.start_call(f"{key}__pid") for _ in range(5)]):
                assert why in message.error["message"]
                assert message.error["data"] | {"server": key, "delivered": "no"} == message.error["data"]
        assert listed(hub) == {"removed__pid", "ending__pid"}
        install()
        place.becomes()
        for key in ("removed", "ending"):
            assert pid(hub.call(f"{key}__pid")) == place.pids[-1]


def test_an_eager_server_is_started_while_its_lists_are_there_already(tmp_path: Path, place: Changing) -> None:
    config = write_config(tmp_path, {"eager": place.entry("eager", start="eager"), "lazy": place.entry("lazy")})
    learn(config, 2)
    gate = place.gate("gate")
    place.becomes(gates={"initialize": str(gate.path)})
    with running(config) as hub:
        assert listed(hub) == {"eager__pid", "lazy__pid"}
        gate.open()
        assert pid(hub.call("eager__pid")) == place.pids[-1]
    assert sorted(place.starts) == ["eager", "eager", "lazy"]


def test_a_server_that_nobody_needs_is_stopped_and_started_again_by_the_next_call(
    tmp_path: Path, place: Changing
) -> None:
    """But not while somebody is subscribed to something of it, or a task of it is pending."""
    mark = new_mark()
    entries = {
        "eager": place.entry("eager", idleStop=0.2, start="eager"),
        "kept": place.entry("kept", idleStop=0.2),
        "tasking": servers.script("tasking.py") | {"env": mark, "idleStop": 0.2},
        "idle": place.entry("idle", idleStop=0.2),
    }
    with running(write_config(tmp_path, entries)) as hub:
        tools_until(hub, {"kept__pid", "tasking__work", "idle__pid"})
        hub.request("resources/subscribe", {"uri": "kept://note"})
        kept = pid(hub.call("kept__pid"))
        task = hub.request("tools/call", {"name": "tasking__work", "arguments": {}, "task": {}}).result["task"]
        used_first = pid(hub.call("eager__pid"))
        used_last = pid(hub.call("idle__pid"))
        eventually(lambda: not lives(used_first) and not lives(used_last), "they are stopped, the last used last")
        assert pid(hub.call("kept__pid")) == kept
        assert hub.request("tasks/get", {"taskId": task["taskId"]}).result["status"] == "working"
        assert pid(hub.call("idle__pid")) == place.pids[-1] != used_last
        assert place.starts.count("eager") == 1, "what was stopped stays so until it is needed"
        assert pid(hub.call("eager__pid")) == place.pids[-1] != used_first
        hub.request("resources/unsubscribe", {"uri": "kept://note"})
        hub.call("tasking__finish", {"task": 1})
        hub.wait_for_notification("notifications/tasks/status")
        hub.call("idle__pid")
        eventually(lambda: not lives(kept) and not lives(place.pids[-1]), "nothing keeps these")
        through = hub.request("tasks/result", {"taskId": task["taskId"]}).result
        assert through["content"][0]["text"] == "it is through", "what nobody has fetched is waited with"
        eventually(lambda: not marked(mark), "nothing keeps it any more")
        assert hub.notifications(LIST_CHANGED) == []


def test_a_call_of_a_tool_that_is_gone_says_what_changed_and_the_list_is_corrected(
    tmp_path: Path, place: Changing
) -> None:
    place.becomes(tools=["draw_circle", "pid"], version="1.0")
    config = write_config(tmp_path, {"it": place.entry()})
    learn(config, 1)
    place.becomes(tools=["draw_circles", "pid"], version="2.0")
    with running(config) as hub:
        assert listed(hub) == {"it__draw_circle", "it__pid"}
        error = hub.call("it__draw_circle").error
        assert error["code"] == -32602
        assert error["message"] == (
            "server 'it' no longer has the tool 'draw_circle' (it was changing 1.0 and is changing 2.0 now); "
            "it has it__draw_circles. The list was corrected"
        )
        assert error["data"] | {"server": "it", "delivered": "no"} == error["data"]
        hub.wait_for_notification(LIST_CHANGED)
        assert listed(hub) == {"it__draw_circles", "it__pid"}
        assert pid(hub.call("it__pid")) == place.pids[-1]
        Memory(config).has(1, '"2.0"')
    assert health_check(config) == {"it__draw_circles", "it__pid"}
    assert len(place.starts) == 2


def test_what_is_old_is_read_again_once_something_real_was_asked(tmp_path: Path, place: Changing) -> None:
    """Servers that can't be started are no hindrance."""
    other, broken = Changing(tmp_path / "other"), Changing(tmp_path / "broken")
    entries = {key: broken.entry(key) for key in ("b1", "b2", "b3")}
    entries |= {"it": place.entry(), "other": other.entry("other")}
    config = write_config(tmp_path, entries, refreshAfter=0)
    learn(config, 5)
    place.becomes(tools=["pid", "more"])
    broken.becomes(fails="no licence")
    known = {f"{key}__pid" for key in entries}
    assert health_check(config) == known
    assert (place.starts, other.starts) == (["it"], ["other"])
    with running(config) as hub:
        assert listed(hub) == known
        hub.call("other__pid")
        hub.wait_for_notification(LIST_CHANGED)
        assert listed(hub) == known | {"it__more"}
        eventually(lambda: not lives(place.pids[-1]), "it was started to be listed, and sleeps again")
        assert lives(other.pids[-1])
    assert (len(place.starts), len(other.starts)) == (2, 2)
    assert health_check(config) == known | {"it__more"}
    assert (len(place.starts), len(other.starts)) == (2, 2)


def test_another_way_to_reach_a_server_is_another_server_and_other_rules_are_not(
    tmp_path: Path, place: Changing
) -> None:
    place.becomes(tools=["pid", "more"])
    keys = ["environment", "arguments", "folder", "rules", "prefix", "limits"]
    before = {key: place.entry(key) for key in keys}
    config = write_config(tmp_path, before)
    learn(config, 6)
    after = dict(before)
    after["environment"] = after["environment"] | {"env": {"KEY": "value"}}
    after["arguments"] = place.entry("arguments", "another")
    after["folder"] = after["folder"] | {"cwd": "/"}
    after["rules"] = after["rules"] | {"tools": {"deny": ["more"], "rename": {"pid": "number"}}}
    after["prefix"] = after["prefix"] | {"prefix": "p"}
    after["limits"] = after["limits"] | {"callTimeout": 7, "maxRunning": 2, "idleStop": 60}
    write_config(tmp_path, dict(reversed(after.items())))
    with running(config) as hub:
        plain = {f"{key}__{tool}" for key in keys if key not in ("rules", "prefix") for tool in ("pid", "more")}
        assert listed(hub) == plain | {"rules__number", "p__pid", "p__more"}
    assert sorted(place.starts[6:]) == ["arguments", "environment", "folder"]


# The files


def written_by_a_newer_version(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b" listing 1 ", b" listing 2 ", 1))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 7)


def one_byte_else(file: Path) -> None:
    data = file.read_bytes()
    assert data.count(b'"pid"') == 1
    file.write_bytes(data.replace(b'"pid"', b'"pie"'))


def replaced_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replaced_by_a_link(file: Path) -> None:
    elsewhere = file.with_name(".elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "newer": written_by_a_newer_version,
    "cut": cut,
    "changed": one_byte_else,
    "empty": lambda file: file.write_bytes(b""),
    "foreign": lambda file: file.write_text('{"tools": []}\n'),
    "binary": lambda file: file.write_bytes(os.urandom(100_000)),
    "pipe": replaced_by_a_pipe,
    "link": replaced_by_a_link,
    "removed": lambda file: file.unlink(),
}


def test_files_that_this_version_did_not_write_so_are_ignored_and_replaced(tmp_path: Path, place: Changing) -> None:
    keys = ["sound", *DAMAGES]
    config = write_config(tmp_path, {key: place.entry(key) for key in keys})
    memory = Memory(config)
    learn(config, len(keys))
    before = {next(key for key in keys if f'"{key}://note"' in file.read_text()): file for file in memory.listings()}
    for key, damage in DAMAGES.items():
        damage(before[key])
    with running(config) as hub:
        assert listed(hub) == {f"{key}__pid" for key in keys}
        eventually(lambda: len(place.starts) == 2 * len(keys) - 1, lambda: place.starts)
        eventually(lambda: all(file.is_file() and not file.is_symlink() for file in before.values()), "all are files")
        memory.has(len(keys), *(f'"{key}://note"' for key in keys))
        eventually(lambda: all('"pid"' in text for text in memory.texts()), memory.texts)
    assert "sound" not in place.starts[len(keys) :]
    assert health_check(config) == {f"{key}__pid" for key in keys}
    assert len(place.starts) == 2 * len(keys) - 1


@pytest.mark.parametrize("damage", [lambda file: file.write_text("{}"), cut])
def test_without_the_names_that_were_given_they_are_given_anew(
    damage: Callable[[Path], object], tmp_path: Path, place: Changing
) -> None:
    config = write_config(tmp_path, {"it": place.entry()})
    memory = Memory(config)
    learn(config, 1, "it__pid")
    [file] = (entry for entry in (memory.folder / "names").iterdir() if not entry.name.startswith("."))
    sound = file.read_bytes()
    damage(file)
    with running(config) as hub:
        assert listed(hub) == {"it__pid"}
        memory.has_names("it__pid", "it__ask")
        eventually(lambda: file.read_bytes() == sound, file.read_text)
        assert any("names" in warning["text"] for warning in warnings(hub))
    assert len(place.starts) == 1


def warnings(hub: Manifold) -> list[dict[str, Any]]:
    """The lines of the log that somebody should read, once there are any."""

    def found() -> list[dict[str, Any]]:
        lines = [line for line in hub.child.stderr().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line["level"] not in ("debug", "info")]

    eventually(lambda: bool(found()), "no warning")
    return found()


def test_a_state_directory_that_can_t_be_used_costs_one_warning_and_the_memory(tmp_path: Path, place: Changing) -> None:
    config = write_config(tmp_path, {key: place.entry(key) for key in ("one", "two")})
    (tmp_path / "state").write_text("in its place")
    for session in (1, 2):
        with running(config) as hub:
            assert listed(hub) == {"one__pid", "two__pid"}
            assert pid(hub.call("one__pid")) in place.pids
            assert hub.request("resources/read", {"uri": "two://note"}).result["contents"]
            warnings(hub)
            hub.child.close_stdin()
            assert hub.child.wait_for_exit() == 0
            [warning] = warnings(hub)
            assert "state" in warning["text"]
        assert sorted(place.starts) == sorted(["one", "two"] * session)


def test_a_state_directory_that_is_not_there_is_made_for_this_user_alone(tmp_path: Path, place: Changing) -> None:
    state = tmp_path / "not" / "there" / "yet"
    config = write_config(tmp_path, {"it": place.entry()}, stateDir=str(state))
    with running(config) as hub:
        assert listed(hub) == {"it__pid"}
        eventually(lambda: len(list(state.glob("[ln]*/[!.]*"))) == 2, lambda: list(state.rglob("*")))
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (state, *state.rglob("*"))}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert health_check(config) == {"it__pid"}
    assert len(place.starts) == 1


def test_no_secret_is_in_what_is_kept(tmp_path: Path, place: Changing) -> None:
    secrets = ["s3cr3t-of-env", "s3cr3t-from-outside", "s3cr3t-of-args"]
    entry = place.entry("it", secrets[2], env={"TOKEN": secrets[0], "OTHER": "Bearer ${OUTSIDE_TOKEN}"})
    config = write_config(tmp_path, {"it": entry})
    for _ in range(2):
        with running(config, env={"OUTSIDE_TOKEN": secrets[1]}) as hub:
            assert pid(hub.call("it__pid")) == place.pids[-1]
            Memory(config).has(1)
            Memory(config).has_names("it__pid")
    kept = Memory(config).everything()
    assert b"it://note" in kept
    for secret in secrets:
        assert secret.encode() not in kept
        assert base64.b64encode(secret.encode())[:-4] not in kept


def test_what_was_killed_while_it_listed_leaves_what_can_be_used(tmp_path: Path, place: Changing) -> None:
    gate = place.gate("gate")
    config = write_config(tmp_path, {"whole": place.entry("whole"), "half": place.entry("half")})
    place.becomes(gates={"resources/list": str(gate.path)})
    with running(config) as hub:
        assert listed(hub) == {"whole__pid", "half__pid"}
        gate.reached()
        os.kill(hub.pid, signal.SIGKILL)
        hub.child.wait_for_exit()
        eventually(lambda: not any(map(lives, place.pids)), "the keeper ends them")
    assert Memory(config).texts() == []
    place.becomes()
    learn(config, 2)
    assert health_check(config) == {"whole__pid", "half__pid"}
    assert len(place.starts) == 4


# Many at once


@contextlib.contextmanager
def proxies(config: Path, number: int) -> Iterator[list[Manifold]]:
    """So many at once, of which none has had its handshake."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(config, handshake=False)) for _ in range(number)]


def introduce(hubs: list[Manifold]) -> None:
    """All handshakes at once."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw-client", "version": "1"}}
    for call, hub in [(hub.start("initialize", hello), hub) for hub in hubs]:
        hub.wait(call)
        hub.notify("notifications/initialized")


def test_eight_proxies_at_once_learn_and_later_refresh_once(tmp_path: Path, place: Changing) -> None:
    """What two of them refresh at a time comes first, so that all have tried when their call is answered."""
    used = Changing(tmp_path / "used")
    entries = {"one": place.entry("one"), "two": place.entry("two"), "used": used.entry("used")}
    config = write_config(tmp_path, entries, refreshAfter=0)
    memory = Memory(config)
    with proxies(config, 8) as hubs:
        eventually(lambda: (len(place.starts), len(used.starts)) == (16, 8), "they boot before there is a client")
        introduce(hubs)
        for hub in hubs:
            assert listed(hub) == {"one__pid", "two__pid", "used__pid"}
        memory.has(3, "one://note", "two://note", "used://note")
        memory.has_names("one__pid", "two__pid", "used__pid")
    assert (len(place.starts), len(used.starts)) == (16, 8)
    gates = [place.gate("gate-one"), place.gate("gate-two")]
    place.becomes(tools=["pid", "more"], gates={"tools/list": str(place.folder / "gate-*")})
    with proxies(config, 8) as hubs:
        introduce(hubs)
        for hub in hubs:
            assert listed(hub) == {"one__pid", "two__pid", "used__pid"}
        calls = [(hub, hub.start_call("used__pid")) for hub in hubs]
        assert {pid(hub.wait(call)) for hub, call in calls} == set(used.pids[8:])
        for gate in gates:
            gate.open()
        eventually(lambda: not any(map(lives, place.pids)), "they were started to be listed, and sleep again")
        eventually(lambda: any(hub.notifications(LIST_CHANGED) for hub in hubs), "who refreshed tells it")
        assert len([hub for hub in hubs if hub.notifications(LIST_CHANGED)]) <= len(gates)
    assert sorted(place.starts[16:]) == ["one", "two"]
    assert len(used.starts) == 16
    assert health_check(config) == {"one__pid", "one__more", "two__pid", "two__more", "used__pid"}


# Names and HTTP


def test_names_stay_when_a_server_comes_that_would_have_had_them(tmp_path: Path, place: Changing) -> None:
    newcomer = Changing(tmp_path / "newcomer", tools=["c"])
    place.becomes(tools=["b__c"])
    config = write_config(tmp_path, {"a": place.entry("old")})
    learn(config, 1, "a__b__c")
    write_config(tmp_path, {"a__b": newcomer.entry("new"), "a": place.entry("old")})
    for _ in range(2):
        with running(config) as hub:
            new, old = hub.tools()
            assert old == "a__b__c"
            assert new.startswith("a__b__c_")
            assert pid(hub.call(old)) == place.pids[-1]
            assert pid(hub.call(new)) == newcomer.pids[-1]
            Memory(config).has(2)
            Memory(config).has_names(old, new)


class Counted:
    """Keeps what an application is asked for."""

    def __init__(self, app: ASGIApp, requests: list[str]) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._requests.append(scope["method"])
        await self._app(scope, receive, send)


def test_a_server_behind_http_is_not_spoken_to_before_it_is_needed(tmp_path: Path) -> None:
    app = make_server().streamable_http_app(json_response=True)
    requests: list[str] = []
    app.add_middleware(Counted, requests=requests)
    with in_thread(app) as port:
        entry: Entry = {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"Authorization": "Bearer s3cr3t-of-headers"}}
        config = write_config(tmp_path, {"site": entry})
        learn(config, 1)
        assert requests != []
        requests.clear()
        with running(config, handshake=False) as hub:
            assert hub.initialize().result["instructions"] == "site: Made by the SDK."
            assert listed(hub) == {"site__shout", "site__climb"}
            assert requests == []
            assert hub.call("site__shout", {"text": "here"}).result["content"][0]["text"] == "HERE"
            assert requests != []
            Memory(config).has(1)
            assert b"s3cr3t" not in Memory(config).everything()
            write_config(tmp_path, {"site": {**entry, "url": f"{entry['url']}?of=another"}})
            Memory(config).has(2)
