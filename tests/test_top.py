"""The terminal view, worked by keys, over real proxies with real servers."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Static

from proxy.commands.top import reader
from proxy.control.client import News
from proxy.control.place import Card
from proxy.eras.handshake import LATEST
from proxy.overview import ServerRow
from proxy.status import Call
from proxy.top import figures, rows
from proxy.top.app import Top
from proxy.top.detail import Detail
from proxy.top.follow import FIRST, Follower
from proxy.top.grid import Grid
from proxy.top.machine import Seen
from proxy.top.screens import Confirm, Ended, Help, Inspect, LogScreen
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.commands import python
from tests.support.hub import serving
from tests.support.manifold import Manifold, running, write_config

RAW = servers.script("raw_echo.py")
CHARACTER = 12.2
"""How wide a character is in textual's pictures."""

KEYS = " ⏎ inspect  r restart  l log  f failed  / filter  s sort  ? help  q quit"

TALKER = "import sys; print('a \\x1b[31mred\\x1b[0m [b]word[/b]', file=sys.stderr); sys.exit(3)"


class View:
    """The view, and what it shows."""

    def __init__(self, app: Top, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, check: Callable[[], Any]) -> None:
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self.pilot.pause(0.03)
        except TimeoutError:
            raise AssertionError(f"in vain; it shows\n{self.text}") from None

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    @property
    def text(self) -> str:
        """What is on the terminal, line by line, as the picture of it has it."""
        lines: dict[float, str] = {}
        parts = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*clip-path[^>]*>(.*?)</text>', self.picture)
        for x, y, text in sorted((float(x), float(y), text) for x, y, text in parts):
            line = lines.get(y, "").ljust(round(x / CHARACTER))
            lines[y] = line + unescape(text).replace("\xa0", " ")
        return "\n".join(line.rstrip() for _, line in sorted(lines.items()))

    @property
    def picture(self) -> str:
        return self.app.export_screenshot()

    def column(self, id: str, number: int) -> list[str]:
        """A column of a table."""
        grid = self.app.screen_stack[0].query_one(f"#{id}", Grid)
        return [grid.get_row_at(row)[number].plain for row in range(grid.row_count)]

    @property
    def summary(self) -> str:
        return str(self.app.screen_stack[0].query_one("#summary", Static).content)


