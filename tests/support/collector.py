"""Where a transport under test puts what the server sends: every byte is kept, and can be waited for."""

from collections.abc import Callable

import anyio

from proxy.errors import Delivered
from tests.support.client import PATIENCE
from tests.support.message import Message


class Collector:
    """An `Intake` and, as a function, an `Output`."""

    def __init__(self) -> None:
        self.throttle: Callable[[bool], None] = lambda stop: None
        self.bytes = b""
        self.ended = False
        self.undeliverable: list[bytes] = []
        """Ids of requests that never left."""
        self.failures: dict[bytes, tuple[str, Delivered]] = {}
        """Why requests get no answer, by id, and whether they may have been seen."""
        self.within: list[tuple[bytes, bytes]] = []
        """Lines that came on the stream of a request, by its id."""
        self.printed: list[str] = []
        """Lines of stderr."""
        self._changed = anyio.Event()

    def data(self, data: bytes) -> None:
        self.bytes += data
        self._note()

    def said_within(self, id: bytes, line: bytes) -> None:
        self.within.append((id, line.rstrip(b"\n")))
        self.data(line)

    def end(self) -> None:
        assert not self.ended
        self.ended = True
        self._note()

    def undelivered(self, id: bytes, reason: str) -> None:
        self.undeliverable.append(id)
        self._note()

    def failed(self, id: bytes, reason: str, delivered: Delivered) -> None:
        self.failures[id] = (reason, delivered)
        self._note()

    def __call__(self, line: str) -> None:
        self.printed.append(line)
        self._note()

    @property
    def lines(self) -> list[bytes]:
        """The complete lines."""
        return self.bytes.split(b"\n")[:-1]

    @property
    def messages(self) -> list[Message]:
        return [Message.of(line) for line in self.lines]

    async def until(self, check: Callable[[], bool]) -> None:
        """Wait until the check holds; it is looked at after everything that comes."""
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"got {self.bytes[-2000:]!r}, {self.printed[-20:]}, ended: {self.ended}") from None

    async def line(self, number: int = 1) -> bytes:
        """The line of this number, counted from 1."""
        await self.until(lambda: len(self.lines) >= number)
        return self.lines[number - 1]

    async def answer(self, id: int) -> Message:
        """The answer to a request of this id."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [m for m in self.messages if m.id == b"%d" % id and m.method is None]
            return bool(found)

        await self.until(look)
        return found[0]

    async def failure(self, id: int) -> tuple[str, Delivered]:
        """Why a request of this id gets no answer, and whether it may have been seen."""
        await self.until(lambda: b"%d" % id in self.failures)
        return self.failures[b"%d" % id]

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
