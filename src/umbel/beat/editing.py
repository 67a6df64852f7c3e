"""An app's schedule as people see and change it, while beats run: what ``umbel schedule`` stands on.

What is said here goes into the state store; whichever beat sends hears of it within seconds. Entries of
the app's code are changed by what is said over them, and are as the code has them when that is taken back.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from umbel.app import Umbel
from umbel.beat.definitions import Definition, definition, definitions, merged, problems
from umbel.beat.entries import LiveEntry
from umbel.beat.runs import Runs, due_anew, is_asked, mark
from umbel.beat.scheduler import Scheduler
from umbel.beat.store import Line, Store, fields_of
from umbel.exceptions import UmbelError
from umbel.nearest import meant
from umbel.periodic import Problem
from umbel.ports import Change

#: Most letters of the name of an entry that is added.
LONGEST_NAME = 200
#: How often a change of an entry's state is tried that a beat changes at the same time.
TRIES = 10


#: What of an entry can be unset, and what it is then.
UNSET: Mapping[str, Any] = {
    **{"args": [], "kwargs": {}},
    **dict.fromkeys(("catch_up", "deadline", "overlap", "jitter")),
}


class NoEntry(UmbelError):
    """There is no entry of this name, or none that this can be done with."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry, and what is known of its runs."""

    definition: Definition
    runs: Runs
    due: float | None

    @property
    def name(self) -> str:
        """The entry's name."""
        return self.definition.name

    @property
    def entry(self) -> LiveEntry:
        """The entry. Raises NoEntry when it cannot be read."""
        if self.definition.entry is None:
            raise NoEntry(
                f"The periodic task {self.name!r} does not run: {self.definition.problem}"
            )
        return self.definition.entry

    @property
    def state(self) -> str:
        """``paused``, ``broken``, ``over``, or nothing for what goes on."""
        if self.definition.entry is None:
            return "broken"
        if not self.definition.entry.rules.enabled:
            return "paused"
        is_over = self.due is None and not is_asked(self.definition.entry.schedule)
        return "over" if is_over else ""