@contextlib.asynccontextmanager
async def viewing(state: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[View]:
    app = Top(state, reader)
    async with app.run_test(size=size, notifications=True) as pilot:
        yield View(app, pilot)


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mm"))
    yield folder
    shutil.rmtree(folder)


def config(state: Path, entries: dict[str, Any], **proxy: Any) -> Path:
    return write_config(state / "config", entries, stateDir=str(state), **proxy)


# What is shown


async def test_a_configuration_that_can_not_be_used_stands_on_top_until_it_is_mended(state: Path) -> None:
    file = config(state, {"raw": RAW})
    good = file.read_text()
    with running(file):
        async with viewing(state, (120, 24)) as view:
            await view.until(lambda: view.column("servers", 0) == ["raw"])
            file.write_text(good.replace('"mcpServers"', '"mcpServer"'))
            await view.until(lambda: "the configuration stays as it was" in view.text)
            assert "unknown key" in view.text
            file.write_text(good)
            await view.until(lambda: "the configuration stays" not in view.text)


async def test_without_proxies_it_says_how_to_start_one_and_shows_one_that_comes(state: Path) -> None:
    async with viewing(state) as view:
        await view.until(lambda: "No proxy is running." in view.text)
        assert "mcp-manifold serve --config" in view.text
        assert str(state / "run") in view.text
        with running(config(state, {"raw": RAW})) as manifold:
            await view.until(lambda: view.column("servers", 0) == ["raw"])
            assert view.column("processes", 0) == ["raw-client"]
            assert view.column("processes", 1) == [str(manifold.pid)]
            await view.until(lambda: "No proxy" not in view.text)
            await view.until(lambda: "● ready" in view.text)
        await view.until(lambda: "No proxy is running." in view.text)


async def test_two_proxies_and_a_hub_stand_side_by_side_and_a_killed_one_goes(state: Path) -> None:
    file = config(state, {"raw": {**RAW, "start": "eager"}, "broken": servers.entry(["/no/such/program"])})
    with serving(file), running(file) as first:
        second = Manifold(file)
        second.initialize()
        async with viewing(state) as view:
            names = ["all", "hub (0 clients)", "raw-client", "raw-client"]
            await view.until(lambda: sorted(view.column("processes", 0)) == names)
            await view.until(lambda: view.column("servers", 1).count("✖ failed") == 3)
            await view.until(lambda: view.column("servers", 1).count("● ready") == 3)
            assert view.column("processes", 3) == ["!3/6", "!1/2", "!1/2", "!1/2"]
            assert "3 processes   6 servers, 3 failing" in view.summary
            second.child.process.kill()
            await view.until(lambda: len(view.column("servers", 0)) == 4)
            assert "2 processes" in view.summary
            # the cursor on one process: its servers alone
            view.app.query_one("#processes", Grid).focus()
            view.app.query_one("#processes", Grid).move_cursor(row=view.column("processes", 1).index(str(first.pid)))
            await view.until(lambda: view.column("servers", 0) == ["broken", "raw"])
            await view.press("enter", "down")
            assert view.app.focused is view.app.query_one("#servers")
            assert view.app.chosen_server[1] == view.app.chosen_processes[0].servers[0]
        second.child.close()


async def test_calls_under_way_have_their_age_and_those_that_ended_their_outcome(state: Path) -> None:
    gate = state / "gate"
    os.mkfifo(gate)
    file = config(state, {"gated": servers.script("gated.py", str(gate))})
    with running(file) as manifold:
        manifold.tools()
        waiting = manifold.start_call("gated__wait")
        async with viewing(state) as view:
            await view.until(lambda: view.column("calls", 3) == ["▶ running"])
            assert view.column("calls", 2) == ["wait"]
            assert re.fullmatch(r"\d\.\ds", view.column("calls", 4)[0].strip())
            await view.until(lambda: "calls: 1 under way" in view.text)
            assert view.column("processes", 5) == ["1"]
            manifold.call("gated__pid")
            await view.until(lambda: view.column("calls", 3) == ["▶ running", "✓ ok"])
            await anyio.to_thread.run_sync(gate.write_text, "open")
            manifold.wait(waiting)
            await view.until(lambda: view.column("calls", 3) == ["✓ ok", "✓ ok"])
            await view.until(lambda: view.column("servers", 2) == ["0.2"])
            await view.until(lambda: re.match(r"\d+(\.\d)?M", view.column("servers", 7)[0]))


async def test_it_fits_every_terminal(state: Path) -> None:
    with running(config(state, {"raw": RAW, "a-server-with-quite-a-long-name-indeed": RAW})) as manifold:
        manifold.tools()
        async with viewing(state, (200, 50)) as view:
            await view.until(lambda: view.column("servers", 1) == ["● ready", "● ready"])
            for size in ((20, 5), (40, 10), (60, 16), (200, 50), (120, 40), (80, 24)):
                await view.pilot.resize_terminal(*size)
                for id in ("processes", "servers", "calls"):
                    grid = view.app.query_one(f"#{id}", Grid)
                    await view.until(lambda grid=grid: fits(grid))  # type: ignore[misc]
                await view.until(lambda size=size: view.app.query_one(Detail).display == (size[0] >= 140))  # type: ignore[misc]
                assert view.app.query_one("#servers", Grid).size.height >= 3
                assert view.text.splitlines()[0].startswith(" mcp-manifold")
                assert "a-serv" in view.text
            await view.until(lambda: view.text.endswith(KEYS))
            assert all(len(line) <= 80 for line in view.text.splitlines())


async def test_the_picture_holds_every_row(state: Path) -> None:
    with running(config(state, {"raw": RAW, "broken": servers.entry(["/no/such/program"])})) as manifold:
        manifold.tools()
        manifold.call("raw__verbatim")
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 1) == ["✖ failed", "● ready"])
            await view.until(lambda: view.column("calls", 3) == ["✓ ok"])
            await view.until(lambda: view.text.endswith(KEYS))
            shown = view.text.splitlines()
            assert shown[0].startswith(" mcp-manifold    1 process   2 servers, 1 failing   ")
            assert shown[1] == " ✖ broken: the command '/no/such/program' was not found"
            assert shown[2].split() == ["PROCESS", "PID", "AGE", "SERVERS", "CALLS/S", "RUNNING", "MEMORY"]
            assert shown[3].startswith("raw-client ")
            assert "servers of raw-client" in shown[4]
            assert shown[5].split() == ["SERVER", "STATE", "CALLS/S", "P50", "P99", "FAILED", "RUN", "MEMORY"]
            assert shown[6].startswith("broken ")
            assert shown[7].startswith("raw ")
            assert shown[-1] == KEYS
            [call] = [line for line in shown if "verbatim" in line]
            assert re.fullmatch(r"\d\d:\d\d:\d\d raw +verbatim +✓ ok +\d[\w.]+", call)


