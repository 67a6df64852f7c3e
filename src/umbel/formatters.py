"""How log lines look: coloured by level, with the name and id of the running task, or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from umbel.colors import colored
from umbel.current import running

_UNKNOWN = "???"


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


#: What every record has, and what umbel's own have beside it: all else is what somebody gave as `extra`.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", "data", "facts", "task_id", "task_name"),
}


class JsonFormatter(logging.Formatter):
    """Makes each record one line of JSON, also with its traceback; `worker` is the node's name.

    What is logged in a task or about one has an object ``task`` with ``id``, ``name``, ``queue`` and
    ``retries``; what became of one also has ``state`` and the facts that its text tells. What is given as
    `extra` stands in ``extra``.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        use_color: bool = False,
        worker: str | None = None,
    ) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        fields = vars(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
            "process": record.processName,
            "pid": record.process,
        }
        task = _task_of(fields)
        if task:
            line["task"] = task
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        extra = {name: value for name, value in fields.items() if name not in _USUAL}
        if extra:
            line["extra"] = extra
        return json.dumps(line, default=repr, skipkeys=True)


def _task_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a task: of the one it is about, else of the one that runs."""
    data, facts = fields.get("data"), fields.get("facts")
    if isinstance(data, Mapping) and "id" in data:
        told = {name: value for name, value in data.items() if name != "traceback"}
        return {**told, **facts} if isinstance(facts, Mapping) else told
    request = running.get()
    if request is None or request.id is None:
        return {}
    task = request.running_task
    return {
        "id": request.id,
        "name": request.task if task is None else task.name,
        "queue": request.came_through,
        "retries": request.retries,
    }
