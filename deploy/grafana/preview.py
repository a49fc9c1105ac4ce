"""A picture of dashboard.json on the figures of a running Prometheus, without Grafana: for the README.

python deploy/grafana/preview.py http://127.0.0.1:9090 docs/dashboard.png [SECONDS]
Each query is the dashboard's own; places, units, colours and legends are read from its file, and drawn plainly.
"""

import json
import math
import re
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.sync_api import sync_playwright

CELL: Final = 58
ROW: Final = 34
GAP: Final = 8
POINTS: Final = 120
PALETTE: Final = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#ba43a9", "#705da0", "#508642", "#cca300", "#447ebc")
NAMED: Final = {"green": "#73bf69", "blue": "#5794f2", "text": "#ccccdc", "orange": "#ff9830", "red": "#f2495c"}
STYLE: Final = """
body { margin: 0; background: #111217; color: #ccccdc; font: 12px/1.4 Inter, "DejaVu Sans", sans-serif; }
section { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #26282d;
  border-radius: 2px; padding: 6px 9px; overflow: hidden; }
section.row { background: none; border: none; font-weight: 500; font-size: 14px; padding: 6px 0; }
h2 { font-size: 12.5px; font-weight: 500; margin: 0 0 4px; }
.big { font-size: 30px; font-weight: 500; text-align: center; line-height: 62px; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: #6e9fff; font-weight: 500; }
th, td { padding: 3px 6px; border-bottom: 1px solid #26282d; white-space: nowrap; }
.legend { position: absolute; bottom: 5px; left: 9px; right: 9px; white-space: nowrap; overflow: hidden; }
.legend i { display: inline-block; width: 12px; height: 3px; border-radius: 1px; margin: 0 5px 3px 0; }
.legend span { margin-right: 12px; } svg { display: block; } svg text { fill: #8e8e99; font-size: 10px; }
"""

Series = tuple[str, list[tuple[float, float]]]
"""Name and points of time and value."""


class Figures:
    """A Prometheus, and the time that is shown."""

    def __init__(self, client: httpx2.Client, seconds: float, variables: Sequence[dict[str, Any]]) -> None:
        self._client = client
        self.seconds = seconds
        self.end = time.time()
        self._values = {each["name"]: each.get("allValue", "") for each in variables}
        self._values |= {"__rate_interval": f"{max(5, seconds // 12):.0f}s", "__range": f"{seconds:.0f}s"}

    def at_end(self, expression: str) -> list[tuple[dict[str, str], float]]:
        found = self._ask("query", query=self._filled_in(expression), time=self.end)
        return [(each["metric"], float(each["value"][1])) for each in found]

    def course(self, target: dict[str, Any]) -> list[Series]:
        step = self.seconds / POINTS
        expression = self._filled_in(target["expr"])
        found = self._ask("query_range", query=expression, start=self.end - self.seconds, end=self.end, step=step)
        return [(self._legend(target, each["metric"]), _points(each["values"])) for each in found]

    def _ask(self, path: str, **params: Any) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=params)
        answer.raise_for_status()
        return answer.json()["data"]["result"]

    def _filled_in(self, expression: str) -> str:
        for name, value in self._values.items():
            expression = expression.replace(f"${name}", value)
        return expression

    @staticmethod
    def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), target.get("legendFormat", ""))


def _points(values: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values if not math.isnan(float(value))]


