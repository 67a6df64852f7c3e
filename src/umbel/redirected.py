"""The stream that takes the place of `sys.stdout`, and logs what is printed."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import ClassVar, TextIO

from umbel.loggers import mlevel

#: Most characters of a line that is kept until its end is printed.
_LONGEST = 65536


class _State(threading.local):
    """What a thread is at: logging a line, or in the middle of printing one."""

    busy = False
    text = ""


class LoggingProxy:
    """A stream that logs each line that is printed, at `loglevel`; it stands for `sys.stdout`.

    `stream` is what it stands for: programs that are started with its `fileno` write there.
    """

    mode = "w"
    name = None
    closed = False
    #: Whether any thread has ever printed less than a line; most programs never print.
    ever_used: ClassVar[bool] = False

    def __init__(
        self,
        logger: logging.Logger,
        loglevel: int | str | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or logger.level or logging.ERROR)
        self._stream = stream
        self._state = _State()

    def write(self, data: str | bytes) -> int:
        """Log the lines that are complete; the last one waits for its end, or for `flush`."""
        text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
        state = self._state
        # What a handler prints while it logs what was printed would never end.
        if self.closed or state.busy:
            return len(data)
        lines, end, rest = (state.text + text).rpartition("\n")
        if rest:
            LoggingProxy.ever_used = True
        state.text = rest
        if end:
            self._log(lines)
        if len(rest) > _LONGEST:
            self.flush()
        return len(data)

    def _log(self, text: str) -> None:
        text = text.rstrip("\n")
        if not text:
            return
        self._state.busy = True
        try:
            self.logger.log(self.loglevel, text)
        finally:
            self._state.busy = False

    def writelines(self, lines: Iterable[str | bytes]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what this thread has printed of a line that has not ended."""
        state = self._state
        if state.text and not state.busy:
            text, state.text = state.text, ""
            self._log(text)

    def close(self) -> None:
        """Log nothing from here on."""
        self.flush()
        self.closed = True

    def isatty(self) -> bool:
        """Return False: it is no terminal."""
        return False

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def fileno(self) -> int:
        """Return the file descriptor of the stream that it stands for."""
        if self._stream is None:
            raise OSError("A stream that logs has no file descriptor.")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding of texts that are written as bytes."""
        return "utf-8"

    @property
    def errors(self) -> str:
        """What is done about bytes that are not of that encoding."""
        return "backslashreplace"

    @property
    def buffer(self) -> LoggingProxy:
        """Where bytes are written: here too."""
        return self


def flush_redirected() -> None:
    """Log what was printed without the end of its line, where standard output is redirected."""
    if LoggingProxy.ever_used:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, LoggingProxy):
                stream.flush()


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Have standard output and error be at the end of the block what they are now."""
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        flush_redirected()
        sys.stdout, sys.stderr = before
