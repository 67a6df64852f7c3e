"""What tasks are made from: functions, and what can be told of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any


def without_partials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a partial calls in the end; any other as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def code_of(function: Callable[..., Any]) -> CodeType | None:
    """Return the code of what a task was made from, inside of decorators; None if it is not Python's."""
    function = inspect.unwrap(without_partials(function))
    if not inspect.isroutine(function):
        function = type(function).__call__
    return getattr(function, "__code__", None)


def described(function: Callable[..., Any]) -> str:
    """Return what a task was made from, for people to read: ``shop.mails.send (/srv/mails.py:12)``."""
    function = without_partials(function)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = code_of(function)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{function.__module__}.{name}{place}"


def is_loaded_again(first: Callable[..., Any], second: Callable[..., Any]) -> bool:
    """Tell whether two functions are one whose module was loaded twice, or its script imported as well.

    Of what a function defines, name and place do not tell: each call of it makes another one.
    """
    name = getattr(first, "__qualname__", None)
    if name is None or name != getattr(second, "__qualname__", None) or "<locals>" in name:
        return False
    one, other = code_of(first), code_of(second)
    in_one_file = bool(one and other and one.co_filename == other.co_filename)
    return in_one_file or first.__module__ == second.__module__


def is_async_function(function: Callable[..., Any]) -> bool:
    """Tell whether calling a task's function gives a coroutine.

    A partial is what it calls, an object what its ``__call__`` is. A plain function around an async one, as
    decorators make, is plain: some run the coroutine themselves.
    """
    function = without_partials(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether it can be called
    )
