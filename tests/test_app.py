"""The parts put together: servers that end with the hub, and observers that hear everything."""

import asyncio
import json
import re
import socket
import sys
import threading
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy import app
from proxy.config.load import load
from proxy.events import CallFinished
from proxy.fronts.local import LocalClient
from proxy.telemetry import otlp, traces
from proxy.tracecontext import SAMPLED, Trace
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.commands import python, sample
from tests.support.manifold import Manifold, running, tools_until, write_config
from tests.support.otlp import collecting
from tests.support.processes import eventually, marked, new_mark


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


async def test_servers_run_while_the_hub_is_open_and_not_after(tmp_path: Path) -> None:
    mark = new_mark()
    entries = {"clock": sample("clock", env=mark), "silent": python("import sys; sys.stdin.read()", env=mark)}
    hub = app.Hub(load(write_config(tmp_path, entries), {}), {})
    assert marked(mark) == {}
    with anyio.fail_after(PATIENCE):
        await LocalClient(hub.pump, "test").initialize()
        async with hub.servers():
            while hub.fleet.reports()[0].state != "ready":
                await hub.fleet.progress()
            assert len(marked(mark)) == 2
    assert marked(mark) == {}


async def test_an_error_inside_comes_out_after_the_servers_have_ended(tmp_path: Path) -> None:
    mark = new_mark()
    hub = app.Hub(load(write_config(tmp_path, {"clock": sample("clock", env=mark)}), {}), {})

    async def fail() -> None:
        await LocalClient(hub.pump, "test").initialize()
        async with hub.servers():
            await hub.fleet.until_settled()
            raise ZeroDivisionError

    with anyio.fail_after(PATIENCE), pytest.raises((ZeroDivisionError, ExceptionGroup)):
        await fail()
    assert marked(mark) == {}


def test_the_loop_is_the_fast_one() -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert app.run(kind) == ("uvloop" if sys.platform != "win32" else "asyncio")


def log_of(hub: Manifold) -> list[dict[str, Any]]:
    """The log on stderr, once the proxy has ended."""
    hub.child.close_stdin()
    assert hub.child.wait_for_exit() == 0
    hub.wait_for_end()
    eventually(lambda: not hub.child._threads[1].is_alive(), "stderr was read to its end")
    return [json.loads(line) for line in hub.child.stderr().splitlines()]


def test_what_happened_before_the_log_was_open_is_in_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock", autoApprove=["now"])})
    with running(config) as hub:
        tools_until(hub, {"clock__now"})
        log = log_of(hub)
    assert "autoApprove" in json.dumps(log[:3])
    states = [line["new"] for line in log if line["event"] == "server_state"]
    assert states[0] == "ready"


def test_a_childs_stderr_is_in_the_log_under_its_name(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"fragile": sample("fragile")})) as hub:
        tools_until(hub, {"fragile__complain"})
        hub.call("fragile__complain", {"text": "the disk is nearly full"})
        log = log_of(hub)
    [line] = [line for line in log if "the disk is nearly full" in json.dumps(line)]
    assert line["server"] == "fragile"


def test_the_log_can_go_to_a_file_and_stderr_stays_empty(tmp_path: Path) -> None:
    file = tmp_path / "hub.log"
    with running(write_config(tmp_path, {"clock": sample("clock")}, log={"file": str(file)})) as hub:
        tools_until(hub, {"clock__now"})
        hub.call("clock__now")
        assert log_of(hub) == []
    assert '"event":"call"' in file.read_text()


def test_secrets_of_the_config_are_not_in_the_log(tmp_path: Path) -> None:
    entry = python("import os, sys; sys.exit(os.environ['TOKEN'])", env={"TOKEN": "${MY_TOKEN}"})
    with running(write_config(tmp_path, {"leaky": entry}), env={"MY_TOKEN": "s3cr3t-value"}) as hub:
        assert hub.tools() == {}
        log = json.dumps(log_of(hub))
    assert "leaky" in log
    assert "s3cr3t-value" not in log


