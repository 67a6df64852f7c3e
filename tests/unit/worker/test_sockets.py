from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

import pytest

from umbel.worker.sockets import ready_to_read


def test_those_that_say_something_are_found_and_those_that_end() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    with ExitStack() as stack:
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
        ends = [ours for ours, _ in pairs]
        assert ready_to_read(ends, 0.0) == []
        pairs[0][1].send(b"!")
        pairs[2][1].close()
        assert set(ready_to_read(ends, 1.0)) == {ends[0], ends[2]}


def test_a_descriptor_beyond_what_select_takes_is_waited_for() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 1100:
        pytest.skip(f"no process may have more than {most} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1100, most))
    try:
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            stack.enter_context(ours)
            while ours.fileno() < 1024:
                ours = stack.enter_context(ours.dup())
            theirs.send(b"!")
            assert ready_to_read([ours], 1.0) == [ours]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
