"""Checking a call's arguments against the task's signature, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def checker(function: Callable[..., Any], skip_first: bool) -> Callable[..., None]:
    """Return a function that takes the same arguments as `function` and does nothing.

    Calling it is the fastest check there is, and its TypeErrors are Python's own: ``add() missing 1
    required positional argument: 'y'``. With `skip_first` the first parameter, a task's `self`, is
    left out. Of a decorated function the decorator's parameters count, as in Celery: it may give the
    function arguments of its own.
    """
    parameters = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    if skip_first:
        parameters = parameters[1:]
    stub = inspect.Signature(
        [
            parameter.replace(
                annotation=inspect.Parameter.empty,
                default=parameter.default if parameter.default is parameter.empty else _Given(),
            )
            for parameter in parameters
        ]
    )
    name = getattr(function, "__name__", type(function).__name__)
    if not name.isidentifier():
        name = "task"
    namespace: dict[str, Any] = {}
    # The text holds only the names and kinds of parameters of a function that is already running
    # code here.
    exec(f"def {name}{stub}: pass", {}, namespace)  # noqa: S102
    check: Callable[..., None] = namespace[name]
    return check


class _Given:
    """Stands for any default value."""

    def __repr__(self) -> str:
        return "None"
