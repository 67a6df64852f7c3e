"""`AsyncResult`: the outcome of a call, by its id, from anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast

from umbel import records, states
from umbel.clock import Clock
from umbel.current import get_current_app, running
from umbel.exceptions import TimeoutError, UmbelError
from umbel.ports import ResultStore
from umbel.records import Details, TaskResult
from umbel.settings import Config

R = TypeVar("R")

#: Seconds of one wait of the store; after each, ``on_interval`` is called.
WAIT = 1.0


class ResultSource(Protocol):
    """What a result needs of the app."""

    clock: Clock

    @property
    def conf(self) -> Config:
        """The settings."""

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
            found = records.decode(record, self.app.conf.snapshot)
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
    def date_done(self) -> datetime | None:
        """When the task ended."""
        return self._current().date_done

    def _details(self) -> Details:
        return self._current().details or Details()

    @property
    def name(self) -> str | None:
        """The task's name; this and the following are known where `result_extended` is set."""
        return self._details().name

    @property
    def args(self) -> Any:
        """The positional arguments of the call."""
        return self._details().args

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of the call."""
        return self._details().kwargs

    @property
    def worker(self) -> str | None:
        """The name of the node that ran it."""
        return self._details().worker

    @property
    def retries(self) -> int | None:
        """How often it had been retried."""
        return self._details().retries

    @property
    def queue(self) -> str | None:
        """The queue it came from."""
        return self._details().queue

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
                self._done = records.decode(record, self.app.conf.snapshot)
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


class _Abandoned(Exception):
    """Nobody waits any more."""


def _refuse_within_a_task() -> None:
    if running.get() is not None:
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
