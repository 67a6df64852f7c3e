from __future__ import annotations

import os
import sys

import pytest

from umbel.engines.sqlite.bell import Bell, Ringer


def test_a_ring_is_heard_once() -> None:
    bell, ringer = Bell(), Ringer()
    ringer.ring([bell.port, bell.port])
    assert bell.wait(30.0)
    assert not bell.wait(0.0)
    bell.close()
    ringer.close()


def test_a_ring_for_one_who_is_gone_is_passed_over() -> None:
    bell, ringer = Bell(), Ringer()
    bell.close()
    ringer.ring([bell.port, bell.port])
    ringer.close()
    ringer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of open files on this system")
def test_it_works_in_a_process_with_many_open_files() -> None:
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        bell, ringer = Bell(), Ringer()
        ringer.ring([bell.port])
        assert bell.wait(30.0)
        bell.close()
        ringer.close()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