# Keys


async def test_a_filter_shows_what_has_its_words_until_it_is_taken_away(state: Path) -> None:
    with running(config(state, {"raw": RAW, "other": RAW})) as manifold:
        manifold.tools()
        manifold.call("raw__verbatim")
        manifold.call("other__verbatim")
        async with viewing(state) as view:
            await view.until(lambda: view.column("calls", 1) == ["other", "raw"])
            await view.press("slash", *"oth")
            await view.until(lambda: view.column("servers", 0) == ["other"])
            assert view.column("calls", 1) == ["other"]
            await view.press("enter")
            assert "filter: oth" in view.summary
            assert not view.app.query_one("#filter", Input).display
            await view.press("escape")
            assert view.column("servers", 0) == ["raw", "other"]
            await view.press("slash", *"q?s")  # which are keys elsewhere
            assert view.column("servers", 0) == []
            await view.press("escape")
            assert view.column("servers", 0) == ["raw", "other"]


async def test_servers_are_sorted_by_a_column_and_the_cursor_stays_with_its_row(state: Path) -> None:
    with running(config(state, {"b": RAW, "a": RAW, "c": RAW})) as manifold:
        manifold.tools()
        manifold.call("c__verbatim")
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 2).count("0.1") == 1)
            assert view.column("servers", 0) == ["b", "a", "c"]
            grid = view.app.query_one("#servers", Grid)
            await view.press("s")
            assert view.column("servers", 0) == ["a", "b", "c"]
            await view.until(lambda: "SERVER ▼" in view.text)
            assert grid.chosen.endswith("\nb")
            await view.press("s", "s")
            assert view.column("servers", 0)[0] == "c"
            assert grid.chosen.endswith("\nb")
            await view.pilot.click("#servers", offset=(2, 0))
            await view.until(lambda: view.column("servers", 0) == ["a", "b", "c"])


async def test_a_server_is_inspected_with_what_it_printed_and_nothing_of_that_acts(state: Path) -> None:
    with running(config(state, {"talker": python(TALKER)})) as manifold:
        manifold.request("ping")
        async with viewing(state, (100, 40)) as view:
            await view.until(lambda: view.column("servers", 1) != [] and "failed" in view.column("servers", 1)[0])
            await view.press("enter")
            await view.until(lambda: isinstance(view.app.screen, Inspect))
            await view.until(lambda: "a red [b]word[/b]" in view.text)
            await view.until(lambda: "↻ backoff" in view.text)
            await view.until(lambda: "because    it exited with code 3; its last words: a red [b]word[/b]" in view.text)
            assert "\x1b" not in view.app.screen.query_one(RichLog).lines[0].text
            await view.press("s")  # no key of the tables
            await view.press("escape")
            assert len(view.app.screen_stack) == 1
            await view.until(lambda: "STATE" in view.text)
            await view.until(lambda: "▼" not in view.text)


async def test_beside_the_table_stands_what_is_known_of_the_server_under_the_cursor(state: Path) -> None:
    with running(config(state, {"raw": RAW, "talker": python(TALKER)})):
        async with viewing(state, (160, 40)) as view:
            await view.until(lambda: re.search(r"^\d\d:\d\d:\d\d a red \[b\]word\[/b\]$", beside(view), re.MULTILINE))
            await view.press("down")
            await view.until(lambda: "raw-echo 1, stdio" in beside(view))


async def test_a_server_is_restarted_when_that_is_confirmed(state: Path) -> None:
    with running(config(state, {"raw": RAW, "other": RAW})) as manifold:
        manifold.tools()
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 1) == ["● ready", "● ready"])
            before = row(view, 1).pid
            await view.press("r")
            await view.until(lambda: isinstance(view.app.screen, Confirm))
            await view.until(lambda: f"Restart raw of raw-client (pid {manifold.pid})?" in view.text)
            await view.press("enter")  # is no answer
            await view.until(lambda: isinstance(view.app.screen, Confirm))
            await view.press("n", "down", "r", "y")
            await view.until(lambda: "other is being restarted" in view.text)
            await view.until(lambda: "other is ready again" in view.text)
            assert row(view, 1).restarts == 1
            assert row(view, 1).pid not in (before, None)
            assert row(view, 0).restarts == 0


