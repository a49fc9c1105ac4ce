"""The series that Prometheus finds, read with its own parser."""

import platform
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.events import (
    CallFinished,
    CatalogueChanged,
    ClientGone,
    Notice,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerStartFinished,
    ServerStateChanged,
)
from proxy.telemetry.metrics import MOST_TOOLS, Metrics
from proxy.telemetry.redact import Redactor

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


def test_starts_and_listed_tools_are_known() -> None:
    metrics = Metrics()
    metrics(ServerStartFinished("git", "failed", 1.0))
    metrics(ServerStartFinished("git", "ok", 1.0))
    metrics(CatalogueChanged("git", 12, 12, 0))
    metrics(CatalogueChanged("git", 11, 0, 1))
    assert value(metrics, "server_starts_total", server="git", outcome="failed") == 1
    assert value(metrics, "server_starts_total", server="git", outcome="ok") == 1
    assert value(metrics, "catalogue_tools", server="git") == 11


def test_bytes_and_calls_in_flight_are_asked_for_at_each_scrape() -> None:
    traffic = [("git", 10, 20)]
    metrics = Metrics(traffic=lambda: traffic, in_flight=lambda: [("git", 3), ("time", 0)])
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

    assert value(Metrics(in_flight=in_flight), "calls_in_flight", server="git") == 1
    assert reads == 2


def test_the_build_is_named() -> None:
    assert value(Metrics(), "build_info", version=__version__, python=platform.python_version()) == 1


def test_there_are_no_other_series() -> None:
    metrics = Metrics(traffic=lambda: [("git", 1, 1)], in_flight=lambda: [("git", 1)])
    for event in (
        CALL,
        ServerStateChanged("git", "starting", "ready"),
        ServerStartFinished("git", "ok", 1.0),
        CatalogueChanged("git", 1, 1, 0),
        ClientGone("client", "session"),
        Notice("info", "text"),
    ):
        metrics(event)
    names = {name.removeprefix("mcp_manifold_") for name, _ in series(metrics)}
    assert names == {
        "calls_total",
        "call_duration_seconds_bucket",
        "call_duration_seconds_count",
        "call_duration_seconds_sum",
        "calls_in_flight",
        "server_up",
        "server_starts_total",
        "catalogue_tools",
        "bytes_total",
        "build_info",
    }


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
    metrics = Metrics(in_flight=lambda: [("s3cr3t!", 1)], redactor=Redactor(["s3cr3t!"]))
    metrics(msgspec.structs.replace(CALL, tool='a"b\\c\nd \ud800 s3cr3t!'))
    tools = {dict(labels)["tool"] for name, labels in series(metrics) if name == "mcp_manifold_calls_total"}
    assert tools == {'a"b\\c\nd \\ud800 ***'}
    assert value(metrics, "calls_in_flight", server="***") == 1


def test_a_secret_learned_later_is_hidden_in_every_new_series() -> None:
    redactor = Redactor()
    metrics = Metrics(in_flight=lambda: [("s3cr3t!", 1)], redactor=redactor)
    metrics(msgspec.structs.replace(CALL, tool="s3cr3t!"))
    redactor.learn(["s3cr3t!"])
    for _ in range(2):
        metrics(msgspec.structs.replace(CALL, tool="s3cr3t!"))
        metrics(msgspec.structs.replace(CALL, tool="new s3cr3t!"))
    # What has been scraped goes on as it was: no series ends in the middle.
    assert value(metrics, "calls_total", server="git", tool="s3cr3t!", outcome="ok") == 3
    assert value(metrics, "calls_total", server="git", tool="new ***", outcome="ok") == 2
    assert value(metrics, "calls_in_flight", server="***") == 1


def test_an_event_of_earlier_counts_like_any_other() -> None:
    metrics = Metrics()
    metrics(CALL, 1767323045.0)
    assert value(metrics, "calls_total", server="git", tool="status", outcome="ok") == 1
