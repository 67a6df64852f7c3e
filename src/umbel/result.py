"""`AsyncResult`: the outcome of a call, by its id, from anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast

from umbel import records, states
from umbel.clock import Clock, utc
from umbel.current import get_current_app, joins_are_denied
from umbel.exceptions import EncodeError, TaskRevokedError, TimeoutError, UmbelError
from umbel.ports import ResultStore
from umbel.records import ResultRecord, TaskResult
from umbel.request import Request

R = TypeVar("R")

#: Seconds of one wait of the store; after each, ``on_interval`` is called.
WAIT = 1.0


class ResultSource(Protocol):
    """What a result needs of the app."""

    clock: Clock

    def result_store(self) -> ResultStore:
        """Return the store. Raises ImproperlyConfigured when there is none."""


class AsyncResult(Generic[R]):
    """The result of a task, which may not have run yet.

    ``get()`` waits for it, ``await result`` does so in a coroutine. An id of which nothing is known
    is PENDING.
    """

    __slots__ = ("__weakref__", "_done", "_source", "id")

    TimeoutError = TimeoutError

    def __init__(self, id: str, app: ResultSource | None = None) -> None:
        if not id:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.id = id
        self._source = app
        self._done: TaskResult | None = None

    @property
    def task_id(self) -> str:
        """The id, under its other name."""
        return self.id

    @property
    def app(self) -> ResultSource:
        """The app that knows the result store."""
        return self._source or get_current_app()

    def _current(self) -> TaskResult:
        """Return what is stored now; what is final is remembered."""
        if self._done is None:
            record = self.app.result_store().get([self.id]).get(self.id)
            if record is None:
                return TaskResult(self.id)
            found = records.decode(record)
            if not record.ready:
                return found
            self._done = found
        return self._done

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED or a state of the task's own."""
        return self._current().state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception it raised; None while neither is known."""
        return self._current().result

    status = state
    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of the task that failed, as text."""
        return self._current().traceback

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of the calls that the task made, once it has ended."""
        return [AsyncResult(child, self._source) for child in self._current().children]

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        return self._current().date_done

    def ready(self) -> bool:
        """Tell whether the outcome is final."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Tell whether the task ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task failed."""
        return self.state == states.FAILURE

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = WAIT,
        callback: Callable[[str, Any], None] | None = None,
        on_interval: Callable[[], None] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the result and return it; raise the task's exception if it failed.

        Raises TimeoutError after `timeout` seconds. With `propagate` False an exception is returned
        instead of raised. `on_interval` is called every `interval` seconds while waiting. Within a
        task this raises RuntimeError, since the workers might all wait for each other, unless
        `disable_sync_subtasks` is False.
        """
        if disable_sync_subtasks:
            _refuse_within_a_task()
        found = self._wait(timeout, interval, on_interval)
        if callback is not None:
            callback(self.id, found.result)
        return cast(R, _value(found, propagate))

    wait = get

    def _wait(
        self, timeout: float | None, interval: float, on_interval: Callable[[], None] | None
    ) -> TaskResult:
        clock = self.app.clock
        store = self.app.result_store()
        deadline = None if timeout is None else clock.monotonic() + timeout
        while self._done is None:
            left = interval if deadline is None else deadline - clock.monotonic()
            record = store.wait([self.id], max(min(left, interval), 0.0)).get(self.id)
            if record is not None:
                self._done = records.decode(record)
            elif deadline is not None and clock.monotonic() >= deadline:
                raise TimeoutError(
                    f"The result of task {self.id} did not arrive within {timeout:g} s. Is a worker running"
                    " that consumes from its queue?"
                )
            elif on_interval is not None:
                on_interval()
        return self._done

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Wait for the result like `get`, without blocking the event loop.

        Each wait is a thread of its own and not one of the loop's few, so that however many wait,
        there is one left for everything else. Within `WAIT` seconds of a cancellation it ends.
        """
        _refuse_within_a_task()
        outcome: Future[TaskResult] = Future()

        def give_up_if_cancelled() -> None:
            if outcome.cancelled():
                raise _Abandoned

        def wait() -> None:
            try:
                found = self._wait(timeout, WAIT, give_up_if_cancelled)
            except _Abandoned:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits
                if outcome.set_running_or_notify_cancel():
                    outcome.set_exception(error)
            else:
                if outcome.set_running_or_notify_cancel():
                    outcome.set_result(found)

        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(wait,), name=f"umbel-result-{self.id}", daemon=True
        ).start()
        return cast(R, _value(await asyncio.wrap_future(outcome), propagate))

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def forget(self) -> None:
        """Delete the stored result."""
        self._done = None
        self.app.result_store().forget([self.id])

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)


