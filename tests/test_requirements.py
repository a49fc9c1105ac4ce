"""The manifest of the protocol's demands and the tests that show them fit each other."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.requirements import OURS
from tests.requirements_of_others import LEFT_OUT

ROOT = Path(__file__).parents[1]
NAMED = {f"tests/{test}" for must in OURS.values() for test in must.tests}


def test_every_requirement_is_shown_by_a_test() -> None:
    unshown = {id for id, must in OURS.items() if not must.tests}
    assert not unshown, "name the test that shows these"


def test_every_test_that_is_named_exists() -> None:
    files = sorted({test.partition("::")[0] for test in NAMED})
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout + collected.stderr
    existing: set[str] = set()
    for line in collected.stdout.splitlines():
        existing |= {line, line.partition("[")[0]}  # one case may be named, or the whole test
    assert sorted(NAMED - existing) == []


def test_nothing_is_listed_twice() -> None:
    ours = Counter((must.page, must.quotation, must.side) for must in OURS.values())
    assert [entry for entry, times in ours.items() if times > 1] == []
    others = Counter(
        (page, words) for pages in LEFT_OUT.values() for page, quotations in pages.items() for words in quotations
    )
    others.update({(must.page, must.quotation) for must in OURS.values()})
    assert [entry for entry, times in others.items() if times > 1] == []
