"""The entries of a schedule, from both places that say them: the app's code, and the fleet's store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umbel.app import Umbel
from umbel.beat.entries import LiveEntry
from umbel.beat.runs import Runs
from umbel.beat.store import Store, fields_of
from umbel.exceptions import ImproperlyConfigured
from umbel.periodic import Problem, check, require_name
from umbel.schedules import clocked
from umbel.schedules.rules import RULES
from umbel.schedules.written import schedule_of_data


def merged(given: Any, said: Mapping[str, Any], app: Umbel) -> dict[str, Any] | None:
    """Return the fields of an entry: those of the code, and over them what was said. `given` may be None.

    So are the options of its call, of which one that is said to be None is left out.

    None when neither names a task: what was said belongs to an entry that the code has no more. Raises
    ValueError for what was said and cannot be read.
    """
    if isinstance(given, Mapping):
        fields = dict(given)
    elif given is None:
        fields = {}
    else:
        names = ("task", "schedule", "args", "kwargs", "options", "rules")
        fields = {name: getattr(given, name) for name in names if hasattr(given, name)}
    over = dict(said)
    if "schedule" in over:
        over["schedule"] = schedule_of_data(over["schedule"], app)
    rules = fields.get("rules")
    if rules is not None and over.keys() & set(RULES):
        fields |= {name: getattr(rules, name) for name in RULES}
        del fields["rules"]
    if "options" in over:
        options = {**(fields.get("options") or {}), **over["options"]}
        over["options"] = {name: value for name, value in options.items() if value is not None}
    fields |= over
    return fields if "task" in fields else None


@dataclass(frozen=True, slots=True)
class Definition:
    """An entry, and who says it: ``code``, ``code, edited`` or ``added``. `problem` is why there is none."""

    name: str
    source: str
    entry: LiveEntry | None
    problem: str | None = None


def definition(app: Umbel, name: str, said: Mapping[str, Any]) -> Definition | None:
    """Return an entry by its name, given what was said of it; None when there is none."""
    try:
        require_name(name)
    except TypeError as error:
        return Definition(str(name), "code", None, str(error))
    given = app.conf.beat_schedule.get(name)
    source = "added" if name not in app.conf.beat_schedule else "code, edited" if said else "code"
    try:
        fields = merged(given, said, app)
        if fields is None:
            is_given = name in app.conf.beat_schedule
            return Definition(name, source, None, "it names no task") if is_given else None
        if "schedule" in said:
            fields.pop("relative", None)
        entry = LiveEntry(**{**fields, "name": name, "app": app})
    except (AttributeError, ImproperlyConfigured, TypeError, ValueError) as error:
        return Definition(name, source, None, str(error))
    if entry.schedule is None:
        return Definition(name, source, None, "it has no schedule")
    return Definition(name, source, entry)


def definitions(app: Umbel, store: Store) -> dict[str, Definition]:
    """Return all entries by name: those of the code, then those that were added."""
    said = {name: fields_of(text) for name, text in store.entries().items()}
    names = [*app.conf.beat_schedule, *sorted(said.keys() - app.conf.beat_schedule.keys())]
    found = {name: definition(app, name, said.get(name, {})) for name in names}
    return {name: one for name, one in found.items() if one is not None}


def problems(app: Umbel, store: Store) -> list[Problem]:
    """Return what is wrong with entries as they run: as edited, and those that were added, too."""
    code = app.conf.beat_schedule
    said = {name: fields_of(text) for name, text in store.entries().items()}
    given: dict[str, Any] = {}
    broken = []
    for name in {**code, **said}:
        if name not in said:
            given[name] = code[name]
            continue
        one = definition(app, name, said[name])
        if one is not None and one.entry is not None:
            given[name] = one.entry
        elif one is not None:
            broken.append(Problem(name, f"does not run: {one.problem}"))
    found = (one for one in check(app, given) if not _has_run(app, store, one.entry, given))
    return [*found, *broken]


def _has_run(app: Umbel, store: Store, name: str, given: Mapping[str, Any]) -> bool:
    """Tell whether an entry was due once, and has run: all is as it was meant."""
    entry = given[name]
    schedule = (entry if isinstance(entry, Mapping) else getattr(entry, "__dict__", {})).get(
        "schedule"
    )
    if not isinstance(schedule, clocked) or schedule.next_after(app.now()) is not None:
        return False
    return Runs.load(store.runs_of(name)).count > 0
