"""Tasks: functions that can be called here or sent to a worker."""

from __future__ import annotations

import asyncio
import copy
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack, cast

from umbel import current
from umbel.absent import tell_of_absent
from umbel.annotations import annotate
from umbel.arguments import checker
from umbel.backend import Backend
from umbel.bulk import send_many
from umbel.calls import (
    Target,
    note_options,
    publish,
    require_arguments,
    result_of,
    send_by_app,
    task_maker,
)
from umbel.canvas.signable import P, R, Signable
from umbel.checks import require_order
from umbel.definition import Definition
from umbel.driving import within
from umbel.eager import apply, apply_instead, travelled
from umbel.exceptions import (
    ImproperlyConfigured,
    MaxRetriesExceededError,
    OperationalError,
    Retry,
)
from umbel.handlers import Hooks, find_hooks, task_has_custom
from umbel.lazy import lazy
from umbel.options import (
    CALL_POSITIONS,
    EAGER_POSITIONS,
    NO_OPTIONS,
    CallKeywords,
    CallOptions,
    EagerKeywords,
    by_position,
    call_options,
    eager_options,
    given,
    warn_once,
    without_strange,
)
from umbel.publish import Template
from umbel.replacing import Replaceable
from umbel.reporting import Reporting
from umbel.request import Request
from umbel.result import AsyncResult, EagerResult
from umbel.retrying import Given, When, as_sent, next_try, next_try_after, send_now
from umbel.settings import Settings

if TYPE_CHECKING:
    from umbel.app import Umbel

T = TypeVar("T")

#: What Celery calls a request where it has its tasks.
Context = Request


