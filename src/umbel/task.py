"""Tasks: functions that can be called here or sent to a worker."""

from __future__ import annotations

import asyncio
import copy
import inspect
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeVar, Unpack, cast

from umbel import current
from umbel.arguments import checker
from umbel.entities import Exchange, Queue
from umbel.exceptions import MaxRetriesExceededError, Retry
from umbel.functions import is_async_function, without_partials
from umbel.message import Publication
from umbel.options import (
    CallKeywords,
    CallOptions,
    RepeatOptions,
    RetryPolicy,
    call_options,
    warn_of_limits,
)
from umbel.publish import Context, Template, build
from umbel.request import Request, arguments_of_retry
from umbel.result import AsyncResult
from umbel.routing import Route, inherited
from umbel.settings import Settings

if TYPE_CHECKING:
    from umbel.app import Umbel

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_UNSET: Any = object()
_rng = random.Random()

#: Publications that one call of `delay_many` sends in one batch.
BULK = 2000


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of a task's deliveries: its own options, filled up from the settings."""

    acks_late: bool
    reject_on_worker_lost: bool
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    throws: tuple[type[BaseException], ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """What `Task.retry` asks for: the same call once more, with these arguments and options.

    `route` is where it goes; None is where it came from.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: CallOptions
    route: Route | None = None


class Task(Generic[P, R]):
    """A task of an app. Made by ``@app.task``; subclass it for tasks with behaviour of their own.

    Class attributes are defaults for all tasks of that class; the decorator's options replace them.
    """

    name: str = ""
    queue: str | Queue | None = None
    exchange: str | Exchange | None = None
    routing_key: str | None = None
    delivery_mode: int | str | None = None
    priority: int | None = None
    serializer: str | None = None
    compression: str | None = None
    expires: float | datetime | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: ClassVar[Mapping[str, Any]] = {}
    retry_backoff: float | bool = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    time_limit: float | None = None
    soft_time_limit: float | None = None
    rate_limit: str | float | None = None
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    acks_late: bool | None = None
    reject_on_worker_lost: bool | None = None
    track_started: bool | None = None
    throws: tuple[type[BaseException], ...] = ()
    typing: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        app: Umbel | None,
        bind: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        for key, value in (options or {}).items():
            setattr(self, key, value)
        self.name = name
        self._app = app
        self._bind = bind
        self.function = function
        self.is_async = is_async_function(function)
        written = without_partials(function)
        self.__name__ = getattr(written, "__name__", name)
        self.__doc__ = written.__doc__
        self.__module__ = written.__module__
        self.__wrapped__ = function
        self._check = checker(function, skip_first=bind)
        self._retry_policy = RetryPolicy(
            errors=tuple(self.autoretry_for),
            never=tuple(self.dont_autoretry_for),
            backoff=float(self.retry_backoff),
            backoff_max=float(self.retry_backoff_max),
            jitter=self.retry_jitter,
            keywords=dict(self.retry_kwargs),
        )
        if self.time_limit and self.soft_time_limit and self.soft_time_limit > self.time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        warn_of_limits(self)

    @property
    def app(self) -> Umbel:
        """The app; of a shared task, the current one."""
        return self._app or current.get_current_app()

    # Calling

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as any function."""
        outer = current.running.get()
        if outer is None:
            return cast(R, self.run(*args, **kwargs))
        token = current.running.set(
            Request(id=outer.id, task=self.name, root_id=outer.root_id, args=args, kwargs=kwargs)
        )
        try:
            return cast(R, self.run(*args, **kwargs))
        finally:
            current.running.reset(token)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, giving it the task where it was bound."""
        if self._bind:
            return self.function(self, *args, **kwargs)
        return self.function(*args, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send a call with these arguments to a worker; return its result to be."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[R]:
        """Send a call to a worker, with options; see `umbel.options.CallOptions`.

        Raises TypeError for arguments that the task does not take and for unknown options,
        EncodeError for arguments that cannot be sent, and OperationalError when the broker cannot
        be reached.
        """
        checked = call_options(options)
        app = self.app
        publication = self._publisher(app, checked)(args or (), kwargs or {})
        _publish(app, [publication], checked)
        return self._result_of(publication, app)

    def delay_many(
        self, calls: Iterable[Sequence[Any]], **options: Unpack[CallKeywords]
    ) -> list[AsyncResult[R]]:
        """Send many calls, each given by its positional arguments; return their results to be.

        ``add.delay_many([(1, 2), (3, 4)])`` is many times as fast as calling `delay` for each.
        They are sent in batches of two thousand. When one cannot be sent the error is raised, and
        earlier batches stay sent.
        """
        if options.get("task_id") is not None:
            raise TypeError("delay_many cannot give many calls one task_id.")
        app = self.app
        checked = call_options(options)
        publication = self._publisher(app, checked)
        results: list[AsyncResult[R]] = []
        batch: list[Publication] = []
        for args in calls:
            batch.append(publication(args, {}))
            if len(batch) == BULK:
                results += self._send_batch(app, batch, checked)
                batch = []
        return results + self._send_batch(app, batch, checked)

    def _send_batch(
        self, app: Umbel, batch: list[Publication], options: CallOptions
    ) -> list[AsyncResult[R]]:
        if batch:
            _publish(app, batch, options)
        return [self._result_of(publication, app) for publication in batch]

    def _result_of(self, publication: Publication, app: Umbel) -> AsyncResult[R]:
        """Return the result of a call that was sent; a task that made the call remembers it."""
        headers = publication.message.headers
        result: AsyncResult[R] = AsyncResult(headers["id"], app=app)
        result.ignored = bool(headers.get("ignore_result")) or (
            self.ignore_result is None and app.conf.snapshot.task_ignore_result
        )
        maker = current.running.get()
        if maker is not None:
            maker.children.append(result)
        return result

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send like `delay`, without blocking the event loop."""
        return await asyncio.to_thread(self.delay, *args, **kwargs)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[R]:
        """Send like `apply_async`, without blocking the event loop."""
        return await asyncio.to_thread(self.apply_async, args, kwargs, **options)

    def _publisher(
        self, app: Umbel, options: CallOptions
    ) -> Callable[[Sequence[Any], Mapping[str, Any]], Publication]:
        """Return what makes a publication of arguments; what all calls share is settled here."""
        settings = app.conf.snapshot
        template = self.template(settings)
        router, parent = app.amqp.router, current.running.get()
        context = Context(settings, app.clock, parent=parent)
        fixed = router.fixed
        if fixed:
            where, chosen = router.where(self.name, options, self)
            where = inherited(where, settings, parent)

        def publication(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Publication:
            if not isinstance(args, list | tuple):
                raise TypeError("task args must be a list or tuple")
            if not isinstance(kwargs, Mapping):
                raise TypeError("task keyword arguments must be a mapping")
            if self.typing:
                self._check(*args, **kwargs)
            if fixed:
                return build(template, args, kwargs, chosen, where, context)
            there, taken = router.where(self.name, options, self, args, kwargs)
            there = inherited(there, settings, parent)
            return build(template, args, kwargs, taken, there, context)

        return publication

    def template(self, settings: Settings) -> Template:
        """Return what all messages of this task share."""
        return Template(
            name=self.name,
            serializer=self.serializer,
            expires=self.expires,
            time_limit=self.time_limit,
            soft_time_limit=self.soft_time_limit,
            ignore_result=bool(self.ignore_result),
            compression=self.compression,
            signature=self._signature,
        )

    # Within a worker

    @property
    def request(self) -> Request:
        """The call that runs now; outside of a worker an empty one that says `called_directly`."""
        found = current.running.get()
        return found if found is not None and found.task == self.name else Request()

    def policy(self, settings: Settings) -> Policy:
        """Return the task's options where it has them, else the settings'."""

        def chosen(own: bool | None, general: bool) -> bool:
            return general if own is None else own

        return Policy(
            acks_late=chosen(self.acks_late, settings.task_acks_late),
            reject_on_worker_lost=chosen(
                self.reject_on_worker_lost, settings.task_reject_on_worker_lost
            ),
            ignore_result=chosen(self.ignore_result, settings.task_ignore_result),
            store_errors_even_if_ignored=chosen(
                self.store_errors_even_if_ignored, settings.task_store_errors_even_if_ignored
            ),
            track_started=chosen(self.track_started, settings.task_track_started),
            throws=tuple(self.throws),
        )

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Run this call again later: ``raise self.retry(exc=error, countdown=10)``.

        The new message is sent when the task has ended, in the same step that settles this one.
        Given only `args` or only `kwargs`, it keeps what the call had of the others and does not
        contradict them. Raises Retry (returns it when `throw` is False). When there were
        `max_retries` retries already, raises `exc`, or MaxRetriesExceededError without one. Called
        outside of a worker it raises `exc` or Retry.
        """
        request = self.request
        if request.called_directly:
            _raise(exc or Retry("Task can be retried", None))
        args, kwargs = arguments_of_retry(request, args, kwargs, self._signature)
        allowed = self.max_retries if max_retries is None else max_retries
        retries = request.retries + 1
        if allowed is not None and retries > allowed:
            if exc is not None:
                _raise(exc)
            raise MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{args} kwargs:{kwargs}",
                task_args=args,
                task_kwargs=kwargs,
            )
        if countdown is None and eta is None:
            countdown = self.default_retry_delay
        same = _same_call(request, retries, countdown, eta, options)
        again = Again(args, kwargs, same, self._route_of_retry(same, options))
        retry = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
        if throw:
            raise retry from exc
        return retry

    def _route_of_retry(self, same: CallOptions, options: Mapping[str, Any]) -> Route | None:
        """Return where a retry goes that is told another queue or exchange; None: to where it was."""
        if same.queue is None and same.exchange is None:
            return None
        return self.app.amqp.router.elsewhere(same)

    def _signature(self) -> inspect.Signature:
        """Return what a call of the task takes: without `self` where it is bound."""
        function = MethodType(self.function, self) if self._bind else self.function
        return inspect.signature(function, follow_wrapped=False)

    def autoretry(self, error: BaseException) -> Retry | None:
        """Return the retry that ``autoretry_for`` asks for after an error, or None.

        Raises the error itself, or MaxRetriesExceededError, when there were enough retries.
        """
        policy = self._retry_policy
        if not policy.wants(error):
            return None
        keywords = dict(policy.keywords)
        delay = policy.delay(self.request.retries, _rng)
        if delay is not None:
            keywords["countdown"] = delay
        return self.retry(exc=error, throw=False, **keywords)

    def of(self, app: Umbel) -> Task[P, R]:
        """Return this task as one of an app's own; a shared task belongs to none."""
        own = copy.copy(self)
        own._app = app
        return own

    def __repr__(self) -> str:
        return f"<@task: {self.name} at {id(self):#x}>"


class AsyncTask(Task[P, R]):
    """A task made from an ``async def`` function.

    Calling it gives a coroutine, as the function does.
    """

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]  # R is what the coroutine returns, as for delay()
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]:
            """Return the coroutine."""
            ...


