"""The storm of `make chaos`: a minute of it in CI, else a few seconds."""

from pathlib import Path

from tests.chaos import FULL
from tests.chaos.storm import storm

SECONDS = 60.0 if FULL else 5.0
ALLOWED = 2.0
"""How many times the p99 of the calm those calls may take whose server is left alone."""


def test_every_call_is_accounted_for_while_servers_are_killed_and_stopped(tmp_path: Path) -> None:
    report = storm(SECONDS, 1, tmp_path)
    print(report)
    assert report.broken == []
    assert report.deeds["killed"] >= SECONDS / 2, report
    assert report.outcomes["maybe"] >= SECONDS / 2, report
    assert report.outcomes["ok"] >= 20 * SECONDS, report
    assert report.slowdown <= ALLOWED, report
