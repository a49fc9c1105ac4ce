"""The dashboard: made by its script, and each of its queries answered by a real Prometheus that watches a real hub."""

import json
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.deploy.documents import DEPLOY, load, unknown
from tests.deploy.stack import scraped_anew, told, watching
from tests.support import servers
from tests.support.bare import ask, head, line_to
from tests.support.client import LATEST
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.prometheus import MISSING, PROMETHEUS, Prometheus
from tests.support.servers import ROOT

GRAFANA = DEPLOY / "grafana"
FILE = GRAFANA / "dashboard.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
Samples = list[tuple[dict[str, str], float]]


def filled_in(expression: str, **chosen: str) -> str:
    """With what Grafana puts in the place of variables; everything is chosen, but for those that are given."""
    values = {name: variable.get("allValue", "") for name, variable in VARIABLES.items()}
    for name, value in {**values, "__rate_interval": "5s", "__range": "1m", **chosen}.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return expression


class Load:
    """A hub that has calls of all kinds, good and bad."""

    def __init__(self, hub: Hub, gate: Path) -> None:
        self._hub = hub
        self._gate = gate
        hello = {
            "protocolVersion": LATEST,
            "capabilities": {},
            "clientInfo": {"name": "raw-client", "version": "1"},
        }
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()
        accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        assert ask(hub.url, "POST", "/mcp", {**hub.headers, **accept}, body).status == 200, "a session, which stays"

    def round(self, *, crash: bool) -> None:
        """A good call; three, of which two have to wait for one; and one that ends its server."""
        assert self._call("raw__verbatim") == 200
        with ExitStack() as lines:
            waiting = [lines.enter_context(line_to(self._hub.url)) for _ in range(3)]
            for line in waiting:
                line.send(self._request("gated__wait", line.host))
            for line in waiting:
                self._gate.write_text("open")  # once its server has opened the other end
                assert line.answer().status == 200
        if crash:
            assert self._call("fragile__crash") == 502

    def _call(self, tool: str) -> int:
        headers = {**self._hub.headers, "Content-Type": "application/json"}
        return ask(self._hub.url, "POST", f"/tools/{tool}", headers, b"{}").status

    def _request(self, tool: str, host: str) -> bytes:
        headers = {"Host": host, **self._hub.headers, "Content-Type": "application/json", "Content-Length": "2"}
        return head("POST", f"/tools/{tool}", headers) + b"{}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Load]]:
    if not PROMETHEUS:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("watched")
    gate = folder / "gate"
    subprocess.run(["mkfifo", gate], check=True)
    entries = {
        "raw": servers.script("raw_echo.py"),
        "gated": {**servers.script("gated.py", str(gate)), "maxRunning": 1},
        "fragile": servers.entry([sys.executable, "-m", "proxy.samples.fragile"], cwd=str(ROOT)),
        "missing": servers.entry(["/nonexistent/program"]),
    }
    with serving(write_config(folder, entries)) as hub, watching(hub, folder) as prometheus:
        yield prometheus, Load(hub, gate)


def test_every_query_of_it_returns_data(watched: tuple[Prometheus, Load]) -> None:
    prometheus, calls = watched
    missing = {(title, target["refId"]): target for title, target in QUERIES}
    for number in range(8):
        # A server may not crash at every call: that ends the attempts to start it.
        calls.round(crash=number < 3)
        scraped_anew(prometheus)
        for key, target in [*missing.items()]:
            if shows_it(key[0], target, prometheus.query(filled_in(target["expr"]))):
                del missing[key]
        if not missing:
            break
    assert sorted(missing) == []


