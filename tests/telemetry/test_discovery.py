"""What Prometheus is told, and a real one that follows it."""

import json
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.telemetry.discovery import FOLDER, announce
from proxy.telemetry.published import Process
from tests.support import servers
from tests.support.hub import serving
from tests.support.manifold import running, write_config
from tests.support.prometheus import MISSING, PROMETHEUS, scraping

PROCESS = Process(4242, "777", "0123abcd", "run", "5c40-6b")


def test_the_file_has_the_form_that_prometheus_reads_and_is_this_users_alone(tmp_path: Path) -> None:
    file = announce(tmp_path / "state" / FOLDER, PROCESS, "http://127.0.0.1:40123")
    assert json.loads(file.path.read_bytes()) == [
        {"targets": ["127.0.0.1:40123"], "labels": {"session": "5c40-6b", "pid": "4242", "kind": "run"}}
    ]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    file.remove()
    assert list(file.path.parent.iterdir()) == []


def test_a_hub_that_speaks_tls_is_told_with_its_scheme(tmp_path: Path) -> None:
    file = announce(tmp_path, PROCESS, "https://127.0.0.1:8765")
    [group] = json.loads(file.path.read_bytes())
    assert group["labels"]["__scheme__"] == "https"


JOB = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: mcp-manifold
    file_sd_configs:
      - files: ["{files}/*.json"]
        refresh_interval: 1s
"""


@pytest.mark.skipif(not PROMETHEUS, reason=MISSING)
def test_a_real_prometheus_follows_proxies_that_come_and_go(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        {"raw": servers.script("raw_echo.py")},
        metrics={"enabled": True, "port": 0, "discovery": True},
        http={"port": 0},
    )
    files = tmp_path / "state" / FOLDER
    with ExitStack() as stack:
        stack.enter_context(serving(config))
        first, second, *_ = [stack.enter_context(running(config)) for _ in range(4)]
        prometheus = stack.enter_context(scraping(tmp_path / "prometheus", JOB.format(files=files)))
        found = prometheus.until("up == 1", lambda found: len(found) == 5)
        assert sorted(labels["kind"] for labels, _ in found) == ["run"] * 4 + ["serve"]
        assert str(first.pid) in {labels["pid"] for labels, _ in found}
        assert first.call("raw__verbatim").result["content"] == []
        calls = f'mcp_manifold_calls_total{{pid="{first.pid}", server="raw"}}'
        prometheus.until(calls, lambda found: [value for _, value in found] == [1.0])

        first.child.close_stdin()
        assert first.child.wait_for_exit() == 0
        second.child.process.kill()
        gone = {str(second.pid)}
        prometheus.until("up == 0", lambda found: gone <= {labels["pid"] for labels, _ in found})
        stack.enter_context(running(config))  # the next one that starts finds that it is gone
        prometheus.until("up", lambda found: len(found) == 4 and all(value for _, value in found))
        prometheus.until("count(mcp_manifold_build_info)", lambda found: found == [({}, 4.0)])
    assert list(files.iterdir()) == []
