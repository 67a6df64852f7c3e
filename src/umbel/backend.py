"""`app.backend`: what Celery's users call on a result backend, on top of the `ResultStore`.

Results as Celery's "meta" mappings, by task id. Nothing is cached here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from typing import Any, Protocol

from umbel import current, failures, kin, records, serialization, states
from umbel.absent import tell_of_absent
from umbel.clock import Clock, utc
from umbel.control import Control
from umbel.exceptions import EncodeError, TimeoutError
from umbel.ports import ResultStore
from umbel.records import CallInfo, Form, ResultRecord, TaskResult
from umbel.result_backend import Meta, ResultBackend
from umbel.settings import Config, Settings
from umbel.unsendable import of_result
from umbel.waiting import OutOfPatience, Patience, watch

PREFIX = "celery-task-meta-"
GROUP_PREFIX = "celery-taskset-meta-"
#: Seconds that the counters of a chord live at least after each result, unless ``result_chord_expires`` says.
CHORDS_LIVE = 7 * 86_400.0


class ResultBase:
    """Base of results: of a call, and of several."""

    __slots__ = ()
    #: The result of what ran before in a chain.
    parent: ResultBase | None

    def _leaves(self) -> list[Any]:
        """Return the results of calls that it consists of."""
        raise NotImplementedError

    def _outcome(self, propagate: bool) -> Any:
        """Return the value, now that it has ended, or raise its exception if `propagate`."""
        raise NotImplementedError

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ids as documents have them, for `result_from_tuple`."""
        raise NotImplementedError


class Source(Protocol):
    """What a backend needs of the app."""

    clock: Clock
    conf: Config
    control: Control

    @property
    def backend(self) -> Backend:
        """The app's backend."""

    @property
    def result_url(self) -> str | None:
        """The result store's URL; None when there are no results."""

    @property
    def results(self) -> ResultStore | None:
        """The result store, or None when there is none."""

    def result_store(self) -> ResultStore:
        """Return the result store. Raises ImproperlyConfigured when results are not kept."""

    def show_url(self, url: str) -> str:
        """Return a URL without its password."""

    def result_from_tuple(self, written: Any) -> Any:
        """Return the result, of a call or of a group, that ``as_tuple`` wrote."""


def expiry(settings: Settings, state: str, now: float) -> float | None:
    """Return when a result may be deleted; None for never, which 0 means too."""
    kept = settings.result_expires
    if state == states.FAILURE and settings.result_failure_expires is not None:
        kept = settings.result_failure_expires
    return now + kept if kept else None


def chord_expiry(settings: Settings, now: float) -> float | None:
    """Return when a chord that has heard of no result since now may be given up; None for never."""
    kept = settings.result_chord_expires
    if kept is None:
        kept = max(settings.result_expires, CHORDS_LIVE) if settings.result_expires else None
    return now + kept if kept else None


def run_name(group: str) -> str:
    """Return under which name it is kept which run of a chord this is, if it was sent before with its ids."""
    return f"{group}:run"


def call_info(request: Any) -> CallInfo:
    """Return what ``result_extended`` keeps of a call."""
    delivery_info = getattr(request, "delivery_info", None) or {}
    return CallInfo(
        name=getattr(request, "task", None),
        args=getattr(request, "args", None),
        kwargs=getattr(request, "kwargs", None),
        worker=getattr(request, "hostname", None),
        retries=getattr(request, "retries", None),
        queue=delivery_info.get("routing_key"),
        stamped_headers=getattr(request, "stamped_headers", None),
        stamps=getattr(request, "stamps", None) or {},
    )


def children_of(request: Any, form: Form) -> list[Any] | None:
    """Return the calls that a task made, as a document of that form has them; None where nobody knows."""
    if request is None:
        return None
    children = getattr(request, "children", None)
    if not children:
        return []
    results = kin.named([child for child in children if isinstance(child, ResultBase)])
    return [written(child, form) for child in results]


