"""The loggers of umbel and of tasks, and levels by name and number.

Loggers are named ``umbel.worker`` (what the worker does), ``umbel.trace`` (what became of tasks),
``umbel.redirected`` (what was printed) and so on; those of `get_task_logger` stand below ``umbel.task``.
Nothing here touches a handler: `umbel.log` does. How lines look is in `umbel.formatters`.
"""

from __future__ import annotations

import logging
from numbers import Integral
from typing import Any

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
