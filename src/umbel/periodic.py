"""Periodic tasks of an app: ``app.add_periodic_task``, and what is wrong with those that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel.calls import require_arguments
from umbel.exceptions import OperationalError, UmbelError
from umbel.loggers import get_logger
from umbel.nearest import asked, meant, nearest
from umbel.options import call_options
from umbel.representation import call_representation
from umbel.schedules import maybe_schedule, schedule
from umbel.schedules.rules import RULES, rules_of

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = get_logger(__name__)

#: The header that says of which run a message is, and which copy: ``RUN:COPY``. See `umbel.worker.copies`.
COPY = "periodic_task_copy"
#: What an entry of ``beat_schedule`` may say.
FIELDS = ("task", "schedule", "args", "kwargs", "options", "relative", *RULES)


def add_periodic_task(
    app: Umbel,
    schedule: Any,
    sig: Any,
    args: Any = (),
    kwargs: Any = (),
    name: str | None = None,
    **opts: Any,
) -> str:
    """Add an entry to the setting ``beat_schedule``: run a task by a schedule.

    `schedule` is a number of seconds, a timedelta or a schedule of `umbel.schedules`. `sig` is a task, the
    name of one, or a signature, before whose arguments `args` are put. `name` is the entry's, else it is
    called like the call: ``tasks.add(1, 2)``; an entry of the same name is replaced. `catch_up`, `deadline`,
    `overlap`, `jitter` and `enabled` are the entry's rules (`umbel.schedules.rules.Rules`); other keywords
    are options of the call. Returns the entry's name. It counts also when settings are loaded later.

    Raises TypeError for what is no schedule or no task, and for unknown options.
    """
    maybe_schedule(schedule, app=app)
    rules = {rule: opts.pop(rule) for rule in RULES if rule in opts}
    rules_of(rules)
    call_options(opts, "add_periodic_task")
    entry = {"schedule": schedule, **_call(sig, args or (), kwargs or {}, opts), **rules}
    key = name or call_representation(entry["task"], entry["args"], entry["kwargs"])
    app.periodic.add(key, entry, named=name is not None)
    return key


def _call(sig: Any, args: Any, kwargs: Any, opts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task, the arguments and the options of an entry."""
    require_arguments(args, kwargs)
    if isinstance(sig, Mapping) and isinstance(sig.get("task"), str):
        if not sig.get("immutable"):
            args = (*args, *(sig.get("args") or ()))
            kwargs = {**(sig.get("kwargs") or {}), **kwargs}
        else:
            args, kwargs = sig.get("args") or (), sig.get("kwargs") or {}
        options = {**(sig.get("options") or {}), **opts}
        return {"task": sig["task"], "args": args, "kwargs": kwargs, "options": options}
    task = sig if isinstance(sig, str) else getattr(sig, "name", None)
    if not isinstance(task, str) or not task:
        raise TypeError(
            f"add_periodic_task needs a task, the name of one or a signature, and not {sig!r}."
        )
    return {"task": task, "args": args, "kwargs": dict(kwargs), "options": dict(opts)}


class Periodic:
    """The periodic tasks that an app adds itself: kept until its settings are loaded, and put among them."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._early: dict[str, dict[str, Any]] = {}
        self._put: set[str] = set()
        self._loaded = False

    def add(self, key: str, entry: dict[str, Any], named: bool) -> None:
        """Add an entry, now or when the settings are read the next time."""
        if not named and (key in self._early or (self._loaded and key in self._schedule)):
            logger.warning(
                "The periodic task %s takes the place of another one of the same call. Give each a name,"
                " add_periodic_task(..., name=...), to have both.",
                key,
            )
        if self._loaded:
            self._schedule[key] = entry
        else:
            self._early[key] = entry
            self._put.discard(key)
            self._app.conf.put_off(self._put_early)

    def loaded(self) -> None:
        """Be told that the settings are loaded. What they replaced of the entries is put there again."""
        self._put_early()
        self._loaded = True

    def _put_early(self) -> None:
        entries = self._schedule
        for key, entry in self._early.items():
            if key not in entries or key not in self._put:
                entries[key] = entry
                self._put.add(key)

    @property
    def _schedule(self) -> dict[str, Any]:
        # Not by a write to app.conf, which would count more than the module whose settings come later.
        found: dict[str, Any] = self._app.conf.beat_schedule
        return found


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with an entry of ``beat_schedule``; as a text, a sentence or two.

    `certain` is False where it may be meant so: a task that only others know.
    """

    entry: str
    text: str
    certain: bool = True

    def __str__(self) -> str:
        return f"The periodic task {self.entry!r} {self.text}"


