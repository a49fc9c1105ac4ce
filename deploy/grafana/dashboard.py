"""Makes dashboard.json, the dashboard of all proxies: `make dashboard`. With a path it writes there instead."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, DashboardCursorSync, DashboardLinkType, Panel
from panels import Column, by_outcome, choice, columns, course, levels, number, query

HOME: Final = "https://github.com/mcp-manifold/mcp-manifold/blob/main"
PROXY: Final = 'job=~"$job", instance=~"$instance"'
SERVER: Final = f'{PROXY}, server=~"$server"'
RATE: Final = "[$__rate_interval]"
FAILED: Final = 'outcome=~"error|timeout"'
DONE: Final = 'outcome!="cancelled"'
# In text files the proxies of a machine have one instance, and a label for the process.
DOWN: Final = f'sum by (instance, pid, server) (mcp_manifold_server_state{{{SERVER}, state=~"backoff|failed"}})'

BAD: Final = levels((None, "text"), (1, "red"))
RATIO: Final = levels((None, "text"), (0.01, "orange"), (0.1, "red"))
SLOW: Final = levels((None, "text"), (1, "orange"), (10, "red"))


def failing(by: str, window: str) -> str:
    """The part of calls that fail, 0 where none does. `by` is "" or labels, with a comma and a space between."""
    group = f"sum by ({by})"
    failed = f"{group} (rate(mcp_manifold_calls_total{{{SERVER}, {FAILED}}}{window}))"
    all_calls = f"{group} (rate(mcp_manifold_calls_total{{{SERVER}, {DONE}}}{window}))"
    return f"({failed} or 0 * {all_calls}) / ({all_calls} > 0)"


def quantile(part: float, series: str, by: str, window: str = RATE, where: str = SERVER) -> str:
    """Of a histogram, over the labels `by`; nothing, and not NaN, where nothing was observed."""
    group = f"{by}, le" if by else "le"
    return f"histogram_quantile({part}, sum by ({group}) (rate(mcp_manifold_{series}_bucket{{{where}}}{window}))) >= 0"


def grown(series: str) -> str:
    """How much a counter has grown over the time that is shown, in proxies that are gone by now, too.

    Most begin with what is counted, in sessions that make few calls: increase() alone would not see the first of it.
    """
    whole = f"last_over_time({series}[$__range]) unless {series} offset $__range"
    return f"({whole}) or increase({series}[$__range])"


def overview() -> list[stat.Panel | timeseries.Panel]:
    """Is all well?"""
    calls = f"mcp_manifold_calls_total{{{SERVER}}}{RATE}"
    outcomes = course(
        "Calls a second",
        "How calls ended. tool_error is what a tool said of itself; cancelled is the client's wish.",
        query(f"sum by (outcome) (rate({calls}))", "{{outcome}}"),
        unit="reqps",
        stacked=True,
    )
    durations = [query(quantile(part, "call_duration_seconds", ""), f"p{part * 100:.0f}") for part in (0.5, 0.95, 0.99)]
    return [
        number(
            "Down",
            f"count({DOWN} > 0) or vector(0)",
            "Servers that are not up, once for each proxy; sleeping ones are well.",
            steps=BAD,
        ),
        number("Proxies", f"count(mcp_manifold_build_info{{{PROXY}}})", "Processes that Prometheus sees."),
        number("Calls a second", f"sum(rate({calls}))", "All tool calls that ended.", unit="reqps"),
        number(
            "Failed",
            failing("", RATE),
            "The part of calls that ended in an error or a time-out.",
            unit="percentunit",
            steps=RATIO,
            decimals=1,
        ),
        number("p50", quantile(0.5, "call_duration_seconds", ""), "Half of the calls are faster.", unit="s"),
        number("p99", quantile(0.99, "call_duration_seconds", ""), "One in a hundred is slower.", unit="s", steps=SLOW),
        by_outcome(outcomes),
        course("Time to answer", "From a call's arrival to its answer, over all tools.", *durations, unit="s"),
    ]


def servers() -> list[table.Panel]:
    """Which one is it?"""
    shown = f"{{{SERVER}}}"
    restarts = f"mcp_manifold_server_restarts_total{shown}"
    given: list[Column] = [
        ("ready in", f"sum by (server) (mcp_manifold_server_up{shown})", "short", None),
        ("down in", f"sum by (server) ({DOWN})", "short", BAD),
        ("calls/s", f"sum by (server) (rate(mcp_manifold_calls_total{shown}{RATE}))", "reqps", None),
        ("failed", failing("server", RATE), "percentunit", RATIO),
        ("p50", quantile(0.5, "call_duration_seconds", "server"), "s", None),
        ("p99", quantile(0.99, "call_duration_seconds", "server"), "s", SLOW),
        ("under way", f"sum by (server) (mcp_manifold_calls_in_flight{shown})", "short", None),
        ("waiting", f"sum by (server) (mcp_manifold_calls_queued{shown})", "short", None),
        ("restarts", f"round(sum by (server) (increase({restarts}[$__range])))", "short", None),
        ("memory", f"sum by (server) (mcp_manifold_server_memory_bytes{shown})", "bytes", None),
        ("tools", f"max by (server) (mcp_manifold_catalogue_tools{shown})", "short", None),
    ]
    about = "Over all proxies that are chosen above. Restarts are those of the time that is shown."
    return [columns("Servers", about, given, keys=["server"], width=24, sort="server")]


def tools() -> list[table.Panel | timeseries.Panel]:
    """Which tool is it?"""
    slow: list[Column] = [
        ("p99", f"topk(10, {quantile(0.99, 'call_duration_seconds', 'server, tool', '[$__range]')})", "s", SLOW)
    ]
    errors = f"mcp_manifold_calls_total{{{SERVER}, {FAILED}}}"
    lost = f"round(sum by (server, tool, outcome) ({grown(errors)})) > 0"
    tokens = f"sum by (server, tool) ({grown(f'mcp_manifold_result_tokens_total{{{SERVER}}}')}) > 0"
    return [
        columns(
            "Slow tools",
            "The ten with the longest p99 over the time that is shown.",
            slow,
            keys=["server", "tool"],
            width=8,
            sort="p99",
        ),
        columns(
            "Failing tools",
            "The ten with most errors and time-outs in the time that is shown.",
            [("failed", f"topk(10, {lost})", "short", None)],
            keys=["server", "tool", "outcome"],
            width=8,
            sort="failed",
        ),
        columns(
            "Tools that fill the context",
            "The ten whose results were most tokens in the time that is shown; an estimate, bytes / 4.",
            [("tokens", f"topk(10, {tokens})", "short", None)],
            keys=["server", "tool"],
            width=8,
            sort="tokens",
        ),
    ]


def strain() -> list[timeseries.Panel]:
    """Queues and restarts."""
    shown = f"{{{SERVER}}}"
    return [
        course(
            "Restarts",
            "Starts that nobody asked for, by reason, and those that somebody did (stopped).",
            query(
                f"sum by (server, reason) (increase(mcp_manifold_server_restarts_total{shown}{RATE})) > 0",
                "{{server}} {{reason}}",
            ),
            width=8,
            bars=True,
        ),
        course(
            "Calls that wait",
            "For a server that starts, or has as much to do as it may.",
            query(f"sum by (server) (mcp_manifold_calls_queued{shown})", "{{server}}"),
            width=8,
        ),
        course(
            "Time in the queue",
            "p99, of those calls that had to wait.",
            query(quantile(0.99, "queue_wait_seconds", "server"), "{{server}}"),
            unit="s",
            width=8,
        ),
    ]


def resources() -> list[timeseries.Panel]:
    """What it takes."""
    shown = f"{{{SERVER}}}"
    return [
        course(
            "Memory of servers",
            "With all that they started.",
            query(f"sum by (server) (mcp_manifold_server_memory_bytes{shown})", "{{server}}"),
            unit="bytes",
            width=8,
        ),
        course(
            "Memory of proxies",
            "Of each process, without its servers.",
            query(f"sum by (instance, pid) (mcp_manifold_memory_bytes{{{PROXY}}})", "{{instance}} {{pid}}"),
            unit="bytes",
            width=8,
        ),
        course(
            "Size of results",
            "p99 of each server.",
            query(quantile(0.99, "result_size_bytes", "server"), "{{server}}"),
            unit="bytes",
            width=8,
        ),
        course(
            "Sessions",
            "Clients that are connected, by the way they came.",
            query(f"sum by (front) (mcp_manifold_sessions{{{PROXY}}})", "{{front}}"),
            width=8,
            stacked=True,
        ),
        course(
            "Starts",
            "How long servers take from start to their tools: p90, of starts that went well.",
            query(quantile(0.9, "server_start_duration_seconds", "server"), "{{server}}"),
            unit="s",
            width=8,
        ),
        course(
            "Lag of the event loop",
            "p90: what every call waits on top, since the proxy is busy.",
            query(quantile(0.9, "event_loop_lag_seconds", "instance, pid", where=PROXY), "{{instance}} {{pid}}"),
            unit="s",
            width=8,
            most=0.1,
        ),
    ]


def build() -> Dashboard:
    """All of it."""
    link = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).url(f"{HOME}/docs/runbook.md")
    made = (
        dashboard.Dashboard("MCP servers")
        .uid("mcp-manifold")
        .description("All proxies and the MCP servers behind them. Made by deploy/grafana/dashboard.py.")
        .tags(["mcp"])
        .editable()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(link.target_blank(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(choice("job", "Job", "label_values(mcp_manifold_build_info, job)", ".+"))
        .with_variable(
            choice("instance", "Proxy", 'label_values(mcp_manifold_build_info{job=~"$job"}, instance)', ".+")
        )
        .with_variable(choice("server", "Server", f"label_values(mcp_manifold_server_up{{{PROXY}}}, server)", ".+"))
    )
    rows: dict[str, Sequence[Builder[Panel]]] = {
        "": overview(),
        "Servers": servers(),
        "Tools": tools(),
        "Queues and restarts": strain(),
        "Resources and sessions": resources(),
    }
    for title, panels in rows.items():
        if title:
            made.with_row(dashboard.Row(title))
        for panel in panels:
            made.with_panel(panel)
    built = made.build()
    for number_of_panel, each in enumerate(built.panels or [], start=1):
        each.id_val = number_of_panel
    return built


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("dashboard.json")
    target.write_text(json.dumps(build(), cls=JSONEncoder, indent=2) + "\n")
