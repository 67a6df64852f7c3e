"""What Celery has in ``celery.utils.functional``: lists, iterators and functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from typing import Any, TypeVar

from umbel.clock import SYSTEM

T = TypeVar("T")

__all__ = [
    "chunks",
    "dictfilter",
    "first",
    "fun_accepts_kwargs",
    "is_list",
    "lazy",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "noop",
    "padlist",
    "pass1",
    "retry_over_time",
    "uniq",
]


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing, whatever is given."""


def pass1(arg: T, *args: Any, **kwargs: Any) -> T:
    """Return the first argument."""
    return arg


def is_list(
    obj: Any,
    scalars: tuple[type, ...] = (dict, str, bytes),
    iters: tuple[type, ...] = (Iterable,),
) -> bool:
    """Tell whether a value has parts, and is no text, bytes or dict."""
    return isinstance(obj, iters) and not isinstance(obj, scalars)


def maybe_list(obj: Any, scalars: tuple[type, ...] = (dict, str, bytes)) -> Any:
    """Return a list of one value; lists, and None, as they are."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: dict[Any, Any] | None = None, **kw: Any) -> dict[Any, Any]:
    """Return a dict without the values that are None."""
    return {key: value for key, value in {**(d or {}), **kw}.items() if value is not None}


def first(predicate: Callable[[T], Any] | None, it: Iterable[T]) -> T | None:
    """Return the first item for which `predicate` is true, or that is not None; None if there is none."""
    return next((item for item in it if (predicate(item) if predicate else item is not None)), None)


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Yield each item once, in order."""
    return iter(dict.fromkeys(it))


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """Yield the items in lists of `n`, the last one with what is left."""
    items = iter(it)
    while chunk := list(islice(items, n)):
        yield chunk


def padlist(container: Iterable[T], size: int, default: Any = None) -> list[Any]:
    """Return the first `size` items, filled up with the default."""
    return list(islice(chain(container, repeat(default)), size))


def memoize(maxsize: int | None = None, keyfun: Any = None, Cache: Any = None) -> Any:
    """Return a decorator that remembers what a function returned for arguments; the last `maxsize`."""
    return lru_cache(maxsize)


class lazy:
    """A value that is made when it is asked for: ``lazy(f, 2)()`` is ``f(2)``."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._make = partial(fun, *args, **kwargs)

    def evaluate(self) -> Any:
        """Return the value."""
        return self._make()

    __call__ = evaluate


def maybe_evaluate(value: Any) -> Any:
    """Return what a `lazy` makes; anything else as it is."""
    return value() if isinstance(value, lazy) else value


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Tell whether a function takes any keyword."""
    parameters = inspect.signature(fun).parameters.values()
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def retry_over_time(  # noqa: PLR0913, PLR0917 - kombu's signature
    fun: Callable[..., T],
    catch: type[Exception] | tuple[type[Exception], ...],
    args: Iterable[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    errback: Callable[..., Any] | None = None,
    max_retries: int | None = None,
    interval_start: float = 2,
    interval_step: float = 2,
    interval_max: float = 30,
    callback: Callable[[], Any] | None = None,
    timeout: float | None = None,
) -> T:
    """Call a function until it does not raise `catch`; times in seconds, None is without end.

    The pauses begin with `interval_start` and grow by `interval_step` up to `interval_max`. `errback` gets
    the error, the pauses and the number of the try; what it returns, if anything, is the pause. `callback`
    is called before each.
    """
    end = None if timeout is None else SYSTEM.monotonic() + timeout
    pause = interval_start
    tries = 0
    while True:
        try:
            return fun(*(args or ()), **(kwargs or {}))
        except catch as error:
            over = end is not None and SYSTEM.monotonic() > end
            if over or (max_retries is not None and tries >= max_retries):
                raise
            tries += 1
            said = errback(error, repeat(pause), tries) if errback else None
            if callback:
                callback()
            SYSTEM.sleep(min(float(said) if said else pause, interval_max))
            pause += interval_step