def shows_it(title: str, target: dict[str, Any], samples: Samples) -> bool:
    """Whether there are figures, with every label that the legend names; and of what went wrong, that it did."""
    figures = [(labels, value) for labels, value in samples if not math.isnan(value)]
    assert figures == samples, f"{title} shows NaN"
    for name in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
        # A target that is none of discovery's has no pid.
        assert name == "pid" or all(name in labels for labels, _ in figures), (title, name)
    least = 0 if title in ("Down", "Failed", "Failing tools", "Restarts", "Time in the queue") else -1
    return any(value > least for _, value in figures)


def test_the_choice_of_a_server_leaves_the_others_out(watched: tuple[Prometheus, Load]) -> None:
    prometheus, calls = watched
    calls.round(crash=False)
    scraped_anew(prometheus)
    for title, target in QUERIES:
        if "$server" in target["expr"]:
            found = prometheus.query(filled_in(target["expr"], server="gated"))
            assert {labels.get("server", "gated") for labels, _ in found} <= {"gated"}, title
            assert prometheus.query(filled_in(target["expr"], instance="elsewhere")) in ([], [({}, 0.0)]), title


def test_variables_have_values(watched: tuple[Prometheus, Load]) -> None:
    prometheus, _ = watched
    values = {}
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
            assert found
            values[name] = told(prometheus, f"label/{found[2]}/values", **{"match[]": filled_in(found[1])})
    assert values["job"] == ["mcp-manifold"]
    assert len(values["instance"]) == 1
    assert {"raw", "gated", "fragile"} <= {*values["server"]}


def test_the_picture_for_the_readme_has_every_panel(watched: tuple[Prometheus, Load]) -> None:
    prometheus, _ = watched
    names = runpy.run_path(str(GRAFANA / "preview.py"))
    with httpx2.Client(base_url=prometheus.url) as client:
        drawn = names["page"](DASHBOARD, names["Figures"](client, 60.0, [*VARIABLES.values()]))
    assert [panel["title"] for panel in PANELS if f"<h2>{panel['title']}</h2>" not in drawn] == []
    assert drawn.count("<polyline") > 10
    assert "nan" not in drawn


def test_the_rules_are_evaluated_without_a_word(watched: tuple[Prometheus, Load]) -> None:
    prometheus, _ = watched
    # The last of the rules: all have been evaluated once it is there.
    prometheus.until("server:mcp_manifold_queue_used:max_ratio", bool)
    prometheus.until('ALERTS{alertname="McpServerDown", alertstate="pending", server="missing"}', bool)
    found = [rule for group in told(prometheus, "rules")["groups"] for rule in group["rules"]]
    assert {(rule["name"], rule.get("lastError")) for rule in found if rule["health"] == "err"} == set()
    [target] = told(prometheus, "targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


# -- the file


def test_it_is_what_its_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "dashboard.json"
    subprocess.run([sys.executable, GRAFANA / "dashboard.py", made], check=True, timeout=60)
    assert made.read_text() == FILE.read_text(), "make dashboard"


def test_it_asks_for_what_is_exported() -> None:
    for title, target in QUERIES:
        assert unknown(target["expr"]) == [], title


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert ids == sorted(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in PANELS:
        refs = [target["refId"] for target in panel["targets"]]
        assert all(refs)
        assert len(refs) == len(set(refs))
        assert panel["description"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "$datasource"} for source in sources)


def test_it_is_provisioned_from_where_compose_mounts_it() -> None:
    volumes = load(DEPLOY / "compose/compose.yaml")["services"]["grafana"]["volumes"]
    mounted = dict(volume.split(":")[:2] for volume in volumes)
    [provider] = load(GRAFANA / "provisioning/dashboards/mcp-manifold.yaml")["providers"]
    [source] = load(GRAFANA / "provisioning/datasources/prometheus.yaml")["datasources"]
    assert mounted["../grafana/provisioning"] == "/etc/grafana/provisioning"
    assert Path(mounted["../grafana/dashboard.json"]).parent == Path(provider["options"]["path"])
    assert source["type"] == VARIABLES["datasource"]["query"] == "prometheus"
    assert source["isDefault"] is True