def written(result: Any, form: Form) -> kin.Written:
    """Return the ids of a result as a document of that form has them: without parents too far away."""
    most = None if kin.is_alone(result) else kin.generations(form, form.result_serializer)
    return kin.written(result, most)


def require_storable(task: str, form: Settings, value: Any) -> None:
    """Raise EncodeError, naming the task, for a returned value that cannot be stored."""
    if isinstance(value, ResultBase):
        return
    if form.result_serializer == "json" and not form.result_compression and _is_simple(value):
        return
    try:
        records.encode(TaskResult("", states.SUCCESS, value), form=form)
    except EncodeError as error:
        raise unstorable(task, value, error, form) from error


def _is_simple(value: Any) -> bool:
    """Tell whether a value is one that JSON surely has: texts may be none in UTF-8, and numbers too long."""
    return (
        value is None
        or type(value) in (float, bool)
        or (type(value) is str and value.isascii())
        or (type(value) is int and -_BIG < value < _BIG)
    )


_BIG = 2**63


def unstorable(task: str, value: Any, error: EncodeError, form: Settings) -> EncodeError:
    """Return the error that says what to do about a value that cannot be stored."""
    return of_result(task, value, error, serialization.serializer(form.result_serializer))


def out_of_time(task_id: str, timeout: float | None) -> TimeoutError:
    """Return the error of who waited in vain."""
    return TimeoutError(
        f"The result of task {task_id} did not arrive within {timeout:g} s. Is a worker running that consumes"
        " from its queue?"
    )


