"""Messages on their way out over HTTP: what waits is bounded, and what has not left can be taken back."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from proxy import wire
from proxy.transports.channel import CHOKED_FROM
from proxy.transports.uploads import MOST_KEPT, Upload, Uploads


class Watched:
    """Uploads, and what they told."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.all = Uploads(self.told.append)

    def add(self, size: int = 0, id: int = 1) -> Upload:
        return self.all.add(wire.request(id, "x", b'"' + b"x" * size + b'"').rstrip())


async def joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def send(upload: Upload) -> bytes:
    return await joined(aiter(upload))


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 - 50, 64 * 1024, 64 * 1024 + 1, 1_000_000])
async def test_a_body_is_the_line_however_long_it_is(size: int) -> None:
    watched = Watched()
    upload = watched.add(size)
    line = upload.line
    assert await send(upload) == line
    assert await send(upload) == line, "a redirect wants it once more"
    assert watched.all.waiting == 0


@pytest.mark.parametrize(
    ("line", "id", "is_aside", "cancels"),
    [
        (wire.request(7, "tools/call", b"{}"), b"7", False, b""),
        (wire.notification("notifications/initialized"), b"", False, b""),
        (wire.notification("notifications/cancelled", b'{"requestId":5}'), b"", True, b"5"),
        (wire.notification("notifications/progress", b'{"progressToken":5}'), b"", True, b""),
        (wire.result(b'"q"', b"{}"), b"", True, b""),
        (wire.error(b"3", b"{}"), b"", True, b""),
    ],
)
def test_a_message_is_known_for_what_it_is(line: bytes, id: bytes, is_aside: bool, cancels: bytes) -> None:
    upload = Watched().all.add(line.rstrip())
    assert (upload.request_id, upload.is_aside, upload.cancels) == (id, is_aside, cancels)


async def test_a_request_has_left_with_its_last_piece_and_not_before() -> None:
    upload = Watched().add(200_000)
    pieces = aiter(upload)
    for _ in range(3):
        await anext(pieces)
        assert not upload.has_left
    await anext(pieces)
    assert upload.has_left


async def test_what_is_taken_back_never_leaves_whole() -> None:
    watched = Watched()
    begun, waits, gone = (watched.add(200_000, id) for id in (1, 2, 3))
    notification = watched.all.add(wire.notification("notifications/cancelled", b'{"requestId":9}').rstrip())
    await send(gone)
    pieces = aiter(begun)
    await anext(pieces)
    assert watched.all.take_back() == [begun.line, waits.line]
    for rest in (pieces, aiter(waits)):
        with pytest.raises(httpx2.WriteError):
            await joined(rest)
    assert (begun.has_left, waits.has_left) == (False, False)
    assert await send(notification) == notification.line, "what is no request still goes"


async def test_it_tells_that_much_waits_once_and_again_when_hardly_anything_does() -> None:
    watched = Watched()
    uploads = [watched.add(CHOKED_FROM // 3) for _ in range(2)]
    assert watched.told == []
    uploads += [watched.add(CHOKED_FROM // 3) for _ in range(2)]
    assert watched.told == [True]
    await send(uploads[0])
    await send(uploads[1])
    assert watched.told == [True]
    await send(uploads[2])
    assert watched.told == [True]
    uploads[3].done()
    assert watched.told == [True, False], "what failed waits no more either"


async def test_what_has_left_and_may_be_wanted_again_is_bounded_too() -> None:
    watched = Watched()
    uploads = [watched.add(MOST_KEPT // 5) for _ in range(6)]
    for upload in uploads:
        await send(upload)
    assert watched.all.waiting == 0
    assert watched.told == [True]
    for upload in uploads[:4]:
        upload.done()
    assert watched.told == [True, False]
    for upload in uploads:
        upload.done()
    assert (watched.all.waiting, watched.all.kept) == (0, 0)


async def test_of_what_was_answered_nothing_is_kept_unless_it_was_redirected() -> None:
    watched = Watched()
    answered, redirected = watched.add(1000), watched.add(1000)
    for upload in (answered, redirected):
        await send(upload)
    answered.done()
    redirected.done(redirected=True)
    assert answered.line == b""
    assert len(await send(redirected)) == redirected.size
    redirected.done()
    assert watched.all.kept == 0
