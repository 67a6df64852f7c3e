"""What is done with a result that has ended: a callback is called, or its exception raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umbel.exceptions import UmbelError
from umbel.records import TaskResult
from umbel.waiting import News


def call_back(
    result: Any,
    callback: Callable[[Any], object],
    on_error: Callable[[Exception], object] | None,
    news: News | None,
) -> None:
    """Call a callback with a result that has ended, or `on_error` with what it or the store raises."""
    try:
        if isinstance(news, Exception):
            raise news
        callback(result)
    except Exception as error:
        if on_error is None:
            raise
        on_error(error)


def exception_of(found: TaskResult) -> BaseException:
    """Return the exception to raise, with the worker's traceback as a note."""
    error: BaseException = found.result
    if not isinstance(found.result, BaseException):
        error = UmbelError(f"Task {found.task_id} ended as {found.state}: {error!r}")
    if found.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"\nIn the worker:\n{found.traceback}")
    return error
