"""A hub and a client in one process, for commands that ask it something."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.table import Table

from proxy.commands.local import local_client, output
from proxy.config.load import load
from tests.support.client import PATIENCE
from tests.support.commands import sample
from tests.support.manifold import write_config
from tests.support.processes import marked, new_mark
from tests.support.stage import call, listed


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


async def test_the_client_is_greeted_and_can_list_and_call(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, {"notes": sample("notes")}), {})
    with anyio.fail_after(PATIENCE):
        async with local_client(config) as (hub, client):
            assert "notes__add_note" in await listed(client)
            assert (await call(client, "notes__add_note", {"title": "x"}))["structuredContent"]["id"] == 1
            assert [report.state for report in hub.fleet.reports()] == ["ready"]


async def test_progress_reaches_who_wants_it(tmp_path: Path) -> None:
    told: list[str] = []
    config = load(write_config(tmp_path, {"clock": sample("clock")}), {})
    with anyio.fail_after(PATIENCE):
        async with local_client(config, lambda method, params: told.append(method)) as (_, client):
            await client.request(
                "tools/call", b'{"name":"clock__countdown","arguments":{"seconds":1},"_meta":{"progressToken":1}}'
            )
    assert told == ["notifications/progress"]


@pytest.mark.parametrize("fails", [False, True])
async def test_leaving_ends_the_servers(fails: bool, tmp_path: Path) -> None:
    mark = new_mark()
    config = load(write_config(tmp_path, {"notes": sample("notes", env=mark)}), {})
    with anyio.fail_after(PATIENCE):
        try:
            async with local_client(config) as (_, client):
                await listed(client)
                assert len(marked(mark)) == 1
                if fails:
                    raise ZeroDivisionError
        except* ZeroDivisionError:
            assert fails
    assert marked(mark) == {}


def test_without_a_terminal_the_output_is_wide_enough_for_whole_lines() -> None:
    assert output().width >= 400


def test_without_a_terminal_no_line_of_a_table_ends_in_blanks(capfd: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "description", box=None)
    table.add_row("a", "  some words ")
    table.add_row("long name", "")
    output().print(table)
    output().print("more")
    assert capfd.readouterr().out.splitlines() == [
        " name       description",
        " a            some words",
        " long name",
        "more",
    ]
