from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from umbel.redirected import LoggingProxy, flush_redirected, own_streams


class Kept(logging.Handler):
    """Keeps what is logged, and prints while it does so, as a broken handler might."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        print("from a handler")
        self.lines.append(f"{record.levelname} {record.getMessage()}")


PRINTED = logging.getLogger("tests.redirected")


@contextlib.contextmanager
def redirected() -> Iterator[Kept]:
    """Log what is printed in the block; give what was logged."""
    PRINTED.propagate = False
    PRINTED.setLevel(logging.INFO)
    handler = Kept()
    PRINTED.addHandler(handler)
    with own_streams():
        sys.stdout = LoggingProxy(PRINTED, "WARNING")
        yield handler
    PRINTED.handlers.clear()


def test_a_line_is_logged_when_it_has_ended() -> None:
    with redirected() as kept:
        print("a", 1, end="")
        assert kept.lines == []
        print(" b")
        print()
        print("100 %s")
        sys.stdout.writelines(["c\n", "d\ne\n"])
        assert kept.lines == ["WARNING a 1 b", "WARNING 100 %s", "WARNING c", "WARNING d\ne"]


@pytest.mark.parametrize("end", ["flush_redirected", "flush"])
def test_a_line_without_an_end_is_logged_when_it_is_flushed(end: str) -> None:
    with redirected() as kept:
        print("half", end="")
        for _ in range(2):
            flush_redirected() if end == "flush_redirected" else sys.stdout.flush()
        print("other")
        assert kept.lines == ["WARNING half", "WARNING other"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    with redirected() as kept:
        print("x" * 70000, end="")
        assert len(kept.lines) == 1


def test_threads_do_not_mix_their_lines() -> None:
    with redirected() as kept:
        print("one ", end="")
        thread = threading.Thread(target=print, args=("other",))
        thread.start()
        thread.join()
        print("line")
        assert kept.lines == ["WARNING other", "WARNING one line"]


def test_bytes_can_be_printed_too() -> None:
    with redirected() as kept:
        assert sys.stdout.buffer.write("größe\n".encode()) == 8
        sys.stdout.buffer.write(b"\xff\n")
        assert kept.lines == ["WARNING größe", "WARNING \\xff"]


def test_it_is_a_stream() -> None:
    with redirected():
        assert not sys.stdout.isatty()
        assert (sys.stdout.encoding, sys.stdout.mode) == ("utf-8", "w")
        assert sys.stdout.writable()
        assert not sys.stdout.readable()
        assert not sys.stdout.seekable()
        assert sys.stdout.write("abc\n") == 4
        with pytest.raises(OSError, match="no file descriptor"):
            sys.stdout.fileno()
        assert LoggingProxy(logging.getLogger("x"), stream=sys.__stderr__).fileno() == 2
        assert LoggingProxy(logging.getLogger("x")).loglevel == logging.ERROR


def test_once_closed_it_logs_nothing() -> None:
    with redirected() as kept:
        print("last", end="")
        sys.stdout.close()
        print("more")
        assert kept.lines == ["WARNING last"]


def test_the_streams_are_put_back_and_nothing_is_left_unsaid() -> None:
    with redirected() as kept:
        before = sys.stdout
        with own_streams():
            sys.stdout = LoggingProxy(logging.getLogger("tests.redirected"))
            print("half", end="")
        assert sys.stdout is before
        assert kept.lines == ["INFO half"]  # the logger's own level
