"""Figures that others keep, as a scrape finds them."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from proxy.relay.figures import Figures
from proxy.telemetry.pulled import Pulled, Sources
from proxy.telemetry.redact import Redactor

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not looked at")


def shown(pulled: Pulled) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value."""
    return {
        (sample.name.removeprefix("mcp_manifold_"), *sample.labels.values()): sample.value
        for family in pulled.collect()
        for sample in family.samples
    }


def test_what_waits_and_how_it_stands_is_told_of_each_server() -> None:
    figures = [Figures("git", 3, 256, 2, True), Figures("time", 0, 5, 0, False)]
    found = shown(Pulled(Sources(figures=lambda: figures), Redactor()))
    assert found["calls_queued", "git"] == 3
    assert found["queue_limit", "time"] == 5
    assert found["retries_total", "git"] == 2
    assert (found["breaker_open", "git"], found["breaker_open", "time"]) == (1, 0)


def test_a_front_whose_last_session_has_gone_has_none() -> None:
    sessions = Counter({"http": 2})
    pulled = Pulled(Sources(sessions=lambda: sessions), Redactor())
    assert shown(pulled)["sessions", "http"] == 2
    sessions.clear()
    assert shown(pulled)["sessions", "http"] == 0


@LINUX
def test_memory_is_told_of_the_proxy_and_of_each_servers_tree() -> None:
    python = f"{sys.executable} -c 'import sys; print(flush=True); sys.stdin.read()'"
    command = ["sh", "-c", f"exec 3<&0; {python} <&3 & wait"]  # what runs in the background has no stdin of its own
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = shown(Pulled(Sources(pids=lambda: [("git", child.pid), ("gone", 2**22 + 1)]), Redactor()))
        assert child.stdin is not None
        child.stdin.close()
    own = found[("memory_bytes",)]
    assert own > 5_000_000
    assert found["server_memory_bytes", "git"] > 5_000_000, "a shell is smaller"
    assert ("server_memory_bytes", "gone") not in found
    assert os.getpid() not in found.values()


def test_a_version_that_tells_a_story_is_cut_and_holds_no_secret() -> None:
    pulled = Pulled(Sources(), Redactor(["s3cr3t!"]))
    pulled.infos["git"] = "s3cr3t!" + "9" * 1000, "2025-11-25"
    [(_, *values)] = [key for key in shown(pulled) if key[0] == "server_info"]
    assert "s3cr3t!" not in str(values)
    assert max(map(len, values)) <= 100
