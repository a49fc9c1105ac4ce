"""What all transports share."""

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from proxy import wire
from proxy.errors import ConnectionLost, Hopeless
from proxy.transports.channel import End, Graces, requests_in
from tests.support.client import PATIENCE


async def test_the_first_reason_for_an_end_counts() -> None:
    end = End()
    end.note(Hopeless("one", "credentials refused"))
    end.note(ConnectionLost("one", "the connection was closed"))
    assert (await end.wait()).reason == "credentials refused"
    assert (await end.wait()).reason == "credentials refused"


async def test_everybody_who_waits_hears_of_the_end() -> None:
    end, heard = End(), list[str]()

    async def wait() -> None:
        heard.append((await end.wait()).reason)

    assert not end.is_noted
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            assert heard == []
            end.note(ConnectionLost("one", "gone"))
            assert end.is_noted
    assert heard == ["gone"] * 3


@pytest.mark.parametrize(("in_a_hurry", "limit"), [(Graces.shorten, 1.0), (Graces.hurry, 0.5)])
def test_a_hurry_leaves_less_time_than_usual(in_a_hurry: Callable[[Graces], None], limit: float) -> None:
    usual, hurried = Graces(), Graces()
    in_a_hurry(hurried)
    assert hurried.quiet + hurried.polite <= limit < usual.quiet + usual.polite
    assert hurried.polite > 0, "a server is always asked before it is killed"


def test_requests_are_told_from_what_else_is_sent() -> None:
    lines = [
        wire.request(7, "tools/call", b'{"name":"a","arguments":{"text":"{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1"}}'),
        wire.notification("notifications/cancelled", b'{"requestId":3}'),
        wire.result(b"4", b"{}"),
        wire.error(b"5", b"{}"),
        wire.request(12, "ping"),
    ]
    assert requests_in(lines) == [7, 12]
    assert requests_in([memoryview(b"".join(lines)), lines[0]]) == [7, 12, 7]
    assert requests_in([]) == []