async def test_before_a_restart_it_says_which_calls_that_costs_and_then_how_it_went(state: Path) -> None:
    entries = {"raw": RAW, "broken": servers.entry(["/no/such/program"])}
    with running(config(state, entries)) as manifold:
        manifold.tools()
        waiting = manifold.start_call("raw__never")
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 0) == ["broken", "raw"])
            await view.until(lambda: view.column("calls", 3) == ["▶ running"])
            await view.press("r", "y")
            await view.until(lambda: "broken is down again" in view.text)
            await view.press("down", "r")
            await view.until(lambda: "Its 1 call under way will fail" in view.text)
            await view.until(lambda: re.search(r"never, for \d", view.text))
            await view.press("y")
            await view.until(lambda: view.column("calls", 3)[0].startswith("✗ error: "))
            manifold.wait(waiting)


async def test_what_needs_looking_at_stands_above_all_and_is_first_in_its_table(state: Path) -> None:
    with running(config(state, {"raw": RAW, "talker": python(TALKER)})) as manifold:
        manifold.tools()
        manifold.call("raw__die")
        for _ in range(3):
            manifold.call("raw__verbatim")
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 0) == ["talker", "raw"])
            await view.until(lambda: len(view.column("calls", 0)) == 4)
            down = r" [✖↻] +talker: it exited with code 3: a red \[b\]word\[/b\]"  # but for the moments of its starts
            failed = r" ✗ raw die \d.* ago, error: server 'raw' went away"
            await view.until(lambda: re.search(rf"(?m)\A.*\n{down} *\n{failed}", view.text))
            await view.press("f")
            await view.until(lambda: view.column("calls", 2) == ["die"])
            await view.until(lambda: "calls that failed" in view.text)
            await view.press("tab", "enter")
            await view.until(lambda: isinstance(view.app.screen, Ended))
            await view.until(lambda: re.search(r"outcome +✗ error", view.text))
            await view.until(lambda: re.search(r"because +server 'raw' went away during the call", view.text))
            await view.press("escape", "f")
            await view.until(lambda: len(view.column("calls", 0)) == 4)


async def test_a_name_that_looks_like_markup_is_shown_as_it_is(state: Path) -> None:
    log = state / "[b]log[/x]"
    with running(config(state, {"raw": RAW}, log={"file": str(log)}), handshake=False) as manifold:
        hello = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "[b]client[/x]", "version": "1"}}
        manifold.request("initialize", hello)
        async with viewing(state, (100, 24)) as view:
            await view.until(lambda: "servers of [b]client[/x]" in view.text)
            await view.press("l")
            await view.until(lambda: str(log) in view.text)
            await view.press("escape")
    async with viewing(state / "[b]not[/x]") as view:
        await view.until(lambda: "[b]not[/x]/run" in view.text)


async def test_the_log_is_followed(state: Path) -> None:
    log = state / "log"
    with running(config(state, {"raw": RAW}, log={"file": str(log)})) as manifold:
        manifold.tools()
        manifold.call("raw__verbatim")
        async with viewing(state, (120, 24)) as view:
            await view.until(lambda: view.column("servers", 1) == ["● ready"])
            await view.press("l")
            await view.until(lambda: isinstance(view.app.screen, LogScreen))
            await view.until(lambda: re.search(r"raw +verbatim +ok", view.text))
            with log.open("ab") as stream:
                stream.write(b"no json \x1b[2J\n" + json.dumps({"event": "notice", "text": "news"}).encode() + b"\n")
            await view.until(lambda: "news" in view.text)
            await view.until(lambda: "no json" in view.text)
            log.rename(state / "gone")
            await view.press("escape", "l")
            await view.until(lambda: "there is no such file yet" in view.text)


async def test_where_the_log_has_no_file_it_says_how_to_have_one(state: Path) -> None:
    with running(config(state, {"raw": RAW})):
        async with viewing(state) as view:
            await view.until(lambda: view.column("servers", 0) == ["raw"])
            await view.press("l")
            await view.until(lambda: "its log goes to stderr" in view.text)


async def test_help_names_every_key_and_any_key_closes_it(state: Path) -> None:
    async with viewing(state) as view:
        await view.press("question_mark")
        await view.until(lambda: isinstance(view.app.screen, Help))
        await view.until(lambda: "any key closes this" in view.text)
        for key in ("Tab", "Enter", "restart", "log", "sort", "quit"):
            assert key in view.text
        await view.press("x")
        assert len(view.app.screen_stack) == 1
        await view.press("r")
        await view.until(lambda: "choose a server first" in view.text)
        await view.press("q")
        assert not view.app.is_running


