"""The class of a Django project's tasks: calls that are sent when the transaction is committed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, Literal, Protocol, Unpack, cast, overload

from django.db import transaction

from umbel import registry
from umbel.canvas.signable import P, R
from umbel.options import (
    CALL_POSITIONS,
    CallKeywords,
    CallOptions,
    by_position,
    call_options,
)
from umbel.task import Task
from umbel.task_options import TaskKeywords


class DjangoTask(Task[P, R]):
    """A task whose calls can wait for the end of the database's transaction.

    Where there is no transaction they are sent at once. What is rolled back is never sent.
    """

    abstract = True

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send a call with these arguments once the transaction is committed.

        There is no result to return yet. Arguments that cannot be sent raise here; what goes wrong
        when it is sent is raised where the transaction ends, as by any function that Django's
        `transaction.on_commit` was given.
        """
        self._require_sendable(args, kwargs, call_options({}))
        transaction.on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[CallKeywords],
    ) -> None:
        """Send a call with options, as `apply_async` takes them, once the transaction is committed."""
        named = by_position(CALL_POSITIONS, more, options, "apply_async_on_commit")
        self._require_sendable(args or (), kwargs or {}, call_options(named))
        transaction.on_commit(partial(self.apply_async, args, kwargs, *more, **options))

    def _require_sendable(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> None:
        """Raise for wrong arguments where the mistake is, and not where the transaction ends.

        A class that sends calls in its own way may make something else of its arguments first.
        """
        own = type(self).apply_async is not DjangoTask.apply_async
        if not own and transaction.get_connection().in_atomic_block:
            self.app.finalize()
            self.require_sendable(args, kwargs, options)


class _Maker(Protocol):
    """What ``@shared_task(...)`` is for type checkers."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> DjangoTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> DjangoTask[P, R]: ...


class _BoundMaker(Protocol):
    """What ``@shared_task(bind=True)`` is for type checkers: the first parameter is the task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> DjangoTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> DjangoTask[P, R]: ...


class _SharedTask(_Maker, Protocol):
    """`umbel.shared_task` for type checkers, in a Django project."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> DjangoTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> DjangoTask[P, R]: ...
    @overload
    def __call__(self, *, bind: Literal[True], **options: Unpack[TaskKeywords]) -> _BoundMaker: ...
    @overload
    def __call__(
        self, *, bind: Literal[False] = ..., **options: Unpack[TaskKeywords]
    ) -> _Maker: ...


#: `umbel.shared_task` itself; with this one type checkers know that its tasks have `delay_on_commit`.
shared_task = cast(_SharedTask, registry.shared_task)
