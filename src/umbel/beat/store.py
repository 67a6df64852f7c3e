"""What beats of an app share in its state store: runs, entries that were added, and a history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel.beat.runs import Runs
from umbel.ports import Change, Put, StateStore

if TYPE_CHECKING:
    from umbel.app import Umbel

#: How many lines of an entry's history are kept.
KEPT = 20


def scope_of(app: Umbel) -> str:
    """Return whose schedule it is: apps of other names may share the server."""
    return str(app.conf.snapshot.beat_name or app.main or "beat")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an entry's history: what became of one time at which it was due, or of a run by hand."""

    due: float | None
    at: float
    what: str
    task_id: str | None = None
    why: str | None = None

    def dump(self) -> str:
        """Return the line as it is stored."""
        return json.dumps([self.due, self.at, self.what, self.task_id, self.why])


class Store:
    """The shared state of one app's schedule."""

    def __init__(self, state: StateStore, scope: str) -> None:
        self.state = state
        self.scope = scope
        self.runs_kind = f"beat.runs:{scope}"
        self.entries_kind = f"beat.entries:{scope}"
        self.history_kind = f"beat.history:{scope}"
        self.files_kind = f"beat.files:{scope}"
        #: The name of the lease of whoever sends.
        self.lease = f"beat:{scope}"

    @classmethod
    def of(cls, app: Umbel) -> Store:
        """Return an app's. Raises ImproperlyConfigured when there is no state store."""
        return cls(app.engines.state_store(), scope_of(app))

    # Runs

    def runs(self) -> dict[str, str]:
        """Return the runs of all entries, as they are stored."""
        return self.state.items(self.runs_kind)

    def runs_of(self, name: str) -> str | None:
        """Return the runs of one entry, as they are stored."""
        return self.state.get(self.runs_kind, name)

    def lines(self, name: str, noted: int, lines: list[Line]) -> tuple[Put, ...]:
        """Return what stores lines of an entry's history, which has had so many already."""
        return tuple(
            Put(self.history_kind, f"{name} {(noted + index) % KEPT}", line.dump())
            for index, line in enumerate(lines)
        )

    def history(self, name: str) -> list[Line]:
        """Return the last lines of an entry's history, the latest first."""
        noted = Runs.load(self.runs_of(name)).noted
        found = (
            self.state.get(self.history_kind, f"{name} {number % KEPT}")
            for number in range(noted - 1, max(noted - KEPT, 0) - 1, -1)
        )
        return [Line(*json.loads(text)) for text in found if text is not None]

    def forget(self, name: str) -> None:
        """Forget the runs and the history of an entry."""
        self.state.delete(self.runs_kind, [name])
        self.state.delete(self.history_kind, [f"{name} {number}" for number in range(KEPT)])

    # Entries

    def entries(self) -> dict[str, str]:
        """Return what was said of entries while the fleet runs, as it is stored."""
        return self.state.items(self.entries_kind)

    def version(self) -> int:
        """Return a number that grows when entries change."""
        return self.state.version(self.entries_kind)

    def said(self, name: str) -> dict[str, Any]:
        """Return what was said of an entry while the fleet runs."""
        return fields_of(self.state.get(self.entries_kind, name))

    def say(self, name: str, fields: Mapping[str, Any]) -> None:
        """Say something of an entry, in place of what was said before; nothing at all takes it back."""
        if fields:
            self.state.put(self.entries_kind, name, json.dumps(fields))
        else:
            self.state.delete(self.entries_kind, [name])

    def change(self, change: Change, joint: bool) -> bool:
        """Make one change that publishes nothing, in one step where the store can."""
        if joint:
            return self.state.change([change], 5.0) == [True]
        if self.state.get(change.kind, change.key) != change.was:
            return False
        if change.value is None:
            self.state.delete(change.kind, [change.key])
            return True
        for one in (*change.puts, Put(change.kind, change.key, change.value)):
            self.state.put(one.kind, one.key, one.value)
        return True


def fields_of(text: str | None) -> dict[str, Any]:
    """Read what `Store.say` stored; what is no mapping counts as nothing."""
    try:
        found = {} if text is None else json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
