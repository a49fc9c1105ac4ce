"""A few seconds of the storm; `make chaos` is a longer one."""

from pathlib import Path

from tests.chaos.storm import storm


def test_every_call_is_accounted_for_while_servers_are_killed_and_stopped(tmp_path: Path) -> None:
    report = storm(5.0, 1, tmp_path)
    assert report.broken == []
    assert report.deeds["killed"] >= 3, report
    assert report.outcomes["maybe"] >= 3, report
    assert report.outcomes["ok"] >= 100, report
