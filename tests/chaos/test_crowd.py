"""Many clients on all fronts at once: nobody gets another's answer, and nothing stays of those who have left."""

from pathlib import Path

from tests.chaos import crowd

CALLS = 3000


def test_fifty_clients_with_the_same_id_on_all_fronts_get_their_own_answers(tmp_path: Path) -> None:
    report = crowd.run(tmp_path, CALLS)
    assert report.wrong == []
    assert report.answered.total() == CALLS
    assert set(report.answered) == set(crowd.FRONTS)