def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    entries = {"clock": sample("clock"), "gone": servers.entry(["no-such-command-anywhere"])}
    with running(write_config(tmp_path, entries, metrics={"enabled": True, "port": 0})) as hub:
        tools_until(hub, {"clock__now"})
        assert "isError" not in hub.call("clock__now").result
        assert hub.call("clock__now", {"zone": "Nowhere"}).result["isError"]
        eventually(lambda: re.search(r"127\.0\.0\.1:\d+", hub.child.stderr()) is not None, "the port is in the log")
        found = re.search(r"127\.0\.0\.1:\d+", hub.child.stderr())
        assert found is not None
        with urllib.request.urlopen(f"http://{found.group()}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
    assert 'mcp_manifold_calls_total{outcome="ok",server="clock",tool="now"} 1.0' in lines
    assert 'mcp_manifold_calls_total{outcome="tool_error",server="clock",tool="now"} 1.0' in lines
    assert 'mcp_manifold_server_up{server="clock"} 1.0' in lines
    assert 'mcp_manifold_server_up{server="gone"} 0.0' in lines
    assert 'mcp_manifold_catalogue_tools{server="clock"} 3.0' in lines
    assert 'mcp_manifold_calls_in_flight{server="clock"} 0.0' in lines
    assert any(line.startswith('mcp_manifold_bytes_total{direction="') for line in lines)


def test_metrics_tell_of_servers_that_sleep_all_session(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock")}, metrics={"textfile": str(tmp_path)})
    with running(config) as first:
        tools_until(first, {"clock__now"})
    with running(config) as hub:
        tools_until(hub, {"clock__now"})
        eventually(lambda: any(tmp_path.glob("*.prom")), "figures are written")
        [file] = tmp_path.glob("*.prom")
        lines = re.sub(r'(?:kind|pid|session)="[^"]*",?', "", file.read_text()).replace(",}", "}").splitlines()
    assert 'mcp_manifold_server_state{server="clock",state="idle"} 1.0' in lines
    assert 'mcp_manifold_server_starts_total{outcome="ok",server="clock"} 0.0' in lines
    assert 'mcp_manifold_catalogue_tools{server="clock"} 3.0' in lines


def test_a_log_that_cannot_be_written_is_no_reason_to_end(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock")}, log={"file": str(tmp_path)})
    with running(config) as hub:
        tools_until(hub, {"clock__now"})
        assert "structuredContent" in hub.call("clock__now").result


def test_a_session_whose_name_is_no_text_is_told_of_as_any_other(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        {"clock": sample("clock")},
        audit={"file": str(tmp_path / "audit")},
        metrics={"enabled": True, "port": 0, "discovery": True},
    )
    with running(config, env={"CLAUDE_CODE_SESSION_ID": "\udcff \n\u202eabc"}) as manifold:
        manifold.call(next(iter(manifold.tools())))
        for folder in ("prometheus", "run"):
            where = tmp_path / "state" / folder
            eventually(lambda where=where: any(where.glob("*.json")), f"nothing in {where}")  # type: ignore[misc]
    [row] = (tmp_path / "audit").read_text().splitlines()
    assert json.loads(row)["session"] == "? abc"
    assert manifold.own_troubles() == []


async def closed(tmp_path: Path, **proxy: Any) -> None:
    """What becomes of a call where the end comes before the loop's next turn."""
    async with AsyncExitStack() as stack:
        hub = app.Hub(load(write_config(tmp_path, {}, **proxy), {}), {}, traced=True)
        hub.bus.open(*app.open_telemetry(hub, stack).observers)
        trace = Trace("1" * 32, "", "2" * 16, "3" * 16, SAMPLED, "", 1.0, "git__status", 0.0, 1, 1)
        hub.bus(CallFinished("editor", "s1", "1", "git", "status", "ok", 0.5, 1, 2, trace=trace))


async def test_all_is_written_and_removed_before_anybody_waits_for_a_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "AT_EXIT", PATIENCE)
    files, left = [tmp_path / "audit", tmp_path / "log"], tmp_path / "state/prometheus"
    seen: list[Any] = []
    with collecting() as spans:
        hold = spans.hold = threading.Event()

        def look() -> None:
            spans.until(lambda: spans.held)
            seen.extend(["git" in file.read_text() for file in files] + [list(left.iterdir())])
            hold.set()

        looking = threading.Thread(target=look)
        looking.start()
        await closed(
            tmp_path,
            traces={"endpoint": spans.endpoint},
            audit={"file": str(files[0])},
            log={"file": str(files[1])},
            metrics={"enabled": True, "port": 0, "discovery": True},
        )
        looking.join()
    assert seen == [True, True, []]


async def test_collectors_of_spans_and_of_figures_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "AT_EXIT", PATIENCE)
    monkeypatch.setattr(traces, "GATHERED", 10 * PATIENCE)
    monkeypatch.setattr(otlp, "FAREWELL", PATIENCE)
    with collecting() as spans, collecting() as figures:
        metrics = {"otlp": {"endpoint": figures.endpoint, "interval": 1}}
        config = write_config(tmp_path, {}, traces={"endpoint": spans.endpoint}, metrics=metrics)
        async with AsyncExitStack() as stack:
            hub = app.Hub(load(config, {}), {}, traced=True)
            telemetry = app.open_telemetry(hub, stack)
            assert telemetry.outlets is not None
            hub.bus.open(*telemetry.observers)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(telemetry.outlets.run)
                await anyio.to_thread.run_sync(figures.until, lambda: bool(figures.requests))
                tasks.cancel_scope.cancel()
            figures.hold = threading.Event()
            trace = Trace("1" * 32, "", "2" * 16, "3" * 16, SAMPLED, "", 1.0, "git__status", 0.0, 1, 1)
            hub.bus(CallFinished("editor", "s1", "1", "git", "status", "ok", 0.5, 1, 2, trace=trace))

            def answer_once_spans_have_come() -> None:
                spans.until(lambda: bool(spans.requests))
                assert figures.hold is not None
                figures.hold.set()

            answering = threading.Thread(target=answer_once_spans_have_come)
            answering.start()
        answering.join()
    assert len(figures.requests) == 2
    assert caplog.messages == [], "each has had its answer in time"


async def test_what_goes_wrong_at_the_end_is_in_the_log(tmp_path: Path) -> None:
    await closed(tmp_path, audit={"file": "/dev/full"}, log={"file": str(tmp_path / "log")})
    assert "rows are missing in the audit /dev/full" in (tmp_path / "log").read_text()


def test_a_port_in_use_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(write_config(tmp_path, {}, metrics={"enabled": True, "port": port})) as hub:
            log = log_of(hub)
    assert [line for line in log if line["level"] == "warning" and str(port) in json.dumps(line)]
