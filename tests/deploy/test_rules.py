"""The rules and alerts, by Prometheus' own judgement; and the runbook that they lead to."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import build_parser
from tests.deploy.documents import DEPLOY, load, unknown
from tests.support.prometheus import MISSING, PROMTOOL
from tests.support.servers import ROOT

RULES = DEPLOY / "prometheus/rules.yml"
ALERTS = DEPLOY / "prometheus/alerts.yml"
TESTS = ROOT / "tests/deploy/alerts.test.yml"
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
PAGE = "https://github.com/mcp-manifold/mcp-manifold/blob/main/docs/runbook.md"
PARTS = ["What it means.", "What to look at.", "What to do."]


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in load(file)["groups"] for rule in group["rules"]]


ALERT_NAMES = [rule["alert"] for rule in rules(ALERTS)]
RECORDED = frozenset(rule["record"] for rule in rules(RULES))


def section(alert: str) -> str:
    """Of the runbook."""
    found = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"the runbook has no section on {alert}"
    return found[1]


def promtool(*words: str | Path) -> str:
    """What it prints, if it is content."""
    if not PROMTOOL:
        pytest.skip(MISSING)
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_alerts_are_some_by_promtools_judgement() -> None:
    told = promtool("check", "rules", RULES, ALERTS)
    assert f"{len(RECORDED)} rules found" in told
    assert f"{len(ALERT_NAMES)} rules found" in told


def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_each_alert_has_a_case_for_either(alert: str) -> None:
    cases = [case for test in load(TESTS)["tests"] for case in test.get("alert_rule_test", [])]
    own = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert]
    assert set(own) == {True, False}


def test_they_ask_for_what_is_exported() -> None:
    for rule in [*rules(RULES), *rules(ALERTS)]:
        assert unknown(rule["expr"], also=RECORDED) == [], rule
    assert unknown('mcp_manifold_call_total{server="x"} / mcp_manifold_calls_total{kind="x"}') == [
        "mcp_manifold_call_total",
        "mcp_manifold_calls_total{kind}",
    ]


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_each_alert_leads_to_its_section_of_the_runbook(alert: str) -> None:
    [rule] = [rule for rule in rules(ALERTS) if rule["alert"] == alert]
    assert rule["annotations"]["runbook_url"] == f"{PAGE}#{alert.lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    text = section(alert)
    assert re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE) == PARTS
    looks = text.partition(PARTS[1])[2].partition(PARTS[2])[0]
    assert "```sh\n" in looks, "commands to begin with"


def test_the_runbook_is_about_the_alerts_there_are() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == ALERT_NAMES
    linked = set(re.findall(r"\]\(#(\w+)\)", RUNBOOK))
    assert linked <= {name.lower() for name in ALERT_NAMES}


def test_its_commands_are_understood() -> None:
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    ours = [words for line in lines if (words := shlex.split(line, comments=True)) and words[0] == "mcp-manifold"]
    assert ours
    for words in ours:
        build_parser().parse_args(words[1:])


def test_its_queries_are_queries_of_what_is_exported() -> None:
    blocks = re.findall(r"^```promql\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
    queries = [line for block in blocks for line in block.splitlines() if line]
    assert queries
    for query in queries:
        assert unknown(query, also=RECORDED) == []


@pytest.mark.parametrize("name", ["prometheus.yml", "compose/prometheus.yml"])
def test_the_configurations_are_some_by_promtools_judgement(name: str, tmp_path: Path) -> None:
    """As they would lie: with the rules where they look for them, and a token where they look for it."""
    text = (DEPLOY / name).read_text()
    token = tmp_path / "token"
    token.write_text("x")
    (tmp_path / "prometheus.yml").write_text(re.sub(r"(credentials_file: ).*", rf"\g<1>{token}", text))
    (tmp_path / "prometheus").symlink_to(DEPLOY / "prometheus")
    for rule_file in (RULES, ALERTS):
        (tmp_path / rule_file.name).symlink_to(rule_file)
    told = promtool("check", "config", tmp_path / "prometheus.yml")
    for found in (RECORDED, ALERT_NAMES):
        assert f"{len(found)} rules found" in told


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in DEPLOY.rglob("README.md")))
def test_every_readme_says_when_to_use_it_and_leads_to_what_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "when to use it" in text.lower()
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_table_names_every_folder() -> None:
    text = (DEPLOY / "README.md").read_text()
    folders = {path.name for path in DEPLOY.iterdir() if path.is_dir()}
    assert {name for name in folders if f"]({name}/README.md)" not in text} == set()
