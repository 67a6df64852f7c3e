"""`AsyncResult`: the outcome of a call, by its id, from anywhere."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Collection, Generator, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar, cast

from umbel import kin, records, states
from umbel.absent import tell_of_absent
from umbel.awaiting import Wait
from umbel.backend import Backend, ResultBase, Source, out_of_time
from umbel.current import get_current_app
from umbel.exceptions import TimeoutError
from umbel.progress import Progress
from umbel.records import CallInfo, ResultRecord, TaskResult
from umbel.result.ending import call_back, exception_of
from umbel.result.following_failure import await_ended, wait_until_ended
from umbel.result.graph import DependencyGraph, descend, graph_of, leading_to
from umbel.result.joining import assert_will_not_block
from umbel.result.revocable import Revocable
from umbel.result_backend import Meta
from umbel.waiting import News, OutOfPatience, Patience, hub_of

R = TypeVar("R")

_NO_CALL = CallInfo()


@tell_of_absent
class AsyncResult(Revocable, ResultBase, Generic[R]):
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
        "just_sent",
        "parent",
    )

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        app: Source | None = None,
        parent: ResultBase | None = None,
    ) -> None:
        if not id:
            raise ValueError(f"AsyncResult needs the id of a call, not {id!r}.")
        self.id = id
        self.parent = parent
        #: True for a task that stores no result: then `get` returns None at once.
        self.ignored = False
        #: True of a call that was made here, until somebody has waited for it.
        self.just_sent = False
        self._app = app
        self._backend = backend
        self._done: TaskResult | None = None
        self._children: list[Any] | None = None

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
        """Return what a record says; what is final is remembered."""
        found = records.decode(record, self.backend.form)
        if record.ready:
            self._done = found
        return found

    def _get_task_meta(self) -> Meta:
        """Return what is stored, as Celery's mapping: packages ask for it by this name."""
        return self.backend.get_task_meta(self.id)

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED or a state of the task's own."""
        return self._current().state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception it raised; None while neither is known.

        In a state of the task's own: what it told about it.
        """
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

    @property
    def progress(self) -> Progress | None:
        """How far the task is, as it told last; None before that, and once it has ended."""
        found = self._current()
        ended = found.state in states.READY_STATES or found.state in states.EXCEPTION_STATES
        return None if ended else Progress.of(found.result)

    async def aprogress(self) -> Progress | None:
        """Return `progress` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.progress)

    @property
    def _call(self) -> CallInfo:
        return self._current().call or _NO_CALL

    @property
    def name(self) -> str | None:
        """The task's name; this and what follows is known with the setting ``result_extended``."""
        return self._call.name

    @property
    def args(self) -> Any:
        """The positional arguments of the call."""
        return self._call.args

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of the call."""
        return self._call.kwargs

    @property
    def worker(self) -> str | None:
        """The host name of the worker that ran the task."""
        return self._call.worker

    @property
    def retries(self) -> int | None:
        """How often the task was retried."""
        return self._call.retries

    @property
    def queue(self) -> str | None:
        """The queue that the call came through."""
        return self._call.queue

    def ready(self) -> bool:
        """Tell whether the outcome is final."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Tell whether the task ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Tell whether anything is stored: what was never sent is PENDING too."""
        return self.backend.task_result_exists(self.id)

    # What followed from the call

    @property
    def children(self) -> list[Any] | None:
        """The calls and groups that the task made, once it has ended; None while nothing is known."""
        if self._children is not None:
            return self._children
        written = self._current().children
        if written is None:
            return None
        found = [self.app.result_from_tuple(one) for one in written]
        if self._done is not None:
            self._children = found
        return found

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield this result and all calls that followed from it, each with the one that made it.

        Raises IncompleteStream at one that has not ended, or passes it over if `intermediate`.
        """
        return descend(self, intermediate)

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield this result and all that followed from it, each with its value, waiting for each.

        `options` are those of `get`.
        """
        return ((node, node.get(**options)) for _, node in self.iterdeps(intermediate))

    def get_leaf(self) -> Any:
        """Return the value of the last call that followed from this one."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph:
        """Return this result and the calls that followed from it as a graph. No `formatter` is used."""
        return graph_of(self, intermediate)

    @property
    def graph(self) -> DependencyGraph:
        """This result and the calls that followed from it; see `build_graph`."""
        return self.build_graph()

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
            patience = Patience(self.app.clock, timeout, interval, on_interval, self.just_sent)
            self.just_sent = False
            self._wait(patience, follow_parents and propagate, on_message)
        value: R = self.maybe_throw(propagate, callback)
        return value

    wait = get

    def _wait(
        self, patience: Patience, follow: bool, on_message: Callable[[Meta], object] | None
    ) -> None:
        parents = self._parents() if follow and self.parent is not None else {}
        since = patience.clock.monotonic()
        backend = self.backend
        news = backend.watch([str(self.id)], patience, parents)
        try:
            for record in news:
                parent = parents.get(record.task_id)
                if parent is not None:
                    if record.state in states.PROPAGATE_STATES:
                        wait_until_ended(backend, [str(self.id)], patience, since)
                    parent._noted(record)
                    parent.maybe_throw()
                    continue
                if on_message is not None:
                    on_message(records.meta(record, backend.form))
                if record.ready:
                    self._noted(record)
                    return
        except OutOfPatience:
            raise out_of_time(self.id, patience.timeout) from None
        finally:
            news.close()

    def _parents(self) -> dict[str, AsyncResult[Any]]:
        """Return those before this one that have not ended well, the first of them first."""
        before = (one for one in self._with_parents() if one.id != self.id)
        found = [one for one in before if one._done is None or one._done.state != states.SUCCESS]
        return {str(one.id): one for one in reversed(found)}

    def _with_parents(self) -> list[AsyncResult[Any]]:
        """Return this result and those before it, of groups all their results."""
        found: list[AsyncResult[Any]] = []
        node: ResultBase | None = self
        while node is not None:
            found += node._leaves()
            node = node.parent
        return found

    # As one of several

    def _leaves(self) -> list[Any]:
        return [self]

    def _outcome(self, propagate: bool) -> Any:
        return None if self.ignored else self.maybe_throw(propagate)

    @property
    def _is_known(self) -> bool:
        """True where there is nothing to wait for."""
        return self.ignored or self._done is not None

    def _state_of(self, record: ResultRecord | None) -> str:
        """Return the state, of which this is stored."""
        if self._done is not None:
            return self._done.state
        return states.PENDING if record is None else record.state

    @property
    def _meta(self) -> Meta:
        """What is known, as Celery's mapping."""
        found = self._current()
        return {
            "status": found.state,
            "result": found.result,
            "traceback": found.traceback,
            "children": found.children,
            "date_done": found.date_done,
            "task_id": self.id,
        }

    def _unknow(self) -> None:
        """Forget what is known here."""
        self._done = self._children = None

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
        now = asyncio.get_running_loop().time
        since = now()
        try:
            with Wait(self.backend.store, [str(self.id)], timeout, parents) as wait:
                record = await wait.next()
        except OutOfPatience:
            raise out_of_time(self.id, timeout) from None
        ended = parents.get(record.task_id, self)
        ended._noted(record)
        if ended is not self:
            left = None if timeout is None else since + timeout - now()
            await await_ended(self.backend, [str(self.id)], left)
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
            call_back(self, callback, on_error, None)
            return self
        held: Callable[[], AsyncResult[R] | None]
        held = weakref.ref(self) if weak else lambda: self

        def listener(news: News) -> None:
            result = held()
            if result is None or (isinstance(news, ResultRecord) and not news.ready):
                return
            if isinstance(news, ResultRecord):
                result._noted(news)
            call_back(result, callback, on_error, news)

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
            self.throw(exception_of(found))
        if callback is not None:
            callback(self.id, found.result)
        return found.result

    maybe_reraise = maybe_throw

    def throw(self, error: BaseException, traceback: TracebackType | None = None) -> NoReturn:
        """Raise an exception."""
        raise error if traceback is None else error.with_traceback(traceback)

    # Ending it

    def forget(self) -> None:
        """Delete the stored result, and those of all that was before it."""
        found = leading_to(self)
        for result in found:
            result._unknow()
        self.backend.forget_many({str(result.id): None for result in found})

    # Identity

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ids as documents have them: ``((id, parent's tuple), None)``."""
        return kin.written(self)

    def as_list(self) -> list[str]:
        """Return the ids of this result and its parents."""
        return [result.id for result in self._with_parents()]

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
        return kin.reduced(self)

    def _alone(self) -> tuple[Any, ...]:
        """Return what makes it again without its parent, and the arguments of that (`umbel.kin.reduced`)."""
        return type(self), (self.id,)
