"""What servers print beside their messages is logged, and told where it explains something."""

import pytest

from proxy.errors import ConnectionLost, Hopeless, ServerError, StartFailed
from proxy.events import Event, Notice, ServerOutput
from proxy.printed import Printed


def printed() -> tuple[Printed, list[Event]]:
    """For a server, with `hidden` for a secret, and the events that it emits."""
    events: list[Event] = []
    return Printed("one", events.append, lambda text: text.replace("hidden", "***")), events


def test_every_line_of_both_streams_is_told() -> None:
    said, events = printed()
    said.on_stderr("starting")
    said.on_stdout(b"Listening \xff" + b"x" * 5000)
    first, second = events
    assert first == ServerOutput("one", "stderr", "starting")
    assert isinstance(second, ServerOutput)
    assert second.stream == "stdout"
    assert second.text.startswith("Listening \ufffd")
    assert len(second.text) == 1024


def test_its_words_are_the_last_line_that_says_something_masked_and_bounded() -> None:
    said, _ = printed()
    assert said.words == ""
    said.on_stderr("\x1b[31mno\tlicence hidden\x1b[0m")
    said.on_stderr("   ")
    assert said.words == "no licence ***"
    said.on_stdout(b"w" * 1000)
    assert said.words == "w" * 299 + "…"
    said.begin()
    assert said.words == "", "of another life"


def test_lines_on_stdout_are_complained_of_once_and_only_of_a_server_that_works() -> None:
    said, events = printed()
    said.works_all_the_same()
    said.on_stderr("fine")
    said.works_all_the_same()
    assert not [event for event in events if isinstance(event, Notice)]
    said.on_stdout(b"Welcome hidden")
    said.on_stdout(b"and more")
    for _ in range(3):
        said.works_all_the_same()
        said.begin()
        said.on_stdout(b"Welcome back")
    [notice] = [event for event in events if isinstance(event, Notice)]
    assert (notice.level, notice.server) == ("warning", "one")
    assert notice.text.endswith("belongs on stderr: Welcome ***")


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (ConnectionLost("one", "it exited with code 2"), "it exited with code 2; its last words: Usage: x"),
        (ConnectionLost("one", "it exited", "no licence"), "it exited; its last words: no licence"),
        (StartFailed("one", "it refused"), "it refused"),
        (Hopeless("one", "no such command"), "no such command"),
    ],
)
def test_a_start_that_broke_off_is_explained_with_what_was_printed(problem: ServerError, says: str) -> None:
    said, _ = printed()
    said.on_stdout(b"Usage: x")
    assert said.explain(problem).reason == says


def test_a_start_that_broke_off_in_silence_says_so_and_what_to_do() -> None:
    said, _ = printed()
    reason = said.explain(ConnectionLost("one", "it exited with code 0")).reason
    assert reason == "it exited with code 0 and printed nothing; try its command in a terminal"