def check(app: Umbel, entries: Mapping[str, Any] | None = None) -> list[Problem]:
    """Return what is wrong with periodic tasks, the app's unless given by name, before any is due.

    That is an entry whose task is empty or not known, whose arguments or options the task does not take, that
    reaches no queue, or whose schedule is none or is never due. The modules of tasks must have been imported.
    Finalizes the app. Who listens to an exchange may have to be asked of the broker.
    """
    app.finalize()
    return [
        problem
        for key, entry in (app.conf.beat_schedule if entries is None else entries).items()
        for problem in _of(app, key, entry)
    ]


def require_name(name: object) -> None:
    """Raise TypeError for the name of an entry that is no text."""
    if not isinstance(name, str):
        raise TypeError(f"its name is {name!r}, and no text. Call it {str(name)!r}.")


def _of(app: Umbel, key: str, entry: Any) -> Iterator[Problem]:
    try:
        require_name(key)
    except TypeError as error:
        yield Problem(key, f"does not run: {error}")
        return
    fields = entry if isinstance(entry, Mapping) else getattr(entry, "__dict__", None)
    if not fields or "schedule" not in fields:
        yield Problem(
            key, "has no schedule. Write {'task': ..., 'schedule': ...}, at least these two."
        )
        return
    if fields is entry:
        yield from (Problem(key, *found) for found in _strange(fields))
    for text in (*_schedule(app, fields), *_rules(fields)):
        yield Problem(key, text)
    task = fields.get("task")
    if not isinstance(task, str) or not task.strip():
        yield Problem(
            key,
            f"has {task!r} as its task, so nothing would run. Give the name of a task as 'task', such as"
            f" {_example(app)!r}.",
        )
        return
    if task not in app.tasks:
        yield _unknown(app, key, task)
    yield from (Problem(key, text) for text in _sending(app, task, fields))


def _strange(fields: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield what to say of fields that no entry has; a scheduler of one's own may know others."""
    for name in fields:
        if name not in FIELDS:
            near = nearest(str(name), FIELDS)
            if near and near not in fields:
                yield f"has an unknown field {name!r}.{asked(near)}", True
            else:
                yield f"has an unknown field {name!r}. An entry has: {', '.join(FIELDS)}.", False


def _schedule(app: Umbel, fields: Mapping[str, Any]) -> Iterator[str]:
    given = fields["schedule"]
    try:
        found = maybe_schedule(given, fields.get("relative", False), app=app)
        if found is None:
            yield "has None as its schedule. Give seconds, a timedelta, or a crontab(...)."
            return
    except (TypeError, ValueError, AttributeError) as error:
        yield f"has no schedule: {error}"
        return
    try:
        due = found.next_after(app.now())
    except (AttributeError, NotImplementedError):
        return  # one of somebody's own, of which more is not known
    except Exception as error:  # noqa: BLE001 - a schedule of somebody's own; the others go on
        yield f"cannot tell when it is due: {error!r}"
        return
    if due is None:
        yield f"is never due: its schedule is {found!r}."
    elif isinstance(found, schedule) and not found.seconds:
        yield f"does not run: its schedule is an interval of {found.run_every.total_seconds():g} seconds."


def _rules(fields: Mapping[str, Any]) -> Iterator[str]:
    try:
        rules_of(fields)
    except (TypeError, ValueError) as error:
        yield f"has a rule that it cannot follow: {error}"


def _unknown(app: Umbel, key: str, task: str) -> Problem:
    hint = meant(task, app.tasks)
    return Problem(
        key,
        f"names the task {task!r}, which this app does not have.{hint} If only workers of another app have"
        " it, this is no mistake.",
        certain=False,
    )


def _sending(app: Umbel, name: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of an entry's call cannot be sent."""
    args, kwargs = fields.get("args") or (), fields.get("kwargs") or {}
    task = app.tasks.get(name)
    try:
        options = call_options(fields.get("options") or {}, f"A call of {name}")
        require_arguments(args, kwargs)
        target = None if task is None else task.target(app, options)
        if target is not None and target.check is not None:
            target.check(*args, **kwargs)
        app.amqp.router.where(name, options, task, args, kwargs)
    except OperationalError:
        return  # the broker is not there now, which says nothing of the entry
    except (TypeError, ValueError, NotImplementedError, UmbelError) as error:
        yield f"cannot be sent: {error}"
    except Exception as error:  # noqa: BLE001 - a router of somebody's own; the others go on
        yield f"cannot be sent: {error!r}"


def _example(app: Umbel) -> str:
    return next((name for name in app.tasks if not name.startswith("celery.")), "proj.tasks.report")