async def test_a_process_that_does_not_answer_is_shown_as_such(state: Path) -> None:
    async with viewing(state) as view:
        with running(config(state, {"raw": RAW})) as manifold:
            await view.until(lambda: view.column("servers", 0) == ["raw"])
            view.app.machine.processes[0].heard -= 3600
            view.app.paint()
            assert "! does not answer: raw" in view.column("processes", 0)[0]
            manifold.request("ping")


def beside(view: View) -> str:
    """What is right of the table."""
    return "\n".join(line.partition("│")[2].strip() for line in view.text.splitlines())


def fits(grid: Grid) -> bool:
    """Whether all of its columns are to be seen, unless nothing of it is."""
    return not grid.display or sum(column.width for column in grid.ordered_columns) <= grid.size.width


def row(view: View, number: int) -> ServerRow:
    [seen] = view.app.machine.processes
    return seen.servers[number]


# A log that is followed


def test_what_was_there_is_read_from_near_its_end_and_then_what_comes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"%06d %s\n" % (number, b"x" * 100) for number in range(5000)))
    follower = Follower(log)
    lines = follower.lines()
    assert lines[-1].startswith(b"004999 ")
    assert {len(line) for line in lines} == {107}
    assert FIRST - 200 < sum(len(line) + 1 for line in lines) <= FIRST
    assert follower.lines() == []
    with log.open("ab") as stream:
        stream.write(b"one\ntw")
        stream.flush()
        assert follower.lines() == [b"one"]
        stream.write(b"o\n")
        stream.flush()
        assert follower.lines() == [b"two"]
    follower.close()


def test_a_file_that_is_moved_aside_cut_or_late_is_found_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = Follower(log)
    assert follower.lines() == []
    log.write_bytes(b"first\n")
    assert follower.lines() == [b"first"]
    with log.open("ab") as stream:
        stream.write(b"last words\n")
    log.rename(tmp_path / "log.1")
    assert follower.lines() == [b"last words"]
    log.write_bytes(b"second\n")
    assert follower.lines() == [b"second"]
    with log.open("ab") as stream:
        stream.write(b"more\n")
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"third\n")
    assert follower.lines() == [b"more", b"third"]
    log.write_bytes(b"cut\n")
    assert follower.lines() == [b"cut"]
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(OSError, match="no file that can be read again"):
        follower.lines()
    follower.close()


# Figures


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0.0s"), (4.24, "4.2s"), (59, "59s"), (61, "1m 1s"), (1800, "30m"), (7500, "2h 5m"), (400_000, "4d")],
)
def test_ages_are_short(seconds: float, shown: str) -> None:
    assert figures.age(seconds) == shown


def test_durations_sizes_and_rates_are_short() -> None:
    assert [figures.duration(each) for each in (None, 0.00042, 0.012, 1.25)] == ["-", "0.4ms", "12ms", "1.2s"]
    assert [figures.size(each) for each in (None, 5 << 20, 120 << 20, 1500 << 20)] == ["-", "5.0M", "120M", "1.5G"]
    assert [figures.rate(each) for each in (0, 0.1, 1234.5)] == ["-", "0.1", "1234"]


def test_what_no_proxy_of_ours_would_say_is_shown_all_the_same() -> None:
    assert [figures.clock(at) for at in (1e300, -1e300)] == ["?", "?"]
    assert figures.bars([-5, -1], 2) == "  "
    assert figures.sign("new\x1b[2J")[0] == "? new"
    assert "[[[" in reader()(b'{"a":' + b"[" * 100_000)


def test_who_is_watched_anew_has_each_call_once() -> None:
    call = Call(1, 0.0, "c", "s", "1", "raw", "t", "tools/call", "error", 0.1, 1, 1, "")
    seen = Seen(Card(1, 1, "", "", 0.0, "run", "s", "", ""))
    for _ in range(2):
        seen.take(News("snapshot", calls=[call]))
    assert (list(seen.calls), list(seen.failures)) == ([call], [call])


def test_a_curve_is_as_high_as_its_highest() -> None:
    assert figures.bars([9, 0, 1, 4, 8], 4) == " ▁▄█"
    assert figures.bars([0, 0], 2) == "  "


def test_every_state_has_a_sign_and_a_word() -> None:
    states = ("idle", "starting", "ready", "backoff", "failed", "stopped")
    assert len({figures.sign(state)[0] for state in states}) == len(states)
    assert figures.sign("new one")[0] == "? new one"


def test_a_name_that_would_act_on_the_terminal_is_shown_without_that() -> None:
    assert rows.plain("a\x1b[2J\nb\u202e[red]").plain == "a b[red]"