def shown(value: float, unit: str) -> str:
    """A value as Grafana writes it, nearly."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
    scale = 1024.0 if unit == "bytes" else 1000.0
    steps = ("B", "KiB", "MiB", "GiB") if unit == "bytes" else ("", "K", "M", "G")
    power = min(3, int(math.log(abs(value), scale))) if abs(value) >= scale else 0
    text = f"{value / scale**power:.4g}" if unit != "reqps" else f"{value / scale**power:.3g}"
    return f"{text} {steps[power]}{' req/s' if unit == 'reqps' else ''}".strip()


def colour(steps: Sequence[dict[str, Any]], value: float) -> str:
    """Of the last threshold that the value has reached."""
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED.get(reached[-1], reached[-1]) if reached else NAMED["text"]


def number(panel: dict[str, Any], figures: Figures, width: int, height: int) -> str:
    """A stat panel."""
    defaults = panel["fieldConfig"]["defaults"]
    [(_, points)] = figures.course(panel["targets"][0]) or [("", [])]
    last = points[-1][1] if points else math.nan
    paint = colour(defaults["thresholds"]["steps"], last)
    top = max((value for _, value in points), default=0) or 1
    line = " ".join(f"{_across(at, figures) * width:.1f},{44 - value / top * 38:.1f}" for at, value in points)
    spark = f'<polyline points="{line}" fill="none" stroke="{paint}" opacity=".45"/>'
    return (
        f'<div class="big" style="color:{paint}">{shown(last, defaults["unit"])}</div>'
        f'<svg width="{width}" height="46">{spark}</svg>'
    )


def lines(panel: dict[str, Any], figures: Figures, width: int, height: int) -> str:
    """A time series panel."""
    defaults = panel["fieldConfig"]["defaults"]
    fixed = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    found = sorted(series for target in panel["targets"] for series in figures.course(target))
    bars = defaults["custom"].get("drawStyle") == "bars"
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    below: dict[float, float] = {}
    drawn: list[Series] = []
    for name, points in found:
        on_top = [(at, value + below.get(at, 0)) for at, value in points] if stacked else points
        below |= dict(on_top) if stacked else {}
        drawn.append((name, on_top))
    soft = defaults["custom"].get("axisSoftMax", 0)
    top = max([value for _, points in drawn for _, value in points] + [soft]) * 1.08 or 1
    left, floor, space = 58, height - 66, height - 76
    parts = []
    for value in _ticks(top, 1024 if defaults["unit"] == "bytes" else 1000):
        y = floor - value / top * space
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#26282d"/>')
        label = shown(value, defaults["unit"])
        parts.append(f'<text x="{left - 6}" y="{y + 3:.0f}" text-anchor="end">{label}</text>')
    legend = []
    for place, (name, points) in enumerate(drawn):
        paint = NAMED[fixed[name]["fixedColor"]] if name in fixed else PALETTE[place % len(PALETTE)]
        legend.append(f'<span><i style="background:{paint}"></i>{escape(name)}</span>')
        for piece in _unbroken(points, figures.seconds / POINTS):
            places = [(left + _across(at, figures) * (width - left), floor - v / top * space) for at, v in piece]
            if bars:
                places = [each for x, y in places for each in ((x, floor), (x, y), (x, floor))]
            spots = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{spots}" fill="none" stroke="{paint}" stroke-width="1.3"/>')
    drawing = f'<svg width="{width}" height="{height - 52}">{"".join(parts)}</svg>'
    return f'{drawing}<div class="legend">{"".join(legend)}</div>'


def _ticks(top: float, scale: int) -> list[float]:
    """Three to six round numbers from 0 on."""
    base = scale ** math.floor(math.log(top / 3, scale)) if top >= 3 * scale else 1.0
    decade = base * 10 ** math.floor(math.log10(top / 3 / base))
    step = max(decade * round_number for round_number in (1, 2, 5) if decade * round_number <= top / 3)
    return [step * place for place in range(int(top / step) + 1)]


def _across(at: float, figures: Figures) -> float:
    return 1 - (figures.end - at) / figures.seconds


def _unbroken(points: list[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = []
    for point in points:
        if not pieces or point[0] - pieces[-1][-1][0] > 1.5 * step:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def grid(panel: dict[str, Any], figures: Figures, width: int, height: int) -> str:
    """A table panel."""
    tidy = panel["transformations"][1]["options"]
    headings = tidy["renameByName"]
    looks = {
        each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
        for each in panel["fieldConfig"]["overrides"]
    }
    keys = [name for name in tidy["indexByName"] if name not in headings]
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for target, heading in zip(panel["targets"], headings.values(), strict=True):
        for labels, value in figures.at_end(target["expr"]):
            found.setdefault(tuple(labels.get(key, "") for key in keys), {})[heading] = value
    by = panel["options"]["sortBy"][0]["displayName"]
    order = sorted(found.items(), key=lambda row: row[0] if by in keys else (-row[1].get(by, -1),))
    body = []
    for names, values in order:
        cells = [f"<td>{escape(name)}</td>" for name in names]
        for heading in headings.values():
            value = values.get(heading, math.nan)
            steps = looks[heading].get("thresholds", {}).get("steps", [])
            cells.append(f'<td style="color:{colour(steps, value)}">{shown(value, looks[heading]["unit"])}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in [*keys, *headings.values()])
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


DRAWN: Final = {"stat": number, "timeseries": lines, "table": grid}


def page(dashboard: dict[str, Any], figures: Figures) -> str:
    """All panels, where they belong."""
    parts = []
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        width, height = at["w"] * CELL - GAP, at["h"] * ROW - GAP
        place = f"left:{at['x'] * CELL + GAP}px;top:{at['y'] * ROW + GAP}px;width:{width}px;height:{height}px"
        if panel["type"] == "row":
            parts.append(f'<section class="row" style="{place}">{escape(panel["title"])}</section>')
        else:
            inside = DRAWN[panel["type"]](panel, figures, width - 20, height)
            parts.append(f'<section style="{place}"><h2>{escape(panel["title"])}</h2>{inside}</section>')
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


def main(url: str, target: Path, seconds: float) -> None:
    """Write the picture."""
    dashboard = json.loads(Path(__file__).with_name("dashboard.json").read_text())
    with httpx2.Client(base_url=url, trust_env=False) as client:
        html = page(dashboard, Figures(client, seconds, dashboard["templating"]["list"]))
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 24 * CELL + GAP, "height": bottom * ROW + GAP})
        view.set_content(html)
        view.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 3600.0)
