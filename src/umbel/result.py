"""`AsyncResult`: the outcome of a call, by its id, from anywhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from umbel import records, states
from umbel.backend import Backend, Meta, ResultBase, Source, out_of_time
from umbel.current import get_current_app
from umbel.exceptions import TaskRevokedError, TimeoutError, UmbelError
from umbel.graph import Tree
from umbel.joining import allow_join_result, assert_will_not_block, denied_join_result
from umbel.known import Known
from umbel.later import absent_from, tell_of_absent
from umbel.records import CallInfo, ResultRecord, TaskResult
from umbel.waiting import News, OutOfPatience, Patience, hub_of, result_of

__all__ = [
    "AsyncResult",
    "EagerResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]

R = TypeVar("R")


@tell_of_absent
class AsyncResult(Known, Tree, Generic[R]):
    """The result of a task, which may not have run yet.

    ``get()`` waits for it, ``await result`` does so in a coroutine. An id of which nothing is known
    is PENDING. `parent` is the result of the call before this one in a chain.
    """

    __slots__ = (
        "__weakref__",
        "_app",
        "_backend",
        "_children",
        "_done",
        "id",
        "ignored",
        "parent",
    )

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        app: Source | None = None,
        parent: AsyncResult[Any] | None = None,
    ) -> None:
        if not id:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.id = id
        self.parent = parent
        #: True for a task that stores no result: then `get` returns None at once.
        self.ignored = False
        self._app = app
        self._backend = backend
        self._done: TaskResult | None = None
        self._children: list[AsyncResult[Any]] | None = None

    @property
    def task_id(self) -> str:
        """The id, under its other name."""
        return self.id

    @task_id.setter
    def task_id(self, id: str) -> None:
        self.id = id

    @property
    def app(self) -> Source:
        """The app that knows the result store."""
        return self._app or (self._backend.app if self._backend else get_current_app())

    @property
    def backend(self) -> Backend:
        """Where results are read from."""
        return self._backend or self.app.backend

    # What is known

    def _current(self) -> TaskResult:
        """Return what is stored now; what is final is remembered."""
        if self._done is not None:
            return self._done
        record = self.backend.record(self.id)
        return TaskResult(self.id, children=None) if record is None else self._noted(record)

    def _noted(self, record: ResultRecord) -> TaskResult:
        found = records.decode(record, self.backend.form)
        if record.ready:
            self._done = found
        return found

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The calls that the task made, once it has ended; None while nothing is known."""
        if self._children is not None:
            return self._children
        written = self._current().children
        if written is None:
            return None
        found = [result_from_tuple(one, self.app) for one in written]
        if self._done is not None:
            self._children = found
        return found

    def exists(self) -> bool:
        """Tell whether anything is stored: what was never sent is PENDING too."""
        return self.backend.task_result_exists(self.id)

    # Waiting

    def get(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Collection[str] = states.EXCEPTION_STATES,
        PROPAGATE_STATES: Collection[str] = states.PROPAGATE_STATES,
    ) -> R:
        """Wait for the result and return it; raise the task's exception if it failed.

        Raises TimeoutError after `timeout` seconds. With `propagate` False an exception is returned
        instead of raised; else the exception of a parent that fails is raised too, unless
        `follow_parents` is False. `callback` is called with id and value of what is returned;
        `on_message` with the meta of each state that is stored meanwhile, the last included;
        `on_interval` every `interval` seconds. Within a task this raises RuntimeError, since the
        workers might all wait for each other, unless `disable_sync_subtasks` is False.

        `no_ack` and the states are there for Celery's sake and change nothing.
        """
        if self.ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._done is None:
            patience = Patience(self.app.clock, timeout, interval, on_interval)
            self._wait(patience, follow_parents and propagate, on_message)
        return cast(R, self.maybe_throw(propagate, callback))

    wait = get

    def _wait(
        self, patience: Patience, follow: bool, on_message: Callable[[Meta], object] | None
    ) -> None:
        parents = self._parents() if follow else {}
        try:
            with closing(self.backend.watch([*parents, str(self.id)], patience)) as news:
                for record in news:
                    parent = parents.get(record.task_id)
                    if parent is not None:
                        parent._noted(record)
                        parent.maybe_throw()
                        continue
                    if on_message is not None:
                        on_message(records.meta(record, self.backend.form))
                    if record.ready:
                        self._noted(record)
                        return
        except OutOfPatience:
            raise out_of_time(self.id, patience.timeout) from None

    def _parents(self) -> dict[str, AsyncResult[Any]]:
        """Return those before this one that have not ended well, the first of them first."""
        found = []
        node = self.parent
        while node is not None:
            if node._done is None or node._done.state != states.SUCCESS:
                found.append(node)
            node = node.parent
        return {str(node.id): node for node in reversed(found)}

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, follow_parents: bool = True
    ) -> R:
        """Wait for the result like `get`, without blocking the event loop.

        However many wait, one thread hears for all of them.
        """
        if self.ignored:
            return cast(R, None)
        assert_will_not_block()
        if self._done is None:
            await self._await(timeout, self._parents() if follow_parents and propagate else {})
        return cast(R, self.maybe_throw(propagate))

    async def _await(self, timeout: float | None, parents: dict[str, AsyncResult[Any]]) -> None:
        def ends(record: ResultRecord) -> bool:
            if record.task_id in parents:
                return record.state in states.PROPAGATE_STATES
            return record.ready

        ids = [*parents, str(self.id)]
        try:
            record = await result_of(self.backend.store, ids, ends, timeout)
        except OutOfPatience:
            raise out_of_time(self.id, timeout) from None
        ended = parents.get(record.task_id, self)
        ended._noted(record)
        if ended is not self:
            ended.maybe_throw()

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def then(
        self,
        callback: Callable[[AsyncResult[R]], object],
        on_error: Callable[[Exception], object] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R]:
        """Call `callback` with this result when it has ended, well or not; return this result.

        `on_error` is called with what `callback` raises, and when the store fails. Both are called in the
        thread that hears for all, or at once where the outcome is known here: they must not wait for
        other results. With `weak`, a result that nobody holds any more calls nobody.
        """
        if self._done is not None:
            _call_back(self, callback, on_error, None)
            return self
        held: Callable[[], AsyncResult[R] | None]
        held = weakref.ref(self) if weak else lambda: self

        def listener(news: News) -> None:
            result = held()
            if result is None or (isinstance(news, ResultRecord) and not news.ready):
                return
            if isinstance(news, ResultRecord):
                result._noted(news)
            _call_back(result, callback, on_error, news)

        hub_of(self.backend.store).add([str(self.id)], listener)
        return self

    # Errors

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """Raise the exception of a task that failed or was revoked; return any other result.

        `callback` is called with id and value of what is returned.
        """
        found = self._current()
        if propagate and found.state in states.PROPAGATE_STATES:
            self.throw(_exception(found))
        if callback is not None:
            callback(self.id, found.result)
        return found.result

    maybe_reraise = maybe_throw

    def throw(self, error: BaseException, traceback: TracebackType | None = None) -> NoReturn:
        """Raise an exception."""
        raise error if traceback is None else error.with_traceback(traceback)

    # Ending it

    def forget(self) -> None:
        """Delete the stored result, and those of its parents."""
        ids, node = [], cast("AsyncResult[Any] | None", self)
        while node is not None:
            node._done = node._children = None
            ids.append(node.id)
            node = node.parent
        self.backend.forget_many(ids)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell the workers not to run the task. Not possible yet: raises NotImplementedError."""
        raise NotImplementedError(
            f"The task {self.id} cannot be revoked: umbel has no remote control yet. Send calls that may"
            " become pointless with `expires`, or empty their queue with `umbel purge`."
        )

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revoke all tasks that have a stamp. Not possible yet: raises NotImplementedError."""
        raise NotImplementedError(
            f"Tasks stamped {headers!r} cannot be revoked: umbel has no remote control yet."
        )

    # Identity

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ids as documents have them: ``((id, parent's tuple), None)``."""
        return (self.id, self.parent.as_tuple() if self.parent else None), None

    def as_list(self) -> list[str]:
        """Return the ids of this result and its parents."""
        return [self.id, *(self.parent.as_list() if self.parent else ())]

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(self.id == other.id)
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> AsyncResult[R]:
        return type(self)(self.id, self._backend, None, self._app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, None, None, None, self.parent)


class EagerResult(AsyncResult[R]):
    """The result of a task that was run where it was called: known from the start."""

    __slots__ = ()

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id)
        self._done = TaskResult(
            id, state, ret_value, traceback, children=None, call=CallInfo(name=name)
        )

    def ready(self) -> bool:
        """Tell that the outcome is final, which it is even when the task raised Ignore."""
        return True

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *_: Any,
        callback: Callable[[str, Any], object] | None = None,
        disable_sync_subtasks: bool = True,
        **__: Any,
    ) -> R:
        """Return what the task returned, or raise its exception. None when it raised Ignore or Reject.

        Within a task that a worker runs, or that ``task_always_eager`` runs in its place, this
        raises RuntimeError like `AsyncResult.get`, so that tests show what would wait for ever.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        found = self._current()
        if propagate and found.state in states.PROPAGATE_STATES:
            # As it was raised: its traceback leads to the task.
            raise found.result if isinstance(found.result, BaseException) else _exception(found)
        known = found.state == states.SUCCESS or found.state in states.PROPAGATE_STATES
        value = found.result if known else None
        if callback is not None:
            callback(self.id, value)
        return cast(R, value)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, follow_parents: bool = True
    ) -> R:
        """Return what `get` returns; there is nothing to wait for."""
        return self.get(propagate=propagate)

    def forget(self) -> None:
        """Do nothing: there is nothing stored to delete."""

    def revoke(self, *args: Any, **options: Any) -> None:
        """Make it the result of a revoked task, as Celery 5.7 does; the task has run all the same."""
        error = TaskRevokedError("revoked")
        self._done = TaskResult(
            self.id, states.REVOKED, error, children=None, call=CallInfo(name=self.name)
        )

    def __copy__(self) -> EagerResult[R]:
        kind, values = self.__reduce__()
        return cast("EagerResult[R]", kind(*values))

    def __reduce__(self) -> tuple[Any, ...]:
        found = self._current()
        return type(self), (self.id, found.result, found.state, found.traceback, self.name)


def result_from_tuple(written: Any, app: Source | None = None) -> AsyncResult[Any]:
    """Return the result that `AsyncResult.as_tuple` wrote, or one as it is.

    Raises NotImplementedError for the result of a group.
    """
    if isinstance(written, AsyncResult):
        return written
    ids, members = written
    id, parent = ids if isinstance(ids, list | tuple) else (ids, None)
    if members is not None:
        raise NotImplementedError(f"The result {id} is that of a group, and umbel has none yet.")
    return AsyncResult(id, app=app, parent=result_from_tuple(parent, app) if parent else None)


def _call_back(
    result: AsyncResult[R],
    callback: Callable[[AsyncResult[R]], object],
    on_error: Callable[[Exception], object] | None,
    news: News | None,
) -> None:
    try:
        if isinstance(news, Exception):
            raise news
        callback(result)
    except Exception as error:
        if on_error is None:
            raise
        on_error(error)


def _exception(found: TaskResult) -> BaseException:
    """Return the exception to raise, with the worker's traceback as a note."""
    error: BaseException = found.result
    if not isinstance(found.result, BaseException):
        error = UmbelError(f"Task {found.task_id} ended as {found.state}: {error!r}")
    if found.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"\nIn the worker:\n{found.traceback}")
    return error


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
