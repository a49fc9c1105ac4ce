"""The ways that figures go out, as the settings name them; and the real proxy and hub with each of them."""

import json
import os
import shutil
import time
import urllib.request
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.config.models import MetricsSettings
from proxy.events import Event, Notice
from proxy.telemetry.discovery import FOLDER, OF_HUBS
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.outlets import Outlets
from proxy.telemetry.published import this_process
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.hub import serving
from tests.support.manifold import running, write_config

US = this_process("run", "5c40-6b")


def appeared(folder: Path) -> bytes:
    """The file in it, once it is there: telemetry comes up after the first answers."""
    end = time.monotonic() + PATIENCE
    while not (found := list(folder.glob("*.json"))):
        assert time.monotonic() < end, f"nothing came to {folder}"
        time.sleep(0.01)
    return found[0].read_bytes()


def scraped(url: str, wanted: str) -> str:
    """The series, once this is among them: what happened before is told a moment later."""
    end = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 (our own)
            text = str(response.read().decode())
        if wanted in text:
            return text
        assert time.monotonic() < end, text
        time.sleep(0.01)


def made(settings: MetricsSettings, state: Path) -> tuple[Outlets, list[Event]]:
    told: list[Event] = []
    return Outlets(settings, Metrics(), US, state, told.append), told


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_nothing_is_opened_or_written_that_was_not_asked_for(tmp_path: Path) -> None:
    outlets, told = made(MetricsSettings(), tmp_path)
    outlets.is_at("http://127.0.0.1:8765")
    outlets.close()
    assert (told, files(tmp_path)) == ([], [])


def test_a_port_is_written_down_and_closing_takes_both_away(tmp_path: Path) -> None:
    outlets, told = made(MetricsSettings(enabled=True, port=0, discovery=True), tmp_path)
    [file] = (tmp_path / FOLDER).iterdir()
    [address] = json.loads(file.read_bytes())[0]["targets"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as response:
        assert b"mcp_manifold_build_info" in response.read()
    outlets.close()
    assert files(tmp_path) == []
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE)
    assert [event.level for event in told if isinstance(event, Notice)] == ["info"]


def test_without_a_port_a_hub_is_told_apart_and_a_proxy_has_nothing_to_tell(tmp_path: Path) -> None:
    outlets, told = made(MetricsSettings(discovery=True), tmp_path)
    outlets.is_at("https://127.0.0.1:8765")
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == [OF_HUBS]
    outlets.close()
    assert (told, files(tmp_path)) == ([], [])
    outlets, told = made(MetricsSettings(discovery=True), tmp_path)
    outlets.is_at(None)
    outlets.close()
    assert told == [Notice("warning", "nothing for Prometheus to discover: `metrics.enabled` is false")]


def test_a_hub_with_a_port_of_its_own_for_figures_is_told_of_once(tmp_path: Path) -> None:
    outlets, _ = made(MetricsSettings(enabled=True, port=0, discovery=True), tmp_path)
    outlets.is_at("https://127.0.0.1:8765")
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == [FOLDER]
    outlets.close()


def test_a_state_directory_that_cannot_be_written_is_told_and_no_more(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    outlets, told = made(MetricsSettings(enabled=True, port=0, discovery=True), tmp_path)
    outlets.close()
    [*_, last] = told
    assert isinstance(last, Notice)
    assert (last.level, "can't discover" in last.text) == ("warning", True)


async def test_the_file_is_there_again_where_somebody_emptied_the_state_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("proxy.telemetry.outlets.EVERY", 0.001)
    state = tmp_path / "state"
    outlets, told = made(MetricsSettings(enabled=True, port=0, discovery=True), state)
    before = appeared(state / FOLDER)
    shutil.rmtree(state)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        assert await anyio.to_thread.run_sync(appeared, state / FOLDER) == before
        tasks.cancel_scope.cancel()
    outlets.close()
    assert files(tmp_path) == []
    assert [event for event in told if isinstance(event, Notice) and event.level == "warning"] == []


async def test_the_loop_is_watched_while_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("proxy.telemetry.loop.EVERY", 0.001)
    metrics, looked = Metrics(), anyio.Event()
    observe = metrics.observe_lag

    def observed(seconds: float) -> None:
        observe(seconds)
        looked.set()

    metrics.observe_lag = observed
    outlets = Outlets(MetricsSettings(), metrics, US, tmp_path, list[Event]().append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        with anyio.fail_after(PATIENCE):
            await looked.wait()
        tasks.cancel_scope.cancel()
    outlets.close()
    assert metrics.registry.get_sample_value("mcp_manifold_event_loop_lag_seconds_count")


def test_a_real_proxy_tells_of_its_queue_its_memory_and_its_server(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        {"raw": servers.script("raw_echo.py")},
        metrics={"enabled": True, "port": 0, "discovery": True, "textfile": "."},
        log={"level": "debug"},
    )
    with running(config, {"CLAUDE_CODE_SESSION_ID": "5c40"}) as client:
        assert client.call("raw__verbatim").result["content"] == []
        [group] = json.loads(appeared(tmp_path / "state" / FOLDER))
        assert group["labels"] == {"session": "5c40", "pid": str(client.pid), "kind": "run"}
        text = scraped(f"http://{group['targets'][0]}/metrics", "mcp_manifold_calls_total{")
        found = {
            (sample.name.removeprefix("mcp_manifold_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    assert found["calls_queued", "raw"] == 0
    assert found["queue_limit", "raw"] == 256
    assert found["sessions", "stdio"] == 1
    assert found["queue_wait_seconds_count", "raw"] == 1  # for the start
    assert found["result_size_bytes_count", "raw"] == 1
    assert found["server_state", "raw", "ready"] == 1
    assert found["cache_lookups_total", "miss", "raw"] == 1
    assert found["server_start_duration_seconds_count", "raw"] == 1
    assert [key for key in found if key[0] == "server_info"]
    if os.path.isdir("/proc/self"):  # noqa: PTH112
        assert found["server_memory_bytes", "raw"] > 1_000_000
    assert files(tmp_path / "state" / FOLDER) == []
    assert list(tmp_path.glob("*.prom")) == []


def test_a_real_hub_tells_prometheus_where_it_is_behind_its_token(tmp_path: Path) -> None:
    config = write_config(tmp_path, {}, metrics={"discovery": True}, http={"port": 0})
    with serving(config) as hub:
        [file] = (tmp_path / "state" / OF_HUBS).iterdir()
        [group] = json.loads(file.read_bytes())
        assert hub.url.rstrip("/").endswith(group["targets"][0])
        assert group["labels"]["kind"] == "serve"
        request = urllib.request.Request(f"http://{group['targets'][0]}/metrics", headers=hub.headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 (our own)
            assert b'mcp_manifold_sessions{front="rest"} 1.0' in response.read()
    assert files(tmp_path / "state" / OF_HUBS) == []
