"""``umbel schedule``: look at periodic tasks, and change them while beats run."""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import click

from umbel.app import Umbel
from umbel.beat.editing import NoEntry, Schedule, Seen
from umbel.beat.entries import LiveEntry
from umbel.beat.persistent import PersistentScheduler
from umbel.beat.runs import is_asked, next_due
from umbel.beat.service import scheduler_class
from umbel.cli.completing import task_names
from umbel.cli.given import Global
from umbel.cli.groups import Group, examples
from umbel.cli.output import json_option, show_json, show_table
from umbel.cli.schedule_options import WHAT, WHEN, checked, options, schedule_data, what
from umbel.cli.times import age
from umbel.clock import utc
from umbel.exceptions import ImproperlyConfigured
from umbel.periodic import check
from umbel.schedules.written import schedule_as_data, shown_schedule

name_argument = click.argument("name")
names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME...")


class _Commands(Group):
    """Shows what is wrong with an entry as an error of the command line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NoEntry as error:
            raise click.ClickException(str(error)) from error
        except UnicodeEncodeError as error:
            raise click.ClickException(
                f"{error.object!r} is no text that can be stored."
            ) from error


@click.group(
    "schedule",
    cls=_Commands,
    epilog=examples(
        "umbel -A tasks schedule list",
        "umbel -A tasks schedule add report tasks.report --crontab '0 6 * * mon'",
        "umbel -A tasks schedule preview report",
    ),
)
def command() -> None:
    """Look at periodic tasks, and change them while beats run.

    Entries of the app's code and entries that were added here stand side by side.
    """


# Looking


@command.command("list", epilog=examples("umbel -A tasks schedule list"))
@json_option
@click.pass_obj
def list_(given: Global, as_json: bool) -> None:
    """List all entries: what runs when, and when it ran last."""
    app, schedule = _opened(given)
    found = schedule.entries()
    if as_json:
        show_json([as_data(one, app) for one in found])
        return
    now, zone = app.clock.time(), app.timezone
    show_table(
        ("name", "schedule", "task", "next", "last", "runs", "state"),
        [
            (
                one.name,
                _when(one),
                _task(one),
                _brief(one.due, now, zone),
                _brief(one.runs.sent, now, zone),
                one.runs.count,
                one.state or ("" if one.definition.source == "code" else one.definition.source),
            )
            for one in found
        ],
        empty="There are no periodic tasks.",
    )
    for problem in schedule.problems():
        click.echo(f"Warning: {problem}", err=True)


@command.command("next", epilog=examples("umbel -A tasks schedule next -n 5"))
@click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True)
@json_option
@click.pass_obj
def next_(given: Global, count: int, as_json: bool) -> None:
    """Show what is due next, of all entries, in order."""
    app, schedule = _opened(given)
    found = _in_order(schedule.entries(), count)
    if as_json:
        show_json([{"due": utc(due).isoformat(), "name": one.name} for due, one in found])
        return
    now = app.clock.time()
    show_table(
        ("due", "in", "name", "task"),
        [
            (local_time(due, app.timezone), age(due - now), one.name, _task(one))
            for due, one in found
        ],
        empty="Nothing is due.",
    )


@command.command("show", epilog=examples("umbel -A tasks schedule show report"))
@name_argument
@json_option
@click.pass_obj
def show(given: Global, name: str, as_json: bool) -> None:
    """Show all of one entry."""
    app, schedule = _opened(given)
    data = as_data(schedule.entry(name), app)
    if as_json:
        show_json(data)
        return
    zone = app.timezone
    for key in ("next", "last_due", "last_sent"):
        if data[key] is not None:
            data[key] = local_time(datetime.fromisoformat(data[key]).timestamp(), zone)
    del data["schedule_data"]
    rows = [(key.replace("_", " "), _cell(value)) for key, value in data.items()]
    show_table(("field", "value"), [row for row in rows if row[1]])


@command.command("history", epilog=examples("umbel -A tasks schedule history report"))
@name_argument
@json_option
@click.pass_obj
def history(given: Global, name: str, as_json: bool) -> None:
    """Show what became of an entry's last 20 due times, and what was run by hand."""
    app, schedule = _opened(given)
    lines = schedule.history(name)
    if as_json:
        show_json(
            [
                {
                    "due": None if line.due is None else utc(line.due).isoformat(),
                    "at": utc(line.at).isoformat(),
                    "what": line.what,
                    "id": line.task_id,
                    "why": line.why,
                }
                for line in lines
            ]
        )
        return
    zone = app.timezone
    rows = [
        (
            local_time(line.at if line.due is None else line.due, zone),
            line.what,
            "" if line.due is None else age(line.at - line.due),
            line.task_id or line.why or "",
        )
        for line in lines
    ]
    show_table(("due", "what", "late by", "task"), rows, empty="It has not been due yet.")


