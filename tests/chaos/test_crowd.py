"""Many clients on all fronts at once: nobody gets another's answer, and nothing stays of those who have left."""

import asyncio
from pathlib import Path

from tests.chaos import crowd
from tests.chaos.test_leaks import open_descriptors
from tests.support import servers
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.processes import eventually

CALLS = 3000
VISITORS = 200


def test_fifty_clients_with_the_same_id_on_all_fronts_get_their_own_answers(tmp_path: Path) -> None:
    report = crowd.run(tmp_path, CALLS)
    assert report.wrong == []
    assert report.answered.total() == CALLS
    assert set(report.answered) == set(crowd.FRONTS)


def test_of_two_hundred_sessions_that_were_opened_and_left_nothing_remains(tmp_path: Path) -> None:
    """Some say good-bye, some go in the middle of a call, some are just heard of no more."""
    config = write_config(tmp_path, {"s0": servers.script("raw_echo.py")}, http={"sessionTimeout": 0.5})
    with serving(config) as hub:
        asyncio.run(crowd.visit(hub, crowd.CLIENTS))  # what is opened once and kept is open now
        pid = hub.child.process.pid
        eventually(lambda: gone(hub) == crowd.CLIENTS, lambda: gone(hub))
        before = open_descriptors(pid)
        asyncio.run(crowd.visit(hub, VISITORS))
        eventually(lambda: gone(hub) == crowd.CLIENTS + VISITORS, lambda: gone(hub))
        eventually(lambda: open_descriptors(pid) <= before, lambda: open_descriptors(pid))
        cancelled = hub.child.stderr().count('"outcome":"cancelled"')
        assert cancelled == 2 * (crowd.CLIENTS + VISITORS) // len(crowd.WAYS), "two ways leave a call behind"


def gone(hub: Hub) -> int:
    """How many clients the log says have gone."""
    return sum('"event":"client_gone"' in line and '"rest"' not in line for line in hub.child.stderr().splitlines())
