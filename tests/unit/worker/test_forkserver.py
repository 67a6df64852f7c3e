"""The fork server's pipe."""

from __future__ import annotations

import socket

import pytest

from umbel.worker.forkserver import Channel, _first_line


def test_the_first_line_is_read_and_nothing_behind_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(ours).send({"orders": 1})
        ours.send(b"stop")
        assert _first_line(theirs) == {"orders": 1}
        assert theirs.recv(64) == b"stop"


def test_the_end_of_the_pipe_is_no_line() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert _first_line(theirs) is None


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_messages_of_any_size_arrive_whole(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        Channel(ours).send({"text": "x" * size})
        assert _first_line(theirs) == {"text": "x" * size}