class Schedule:
    """The schedule of an app. Raises ImproperlyConfigured when there is no state store."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.store = Store.of(app)
        url = app.engines.state_url
        self._swaps = url is not None and app.engine(url).features.joint_state

    # Looking

    def entries(self) -> list[Seen]:
        """Return all entries: those of the code, then those that were added."""
        runs = self.store.runs()
        found = definitions(self.app, self.store)
        return [self._seen(one, runs.get(name)) for name, one in found.items()]

    def problems(self) -> list[Problem]:
        """Return what is wrong with entries, as beats report it when they start."""
        return problems(self.app, self.store)

    def entry(self, name: str) -> Seen:
        """Return an entry. Raises NoEntry, with what was probably meant."""
        found = definition(self.app, name, self.store.said(name))
        if found is None:
            known = {one.name: one for one in self.entries()}
            if name in known:  # in the code by another name that looks the same
                return known[name]
            hint = meant(name, known) or " See umbel schedule list."
            raise NoEntry(f"There is no periodic task {name!r}.{hint}")
        return self._seen(found, self.store.runs_of(name))

    def _seen(self, found: Definition, raw: str | None) -> Seen:
        runs = Runs.load(raw)
        try:
            return Seen(found, runs, self._due(found.entry, raw, runs))
        except Exception as error:  # noqa: BLE001 - a schedule of somebody's own; it is shown
            problem = f"when it is due cannot be told: {error!r}"
            return Seen(replace(found, entry=None, problem=problem), runs, None)

    def _due(self, entry: LiveEntry | None, raw: str | None, runs: Runs) -> float | None:
        """Return when an entry is due next: as a beat has noted it, else as one would if it began now."""
        if entry is None or not entry.rules.enabled:
            return None
        if raw is not None and not runs.held and runs.by == mark(entry.schedule):
            return runs.due
        if is_asked(entry.schedule):
            return None
        now = self.app.clock.time()
        return due_anew(entry.schedule, entry.rules, None if runs.held else runs.last, now)

    def history(self, name: str) -> list[Line]:
        """Return the last lines of an entry's history, the latest first. Raises NoEntry."""
        return self.store.history(self.entry(name).name)

    # Changing

    def add(self, name: str, fields: Mapping[str, Any]) -> Seen:
        """Add an entry. Raises NoEntry for a name that is taken or is none, or fields that make no entry."""
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise NoEntry(
                f"{name[:LONGEST_NAME]!r} is no name for a periodic task: it is a line of 1 to {LONGEST_NAME}"
                " letters."
            )
        given = self.app.conf.beat_schedule.get(name)
        # What was said over an entry that the code has no more is nothing by itself.
        if given is not None or definition(self.app, name, self.store.said(name)) is not None:
            raise NoEntry(
                f"There is a periodic task {name!r} already. Change it with umbel schedule edit, or choose"
                " another name."
            )
        found = self._defined(name, fields)
        due = self._due(found.entry, None, Runs())
        if due is not None and found.entry is not None:
            # Before any beat hears of it: a moment that has come by then is late, and not past.
            by = mark(found.entry.schedule)
            self._change(name, lambda runs: (replace(runs, due=due, by=by), []))
        self.store.say(name, fields)
        return self._seen(found, self.store.runs_of(name))

    def edit(self, name: str, fields: Mapping[str, Any], unset: Collection[str] = ()) -> Seen:
        """Say something over what an entry is. Raises NoEntry.

        `unset` are fields, rules and options of the call that are to be as if nobody had given them.
        """
        self.entry(name)
        code = merged(self.app.conf.beat_schedule.get(name), {}, self.app) or {}

        def changed(said: dict[str, Any]) -> dict[str, Any]:
            new = _edited(name, code.get("options") or {}, said, fields, unset)
            self._defined(name, new)
            return new

        self._say_over(name, changed)
        return self.entry(name)

    def reset(self, name: str) -> Seen:
        """Let an entry be as the code has it. Raises NoEntry for one that the code does not have."""
        if name not in self.app.conf.beat_schedule:
            raise NoEntry(
                f"The periodic task {name!r} is none of the app's code, which would say what it was: it was"
                " added, and can be edited or deleted."
            )
        self._say_over(name, lambda _: {})
        return self.entry(name)

    def _defined(self, name: str, fields: Mapping[str, Any]) -> Definition:
        found = definition(self.app, name, fields)
        if found is None or found.entry is None:
            problem = "it has no task" if found is None else found.problem
            raise NoEntry(f"The periodic task {name!r} could not run: {problem}")
        return found

    def _say_over(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Say of an entry what `change` makes of what was said, whoever else edits it at the same time."""
        for _ in range(TRIES):
            raw = self.store.state.get(self.store.entries_kind, name)
            fields = change(fields_of(raw))
            new = json.dumps(fields) if fields else None
            if self.store.change(Change(self.store.entries_kind, name, raw, new), self._swaps):
                return
        raise NoEntry(f"The entry {name!r} changes all the time. Try again.")

    def pause(self, name: str) -> None:
        """Let an entry not run. Raises NoEntry."""
        self.edit(name, {"enabled": False})
        # Also where no beat runs now: what is due meanwhile is no run that was missed.
        self._change(name, lambda runs: (replace(runs, held=True), []))

    def resume(self, name: str) -> Seen:
        """Let an entry run again, when it is due next. Raises NoEntry."""
        self.entry(name)

        def changed(said: dict[str, Any]) -> dict[str, Any]:
            said.pop("enabled", None)
            found = definition(self.app, name, said)
            if found is not None and found.entry is not None and not found.entry.rules.enabled:
                said["enabled"] = True
            return said

        self._say_over(name, changed)
        seen = self.entry(name)
        entry, due = seen.definition.entry, seen.due
        if entry is not None and due is not None:
            # Also for a beat that has not heard of the pause: to it nothing that was said has changed.
            freed = {"due": due, "by": mark(entry.schedule), "held": False}
            self._change(name, lambda runs: (replace(runs, **freed) if runs.held else runs, []))
        return seen

    def delete(self, name: str) -> None:
        """Delete an entry that was added, with its history. Raises NoEntry for one of the code."""
        self.entry(name)
        if name in self.app.conf.beat_schedule:
            raise NoEntry(
                f"The periodic task {name!r} is in the app's code. Take it out there, or pause it:"
                f" umbel schedule pause {name!r}"
            )
        self.store.say(name, {})
        self.store.forget(name)

    def run_now(self, name: str) -> str:
        """Send an entry's call now, and note it; return the task id. When it is due stays. Raises NoEntry."""
        entry = copy.copy(self.entry(name).entry)
        options = dict(entry.options or {})
        options["headers"] = {"periodic_task_name": name, **(options.get("headers") or {})}
        entry.options = options
        sent = Scheduler(self.app, lazy=True).apply_async(entry, advance=False)
        task_id = str(getattr(sent, "id", sent))
        line = Line(None, self.app.clock.time(), "by hand", task_id)
        self._change(name, lambda runs: (replace(runs, noted=runs.noted + 1), [line]))
        return task_id

    def _change(self, name: str, change: Any) -> None:
        """Change an entry's state, whatever beats do to it at the same time."""
        for _ in range(TRIES):
            raw = self.store.runs_of(name)
            runs = Runs.load(raw)
            changed, lines = change(runs)
            puts = self.store.lines(name, runs.noted, lines)
            one = Change(self.store.runs_kind, name, raw, changed.dump(), puts)
            if self.store.change(one, self._swaps):
                return
        raise NoEntry(f"The state of {name!r} changes all the time. Try again.")


def _edited(
    name: str,
    code: Mapping[str, Any],
    said: Mapping[str, Any],
    fields: Mapping[str, Any],
    unset: Collection[str],
) -> dict[str, Any]:
    """Return what is said of an entry after an edit. `code` has the options that its code gives."""
    new = {**said, **fields}
    options = {**said.get("options", {}), **fields.get("options", {})}
    for one in unset:
        if one in UNSET:
            new[one] = UNSET[one]
        elif one in code or one in options:
            options[one] = None
        else:
            raise NoEntry(
                f"The periodic task {name!r} has no {one!r} that could be unset, but perhaps"
                f" {', '.join({**UNSET, **code, **options})}."
            )
    if options:
        new["options"] = options
    return new


__all__ = ["NoEntry", "Schedule", "Seen"]
