from __future__ import annotations

import logging
from typing import Any

import pytest

from umbel.loggers import LOG_LEVELS, mlevel, task_logger
from umbel.utils.log import get_logger, get_task_logger


def test_a_tasks_logger_stands_below_the_logger_of_tasks() -> None:
    logger = get_task_logger("tests.some.tasks")
    assert logger is get_logger("tests.some.tasks") is logging.getLogger("tests.some.tasks")
    assert logger.parent is task_logger
    assert get_task_logger("tests.some.tasks") is logger
    assert get_task_logger("umbel.task.mine").parent is task_logger


@pytest.mark.parametrize("name", ["umbel", "umbel.task"])
def test_the_loggers_above_cannot_be_a_tasks(name: str) -> None:
    with pytest.raises(RuntimeError, match="is taken"):
        get_task_logger(name)
    assert logging.getLogger("umbel.task").parent is logging.getLogger("umbel")


@pytest.mark.parametrize(
    ("given", "level"), [("info", 20), ("FATAL", 50), ("WARN", 30), (7, 7), (None, None), ("", "")]
)
def test_levels(given: Any, level: Any) -> None:
    assert mlevel(given) == level


def test_levels_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="There is no log level 'LOUD'"):
        mlevel("LOUD")
    assert (LOG_LEVELS["INFO"], LOG_LEVELS[20], LOG_LEVELS[30]) == (20, "INFO", "WARNING")