@tell_of_absent
class Backend(ResultBackend):
    """The result backend of an app.

    Where results are not kept, storing does nothing and reading raises ImproperlyConfigured.
    """

    task_keyprefix = PREFIX
    group_keyprefix = GROUP_PREFIX
    persistent = True
    #: Results come by themselves and are not polled for; workers delete what expired.
    is_async = True
    supports_autoexpire = True
    supports_native_join = True

    def __init__(self, app: Source) -> None:
        self.app = app

    @property
    def store(self) -> ResultStore:
        """The result store. Raises ImproperlyConfigured when results are not kept."""
        return self.app.result_store()

    @property
    def url(self) -> str | None:
        """The store's URL, with its password."""
        return self.app.result_url

    @property
    def expires(self) -> float | None:
        """Seconds that results are kept."""
        return self.app.conf.snapshot.result_expires

    @property
    def form(self) -> Settings:
        """The settings in force, which say how results are written and which are read."""
        return self.app.conf.snapshot

    def as_uri(self, include_password: bool = False) -> str:
        """Return the store's URL, by default without its password."""
        url = self.url
        if url is None:
            return "disabled://"
        return url if include_password or "@" not in url else self.app.show_url(url)

    def get_key_for_task(self, task_id: str) -> str:
        """Return the key under which Celery's key-value stores keep a result."""
        return f"{self.task_keyprefix}{task_id}"

    # Reading

    def record(self, task_id: str) -> ResultRecord | None:
        """Return what is stored for a task."""
        return self.store.get([str(task_id)]).get(str(task_id))

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """Return a task's state, result, traceback and so on; PENDING when nothing is known."""
        record = self.record(task_id)
        return _pending() if record is None else records.meta(record, self.form)

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task."""
        return self.record(task_id) is not None

    # Waiting

    def watch(
        self, task_ids: Collection[str], patience: Patience, parents: Collection[str] = ()
    ) -> Generator[ResultRecord, None, None]:
        """Yield what is stored for tasks, and then what will be; see `umbel.waiting.watch`."""
        return watch(self.store, task_ids, patience, parents)

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Meta:
        """Wait for a final state and return its meta. Raises TimeoutError."""
        found = self.get_many([task_id], timeout, interval, on_interval=on_interval)
        return next(meta for _, meta in found)

    def get_many(
        self,
        task_ids: Collection[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield tasks with their meta as they end. Raises TimeoutError when that takes too long."""
        left = {str(task_id) for task_id in task_ids}
        patience = Patience(self.app.clock, timeout, interval, on_interval)
        if not left:
            return
        try:
            with closing(self.watch(list(left), patience)) as news:
                for record in news:
                    meta = records.meta(record, self.form)
                    if on_message is not None:
                        on_message(meta)
                    if record.ready and record.task_id in left:
                        left.remove(record.task_id)
                        yield record.task_id, meta
                    if not left:
                        return
        except OutOfPatience:
            raise out_of_time(min(left), timeout) from None

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Return the result: whoever waits says so when it does."""
        return result

    remove_pending_result = add_pending_result

    # Groups

    def get_key_for_group(self, group_id: str, key: str = "") -> str:
        """Return the key under which Celery's key-value stores keep which results a group has."""
        return f"{self.group_keyprefix}{group_id}{key}"

    def save_group(self, group_id: str, result: Any) -> Any:
        """Store which results a group has; return its result."""
        settings, now = self.form, self.app.clock.time()
        document = records.encode_group(written(result, settings), settings)
        self.store.save_group(group_id, document, expiry(settings, states.SUCCESS, now))
        return result

    def group_as_saved(self, group_id: str) -> Any:
        """Return what was saved of a group, for `result_from_tuple`; None where nothing was."""
        document = self.store.saved_group(group_id)
        return None if document is None else records.decode_group(group_id, document, self.form)

    def get_group_meta(self, group_id: str, cache: bool = True) -> Meta | None:
        """Return a mapping with the ``result`` of a group that was saved, else None."""
        saved = self.group_as_saved(group_id)
        return None if saved is None else {"result": self.app.result_from_tuple(saved)}

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """Return the result of a group that was saved, else None."""
        meta = self.get_group_meta(group_id)
        return None if meta is None else meta["result"]

    def delete_group(self, group_id: str) -> None:
        """Delete what was saved of a group."""
        self.store.forget_group(group_id)

    # Storing

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        """Store a state with its result or meta; return what was written for the result.

        A SUCCESS stays. Without a `request`, the one of the task that runs here counts for the children.
        """
        value = self.encode_result(result, state)
        store, settings, now = self.app.results, self.app.conf.snapshot, self.app.clock.time()
        if store is None:
            return value
        document = TaskResult(
            task_id=str(task_id),
            state=state,
            result=value,
            traceback=traceback if traceback is None else str(traceback),
            date_done=utc(now) if state in states.READY_STATES else None,
            parent_id=getattr(request, "parent_id", None),
            group_id=getattr(request, "group", None),
            children=children_of(request or current.running.get(), settings),
            call=call_info(request) if settings.result_extended and request else None,
        )
        store.put_of([(records.encode(document, expiry(settings, state, now), settings), request)])
        return value

    def forget(self, task_id: str) -> None:
        """Delete a result."""
        self.forget_many([task_id])

    def forget_many(self, task_ids: Collection[str]) -> None:
        """Delete results in one call."""
        self.store.forget([str(task_id) for task_id in task_ids])

    def cleanup(self) -> None:
        """Delete all results that have expired; workers do so by themselves."""
        store = self.app.results
        while store is not None and store.cleanup():
            pass

    def process_cleanup(self) -> None:
        """Do nothing: there is nothing to give back when a process ends."""

    # Values

    def prepare_value(self, result: Any) -> Any:
        """Return a value as it is stored: a result that a task returned becomes its tuple."""
        return written(result, self.form) if isinstance(result, ResultBase) else result

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """Return an exception as it is stored: as data, or itself where a pickle can hold it."""
        used = serialization.serializer(serializer or self.form.result_serializer)
        return failures.to_stored(exc, used)

    def __repr__(self) -> str:
        return f"<Backend: {self.as_uri()}>"


def _pending() -> Meta:
    return {"status": states.PENDING, "result": None}
