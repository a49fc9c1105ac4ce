"""The series that Prometheus finds, read with its own parser."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.events import (
    CallFinished,
    ClientGone,
    ListingRecalled,
    ListingRefreshed,
    Notice,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerOutput,
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)
from proxy.relay.figures import Figures
from proxy.telemetry.metrics import CAUSES, STATES, Metrics
from proxy.telemetry.pulled import Sources
from proxy.telemetry.redact import Redactor
from proxy.telemetry.tallies import MOST_TOOLS
from tests.support.prometheus import MISSING, PROMTOOL

CALL = CallFinished("client", "session", "1", "git", "status", "ok", 0.004, 100, 200)

Series = tuple[str, frozenset[tuple[str, str]]]


def series(metrics: Metrics) -> dict[Series, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[f"mcp_manifold_{name}", frozenset(labels.items())]


def test_calls_are_counted_by_server_tool_and_outcome() -> None:
    metrics = Metrics()
    metrics(CALL)
    metrics(CALL)
    metrics(msgspec.structs.replace(CALL, outcome="timeout"))
    assert value(metrics, "calls_total", server="git", tool="status", outcome="ok") == 2
    assert value(metrics, "calls_total", server="git", tool="status", outcome="timeout") == 1


def test_durations_fall_into_buckets_from_a_millisecond_to_five_minutes() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.004, 299.0, 1000.0):
        metrics(msgspec.structs.replace(CALL, seconds=seconds))
    labels = {"server": "git", "tool": "status"}
    name = "call_duration_seconds"
    assert value(metrics, f"{name}_bucket", **labels, le="0.001") == 1
    assert value(metrics, f"{name}_bucket", **labels, le="0.005") == 2
    assert value(metrics, f"{name}_bucket", **labels, le="300.0") == 3
    assert value(metrics, f"{name}_count", **labels) == 4
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(1299.0045)


def test_other_requests_and_questions_are_counted_by_the_methods_that_there_are() -> None:
    metrics = Metrics()
    for method in ("resources/read", "resources/read", "made/up", "made/up/too"):
        metrics(RequestFinished("c", "s", "1", "git", "x", "ok", 1.0, 1, 1, method=method))
        metrics(QuestionFinished("git", "s", method, "refused", 0.0))
    for name, outcome in (("requests_total", "ok"), ("questions_total", "refused")):
        assert value(metrics, name, server="git", method="resources/read", outcome=outcome) == 2
        assert value(metrics, name, server="git", method="other", outcome=outcome) == 2


def test_what_was_dropped_is_counted_by_the_methods_that_there_are() -> None:
    metrics = Metrics()
    for method, number in (("notifications/message", 5), ("notifications/message", 2), ("made/up", 1), ("too", 1)):
        metrics(NotificationsDropped("s", method, number))
    assert value(metrics, "notifications_dropped_total", method="notifications/message") == 7
    assert value(metrics, "notifications_dropped_total", method="other") == 2


def test_a_server_is_up_only_while_it_is_ready() -> None:
    metrics = Metrics()
    seen = []
    for old, new in (("idle", "starting"), ("starting", "ready"), ("ready", "backoff"), ("backoff", "failed")):
        metrics(ServerStateChanged("git", old, new))
        seen.append(value(metrics, "server_up", server="git"))
    assert seen == [0, 1, 0, 0]


def test_a_server_that_sleeps_is_there_with_all_its_series_from_when_it_is_recalled() -> None:
    metrics = Metrics()
    metrics(ListingRecalled("git", "hit", 1.0))
    assert value(metrics, "server_state", server="git", state="idle") == 1
    assert value(metrics, "server_up", server="git") == 0
    assert value(metrics, "server_starts_total", server="git", outcome="ok") == 0
    metrics(ServerStateChanged("git", "idle", "starting"))
    assert value(metrics, "server_state", server="git", state="idle") == 0


def test_starts_are_known() -> None:
    metrics = Metrics()
    metrics(ServerStartFinished("git", "failed", 1.0))
    metrics(ServerStartFinished("git", "ok", 1.0))
    assert value(metrics, "server_starts_total", server="git", outcome="failed") == 1
    assert value(metrics, "server_starts_total", server="git", outcome="ok") == 1


def test_bytes_and_calls_in_flight_are_asked_for_at_each_scrape() -> None:
    traffic = [("git", 10, 20)]
    metrics = Metrics(Sources(traffic=lambda: traffic, in_flight=lambda: [("git", 3), ("time", 0)]))
    assert value(metrics, "bytes_total", server="git", direction="received") == 10
    traffic[0] = ("git", 11, 22)
    assert value(metrics, "bytes_total", server="git", direction="received") == 11
    assert value(metrics, "bytes_total", server="git", direction="sent") == 22
    assert value(metrics, "calls_in_flight", server="git") == 3
    assert value(metrics, "calls_in_flight", server="time") == 0


def test_a_source_that_changes_while_it_is_read_is_read_again() -> None:
    servers = {"git": 1}
    reads = 0

    def in_flight() -> Iterator[tuple[str, int]]:
        nonlocal reads
        reads += 1
        for server, calls in servers.items():
            yield server, calls
            servers["time"] = 0

    assert value(Metrics(Sources(in_flight=in_flight)), "calls_in_flight", server="git") == 1
    assert reads == 2


def test_the_build_is_named() -> None:
    assert value(Metrics(), "build_info", version=__version__, python=platform.python_version()) == 1


SOURCES = Sources(
    traffic=lambda: [("git", 1, 1)],
    in_flight=lambda: [("git", 1)],
    figures=lambda: [Figures("git", 2, 256, 3, True)],
    sessions=lambda: {"http": 2},
    listed=lambda: [("git", 1)],
    left_out=lambda: {"git": 5},
    pids=lambda: [("git", os.getpid())],
)
EVERYTHING = (
    CALL,
    msgspec.structs.replace(CALL, waited=0.25),
    RequestFinished("c", "s", "1", "git", "x", "ok", 1.0, 1, 1, method="resources/read"),
    QuestionFinished("git", "s", "sampling/createMessage", "ok", 1.0),
    NotificationsDropped("s", "notifications/message", 1),
    ServerStateChanged("git", "starting", "ready"),
    ServerStartFinished("git", "ok", 1.0, "2025-11-25", "Git", "1.2.3"),
    ListingRecalled("git", "hit", 1.0),
    ListingRefreshed("git", "ok"),
    ServerOutput("git", "stderr", "text"),
    ClientGone("client", "session"),
    Notice("info", "text"),
)


def full() -> Metrics:
    """All series there are, each with a sample."""
    metrics = Metrics(SOURCES)
    for event in EVERYTHING:
        metrics(event)
    metrics.observe_lag(0.001)
    return metrics


def exported(metrics: Metrics) -> dict[str, tuple[str, frozenset[str]]]:
    """Series -> type and label names, as a scrape shows them."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(key for sample in family.samples for key in sample.labels if key != "le")
        assert family.samples, f"{name} has no sample, so that nothing is known of its labels"
        found[name] = family.type, labels
    return found