def _publish(app: Umbel, publications: list[Publication], options: CallOptions) -> None:
    if options.retry is None and options.retry_policy is None:
        app.publish(publications)
    else:
        app.publish(publications, options)


def _same_call(
    request: Request,
    retries: int,
    countdown: float | None,
    eta: datetime | None,
    options: Mapping[str, Any],
) -> RepeatOptions:
    """Return the options that make a retry the same call: its ids, limits, headers, what follows it."""
    info = request.delivery_info or {}
    call_options(options)  # refuses what is not the caller's to write
    kept: dict[str, Any] = {
        "task_id": request.id,
        "root_id": request.root_id,
        # The retry is sent from within the task, which is its parent unless it has one already.
        "parent_id": request.parent_id or request.id,
        "group_id": request.group,
        "group_index": request.group_index,
        "expires": request.expires,
        "time_limit": request.time_limit,
        "soft_time_limit": request.soft_time_limit,
        "shadow": request.shadow,
        "headers": request.headers,
        "reply_to": request.reply_to,
        "ignore_result": request.ignore_result,
        "priority": info.get("priority") or None,
        "retries": retries,
        "countdown": None if eta is not None else countdown,
        "eta": eta,
        "callbacks": request.callbacks,
        "errbacks": request.errbacks,
        "chain": request.chain,
        "chord": request.chord,
        "origin": request.origin,
        "replaced_task_nesting": request.replaced_task_nesting,
        "stamped_headers": request.stamped_headers,
        "stamps": request.stamps or {},
    }
    return RepeatOptions(**{**kept, **options})


def _raise(error: BaseException) -> NoReturn:
    raise error
