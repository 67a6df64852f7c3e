from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from umbel import Umbel
from umbel.formatters import ColorFormatter, JsonFormatter, TaskFormatter


def record(message: str = "hello", level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("x", level, "f", 1, message, (), None)
    made.__dict__.update(fields)
    return made


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.DEBUG, "\x1b[1;34mhello\x1b[0m"),
        (logging.INFO, "hello"),
        (logging.WARNING, "\x1b[1;33mhello\x1b[0m"),
        (logging.ERROR, "\x1b[1;31mhello\x1b[0m"),
        (logging.CRITICAL, "\x1b[1;35mhello\x1b[0m"),
    ],
)
def test_lines_are_coloured_as_celerys(level: int, line: str) -> None:
    assert ColorFormatter("%(message)s").format(record(level=level)) == line
    assert ColorFormatter("%(message)s", use_color=False).format(record(level=level)) == "hello"


def test_lines_name_the_running_task(app: Umbel) -> None:
    formatter = TaskFormatter("%(task_name)s[%(task_id)s] %(message)s", use_color=False)

    @app.task(name="proj.inner")
    def inner() -> str:
        return formatter.format(record(task_id="no"))

    @app.task(name="proj.outer")
    def outer() -> list[str]:
        return [formatter.format(record()), inner.apply(task_id="b").get()]

    assert outer.apply(task_id="a").get() == ["proj.outer[a] hello", "proj.inner[b] hello"]
    assert formatter.format(record()) == "???[???] hello"
    assert formatter.format(record(task_id="i", task_name="n")) == "n[i] hello"


def test_lines_of_json_say_what_they_are_about(app: Umbel) -> None:
    formatter = JsonFormatter("%(message)s", worker="w1@host")
    plain = json.loads(formatter.format(record("two\nlines \N{HAIRCUT}", order=7, odd=object)))
    assert plain.pop("time").endswith("+00:00")
    assert plain.pop("pid")
    assert plain == {
        "level": "INFO",
        "logger": "x",
        "message": "two\nlines \N{HAIRCUT}",
        "worker": "w1@host",
        "process": "MainProcess",
        "extra": {"order": 7, "odd": repr(object)},
    }

    @app.task(name="proj.loud")
    def loud() -> str:
        return formatter.format(record())

    inside = json.loads(loud.apply(task_id="a").get())["task"]
    assert (inside["id"], inside["name"], inside["retries"]) == ("a", "proj.loud", 0)


def test_an_error_is_one_line_of_json() -> None:
    made = record("it failed")
    try:
        raise ValueError("no\nmore")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: no\nmore")
