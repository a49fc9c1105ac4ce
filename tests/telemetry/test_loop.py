"""How late the loop is, on a clock of the test's own."""

from collections.abc import Iterator

import anyio
import pytest

from proxy.telemetry import loop
from proxy.telemetry.loop import watch_lag
from tests.support.client import PATIENCE


async def test_a_loop_that_is_held_up_shows_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVERY", 0.001)

    def times() -> Iterator[float]:
        now = 0.0
        for late in (0.5, 0.0, 2.0):
            yield now
            now += 0.001 + late
            yield now

    clock, seen = times(), list[float]()
    with anyio.fail_after(PATIENCE), pytest.raises(RuntimeError):  # the clock has run out
        await watch_lag(seen.append, lambda: next(clock))
    assert seen == pytest.approx([0.5, 0.0, 2.0])
