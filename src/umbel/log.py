"""Where log lines go and how they look: ``app.log``, with Celery's names.

A worker's processes each call `Logging.setup` once. It sets up the root logger, or, where
``worker_hijack_root_logger`` is off, only umbel's own.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import traceback
from functools import partial
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.absent import tell_of_absent
from umbel.colors import colored
from umbel.exceptions import ImproperlyConfigured
from umbel.formatters import ColorFormatter, JsonFormatter, TaskFormatter
from umbel.loggers import base_logger, get_logger, mlevel, task_logger
from umbel.nodenames import node_format
from umbel.redirected import LoggingProxy

if TYPE_CHECKING:
    from umbel.app import Umbel

__all__ = ["Logging", "TaskFormatter"]

REDIRECTED = "umbel.redirected"


class _Handler(logging.Handler):
    """Tells on the real standard error what cannot be logged: `sys.stderr` may be what logs."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print the error that is handled, and the place that logged."""
        stream = sys.__stderr__
        if not logging.raiseExceptions or stream is None:
            return
        try:
            place = f"{record.pathname}, line {record.lineno}"
            print(f"A line of {record.name} cannot be logged ({place}):", file=stream)
            traceback.print_exc(file=stream)
        except OSError:  # nobody reads it
            pass


class StreamHandler(_Handler, logging.StreamHandler[Any]):
    """Writes lines to a stream, each by one call, so that processes that share it do not mix them."""


class FileHandler(_Handler, WatchedFileHandler):
    """Appends lines to a file, each by one call; opens it again when it was moved away or deleted."""


