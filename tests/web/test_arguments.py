"""Arguments against the schemas of tools: what is told at once, what in a process of its own, and what goes on."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy import wire
from proxy.web.arguments import Arguments
from proxy.web.schemas import Mismatch
from tests.support.scripted import ScriptedServer, result
from tests.support.stage import Stage, fleet_of

TYPED = {"type": "object", "properties": {"a": {"type": "integer"}, "text": {"type": "string"}}}
PATTERN = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[ab]+$"}}}
HOSTILE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}


def server_of(**schemas: dict[str, Any]) -> ScriptedServer:
    """A server whose tools have these schemas."""
    tools = [{"name": name, "inputSchema": schema} for name, schema in schemas.items()]
    return ScriptedServer(tools__list=lambda *_: result({"tools": tools}))


class Judging:
    """What is judged by the schemas of one server."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._of_others = children()
        self.arguments = Arguments(lambda: stage.relay.catalogue, stage.emit)

    async def __call__(self, tool: str, value: Any) -> list[Mismatch]:
        await self.stage.until(lambda: len(self.stage.relay.catalogue.routes("tools")) > 0)
        return await self.arguments.mismatches(
            f"one__{tool}", value if isinstance(value, bytes) else wire.encode(value)
        )

    @property
    def workers(self) -> list[int]:
        """The processes that it has started; those of other tests may still be there."""
        return sorted(children() - self._of_others)

    @property
    def warnings(self) -> list[str]:
        return self.stage.notices("warning")


def children() -> set[int]:
    """Processes that this one has started."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return found


async def test_a_plain_schema_is_judged_at_once() -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(t=TYPED)}):
        assert await judge("t", {"a": 1}) == []
        assert await judge("t", {"a": "x"}) == [Mismatch("/a", "'x' is not of type 'integer'")]
        assert await judge("t", {"text": "," * 50_000}) == []
        assert judge.workers == []


async def test_an_unknown_tool_and_what_is_no_json_are_left_to_others() -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(t=TYPED)}):
        assert await judge("u", {"a": "x"}) == []
        assert await judge("t", b'{"a":"\xff"}') == []
        assert not judge.arguments.knows("u")


async def test_a_changed_schema_counts_at_once() -> None:
    stage = Stage()
    judge = Judging(stage)
    server = server_of(t=TYPED)
    async with fleet_of(stage, {"one": server}):
        assert await judge("t", {"a": "x"})
        catalogue = stage.relay.catalogue
        server.scripts = server_of(t={"type": "object"}).scripts
        server.last.notify("notifications/tools/list_changed")
        await stage.until(lambda: stage.relay.catalogue is not catalogue)
        assert await judge("t", {"a": "x"}) == []


async def test_what_may_take_long_is_judged_in_one_process_whose_command_line_says_nothing() -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(pattern=PATTERN)}):
        assert await judge("pattern", {"a": "abc"}) == [Mismatch("/a", "'abc' does not match '^[ab]+$'")]
        [worker] = judge.workers
        command = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
        assert command[1:] == [b"-u", b"-m", b"anyio.to_process", b""]
        assert await judge("pattern", {"a": "abab"}) == []
        assert judge.workers == [worker]
        assert judge.warnings == []


async def test_arguments_of_many_parts_are_judged_in_the_process() -> None:
    stage = Stage()
    judge = Judging(stage)
    schema = {"type": "object", "properties": {"a": {"items": {"type": "integer"}}}}
    async with fleet_of(stage, {"one": server_of(t=schema)}):
        assert await judge("t", {"a": [1]}) == []
        assert judge.workers == []
        [found] = await judge("t", {"a": [*[1] * 10_000, "x"]})
        assert found.path == "/a/10000"
        assert len(judge.workers) == 1


async def test_a_schema_that_takes_for_ever_holds_up_nobody_and_is_given_up() -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(hostile=HOSTILE, typed=TYPED, pattern=PATTERN)}):
        evil = {"a": "a" * 60 + "!"}
        found: list[Any] = []

        async def hostile() -> None:
            found.append(await judge("hostile", evil))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hostile)
            tasks.start_soon(hostile)
            await anyio.lowlevel.checkpoint()
            assert await judge("typed", {"a": "x"})
            assert found == [], "it is still being judged"
        assert found == [[], []], "the calls go on"
        [warning] = judge.warnings
        assert "'one__hostile' are not judged here until its schema changes, but by its server" in warning
        assert await judge("hostile", evil) == []
        assert await judge("pattern", {"a": "abc"}), "another process judges the others"
        assert len(judge.warnings) == 1


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "object", "properties": {"a": {"type": "strnig"}}}, "is no valid one at '/properties/a/type'"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}}, "https://example.com/a"),
    ],
    ids=["invalid", "remote"],
)
async def test_a_schema_of_no_use_is_told_of_once_and_never_asked(schema: dict[str, Any], reason: str) -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(t=schema)}):
        assert await judge("t", {"a": 1}) == []
        assert await judge("t", {"a": 1}) == []
        [warning] = judge.warnings
        assert reason in warning


async def test_a_process_that_was_killed_is_replaced() -> None:
    stage = Stage()
    judge = Judging(stage)
    async with fleet_of(stage, {"one": server_of(t=PATTERN)}):
        assert await judge("t", {"a": "c"})
        [worker] = judge.workers
        os.kill(worker, signal.SIGKILL)
        assert await judge("t", {"a": "c"})
        assert judge.workers != [worker]
        assert judge.warnings == []


async def test_arguments_that_are_too_deep_to_be_judged_go_on() -> None:
    stage = Stage()
    judge = Judging(stage)
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    async with fleet_of(stage, {"one": server_of(plain=TYPED, pattern=PATTERN)}):
        assert await judge("plain", deep) == []
        assert await judge("pattern", deep) == []
        assert judge.warnings == []
