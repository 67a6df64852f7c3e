"""What a task says about itself: its options, which classes may set as attributes, and its handlers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from umbel.checks import (
    per_second,
    require_exceptions,
    require_executor,
    require_int,
    require_number,
    require_order,
    require_priority,
    require_rate,
)
from umbel.entities import Exchange, Queue
from umbel.handlers import classes
from umbel.lazy import lazy
from umbel.policies import RetryPolicy
from umbel.settings import Settings

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.tracebacks import ExceptionInfo


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of a task's deliveries: its own options, filled up from the settings."""

    acks_late: bool
    reject_on_worker_lost: bool
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    throws: tuple[type[BaseException], ...] = ()
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    retry_on_worker_lost: bool = False
    #: Seconds; 0 for no limit.
    time_limit: float = 0
    soft_time_limit: float = 0
    #: Calls that may start in a second; 0 for any number.
    rate: float = 0


def _whole(seconds: float | None) -> float | None:
    """Return whole seconds as an int, which is how they were written in the settings."""
    return int(seconds) if seconds is not None and seconds == int(seconds) else seconds


class Definition:
    """The options and handlers of a task."""

    name: str = ""
    """What messages call the task; by default its module and function."""
    queue: str | Queue | None = None
    """Where its calls go."""
    exchange: str | Exchange | None = None
    """With `routing_key`, in place of `queue`."""
    routing_key: str | None = None
    """The key by which the exchange finds queues."""
    delivery_mode: int | str | None = None
    """1 (``transient``) or 2 (``persistent``)."""
    priority: int | None = None
    """0 to 255; higher is more urgent."""
    serializer: str | None = None
    """The serializer of arguments and result, by its name."""
    compression: str | None = None
    """The compression of the message, by its name."""
    expires: float | datetime | None = None
    """Seconds after the call, or a time, after which it is not run any more."""
    max_retries: int | None = 3
    """Retries before it fails; None: no end."""
    default_retry_delay: float = 180
    """Seconds before a retry for which nobody says how many."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions for which it is retried by itself."""
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    """Of these, exceptions for which it is not."""
    retry_kwargs: ClassVar[Mapping[str, Any]] = {}
    """Options of these retries, as `Task.retry` takes them."""
    retry_backoff: float | bool = False
    """The first wait in seconds, which doubles with each try; True: 1."""
    retry_backoff_max: float = 600
    """The longest wait, in seconds."""
    retry_jitter: bool = True
    """Wait a random time between 0 and that."""
    time_limit: float | None = None
    """Seconds after which it is killed; 0: never, whatever the settings say."""
    soft_time_limit: float | None = None
    """Seconds after which SoftTimeLimitExceeded is raised in it; 0: never, whatever the settings say."""
    rate_limit: str | float | None = None
    """How many of its calls a worker may start in a time, such as ``10/m``; 0: any number."""
    ignore_result: bool | None = None
    """Store nothing of the outcome."""
    store_errors_even_if_ignored: bool | None = None
    """But store failures."""
    store_eager_result: bool | None = None
    """Store results also when it is run where it is called."""
    acks_late: bool | None = None
    """Acknowledge after it ran (at least once), or before (at most once)."""
    acks_on_failure_or_timeout: bool | None = None
    """Acknowledge also when it failed or took too long."""
    acks_on_failure: bool | None = None
    """The same, for failures alone."""
    acks_on_timeout: bool | None = None
    """The same, for time limits alone."""
    reject_on_worker_lost: bool | None = None
    """Run again when its process dies."""
    retry_on_worker_lost: bool | None = None
    """When its process dies, retry it as `Task.retry` would, up to `max_retries`, instead."""
    track_started: bool | None = None
    """Store STARTED when it starts."""
    executor: str | None = None
    """Where it runs in a child that runs many at a time: ``threads`` or ``asyncio``; None: as written."""
    throws: tuple[type[BaseException], ...] | type[BaseException] = ()
    """Exceptions that are expected: logged without a traceback, at level INFO."""
    typing: bool | None = None
    """Check arguments at the call; None: as the app says."""
    trail: bool = True
    """Keep the calls that it makes as children of its result."""
    send_events: bool = True
    """Events are not sent yet."""
    resultrepr_maxsize: int = 1024
    """Most characters of a result in logs."""
    abstract: bool = True
    """Of classes: not a task itself. For Celery's sake."""

    def check_attributes(self) -> None:
        """Raise TypeError or ValueError for attributes that no task can have."""
        for name in ("time_limit", "soft_time_limit", "default_retry_delay", "retry_backoff_max"):
            require_number(name, getattr(self, name), low=0.0)
        require_order(self.time_limit, self.soft_time_limit)
        for name in ("autoretry_for", "dont_autoretry_for", "throws"):
            require_exceptions(name, getattr(self, name), alone=name == "throws")
        require_priority(self.priority)
        require_rate("rate_limit", self.rate_limit)
        if isinstance(self.executor, str):  # classes of users may have something else of this name
            require_executor(self.executor)
        if self.max_retries is not None and self.max_retries != math.inf:
            require_int("max_retries", self.max_retries)
        _ = self._retry_policy

    @lazy
    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            errors=tuple(self.autoretry_for),
            never=tuple(self.dont_autoretry_for),
            backoff=float(self.retry_backoff),
            backoff_max=float(self.retry_backoff_max),
            jitter=self.retry_jitter,
            keywords=dict(self.retry_kwargs),
        )

    def limits(self, settings: Settings) -> tuple[float | None, float | None]:
        """Return the hard and the soft time limit in seconds: the task's own, else the settings'."""
        hard, soft = self.time_limit, self.soft_time_limit
        return (
            _whole(settings.task_time_limit) if hard is None else hard,
            _whole(settings.task_soft_time_limit) if soft is None else soft,
        )

    def policy(self, settings: Settings) -> Policy:
        """Return the task's options where it has them, else the settings'."""

        def chosen(own: bool | None, general: bool) -> bool:
            return general if own is None else own

        hard, soft = self.limits(settings)
        return Policy(
            time_limit=hard or 0,
            soft_time_limit=soft or 0,
            rate=self._rate(settings),
            acks_late=chosen(self.acks_late, settings.task_acks_late),
            reject_on_worker_lost=chosen(
                self.reject_on_worker_lost, settings.task_reject_on_worker_lost
            ),
            ignore_result=chosen(self.ignore_result, settings.task_ignore_result),
            store_errors_even_if_ignored=chosen(
                self.store_errors_even_if_ignored, settings.task_store_errors_even_if_ignored
            ),
            track_started=chosen(self.track_started, settings.task_track_started),
            throws=classes(self.throws),
            retry_on_worker_lost=chosen(
                self.retry_on_worker_lost, settings.task_retry_on_worker_lost
            ),
            acks_on_failure=self._acknowledges(
                self.acks_on_failure, settings.task_acks_on_failure, settings
            ),
            acks_on_timeout=self._acknowledges(
                self.acks_on_timeout, settings.task_acks_on_timeout, settings
            ),
        )

    def _rate(self, settings: Settings) -> float:
        """Return how many of its calls a worker may start in a second; 0 for any number."""
        if settings.worker_disable_rate_limits:
            return 0
        own = self.rate_limit
        return per_second(settings.task_default_rate_limit if own is None else own)

    def _acknowledges(self, own: bool | None, general: bool | None, settings: Settings) -> bool:
        """Return the first that says something: the task, the setting, or either of them for both cases."""
        both = (self.acks_on_failure_or_timeout, settings.task_acks_on_failure_or_timeout)
        return next((found for found in (own, general, *both) if found is not None), True)

    # Handlers, which do nothing until a subclass or an option of the task says what

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Be called before the task runs; what this raises is the task's failure."""

    def on_success(
        self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Be called when the task has returned; an error raised here is logged."""

    def on_retry(
        self,
        exc: BaseException | None,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
    ) -> None:
        """Be called when the task is to run again, with the exception given to `retry`."""

    def on_failure(
        self,
        exc: BaseException,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
    ) -> None:
        """Be called when the task has failed; an error raised here takes the failure's place."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: None,
    ) -> None:
        """Be called last, when the task has succeeded or failed; an error raised here is logged."""

    @classmethod
    def on_bound(cls, app: Umbel) -> None:
        """Be called when a task of this class is registered with an app."""