@command.command(
    "preview",
    epilog=examples(
        "umbel -A tasks schedule preview report",
        "umbel -A tasks schedule preview --crontab '30 2 * * *'",
    ),
)
@click.argument("name", required=False)
@options(*WHEN)
@click.option("-n", "count", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def preview(given: Global, /, name: str | None, count: int, as_json: bool, **when: Any) -> None:
    """Show the next times of an entry, or of a schedule: in the app's time zone and in UTC."""
    app = given.load()
    data = schedule_data(app.timezone, **when)
    if (name is None) == (data is None):
        raise click.UsageError(
            "Name an entry, or give a schedule, such as --crontab '0 4 * * *': one of the two."
        )
    if data is not None:
        entry = LiveEntry("preview", "", schedule=checked(data), app=app)
        times = _times(entry, app.clock.time(), None)
    else:
        _warn_of_another(app)
        seen = Schedule(app).entry(str(name))
        times = _times(seen.entry, app.clock.time(), seen.due)
    found = [due for due, _ in zip(times, range(count), strict=False)]
    if as_json:
        local = [utc(due).astimezone(app.timezone).isoformat() for due in found]
        show_json(
            [
                {"local": one, "utc": utc(due).isoformat()}
                for one, due in zip(local, found, strict=True)
            ]
        )
        return
    show_table(
        ("local time", "UTC"),
        [(local_time(due, app.timezone), f"{utc(due):%a %Y-%m-%d %H:%M:%S}") for due in found],
        empty="It is never due again.",
    )


# Changing


@command.command(
    "add",
    epilog=examples(
        "umbel -A tasks schedule add tidy tasks.tidy --every 30m --jitter 5m",
        "umbel -A tasks schedule add report tasks.report --crontab '0 6 * * mon' -a '[\"weekly\"]'",
    ),
)
@name_argument
@click.argument("task", shell_complete=task_names)
@options(*WHEN, *WHAT)
@click.option("--paused", is_flag=True, help="Let it not run yet.")
@click.option("--by-name", is_flag=True, help="Add it although this app has no such task.")
@click.pass_obj
def add(given: Global, /, name: str, task: str, paused: bool, by_name: bool, **more: Any) -> None:
    """Add an entry. Beats hear of it within seconds; it is there until it is deleted."""
    app, schedule = _opened(given)
    data, fields = _read(app, more)
    if data is None:
        raise click.UsageError("When? Give --every, --crontab, --solar or --at.")
    if not by_name:
        _know(app, task)
    held = {"enabled": False} if paused else {}
    seen = schedule.add(name, {"task": task, "schedule": data, **fields, **held})
    _say_next(given, app, seen)


@command.command("edit", epilog=examples("umbel -A tasks schedule edit tidy --every 10m"))
@name_argument
@click.option("--task", help="Another task.", shell_complete=task_names)
@options(*WHEN, *WHAT)
@click.option(
    "--unset",
    multiple=True,
    metavar="NAME",
    help="Take args, queue, deadline or another from it. May be given again.",
)
@click.option("--reset", is_flag=True, help="Let it be as the app's code has it.")
@click.option("--by-name", is_flag=True, help="Change it although this app has no such task.")
@click.pass_obj
def edit(
    given: Global,
    /,
    name: str,
    task: str | None,
    unset: tuple[str, ...],
    reset: bool,
    by_name: bool,
    **more: Any,
) -> None:
    """Change an entry. What is not given stays as it is."""
    app, schedule = _opened(given)
    data, fields = _read(app, more)
    if task is not None:
        if not by_name:
            _know(app, task)
        fields["task"] = task
    if data is not None:
        fields["schedule"] = data
    if bool(fields or unset) == reset:
        raise click.UsageError("What is to change? Give an option, or --reset alone.")
    seen = (
        schedule.reset(name)
        if reset
        else schedule.edit(name, fields, [one.replace("-", "_") for one in unset])
    )
    _say_next(given, app, seen)


@command.command("pause", epilog=examples("umbel -A tasks schedule pause report"))
@names_argument
@click.pass_obj
def pause(given: Global, names: tuple[str, ...]) -> None:
    """Let entries not run until they are resumed."""
    _each(given, names, Schedule.pause, "Paused")


@command.command("resume", epilog=examples("umbel -A tasks schedule resume report"))
@names_argument
@click.pass_obj
def resume(given: Global, names: tuple[str, ...]) -> None:
    """Let paused entries run again, when they are due next; nothing is made up for."""
    _each(given, names, Schedule.resume, "Resumed")


@command.command("delete", epilog=examples("umbel -A tasks schedule delete tidy"))
@names_argument
@click.pass_obj
def delete(given: Global, names: tuple[str, ...]) -> None:
    """Delete entries that were added, with their history."""
    _each(given, names, Schedule.delete, "Deleted")


@command.command("run-now", epilog=examples("umbel -A tasks schedule run-now report"))
@name_argument
@click.pass_obj
def run_now(given: Global, name: str) -> None:
    """Send an entry's call now, and print its id. When it is due next stays as it is."""
    app, schedule = _opened(given)
    click.echo(schedule.run_now(name))
    for problem in check(app, {name: schedule.entry(name).entry}):
        click.echo(f"Warning: {problem}", err=True)


# What they share


def _opened(given: Global) -> tuple[Umbel, Schedule]:
    app = given.load()
    app.finalize()
    _warn_of_another(app)
    return app, Schedule(app)


def _warn_of_another(app: Umbel) -> None:
    """Say it where beats do not heed what is said here."""
    named = app.conf.snapshot.beat_scheduler
    with contextlib.suppress(ImproperlyConfigured):  # one that is not installed here
        if not issubclass(scheduler_class(named), PersistentScheduler):
            click.echo(
                f"Warning: beat_scheduler is {named}, which keeps entries of its own: these here are what"
                " PersistentScheduler would run, and changes have no effect on that one.",
                err=True,
            )


def _read(app: Umbel, given: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the schedule and the fields that options give."""
    when = {name: given.pop(name) for name in ("every", "crontab", "solar", "at", "aligned")}
    data = schedule_data(app.timezone, **when)
    if data is not None and "at" in data and checked(data).next_after(app.now()) is None:
        raise click.BadParameter(f"{when['at']!r} is past.", param_hint="--at")
    return data, what(**given)


def _know(app: Umbel, task: str) -> None:
    try:
        app.tasks[task]
    except LookupError as error:
        hint = " If workers elsewhere have it, give --by-name."
        raise click.ClickException(f"{error}{hint}") from error


def _each(
    given: Global, names: tuple[str, ...], do: Callable[[Schedule, str], object], done: str
) -> None:
    _, schedule = _opened(given)
    for name in names:
        schedule.entry(name)  # before anything is done
    for name in dict.fromkeys(names):
        do(schedule, name)
        given.say(f"{done} {name}.")


def _say_next(given: Global, app: Umbel, seen: Seen) -> None:
    if seen.due is None:
        given.say(f"{seen.name}: {seen.state or 'it says itself when it is due'}.")
    else:
        given.say(f"{seen.name}: due next at {local_time(seen.due, app.timezone)}.")
    entry = seen.definition.entry
    for problem in check(app, {} if entry is None else {seen.name: entry}):
        if problem.certain:  # of a task that only others know it was said before
            click.echo(f"Warning: {problem}", err=True)


def as_data(one: Seen, app: Umbel) -> dict[str, Any]:
    """Return an entry as JSON values."""
    found, runs = one.definition.entry, one.runs

    def moment(value: float | None) -> str | None:
        return None if value is None else utc(value).isoformat()

    entry: dict[str, Any] = {"problem": one.definition.problem}
    if found is not None:
        entry = {
            "task": found.task,
            "schedule": shown_schedule(found.schedule),
            "schedule_data": schedule_as_data(found.schedule),
            "args": list(found.args or ()),
            "kwargs": dict(found.kwargs or {}),
            "options": dict(found.options or {}),
            "rules": found.rules.said(),
        }
    return {
        "name": one.name,
        "source": one.definition.source,
        **entry,
        "state": one.state or "active",
        "next": moment(one.due),
        "last_due": moment(runs.last),
        "last_sent": moment(runs.sent),
        "last_id": runs.task_id,
        "runs": runs.count,
    }


def _cell(value: object) -> str:
    """Return a field for people; nothing for what is empty."""
    if value in (None, [], {}):
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def _when(one: Seen) -> str:
    found = one.definition.entry
    return str(one.definition.problem) if found is None else shown_schedule(found.schedule)


def _task(one: Seen) -> str:
    return "" if one.definition.entry is None else str(one.definition.entry.task)


def local_time(moment: float, zone: tzinfo) -> str:
    """Return a moment with its day of the week and its time zone's name."""
    return f"{utc(moment).astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}"


def _brief(moment: float | None, now: float, zone: tzinfo) -> str:
    """Return a moment in a few letters: of today its time, else its day."""
    if moment is None:
        return ""
    local, today = utc(moment).astimezone(zone), utc(now).astimezone(zone)
    if abs(moment - now) < 6 * 86400:
        same = local.date() == today.date()
        return f"{local:%H:%M:%S}" if same else f"{local:%a %H:%M}"
    return f"{local:%d %b}" if local.year == today.year else f"{local:%d %b %Y}"


def _times(entry: LiveEntry, now: float, due: float | None) -> Iterator[float]:
    """Yield when an entry is due, from its next time on."""
    if is_asked(entry.schedule):
        raise NoEntry(
            f"{entry.schedule!r} is asked each time whether it is due: nobody can tell before."
        )
    moment = next_due(entry.schedule, now, now) if due is None else due
    while moment is not None:
        yield moment
        moment = next_due(entry.schedule, moment, max(moment, 0.0))


def _in_order(found: list[Seen], count: int) -> list[tuple[float, Seen]]:
    """Return what is due next of all entries."""
    heap: list[tuple[float, int, Iterator[float], Seen]] = []
    for place, one in enumerate(found):
        if one.due is not None and not is_asked(one.entry.schedule):
            times = _times(one.entry, one.due, one.due)
            heap.append((next(times), place, times, one))
    heapq.heapify(heap)
    order: list[tuple[float, Seen]] = []
    while heap and len(order) < count:
        due, place, times, one = heap[0]
        order.append((due, one))
        following = next(times, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following, place, times, one))
    return order
