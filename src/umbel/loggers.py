"""Loggers of tasks, how their lines look, and the stream that logs what is printed.

Loggers are named ``umbel.worker`` (what the worker does), ``umbel.trace`` (what became of tasks),
``umbel.redirected`` (what was printed) and so on; those of `get_task_logger` stand below ``umbel.task``.
Nothing here touches a handler: `umbel.log` does.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, ClassVar, TextIO

from umbel.colors import colored
from umbel.current import running

#: Levels by name, and names by level.
LOG_LEVELS: dict[Any, Any] = {
    **logging.getLevelNamesMapping(),
    **{number: name for name, number in logging.getLevelNamesMapping().items()},
}
LOG_LEVELS[logging.WARNING], LOG_LEVELS[logging.CRITICAL] = "WARNING", "CRITICAL"

base_logger = logging.getLogger("umbel")
task_logger = logging.getLogger("umbel.task")
worker_logger = logging.getLogger("umbel.worker")
#: Each task that is taken up, and what becomes of it.
trace_logger = logging.getLogger("umbel.trace")

#: Most characters of a line that is kept until its end is printed.
_LONGEST = 65536
_UNKNOWN = "???"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of that name."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """Return a logger for a module of tasks, usually by ``__name__``.

    Its lines are those of ``worker_task_log_format``, with the name and id of the running task. Raises
    RuntimeError for names that are taken.
    """
    if name in (base_logger.name, task_logger.name):
        raise RuntimeError(f"The name {name!r} of a logger is taken; use __name__.")
    logger = logging.getLogger(name)
    above: logging.Logger | None = logger
    while above is not None and above is not task_logger:
        above = above.parent
    if above is None:
        logger.parent = task_logger
    return logger


def mlevel(level: int | str | None) -> Any:
    """Return a level that is given by number or by name as a number. Raises ValueError for unknown names."""
    if not level or isinstance(level, Integral):
        return level
    found = logging.getLevelNamesMapping().get(str(level).upper())
    if found is None:
        raise ValueError(f"There is no log level {level!r}. Use DEBUG, INFO, WARNING or ERROR.")
    return found


# Lines


class ColorFormatter(logging.Formatter):
    """Colours a whole line by its level, with `use_color`."""

    COLORS = colored().names
    colors: ClassVar[Mapping[str, Any]] = {
        "DEBUG": COLORS["blue"],
        "WARNING": COLORS["yellow"],
        "ERROR": COLORS["red"],
        "CRITICAL": COLORS["magenta"],
    }

    def __init__(
        self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None
    ) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback below."""
        text = super().format(record)
        color = self.colors.get(record.levelname) if self.use_color else None
        return str(color(text)) if color else text


class TaskFormatter(ColorFormatter):
    """Knows ``%(task_name)s`` and ``%(task_id)s``: those of the running task, else ``???``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback below."""
        fields = record.__dict__
        request = running.get()
        if request is not None and request.id is not None:
            task = request.running_task
            fields["task_name"] = request.task if task is None else task.name
            fields["task_id"] = request.id
        else:  # what is said about a task from outside names it itself
            fields.setdefault("task_name", _UNKNOWN)
            fields.setdefault("task_id", _UNKNOWN)
        return super().format(record)


# What is printed


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
