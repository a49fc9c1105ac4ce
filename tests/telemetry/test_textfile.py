"""What node_exporter finds of several processes in one directory."""

import urllib.request
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from proxy.aside import aside
from proxy.events import CallFinished, Event, Notice, ServerStateChanged
from proxy.telemetry import textfile
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.published import Published, this_process
from proxy.telemetry.pulled import Sources
from proxy.telemetry.redact import Redactor
from proxy.telemetry.textfile import Textfile
from tests.support.client import PATIENCE
from tests.support.prometheus import MISSING, NODE_EXPORTER, PROMTOOL, exporting

US = this_process("run", "one")
CALL = CallFinished("client", "session", "1", "git", "status", "ok", 0.1, 1, 2)


def quiet(event: Event) -> None:
    raise AssertionError(event)


class Looking:
    """Runs a text file in the background, and waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(textfile, "EVERY", 0.01)

    async def until_written(self, directory: Path, text: str) -> str:
        with anyio.fail_after(PATIENCE):
            while True:
                written = "".join(path.read_text() for path in directory.glob("*.prom"))
                if text in written:
                    return written
                await anyio.sleep(0.005)

    async def until_gone(self, path: Path) -> None:
        with anyio.fail_after(PATIENCE):
            while True:
                if not path.exists():
                    return
                await anyio.sleep(0.005)


async def test_it_holds_the_series_as_they_are_and_goes_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, looking = Metrics(), Looking(monkeypatch)
    file = Textfile(tmp_path, US, metrics.registry, quiet)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file.run)
        await looking.until_written(tmp_path, "mcp_manifold_build_info")
        metrics(CALL)
        await looking.until_written(tmp_path, 'tool="status"')
        tasks.cancel_scope.cancel()
    file.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_process_left_is_removed_by_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, looking = Metrics(), Looking(monkeypatch)
    file = Textfile(tmp_path, US, metrics.registry, quiet)
    killed = Published(tmp_path, US._replace(started="1"), ".prom", 0o644)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file.run)
        await looking.until_written(tmp_path, "mcp_manifold_build_info")
        killed.write(b"")
        await looking.until_gone(killed.path)
        tasks.cancel_scope.cancel()
    file.close()


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
async def test_the_series_of_two_processes_can_stand_in_one_exposition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, samples = Looking(monkeypatch), list[tuple[str, frozenset[tuple[str, str]]]]()
    for process in (US, US._replace(pid=4242, session="two", world="0" * 8)):
        metrics = Metrics()
        metrics(CALL)
        file = Textfile(tmp_path, process, metrics.registry, quiet)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.run)
            text = await looking.until_written(tmp_path, f'session="{process.session}"')
            tasks.cancel_scope.cancel()
        done = await anyio.run_process([PROMTOOL, "check", "metrics"], input=text.encode(), check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        for family in text_string_to_metric_families(text):
            samples += [(sample.name, frozenset(sample.labels.items())) for sample in family.samples]
        file.close()
    assert len(samples) == len(set(samples))


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 (our own)
        return str(response.read().decode())


@pytest.mark.skipif(not NODE_EXPORTER, reason=MISSING)
async def test_node_exporter_shows_the_series_of_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = ("git", "4711-word", "other-secret")
    sources = Sources(in_flight=lambda: [(server, 3) for server in servers])
    looking, metrics = Looking(monkeypatch), Metrics(sources, Redactor(servers[1:]))
    async with anyio.create_task_group() as tasks:
        for process in (US, US._replace(pid=4242, session="two", world="0" * 8)):
            tasks.start_soon(Textfile(tmp_path, process, metrics.registry, quiet).run)
        for server in servers:
            metrics(ServerStateChanged(server, "idle", "starting"))
            metrics(replace(CALL, server=server))
        for session in ("one", "two"):
            await looking.until_written(tmp_path, f'session="{session}",tool="status"')
        tasks.cancel_scope.cancel()
    with exporting(tmp_path) as url:
        text = await anyio.to_thread.run_sync(lambda: read(url))
    found = {
        (sample.name, sample.labels.get("session"), sample.labels.get("server")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["node_textfile_scrape_error", None, None] == 0
    for session in ("one", "two"):
        assert found["mcp_manifold_calls_total", session, "git"] == 1
        assert found["mcp_manifold_calls_total", session, "***"] == 2, "two that look alike"
        assert found["mcp_manifold_calls_in_flight", session, "***"] == 6


async def test_a_directory_that_is_not_there_is_told_once_and_tried_again_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[Event] = []
    tries, tried_again = 0, anyio.Event()

    async def counted(work: Callable[[], object], name: str) -> object:
        nonlocal tries
        tries += 1
        if tries > 3:
            tried_again.set()
        return await aside(work, name)

    monkeypatch.setattr(textfile, "aside", counted)
    looking, directory = Looking(monkeypatch), tmp_path / "collector"
    well_again = anyio.Event()

    def told(event: Event) -> None:
        notices.append(event)
        if len(notices) == 2:
            well_again.set()

    file = Textfile(directory, US, Metrics().registry, told)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file.run)
        with anyio.fail_after(PATIENCE):
            await tried_again.wait()
        directory.mkdir()
        await looking.until_written(directory, "mcp_manifold_build_info")
        with anyio.fail_after(PATIENCE):
            await well_again.wait()
        tasks.cancel_scope.cancel()
    file.close()
    assert notices == [
        Notice("warning", f"no metrics in {directory}, which is tried again: No such file or directory"),
        Notice("info", f"there are metrics in {directory} again"),
    ]
