from __future__ import annotations

import io
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, signals
from umbel.exceptions import ImproperlyConfigured
from umbel.log import Logging, StreamHandler
from umbel.loggers import task_logger
from umbel.redirected import LoggingProxy, own_streams

NAMES = ("umbel", "umbel.task", "umbel.redirected")
ROOT = logging.getLogger()
BASE = logging.getLogger("umbel")


@pytest.fixture(autouse=True)
def loggers(app: Umbel) -> Iterator[None]:
    """A process in which nothing is set up; afterwards all loggers are as they were."""
    all_of_them = [ROOT, *map(logging.getLogger, NAMES)]
    before = [(one.handlers[:], one.level, one.propagate) for one in all_of_them]
    yield
    for one, (handlers, level, propagate) in zip(all_of_them, before, strict=True):
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)
    logging.captureWarnings(False)
    app.log.already_setup = False


class Lines(logging.Handler):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.getMessage()}")


def own_handler() -> Lines:
    """Give the root logger a handler, and no other: pytest's is there too."""
    handler = Lines()
    ROOT.handlers[:] = [handler]
    return handler


Hear = Callable[[signals.Signal], list[dict[str, Any]]]


@pytest.fixture
def hear() -> Iterator[Hear]:
    """Connect to signals; what they sent is in the lists that are returned."""
    connected = []

    def listen(signal: signals.Signal) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []

        def receive(sender: object, signal: object, **given: Any) -> None:
            heard.append(given)

        signal.connect(receive, weak=False)
        connected.append((signal, receive))
        return heard

    yield listen
    for signal, receive in connected:
        signal.disconnect(receive)


def test_the_workers_root_logger(app: Umbel, tmp_path: Path) -> None:
    gone = own_handler()
    path = tmp_path / "log"
    assert app.log.setup("info", str(path), hostname="celery@h") == []
    (handler,) = ROOT.handlers
    assert handler is not gone
    assert ROOT.level == logging.INFO
    logging.getLogger("other").info("hello %s", "you")
    logging.getLogger("umbel.worker").debug("no")
    task_logger.getChild("mine").warning("mine")
    first, second = path.read_text().splitlines()
    assert first.startswith("[20")
    assert first.endswith(": INFO/MainProcess] hello you")
    assert second.endswith(": WARNING/MainProcess] ???[???]: mine")
    assert gone.lines == []


def test_it_is_done_once_in_a_process(app: Umbel) -> None:
    assert not app.log.already_setup
    app.log.setup("INFO")
    assert app.log.already_setup
    before = ROOT.handlers[:]
    assert Umbel(set_as_current=False).log.setup("DEBUG") is None
    assert (ROOT.handlers, ROOT.level) == (before, logging.INFO)
    app.log.already_setup = False
    app.log.setup("DEBUG")
    assert ROOT.level == logging.DEBUG
    assert len(ROOT.handlers) == 1