def test_the_table_in_the_docs_has_all_series_with_their_types_and_labels_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(mcp_manifold_\w+)` \| (\w+) \| (.*?) \|", text, re.MULTILINE)
    told = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    there = exported(full())
    if sys.platform != "linux":
        there |= {name: told[name] for name in told if name.endswith("memory_bytes")}
    assert told == there


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
def test_prometheus_finds_nothing_to_complain_of() -> None:
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=generate_latest(full().registry), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_size_of_results_is_told_in_bytes_and_estimated_in_tokens() -> None:
    metrics = Metrics()
    for outcome, size in (("ok", 1000), ("tool_error", 600), ("error", 5000), ("cancelled", 0)):
        metrics(msgspec.structs.replace(CALL, outcome=outcome, bytes_out=size))
    assert value(metrics, "result_size_bytes_count", server="git") == 2
    assert value(metrics, "result_size_bytes_sum", server="git") == 1600
    assert value(metrics, "result_size_bytes_bucket", server="git", le="1024.0") == 2
    assert value(metrics, "result_tokens_total", server="git", tool="status") == 400


def test_the_wait_is_told_of_requests_that_had_to_wait_alone() -> None:
    metrics = Metrics()
    metrics.take_calls([msgspec.structs.replace(CALL, waited=waited) for waited in (None, 0.25, None, 1.0)])
    metrics(RequestFinished("c", "s", "1", "git", "x", "ok", 1.0, 1, 1, method="resources/read", waited=2.0))
    assert value(metrics, "queue_wait_seconds_count", server="git") == 3
    assert value(metrics, "queue_wait_seconds_sum", server="git") == 3.25


def test_a_restart_is_counted_by_the_reason_why_it_ended_before() -> None:
    metrics = Metrics()
    for old, new, cause in (
        ("idle", "starting", ""),
        ("starting", "backoff", "start_failed"),
        ("backoff", "starting", ""),
        ("starting", "ready", ""),
        ("ready", "backoff", "lost"),
        ("backoff", "starting", ""),
        ("starting", "ready", ""),
        ("ready", "idle", ""),  # nobody needed it: no restart is counted when somebody does
        ("idle", "starting", ""),
        ("starting", "ready", ""),
        ("ready", "stopped", "stopped"),
        ("idle", "starting", ""),
    ):
        metrics(ServerStateChanged("git", old, new, cause=cause))
    counts = {cause: value(metrics, "server_restarts_total", server="git", reason=cause) for cause in CAUSES}
    assert counts == {"lost": 1, "hung": 0, "start_failed": 1, "unreachable": 0, "hopeless": 0, "stopped": 1}


def test_exactly_one_state_of_a_server_is_the_one_that_it_is_in() -> None:
    metrics = Metrics()
    for state in STATES:
        metrics(ServerStateChanged("git", "idle", state))
        shown = {one: value(metrics, "server_state", server="git", state=one) for one in STATES}
        assert shown == {one: one == state for one in STATES}


def test_a_server_is_what_it_said_last() -> None:
    metrics = Metrics()
    for version in ("1.0", "2.0"):
        metrics(ServerStartFinished("git", "ok", 0.3, "2025-11-25", "Git", version))
    metrics(ServerStartFinished("git", "failed", 30.0))
    infos = [labels for name, labels in series(metrics) if name == "mcp_manifold_server_info"]
    assert infos == [frozenset({("server", "git"), ("version", "2.0"), ("protocol", "2025-11-25")})]
    assert value(metrics, "server_start_duration_seconds_count", server="git") == 2


def test_lines_beside_the_messages_are_counted() -> None:
    metrics = Metrics(SOURCES)
    for stream in ("stderr", "stderr", "stdout"):
        metrics(ServerOutput("git", stream, "text"))
    assert value(metrics, "server_stderr_lines_total", server="git") == 2
    assert value(metrics, "parse_errors_total", server="git") == 1
    assert value(metrics, "server_stderr_lines_dropped_total", server="git") == 5


def test_what_is_known_and_what_was_refreshed_is_counted() -> None:
    metrics = Metrics()
    for outcome in ("hit", "hit", "miss"):
        metrics(ListingRecalled("git", outcome))
    metrics(ListingRefreshed("git", "failed"))
    assert value(metrics, "cache_lookups_total", server="git", outcome="hit") == 2
    assert value(metrics, "cache_lookups_total", server="git", outcome="miss") == 1
    assert value(metrics, "cache_refreshes_total", server="git", outcome="failed") == 1


def test_series_of_failures_are_there_before_the_first_failure() -> None:
    metrics = Metrics()
    metrics(ServerStateChanged("git", "idle", "starting"))
    assert value(metrics, "server_restarts_total", server="git", reason="lost") == 0
    assert value(metrics, "server_starts_total", server="git", outcome="failed") == 0
    assert value(metrics, "parse_errors_total", server="git") == 0


def test_tools_beyond_the_first_two_hundred_share_a_label() -> None:
    metrics = Metrics()
    for number in range(MOST_TOOLS + 50):
        metrics(msgspec.structs.replace(CALL, tool=f"tool{number}"))
    metrics(msgspec.structs.replace(CALL, tool="tool7", outcome="error"))
    metrics(msgspec.structs.replace(CALL, server="time", tool="now"))
    tools = {dict(labels)["tool"] for name, labels in series(metrics) if name == "mcp_manifold_calls_total"}
    assert len(tools) == MOST_TOOLS + 2
    assert value(metrics, "calls_total", server="git", tool="other", outcome="ok") == 50
    assert value(metrics, "calls_total", server="git", tool="tool7", outcome="error") == 1
    assert value(metrics, "calls_total", server="time", tool="now", outcome="ok") == 1


def test_labels_hold_neither_secrets_nor_what_breaks_a_scrape() -> None:
    metrics = Metrics(Sources(in_flight=lambda: [("s3cr3t!", 1)]), Redactor(["s3cr3t!"]))
    metrics(msgspec.structs.replace(CALL, tool='a"b\\c\nd \ud800 s3cr3t!'))
    tools = {dict(labels)["tool"] for name, labels in series(metrics) if name == "mcp_manifold_calls_total"}
    assert tools == {'a"b\\c\nd \\ud800 ***'}
    assert value(metrics, "calls_in_flight", server="***") == 1


def test_a_secret_learned_later_is_hidden_in_every_new_series() -> None:
    redactor = Redactor()
    metrics = Metrics(Sources(in_flight=lambda: [("s3cr3t!", 1)]), redactor)
    metrics(msgspec.structs.replace(CALL, tool="s3cr3t!"))
    redactor.learn(["s3cr3t!"])
    for _ in range(2):
        metrics(msgspec.structs.replace(CALL, tool="s3cr3t!"))
        metrics(msgspec.structs.replace(CALL, tool="new s3cr3t!"))
    # What has been scraped goes on as it was: no series ends in the middle.
    assert value(metrics, "calls_total", server="git", tool="s3cr3t!", outcome="ok") == 3
    assert value(metrics, "calls_total", server="git", tool="new ***", outcome="ok") == 2
    assert value(metrics, "calls_in_flight", server="***") == 1


def test_a_server_that_is_configured_no_more_leaves_no_series() -> None:
    metrics, fresh = Metrics(redactor=Redactor(["gitlab"])), Metrics()
    for server in ("git", "time", "gitlab"):
        metrics(ServerStateChanged(server, "idle", "starting"))
        metrics(ServerStartFinished(server, "ok", 1.0, "2025-11-25", "name", "1"))
        metrics(msgspec.structs.replace(CALL, server=server, waited=1.0))
        metrics(RequestFinished("c", "s", "1", server, "p", "ok", 1.0, 1, 1, method="prompts/get"))
        metrics(ServerOutput(server, "stderr", "hello"))
        metrics(ListingRecalled(server, "hit"))
        metrics(ListingRefreshed(server, "ok"))
        metrics(QuestionFinished(server, "s", "roots/list", "ok", 1.0))
    of_time = {key: number for key, number in series(metrics).items() if ("server", "time") in key[1]}
    assert len(of_time) > 30
    for server in ("git", "gitlab"):
        metrics(ServerRemoved(server))
    assert {key: number for key, number in series(metrics).items() if "server" in dict(key[1])} == of_time
    metrics(ServerRemoved("time"))
    assert series(metrics).keys() == series(fresh).keys()
    metrics(CALL)
    assert value(metrics, "calls_total", server="git", tool="status", outcome="ok") == 1


def test_a_call_of_a_name_that_nobody_has_makes_no_server() -> None:
    metrics = Metrics()
    metrics(msgspec.structs.replace(CALL, server="", tool="", outcome="error", waited=1.0))
    assert "mcp_manifold_server_up" not in {name for name, _ in series(metrics)}


def test_a_server_whose_label_another_one_has_too_leaves_the_series_that_they_share() -> None:
    metrics = Metrics(redactor=Redactor(["4711-word", "0815-word"]))
    for server in ("4711-word", "0815-word"):
        metrics(ServerStateChanged(server, "starting", "ready"))
        metrics(msgspec.structs.replace(CALL, server=server))
    metrics(ServerRemoved("4711-word"))
    assert value(metrics, "server_up", server="***") == 1
    assert value(metrics, "calls_total", server="***", tool="status", outcome="ok") == 2


def test_an_event_of_earlier_counts_like_any_other() -> None:
    metrics = Metrics()
    metrics(CALL, 1767323045.0)
    assert value(metrics, "calls_total", server="git", tool="status", outcome="ok") == 1
