"""The streams of one session, in any order of what may happen to them."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from proxy import wire
from proxy.web import streams
from proxy.web.streams import MOST_KEPT, MOST_UNHEARD, Message, Stream, Streams, nobody

PROGRESS = "notifications/progress"


def listen() -> None:
    """A connection's wake-up call, which only has to be somebody's."""


def answer(id: bytes, text: str = "", member: bytes = b"result") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (id, member, json.dumps({"text": text}).encode())


def note(method: str, **params: Any) -> bytes:
    return wire.notification(method, json.dumps(params).encode()).rstrip()


def question(id: int) -> bytes:
    return wire.request(id, "roots/list").rstrip()


def lines(messages: list[Message]) -> list[bytes]:
    return [message.line for message in messages]


# Which message goes over which stream


@pytest.mark.parametrize("id", [b"1", b'"1"', b"-7", b'"a\\",\\"result\\":1"', b'"' + b"x" * 254 + b'"'])
@pytest.mark.parametrize("member", [b"result", b"error"])
def test_an_answer_goes_over_the_stream_that_waits_for_it(id: bytes, member: bytes) -> None:
    all = Streams()
    other, stream = all.open([b"2"], []), all.open([id], [])
    line = answer(id, member=member)
    all.hear(line)
    assert stream.is_over
    assert not other.is_over
    assert lines(all.take(stream)) == [line]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":1,"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","result":{},"id":1}',
        b'{"jsonrpc":"2.0","id": 1 ,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"data":{"id":2,"method":"x"}}}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b'{"a":' * 200 + b"1" + b"}" * 201,  # deeper than a decoder likes
    ],
)
def test_an_answer_is_known_however_it_is_written(line: bytes) -> None:
    all = Streams()
    stream = all.open([b"1"], [])
    all.hear(line)
    assert stream.is_over


def test_a_question_with_the_id_of_a_request_does_not_answer_it() -> None:
    all = Streams()
    stream = all.open([b"1"], [])
    all.hear(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"id":1,"result":1}}')
    assert not stream.is_over
    assert len(all.take(stream)) == 1


def test_progress_goes_by_its_token_until_the_answer() -> None:
    all = Streams()
    first, second = all.open([b"1"], [b'"p"']), all.open([b"2"], [b"5"])
    all.hear(note(PROGRESS, progressToken=5))
    all.hear(note(PROGRESS, progressToken="p"))
    assert (len(first.waiting), len(second.waiting)) == (1, 1)
    all.hear(answer(b"1"))
    all.hear(note(PROGRESS, progressToken="p", of="a task that goes on"))
    assert (len(first.waiting), len(second.waiting)) == (2, 2)


def test_what_can_not_be_read_goes_to_whoever_reads() -> None:
    all = Streams()
    all.hear(b'{"jsonrpc":"2.0","method":' + b"[" * 200 + b"]" * 200 + b"}")
    all.hear(b"[{}, " + b"[" * 200 + b"]" * 200 + b"]")
    assert len(all.general.waiting) == 2


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("posts", [0, 1, 2])
@pytest.mark.parametrize(
    ("line", "of_a_call"),
    [
        (question(1), True),
        (note("notifications/message"), True),
        (note("notifications/tools/list_changed"), False),
        (note("notifications/resources/updated"), False),
    ],
)
def test_what_belongs_to_no_stream_takes_the_one_that_fits_best(
    is_read: bool, posts: int, line: bytes, of_a_call: bool
) -> None:
    all = Streams()
    all.general.wake = listen if is_read else nobody
    opened = [all.open([b"%d" % number], []) for number in range(posts)]
    all.open([b'"quiet"'], [], takes_events=False)
    all.hear(line)
    expected = all.general
    if posts and not (is_read and (posts > 1 or not of_a_call)):
        expected = opened[-1]
    assert lines(all.take(expected)) == [line]
    assert all.waiting == 0


def test_who_takes_no_events_is_told_of_no_progress() -> None:
    all = Streams()
    stream = all.open([b"1"], [b"5"], takes_events=False)
    all.hear(note(PROGRESS, progressToken=5))
    assert all.waiting == 0
    all.hear(answer(b"1", "it"))
    assert all.finish(stream) == answer(b"1", "it")


def test_the_answers_of_a_batch_come_together_without_those_that_were_cancelled() -> None:
    all = Streams()
    stream = all.open([b"1", b"2", b"3"], [])
    line = b"[" + answer(b"3") + b"," + answer(b"1") + b"]"
    all.hear(line)
    assert stream.is_over
    assert lines(all.take(stream)) == [line]
    assert not all.expects(b"2")


def test_a_stream_whose_last_request_is_given_up_is_void() -> None:
    all, woken = Streams(), list[int]()
    stream = all.open([b"1", b"2"], [])
    stream.wake = lambda: woken.append(1)
    all.give_up(b"1")
    assert (all.expects(b"2"), stream.is_void) == (True, False)
    all.give_up(b"2")
    assert (stream.is_over, stream.is_void) == (True, True)
    assert len(woken) == 2
    assert all.finish(stream) is None


# Bounds


def test_what_waits_for_a_get_that_nobody_sends_is_bounded_and_the_oldest_go_first() -> None:
    all = Streams()
    for number in range(1000):
        all.hear(note("x", number=number, text="x" * 1000))
    assert all.waiting <= MOST_UNHEARD
    numbers = [json.loads(line)["params"]["number"] for line in lines(all.take(all.general))]
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 200


def test_one_message_for_a_get_that_nobody_sends_may_be_longer() -> None:
    all = Streams()
    all.hear(note("x", text="x" * MOST_UNHEARD))
    assert len(all.take(all.general)) == 1


def test_streams_of_which_nothing_is_left_are_not_remembered() -> None:
    all = Streams()
    streams = [all.open([b"%d" % number], []) for number in range(100)]
    for number, stream in enumerate(streams):
        stream.has_begun = True
        all.hear(answer(b"%d" % number, "x" * (MOST_KEPT // 20)))
        all.take(stream)
    assert len(all.unread()) < 20
    assert all.kept <= MOST_KEPT
    assert all.resume(0, 0) is None
    assert all.resume(1, 0) is None
    assert all.resume(100, 0) is streams[-1]


def test_who_resumes_twice_is_told_what_follows_the_later_event() -> None:
    all = Streams()
    stream = all.open([b"1"], [])
    stream.has_begun = True
    for number in range(5):
        all.hear(note("x", number=number))
    said = lines(all.take(stream))
    assert all.resume(1, 1) is stream
    assert all.resume(1, 4) is stream  # before anything was taken
    assert stream.position == 4
    assert lines(all.take(stream)) == said[4:]
    assert all.resume(1, 0) is stream
    assert lines(all.take(stream)) == said


# In any order


@dataclass
class Told:
    """What a stream should say, by the model: `taken` of its messages have been, or are to be heard again."""

    stream: Stream
    ids: list[bytes]
    token: bytes | None
    said: list[bytes] = field(default_factory=list)
    at: int = 0
    """Messages behind which it is read on."""
    most: int = 0
    """Messages that were taken ever."""
    is_closed: bool = False


SIZES = st.sampled_from((0, 1, 30, 40, 100))


class AnyOrder(RuleBasedStateMachine):
    """Bounds are small here, so that they are reached."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(streams, "MOST_KEPT", 400)
        self.patch.setattr(streams, "MOST_UNHEARD", 300)
        self.all = Streams()
        self.general = Told(self.all.general, [], None)
        self.posts: list[Told] = []
        self.next = 0
        self.count = 0

    def teardown(self) -> None:
        for told in self.posts:
            self.all.close(told.stream)
        self.all.take(self.all.general)
        assert self.all.waiting == 0
        assert self.all.expected() == []
        assert self.all.unread() == []
        assert len(self.all._streams) == 1
        assert not self.all._by_token
        assert self.all.kept == sum(len(message.line) for message in self.all.general.kept)
        self.patch.undo()

    def text(self, size: int) -> str:
        self.count += 1
        return f"{self.count} " + "x" * size

    @rule(target=opened, ids=st.integers(1, 3), with_token=st.booleans())
    def open(self, ids: int, with_token: bool) -> Any:
        raw = [b"%d" % (self.next + number) for number in range(ids)]
        token = b'"t%d"' % self.next if with_token else None
        self.next += ids
        told = Told(self.all.open(raw, [token] if token else []), raw, token)
        told.stream.has_begun = True
        self.posts.append(told)
        return told

    @rule(size=SIZES, reads=st.booleans())
    def hear_what_belongs_to_nobody(self, size: int, reads: bool) -> None:
        self.all.general.wake = listen if reads else nobody
        line = note("notifications/message", text=self.text(size))
        self.all.hear(line)
        waiting = [told for told in self.posts if not told.is_closed and told.stream.expects]
        told = waiting[-1] if waiting and not (reads and len(waiting) > 1) else self.general
        told.said.append(line)
        if told is self.general and not reads:
            assert told.stream.size <= 300 or len(told.stream.waiting) == 1

    @rule(told=opened, size=SIZES)
    def hear_progress(self, told: Told, size: int) -> None:
        if told.token is None or told.is_closed or told.stream.is_over:
            return
        line = note(PROGRESS, progressToken=json.loads(told.token), text=self.text(size))
        self.all.hear(line)
        told.said.append(line)

    @rule(told=opened, size=SIZES, batched=st.booleans())
    def hear_an_answer(self, told: Told, size: int, batched: bool) -> None:
        left = [id for id in told.ids if id in told.stream.expects]
        if told.is_closed or not left:
            return
        line = answer(left[0], self.text(size))
        if batched:
            line = b"[" + line + b"]"
        self.all.hear(line)
        told.said.append(line)
        assert told.stream.is_over == (batched or len(left) == 1)

    @rule(told=opened)
    def give_up(self, told: Told) -> None:
        left = [id for id in told.ids if id in told.stream.expects]
        if left and not told.is_closed:
            self.all.give_up(left[0])

    @rule(told=opened)
    def take(self, told: Told) -> None:
        if told.is_closed or told.stream.number not in self.all._streams:
            return
        assert told.stream.position == told.at
        found = self.all.take(told.stream)
        assert lines(found) == told.said[told.at :]
        assert [message.number for message in found] == list(range(told.at + 1, len(told.said) + 1))
        told.at = told.most = len(told.said)

    @rule()
    def take_what_get_reads(self) -> None:
        found = lines(self.all.take(self.all.general))
        said = self.general.said[self.general.at :]
        assert found == said[len(said) - len(found) :]  # the oldest may be gone, where nobody read
        self.general.at = self.general.most = len(self.general.said)

    @rule(told=opened, back=st.integers(0, 6), read=st.booleans())
    def resume(self, told: Told, back: int, read: bool) -> None:
        number = max(0, told.most - back)
        forgotten = len(told.said) - len(told.stream.kept) - len(told.stream.waiting)
        known = told.stream.number in self.all._streams
        stream = self.all.resume(told.stream.number, number)
        if stream is None:
            assert not known or number < forgotten
            return
        assert stream is told.stream
        assert not told.is_closed
        assert number >= forgotten
        told.at = number
        if read:
            self.take(told)

    @rule(told=opened, number=st.integers(-3, 50))
    def resume_from_what_was_never_said(self, told: Told, number: int) -> None:
        if number > told.most or number < 0:
            assert self.all.resume(told.stream.number, number) is None
        assert self.all.resume(self.next + 1000, number) is None

    @rule(told=opened)
    def close(self, told: Told) -> None:
        self.all.close(told.stream)
        told.is_closed = True
        for id in told.ids:
            assert not self.all.expects(id)

    @precondition(lambda self: self.posts)
    @invariant()
    def what_is_finished_may_be_forgotten_and_nothing_else(self) -> None:
        for told in self.posts:
            if told.stream.number not in self.all._streams:
                assert told.is_closed or (told.stream.is_over and told.at == len(told.said))

    @invariant()
    def sizes_are_right(self) -> None:
        alive = list(self.all._streams.values())
        for stream in alive:
            assert stream.size == sum(len(message.line) for message in stream.waiting)
        assert self.all.waiting == sum(stream.size for stream in alive)
        assert self.all.kept == sum(len(message.line) for stream in alive for message in stream.kept)

    @invariant()
    def bounds_hold(self) -> None:
        assert self.all.kept <= 400

    @invariant()
    def messages_are_in_order(self) -> None:
        for stream in self.all._streams.values():
            every: deque[Message] = stream.kept + stream.waiting
            numbers = [message.number for message in every]
            assert numbers == sorted(set(numbers))
            if numbers:
                assert numbers == list(range(numbers[0], numbers[-1] + 1))


TestAnyOrder = AnyOrder.TestCase