def test_formats(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_log_format = "%(asctime)s W %(task_id)s %(message)s"
    app.conf.worker_log_datefmt = "%Y"
    app.conf.worker_task_log_format = "%(asctime)s T %(task_name)s %(message)s"
    app.conf.worker_task_log_datefmt = "year %Y"
    app.log.setup("INFO", str(tmp_path / "log"))
    ROOT.info("one")
    task_logger.info("two")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.partition(" ")[2] == "W ??? one"
    assert second.startswith("year 20")
    assert second.endswith(" T ??? two")


def test_a_format_that_is_none_is_an_error_where_it_is_written(app: Umbel) -> None:
    for wrong in ("%(message", "{message}", 5):
        with pytest.raises(ImproperlyConfigured, match="worker_log_format"):
            app.conf.worker_log_format = wrong


def test_who_wants_other_logging_gets_it(app: Umbel, hear: Hear) -> None:
    heard, after = hear(signals.setup_logging), hear(signals.after_setup_logger)
    handler = own_handler()
    before = sys.stdout
    assert app.log.setup("DEBUG", "x.log", redirect_stdouts=True, hostname="a@b")
    assert heard == [
        {
            "loglevel": logging.DEBUG,
            "logfile": "x.log",
            "format": app.conf.worker_log_format,
            "colorize": False,
        }
    ]
    assert ROOT.handlers == [handler]
    assert after == []
    assert sys.stdout is before
    assert app.log.already_setup


def test_what_a_receiver_raises_is_not_passed_over(app: Umbel) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("cannot")

    signals.setup_logging.connect(broken)
    try:
        with pytest.raises(ValueError, match="cannot"):
            app.log.setup("INFO")
    finally:
        signals.setup_logging.disconnect(broken)
    assert not app.log.already_setup


def test_handlers_can_be_added_afterwards(app: Umbel, hear: Hear) -> None:
    logger, tasks = hear(signals.after_setup_logger), hear(signals.after_setup_task_logger)
    app.log.setup("INFO")
    assert [given["logger"] for given in logger + tasks] == [ROOT, task_logger]
    assert [given["format"] for given in logger + tasks] == [
        app.conf.worker_log_format,
        app.conf.worker_task_log_format,
    ]
    assert [given["loglevel"] for given in logger + tasks] == [logging.INFO, logging.INFO]


def test_the_root_logger_is_left_alone(app: Umbel) -> None:
    app.conf.worker_hijack_root_logger = False
    ROOT.setLevel(logging.ERROR)
    handler = own_handler()
    app.log.setup("INFO")
    assert (ROOT.handlers, ROOT.level) == ([handler], logging.ERROR)
    logging.getLogger("umbel.worker").info("heard")
    logging.getLogger("other").info("not heard")
    assert handler.lines == ["umbel.worker heard"]


def test_a_root_logger_that_has_no_handlers_gets_none(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_hijack_root_logger = False
    ROOT.handlers[:] = []
    ROOT.setLevel(logging.ERROR)
    app.log.setup("INFO", str(tmp_path / "log"))
    assert (ROOT.handlers, ROOT.level) == ([], logging.ERROR)
    logging.getLogger("umbel.worker").info("heard")
    later = own_handler()
    logging.getLogger("umbel.worker").info("once")
    assert [line.split("] ")[1] for line in (tmp_path / "log").read_text().splitlines()] == [
        "heard",
        "once",
    ]
    assert later.lines == []


def test_what_is_printed_is_logged(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with own_streams():
        app.log.setup("INFO", str(path), redirect_stdouts=True, redirect_level="ERROR")
        print("out")
        print("err", file=sys.stderr)
    first, second = path.read_text().splitlines()
    assert first.endswith("ERROR/MainProcess] out")
    assert second.endswith("ERROR/MainProcess] err")


def test_one_stream_alone_can_be_redirected(app: Umbel) -> None:
    before = sys.stdout
    logger = logging.getLogger("tests.other")
    with own_streams():
        proxy = app.log.redirect_stdouts_to_logger(logger, "INFO", stdout=False)
        assert isinstance(proxy, LoggingProxy)
        assert (sys.stdout, proxy.logger, proxy.loglevel) == (before, logger, logging.INFO)
        assert sys.stderr is proxy


def test_lines_go_to_a_stream_too(app: Umbel) -> None:
    stream = io.StringIO()
    app.log.setup("INFO", stream)
    ROOT.info("hello")
    assert stream.getvalue().endswith("] hello\n")


def test_a_log_file_that_cannot_be_opened(app: Umbel, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"none/log cannot be opened: No such file"):
        app.log.setup("INFO", str(tmp_path / "none" / "log"))
    assert not app.log.already_setup


def test_each_child_may_have_a_file_of_its_own(app: Umbel, tmp_path: Path) -> None:
    app.log.process_index = 2
    app.log.setup("INFO", str(tmp_path / "%n%I.log"), hostname="mails@h")
    ROOT.info("hello")
    assert (tmp_path / "mails-2.log").read_text().endswith("] hello\n")


def test_a_file_that_was_moved_away_is_begun_anew(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "log"
    app.log.setup("INFO", str(path))
    ROOT.info("one")
    path.rename(tmp_path / "old")
    ROOT.info("two \ud800")
    assert (tmp_path / "old").read_text().endswith("one\n")
    assert path.read_text().endswith("two \\ud800\n")


def test_what_cannot_be_logged_is_told_on_the_real_standard_error(
    app: Umbel, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.dup(2), "w") as stderr:
        monkeypatch.setattr(sys, "__stderr__", stderr)
        stream = io.StringIO()
        with own_streams():
            app.log.setup("INFO", stream, redirect_stdouts=True)
            stream.close()
            ROOT.info("hello")
            print("printed")
        stderr.flush()
    err = capfd.readouterr().err
    assert "A line of root cannot be logged" in err
    assert "A line of umbel.redirected cannot be logged" in err
    assert "I/O operation on closed file" in err


class Terminal(io.StringIO):
    """Claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("setting", "given", "logfile", "environment", "expected"),
    [
        (None, None, None, {}, True),
        (True, None, None, {}, True),
        (False, None, None, {}, False),
        (False, True, None, {}, True),
        (None, False, None, {}, False),
        (None, None, "file", {}, False),
        (None, None, None, {"NO_COLOR": "1"}, False),
        (True, True, None, {"NO_COLOR": "1"}, False),
        (None, None, None, {"TERM": "dumb"}, False),
    ],
)
def test_colours(
    app: Umbel,
    monkeypatch: pytest.MonkeyPatch,
    setting: bool | None,
    given: bool | None,
    logfile: str | None,
    environment: dict[str, str],
    expected: bool,
) -> None:
    monkeypatch.setattr(sys, "__stderr__", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app.conf.worker_log_color = setting
    assert app.log.supports_color(given, logfile) is expected
    assert app.log.colored(logfile, given).enabled is expected
    if expected:
        monkeypatch.setattr(platform, "system", lambda: "Windows")
        assert not app.log.supports_color(given, logfile)


def test_no_colours_but_on_a_terminal(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    app.conf.worker_log_color = True
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "__stderr__", stream)
        assert app.log.supports_color() is False


def test_a_line_on_a_terminal(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    app.log.setup("INFO")
    ROOT.warning("careful")
    ROOT.info("plain")
    first, second = terminal.getvalue().splitlines()
    assert first.startswith("\x1b[1;33m[20")
    assert first.endswith("] careful\x1b[0m")
    assert "\x1b" not in second


def test_a_log_class_of_ones_own() -> None:
    class Mine(Logging):
        """Another."""

    assert isinstance(Umbel(set_as_current=False, log=Mine).log, Mine)

    class App(Umbel):
        """Has it as an attribute."""

        log_cls = "umbel.log:Logging"

    log = App(set_as_current=False).log
    assert type(log) is Logging
    assert log.get_default_logger() is BASE
    assert log.get_default_logger("x") is logging.getLogger("x")


def test_a_logger_keeps_the_handlers_it_has(app: Umbel) -> None:
    logger = logging.getLogger("tests.log.mine")
    logger.addHandler(logging.NullHandler())
    app.log.setup_handlers(logger, None, "%(message)s", colorize=False)
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler, StreamHandler]
    app.log.setup_handlers(logger, None, "%(message)s", colorize=False)
    assert len(logger.handlers) == 2
    logger.handlers.clear()