@tell_of_absent
class Logging:
    """Sets up logging, once per process."""

    _setup = False
    #: The level that counts where none is given.
    loglevel = logging.WARNING
    #: The number of a child process, for ``%i`` in the name of its log file.
    process_index = 0
    #: The node's name, for lines of JSON.
    hostname: str | None = None

    def __init__(self, app: Umbel) -> None:
        self.app = app

    @property
    def already_setup(self) -> bool:
        """Whether logging was set up in this process, by any app."""
        return Logging._setup

    @already_setup.setter
    def already_setup(self, done: bool) -> None:
        Logging._setup = done

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: int | str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set up all loggers and, with `redirect_stdouts`, log what is printed.

        `logfile` is a path, in which abbreviations of the node `hostname` are written out, or a stream;
        without it lines go to standard error. Returns the answers of receivers of ``setup_logging``: when
        there are any, they do it all, and nothing is redirected.
        """
        handled = self.setup_logging_subsystem(
            loglevel, logfile, colorize=colorize, hostname=hostname
        )
        if redirect_stdouts and not handled:
            self.redirect_stdouts(redirect_level)
        if _is_configured(logging.getLogger()):
            logging.captureWarnings(True)
        return handled

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
    ) -> Any:
        """Set up the root logger and the loggers of tasks, unless that was done in this process.

        Returns the answers of receivers of ``setup_logging``, None where it had been done.
        """
        if self.already_setup:
            return None
        self.hostname = hostname
        settings = self.app.conf.snapshot
        logfile = self._file(logfile, hostname)
        level = mlevel(loglevel or self.loglevel)
        facts = {
            "loglevel": level,
            "logfile": logfile,
            "format": format or settings.worker_log_format,
            "colorize": self.supports_color(colorize, logfile),
        }
        answers = signals.setup_logging.send(None, **facts)
        for _, answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if not answers:
            hijack = settings.worker_hijack_root_logger
            logger = _target(hijack)
            datefmt = settings.worker_log_datefmt if datefmt is None else datefmt
            self.setup_handlers(
                logger, logfile, facts["format"], facts["colorize"], TaskFormatter, datefmt
            )
            (logger if hijack else base_logger).setLevel(level)
            signals.after_setup_logger.send(None, logger=logger, **facts)
            self.setup_task_loggers(level, logfile, colorize=colorize)
        self.already_setup = True
        return answers

    def setup_task_loggers(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
    ) -> logging.Logger:
        """Set up the logger above all that `get_task_logger` returns, and return it."""
        settings = self.app.conf.snapshot
        facts = {
            "loglevel": mlevel(loglevel or self.loglevel),
            "logfile": logfile,
            "format": format or settings.worker_task_log_format,
            "colorize": self.supports_color(colorize, logfile),
        }
        datefmt = settings.worker_task_log_datefmt if datefmt is None else datefmt
        self.setup_handlers(
            task_logger, logfile, facts["format"], facts["colorize"], TaskFormatter, datefmt
        )
        task_logger.setLevel(facts["loglevel"])
        task_logger.propagate = bool(propagate)
        signals.after_setup_task_logger.send(None, logger=task_logger, **facts)
        return task_logger

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,
        colorize: bool,
        formatter: Any = ColorFormatter,
        datefmt: str | None = None,
    ) -> logging.Logger:
        """Give a logger a handler, unless it has one; return the logger.

        `formatter` is called with the format, ``datefmt`` and ``use_color``. With ``worker_log_json`` lines
        are JSON instead.
        """
        if not _is_configured(logger):
            handler = _handler(logfile)
            if self.app.conf.snapshot.worker_log_json:
                formatter = partial(JsonFormatter, worker=self.hostname)
            handler.setFormatter(formatter(format, datefmt=datefmt, use_color=colorize))
            logger.addHandler(handler)
        return logger

    def redirect_stdouts(
        self, loglevel: int | str | None = None, name: str = REDIRECTED
    ) -> LoggingProxy:
        """Log what is printed from here on, by the logger of that name."""
        return self.redirect_stdouts_to_logger(get_logger(name), loglevel)

    def redirect_stdouts_to_logger(
        self,
        logger: logging.Logger,
        loglevel: int | str | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> LoggingProxy:
        """Log what is printed from here on, by a logger; return what takes the place of the streams."""
        proxy = LoggingProxy(logger, loglevel, sys.__stderr__)
        if stdout:
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        return proxy

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Tell whether log lines are to be coloured: only on a terminal, and never with NO_COLOR."""
        if colorize is None:
            colorize = self.app.conf.snapshot.worker_log_color
        if colorize is False or logfile is not None or platform.system() == "Windows":
            return False
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        stream = sys.__stderr__
        return stream is not None and not stream.closed and stream.isatty()

    def colored(self, logfile: Any = None, enabled: bool | None = None) -> colored:
        """Return what colours texts where log lines are coloured."""
        return colored(enabled=self.supports_color(enabled, logfile))

    def get_default_logger(self, name: str = base_logger.name) -> logging.Logger:
        """Return the logger above all of umbel's."""
        return get_logger(name)

    def _file(self, logfile: Any, hostname: str | None) -> Any:
        """Return the log file of this process."""
        if not isinstance(logfile, str | os.PathLike):
            return logfile
        path = os.fspath(logfile)
        return node_format(path, hostname, self.process_index) if path and hostname else path


def _is_configured(logger: logging.Logger) -> bool:
    """Tell whether a logger has a handler that does something."""
    return any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def _target(hijack: bool) -> logging.Logger:
    """Return the logger whose handler is to get all lines but those of tasks.

    With `hijack` it is the root logger, and it loses the handlers it had. Without, the root logger stays
    as it is: its handlers get our lines, and where it has none, umbel's own logger gets one.
    """
    root = logging.getLogger()
    base_logger.propagate = hijack or _is_configured(root)
    if hijack:
        for logger in (root, base_logger, task_logger, get_logger(REDIRECTED)):
            logger.handlers[:] = []
    return root if base_logger.propagate else base_logger


def _handler(logfile: Any) -> logging.Handler:
    """Return what writes to a stream, to a file by its path, or to standard error."""
    if logfile is None or logfile == "":
        return StreamHandler(sys.__stderr__)
    if hasattr(logfile, "write"):
        return StreamHandler(logfile)
    try:
        return FileHandler(logfile, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ImproperlyConfigured(
            f"The log file {logfile} cannot be opened: {error.strerror or error}. Its directory must exist"
            " and be writable for the worker."
        ) from error
