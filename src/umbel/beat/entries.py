"""An entry of a schedule: which task, when, with what, and when it ran last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import total_ordering
from typing import TYPE_CHECKING, Any, Self

from umbel.current import get_current_app
from umbel.representation import call_representation
from umbel.schedules import maybe_schedule
from umbel.schedules.rules import Rules, rules_of

if TYPE_CHECKING:
    from umbel.app import Umbel

#: What `update` takes over from another entry, and what is compared.
EDITABLE = ("task", "schedule", "args", "kwargs", "options")


class BeatLazyFunc:
    """An argument of a periodic task that is made when the task is sent: ``BeatLazyFunc(date.today)``."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        """Return the argument as it is now."""
        return self._func(*self._args, **self._kwargs)

    delay = __call__


def evaluated(value: Any) -> Any:
    """Return an argument as it is sent."""
    return value() if isinstance(value, BeatLazyFunc) else value


@total_ordering
class ScheduleEntry:
    """An entry of a schedule. `options` are those of the call; `relative` is for a number as `schedule`.

    Without `last_run_at` its last run counts as now, so that it is due for the first time after its
    schedule's next moment.
    """

    name: Any = None
    task: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    options: Any = None
    last_run_at: Any = None
    total_run_count: int = 0

    _editable: tuple[str, ...] = EDITABLE

    def __init__(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: Umbel | None = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> datetime:
        """Return the time: the schedule's, which may have a clock of its own, else the app's."""
        if self.schedule:
            now: datetime = self.schedule.now()
            return now
        return (self.app or get_current_app()).now()

    _default_now = default_now

    def is_due(self) -> Any:
        """Return whether this is due, and in how many seconds to look again."""
        return self.schedule.is_due(self.last_run_at)

    def _next_instance(self, last_run_at: datetime | None = None) -> Self:
        """Return this entry as it is after a run: now, unless another time is given."""
        fields = dict(self)
        fields["last_run_at"] = last_run_at or self.default_now()
        fields["total_run_count"] = self.total_run_count + 1
        return type(self)(**fields)

    __next__ = next = _next_instance

    def update(self, other: ScheduleEntry) -> None:
        """Take over what another entry says but for its runs: task, schedule, arguments and options."""
        for name in self._editable:
            self.__dict__[name] = getattr(other, name)

    def editable_fields_equal(self, other: object) -> bool:
        """Tell whether another entry says the same, whenever each ran."""
        for name in self._editable:
            mine, others = getattr(self, name), getattr(other, name, None)
            # Mostly the same objects, which need not be compared: this is asked of all entries at each step.
            if mine is not others and mine != others:
                return False
        return True

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __eq__(self, other: object) -> bool:
        return self.editable_fields_equal(other)

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        if isinstance(other, ScheduleEntry):
            # Of those that are due at the same time; any order will do, but let it be the same each time.
            return (str(self.name), id(self)) < (str(other.name), id(other))
        return NotImplemented

    def __copy__(self) -> Self:
        # By its attributes: what pickles have would be without an app, and take that from the schedule, too.
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.name,
            self.task,
            self.last_run_at,
            self.total_run_count,
            self.schedule,
            self.args,
            self.kwargs,
            self.options,
        )

    def __repr__(self) -> str:
        call = call_representation(self.task, self.args or (), self.kwargs or {})
        return f"<{type(self).__name__}: {self.name} {call} {self.schedule}>"


class _Own:
    """An attribute that is a dictionary of its object's own, made when it is asked for: few have any."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, entry: object, kind: type | None = None) -> Any:
        if entry is None:
            return None
        setattr(entry, self._name, {})
        return getattr(entry, self._name)


class LiveEntry(ScheduleEntry):
    """An entry with rules for runs that are late or overlap; see `umbel.schedules.rules.Rules`.

    Its runs are not kept here: `last_run_at` and `total_run_count` are copies of what the store has.
    """

    _editable = (*EDITABLE, "rules")
    kwargs: Any = _Own()
    options: Any = _Own()

    def __init__(
        self,
        *args: Any,
        rules: Rules | None = None,
        catch_up: str | None = None,
        deadline: Any = None,
        overlap: bool | None = None,
        jitter: Any = None,
        enabled: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kwargs", "options"):
            if not getattr(self, name):
                delattr(self, name)
        given = {
            "catch_up": catch_up,
            "deadline": deadline,
            "overlap": overlap,
            "jitter": jitter,
            "enabled": enabled,
        }
        self.rules = rules or rules_of(given)
