"""Reading from somebody who may never end."""

import io
import socket

import pytest

from proxy.telemetry.bounded import Bounded


def test_what_is_short_and_comes_at_once_is_read_as_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Bounded(ours.makefile("rb", buffering=0), ours, 30, 100) as bounded:
        theirs.sendall(b"one\ntwo")
        theirs.shutdown(socket.SHUT_WR)
        assert io.BufferedReader(bounded).readlines() == [b"one\n", b"two"]


def test_more_than_so_many_bytes_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Bounded(ours.makefile("rb", buffering=0), ours, 30, 100) as bounded:
        theirs.sendall(b"x" * 101)
        with pytest.raises(OSError, match="no end"):
            io.BufferedReader(bounded).readline()


def test_who_says_nothing_is_waited_for_only_so_long() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Bounded(ours.makefile("rb", buffering=0), ours, 0.01, 100) as bounded:
        with pytest.raises(TimeoutError):
            bounded.read(1)
        theirs.sendall(b"x")
        with pytest.raises(TimeoutError):
            bounded.read(1)