class EagerResult(AsyncResult[R]):
    """The result of a task that was run where it was called: known from the start."""

    __slots__ = ("name",)

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id)
        self.name = name
        self._done = TaskResult(id, state, ret_value, traceback)

    def ready(self) -> bool:
        """Tell that the outcome is final, which it is even when the task raised Ignore."""
        return True

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = WAIT,
        callback: Callable[[str, Any], None] | None = None,
        on_interval: Callable[[], None] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Return what the task returned, or raise its exception. None when it raised Ignore or Reject.

        Within a task that a worker runs, or that ``task_always_eager`` runs in its place, this
        raises RuntimeError like `AsyncResult.get`, so that tests show what would wait for ever.
        """
        if disable_sync_subtasks:
            _refuse_within_a_task()
        found = self._current()
        if callback is not None:
            callback(self.id, found.result)
        if found.state == states.SUCCESS:
            return cast(R, found.result)
        if found.state not in states.PROPAGATE_STATES:
            return cast(R, None)
        if propagate and isinstance(found.result, BaseException):
            raise found.result
        return cast(R, found.result)

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Return what `get` returns; there is nothing to wait for."""
        return self.get(propagate=propagate)

    def forget(self) -> None:
        """Do nothing: there is nothing stored to delete."""

    def revoke(self, *args: Any, **options: Any) -> None:
        """Make it the result of a revoked task, as Celery 5.7 does; the task has run all the same."""
        self._done = TaskResult(self.id, states.REVOKED, TaskRevokedError("revoked"))

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __reduce__(self) -> tuple[type[EagerResult[R]], tuple[Any, ...]]:
        found = self._current()
        return type(self), (self.id, found.result, found.state, found.traceback, self.name)


def state_record(
    task_id: str,
    state: str,
    value: Any,
    now: float,
    keep: float | None,
    traceback: str | None = None,
    request: Request | None = None,
) -> ResultRecord:
    """Return what is stored of a task in a state, kept for `keep` seconds from `now`; None: for ever.

    Raises EncodeError when the value cannot be stored.
    """
    result = TaskResult(
        task_id=task_id,
        state=state,
        result=value,
        traceback=traceback or None,
        date_done=utc(now) if state in states.READY_STATES else None,
        parent_id=request.parent_id if request else None,
        group_id=request.group if request else None,
        children=ids_of(request.children) if request else (),
    )
    return records.encode(result, None if keep is None else now + keep)


def ids_of(children: Iterable[Any]) -> tuple[str, ...]:
    """Return the ids of results that were noted as children of a call."""
    return tuple(child.id for child in children if isinstance(child, AsyncResult))


def require_storable(task: str, value: Any) -> None:
    """Raise EncodeError, naming the task, for a returned value that cannot be stored."""
    try:
        records.encode(TaskResult("", states.SUCCESS, value))
    except EncodeError as error:
        raise unstorable(task, value, error) from error


def unstorable(task: str, value: Any, error: EncodeError) -> EncodeError:
    """Return the error that says what to do about a value that cannot be stored."""
    return EncodeError(
        f"{task} returned {type(value).__name__}, which cannot be stored: {error}. Return plain data, or"
        " set ignore_result."
    )


class _Abandoned(Exception):
    """Nobody waits any more."""


def _refuse_within_a_task() -> None:
    if joins_are_denied():
        raise RuntimeError(
            "Never call result.get() within a task: when all workers wait, none is left to work. Use a"
            " callback, or get(disable_sync_subtasks=False) if you are sure."
        )


def _value(found: TaskResult, propagate: bool) -> Any:
    """Return what the task returned, or raise its exception."""
    if propagate and found.state in states.PROPAGATE_STATES:
        raise _exception(found)
    return found.result


def _exception(found: TaskResult) -> BaseException:
    """Return the exception to raise, with the worker's traceback as a note."""
    error: BaseException = found.result
    if not isinstance(found.result, BaseException):
        error = UmbelError(f"Task {found.task_id} ended as {found.state}: {error!r}")
    if found.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"\nIn the worker:\n{found.traceback}")
    return error