@tell_of_absent
class Task(Definition, Signable[P, R], Replaceable, Reporting):
    """A task of an app. Made by ``@app.task``; subclass it for tasks with behaviour of their own.

    Class attributes are defaults for all tasks of that class; the decorator's options replace them.
    A subclass with a `run` of its own is a task by itself, once `Umbel.register_task` has it. It may
    have an ``__init__`` without arguments, which need not call this class's: there is none.
    """

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    _app: Umbel | None = None
    originals: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    is_async: bool = False
    #: What the task was made from; of a class, its `run`.
    function: Callable[..., Any]
    __name__: str
    __wrapped__: Callable[..., Any]

    @property
    def app(self) -> Umbel:
        """The app that the task was registered with; without one, the current app."""
        return self._app or current.get_current_app()

    def _get_app(self) -> Umbel:
        """Return the app, under the name by which subclasses for Celery ask for it."""
        return self.app

    @property
    def backend(self) -> Backend:
        """The results of the task's app."""
        return self.app.backend

    # What follows from the attributes

    @lazy
    def hooks(self) -> Hooks:
        """What running the task calls."""
        return find_hooks(self)

    @lazy
    def _check(self) -> Callable[..., None] | None:
        """Return what raises TypeError for wrong arguments; None where nobody knows what is right."""
        if "function" in vars(type(self)):
            return checker(self.function, skip_first=self._is_bound)
        custom = task_has_custom(self, "__call__")
        return None if custom else checker(self._run_of_class(), skip_first=False)

    def _run_of_class(self) -> Callable[..., Any]:
        """Return `run`, whatever wrapper another package has put on the task itself."""
        run: Callable[..., Any] = inspect.getattr_static(type(self), "run").__get__(self)
        return run

    @property
    def _is_bound(self) -> bool:
        return not isinstance(vars(type(self))["run"], staticmethod)

    def call_signature(self) -> inspect.Signature:
        """Return what a call of the task takes: without `self` where it is bound."""
        function = self._run_of_class()
        if "function" in vars(type(self)):
            function = MethodType(self.function, self) if self._is_bound else self.function
        return inspect.signature(function, follow_wrapped=False)

    @property
    def has_own_apply_async(self) -> bool:
        """Tell whether its class sends calls in a way of its own."""
        return type(self).apply_async is not Task.apply_async

    @lazy
    def _own_shadow(self) -> bool:
        return getattr(self.shadow_name, "__func__", None) is not Task.shadow_name

    def forget_derived(self) -> None:
        """Let what was computed from the attributes be computed anew: they have changed."""
        for name in ("hooks", "_check", "_own_shadow", "_retry_policy", "_kept"):
            self.__dict__.pop(name, None)

    def verify(self) -> None:
        """Raise TypeError or ValueError for attributes that no task can have, and say whose they are."""
        self.forget_derived()
        try:
            self.check_attributes()
        except (TypeError, ValueError) as error:
            error.add_note(f"The task {self.name} says so.")
            raise

    def annotate(self) -> None:
        """Set the attributes that the setting ``task_annotations`` has for this task."""
        annotate(self, self.app.conf.snapshot.task_annotations)
        self.forget_derived()

    # Calling

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and now, as any function."""
        top = current.running.get()
        if (
            top is not None
            and top.running_task is self
            and not (top.called_directly or top.entered)
            and task_has_custom(self, "__call__")
        ):
            # A worker runs it, through a `__call__` of its class that has called this one.
            top.__dict__["entered"] = True
            return cast(R, self.run(*args, **kwargs))
        request = self._copied_request(args=args, kwargs=kwargs)
        token = current.enter(request)
        try:
            value = self.run(*args, **kwargs)
        finally:
            current.leave(token)
        return cast(R, within(request, value) if inspect.iscoroutine(value) else value)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the task does. Raises NotImplementedError where a class does not say."""
        raise NotImplementedError("Tasks must define the run method.")

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send a call with these arguments to a worker; return its result to be."""
        try:
            return self.apply_async(args, kwargs)
        except TypeError as error:
            note_options(error, kwargs)
            raise

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[R]:
        """Send a call to a worker, with options; see `umbel.options.CallOptions`.

        Celery's first options may be given by their position: `task_id`, `producer`, `link`,
        `link_error`, `shadow`. Raises TypeError for arguments that the task does not take and for unknown
        options, EncodeError for arguments that cannot be sent, and OperationalError when the broker cannot
        be reached.
        """
        keywords: Mapping[str, Any] = options
        checked = NO_OPTIONS
        if more or options:
            keywords = by_position(CALL_POSITIONS, more, options, "apply_async")
            if type(self).apply_async is not Task.apply_async:
                keywords = without_strange(keywords)
            checked = call_options(keywords)
        app = self.app
        if not app.finalized:
            app.finalize()
        if app.conf.snapshot.task_always_eager:
            return self._apply_instead(args or (), kwargs or {}, checked)
        if type(app).send_task is not type(app).own_send_task:
            target = self.target(app, checked)
            return send_by_app(app, target, args or (), kwargs or {}, checked, keywords)
        publication = task_maker(app, self, checked)(args or (), kwargs or {})
        publish(app, [publication], checked)
        return result_of(app, publication, checked, self)

    def require_sendable(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Raise what `apply_async` raises for wrong arguments; return them as a worker would get them."""
        require_arguments(args, kwargs)
        if self._checks(self.app) and self._check is not None:
            self._check(*args, **kwargs)
        args, kwargs = self._prepared(args, kwargs)
        return travelled(self, args, kwargs, options)

    def _apply_instead(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> AsyncResult[R]:
        args, kwargs = self.require_sendable(args, kwargs, options)
        return apply_instead(self, args, kwargs, options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[EagerKeywords],
    ) -> EagerResult[R]:
        """Run the task here and now as a worker would, its retries included, and return its result.

        With `throw`, or the setting ``task_eager_propagates``, its exception is raised here.
        """
        checked = eager_options(by_position(EAGER_POSITIONS, more, options, "apply"))
        self.app.finalize()
        require_arguments(args or (), kwargs or {})
        return apply(self, args or (), kwargs or {}, checked)

    def delay_many(
        self, calls: Iterable[Sequence[Any]], **options: Unpack[CallKeywords]
    ) -> list[AsyncResult[R]]:
        """Send many calls, each given by its positional arguments; return their results to be.

        ``add.delay_many([(1, 2), (3, 4)])`` is many times as fast as calling `delay` for each.
        They are sent in batches of two thousand, and one by one where `apply_async` is not ours. When one
        cannot be sent the error is raised, and earlier batches stay sent.
        """
        if options.get("task_id") is not None:
            raise TypeError("delay_many cannot give many calls one task_id.")
        app = self.app
        app.finalize()
        checked = call_options(options)
        if app.conf.snapshot.task_always_eager:
            return [self._apply_instead(args, {}, checked) for args in calls]
        if type(self).apply_async is not self.originals["apply_async"]:
            return [self.apply_async(args, **options) for args in calls]
        return send_many(app, self, calls, task_maker(app, self, checked), checked)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send like `delay`, without blocking the event loop."""
        return await asyncio.to_thread(self.delay, *args, **kwargs)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[R]:
        """Send like `apply_async`, without blocking the event loop."""
        return await asyncio.to_thread(self.apply_async, args, kwargs, *more, **options)

    def template(self, settings: Settings) -> Template:
        """Return what all messages of this task share."""
        hard, soft = self.limits(settings)
        own = self.ignore_result
        return Template(
            name=self.name,
            serializer=self.serializer,
            expires=self.expires,
            time_limit=hard,
            soft_time_limit=soft,
            ignore_result=settings.task_ignore_result if own is None else own,
            compression=self.compression,
            signature=self.call_signature,
        )

    def target(self, app: Umbel, options: CallOptions) -> Target:
        """Return what the app's `send` needs to know of this task."""
        if not self.name:
            kind = type(self).__name__
            raise ImproperlyConfigured(
                f"The task {kind} has no name yet. Register it: app.register_task({kind}())"
            )
        template = self.template(app.conf.snapshot)
        require_order(template.time_limit, template.soft_time_limit)
        return Target(
            template,
            self,
            self._check if self._checks(app) else None,
            (lambda args, kwargs: self._shadow(args, kwargs, options))
            if self._own_shadow
            else None,
            None if self.dump_arguments is None else self._prepared,
        )

    def _checks(self, app: Umbel) -> bool:
        return app.strict_typing if self.typing is None else self.typing

    def shadow_name(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str | None:
        """Return a name for logs and monitors in place of the task's own; for subclasses to override."""
        return None

    def _shadow(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> str | None:
        return self.shadow_name(args, kwargs, given(options))

    #: What turns models among the arguments into data, for a task made with ``pydantic=True``.
    dump_arguments: ClassVar[Callable[..., Any] | None] = None

    def _prepared(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return (args, kwargs) if self.dump_arguments is None else self.dump_arguments(args, kwargs)

    # Within a worker

    @property
    def request(self) -> Request:
        """The call that runs now; outside of one an empty one that says `called_directly`."""
        found = current.running.get()
        while found is not None and found.task != self.name:
            found = found.outer
        return self._no_request if found is None else found

    @lazy
    def _no_request(self) -> Request:
        return Request()

    def push_request(self, *fields: Any, **more: Any) -> None:
        """Make a call with these fields the running one, until `pop_request`; for tests."""
        request = self._copied_request()
        request.update(*fields, **more)
        current.enter(request)

    def pop_request(self) -> None:
        """End the call that `push_request` began."""
        top = current.running.get()
        current.running.set(None if top is None else top.outer)

    def _copied_request(self, **fields: Any) -> Request:
        """Return a call within the one that runs, and with its fields if that is this task's too."""
        request = copy.copy(self.request)
        for name in ("outer", "entered", "way", "told_at"):
            request.__dict__.pop(name, None)
        if request.called_directly:  # else what it calls belongs to the call that it is a copy of
            fields["children"] = []
        request.__dict__.update(fields, task=self.name, running_task=self)
        return request

    def add_trail(self, result: T) -> T:
        """Note a result as a child of the call that runs, if the task keeps a trail; return it."""
        if self.trail:
            self.request.children.append(result)
        return result

    def send_event(self, type_: str, **fields: Any) -> None:
        """Do nothing yet but say so: events are not sent."""
        warn_once("Task.send_event has no effect yet: events are not sent.")

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:
        """Return the result of a call of this task by its id."""
        return AsyncResult(task_id, app=self.app)

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
        when = When(eta, countdown)
        made = next_try(self, Given(args, kwargs, exc, max_retries, when, options))
        if throw:
            raise as_sent(self, made) from exc
        return made if made.is_eager else send_now(self, made)

    def autoretry(self, error: BaseException) -> Retry | None:
        """Return the retry that ``autoretry_for`` asks for after an error, or None.

        Raises the error itself, or MaxRetriesExceededError, when there were enough retries.
        """
        return next_try_after(self, error, self._retry_policy)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        module = type(self).__module__
        return current.task_named, (self.name, module if module in sys.modules else None)

    def __repr__(self) -> str:
        return f"<@task: {self.name} at {id(self):#x}>"


#: What `Task` had when it was made: another package may have put something else in its place (hooks.py).
Task.originals = {
    name: getattr(Task, name)
    for name in (
        *("__call__", "apply_async", "before_start", "on_success", "on_failure", "on_retry"),
        "after_return",
    )
}


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
