"""When a client is choked for reading too slowly, when it is let be again, and when it is given up."""

import asyncio

import pytest

from proxy.pump import Pump
from proxy.relay import Relay
from proxy.web.pressure import CHOKED_FROM, Pressure

MOST = 10 * CHOKED_FROM


class Reader:
    """A session, and what waits for its client."""

    def __init__(self) -> None:
        relay = Relay(emit=lambda event: None, name="hub", version="1", list_wait=0.0)
        self.pump = Pump(relay, lambda event: None)
        self.session = relay.open_session("s1")
        self.waiting = 0
        self.given_up = 0
        self.pressure = Pressure(self.pump, self.session, lambda: self.waiting, MOST, self.give_up)

    def give_up(self) -> None:
        self.given_up += 1

    async def now(self, waiting: int) -> bool:
        """So much waits from now on; whether the client is choked for it."""
        before, self.waiting = self.waiting, waiting
        if waiting > before:
            self.pressure.rises(before)
        else:
            self.pressure.falls()
        await asyncio.sleep(0)
        return self.session.choked


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_client_is_choked_until_half_of_what_may_wait_is_left() -> None:
    reader = Reader()
    assert not await reader.now(CHOKED_FROM)
    assert await reader.now(CHOKED_FROM + 1)
    assert await reader.now(CHOKED_FROM // 2)
    assert not await reader.now(CHOKED_FROM // 2 - 1)


async def test_one_that_has_read_before_its_turn_comes_is_not_choked() -> None:
    reader = Reader()
    reader.waiting = CHOKED_FROM + 1
    reader.pressure.rises(0)
    assert not await reader.now(10)


async def test_a_client_is_given_up_at_the_message_after_the_one_that_was_too_much() -> None:
    reader = Reader()
    await reader.now(2 * MOST)
    assert reader.given_up == 0
    await reader.now(2 * MOST + 1)
    assert reader.given_up == 1


async def test_a_session_that_is_over_is_let_be() -> None:
    reader = Reader()
    assert await reader.now(CHOKED_FROM + 1)
    reader.pump.do(reader.pump.relay.close_session, reader.session, 0.0)
    assert await reader.now(0)
