"""How log lines look: coloured by level, with the name and id of the running task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
