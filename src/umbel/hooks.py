"""Where other packages come in by putting a function of theirs in the place of ours, and what that costs.

Celery has no other way in for those who must be *around* something: error trackers and tracers replace these
names when they are set up, and call what was there before from within. Each of the names is therefore really
what does the work, and is looked up when it is used. Whoever only wants to hear of something connects to a
signal, and whoever wants to do it all differently writes an engine; neither is a matter of this table.

As long as nothing is replaced, a call and a task pay one comparison for each hook on their way.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from operator import attrgetter
from typing import Any


@dataclass(frozen=True, slots=True)
class Hook:
    """A name that others replace: the module that has it, where in it, and its name in Celery."""

    module: str
    path: str
    celery: str
    when: str

    @property
    def name(self) -> str:
        """The name, as it is written here."""
        return f"{self.module}.{self.path}"

    def found(self) -> Any:
        """Return what has the name now; None when its module is not imported."""
        module = sys.modules.get(self.module)
        return None if module is None else attrgetter(self.path)(module)

    def replaced_by(self) -> str | None:
        """Return the file, or else the object, that took our function's place; None when it is ours."""
        found = self.found()
        if found is None:
            return None
        code = getattr(found, "__code__", None)
        place: str = repr(found) if code is None else code.co_filename
        return None if place == sys.modules[self.module].__file__ else place


PUBLISH = Hook(
    "umbel.producers",
    "Producer.publish",
    "kombu.Producer.publish",
    "by who publishes messages of their own; and, if it is replaced, for each call at all",
)
HOOKS = (
    Hook(
        "umbel.trace",
        "build_tracer",
        "celery.app.trace.build_tracer",
        "once for each task in each process that runs it; what it returns, for each call",
    ),
    Hook(
        "umbel.task",
        "Task.apply_async",
        "celery.app.task.Task.apply_async",
        "for each call of a task: delay and its kin go through it, delay_many too if it is replaced",
    ),
    Hook(
        "umbel.app",
        "Umbel.send_task",
        "celery.Celery.send_task",
        "for each call by a name; and, if it is replaced, for each call at all",
    ),
    PUBLISH,
    Hook(
        "umbel.worker.pool",
        "Worker.workloop",
        "billiard.pool.Worker.workloop",
        "once in each process that runs tasks, around all that it does",
    ),
)


def replaced() -> dict[str, str]:
    """Return the hooks that are used, by name, and which file's function each of them is now."""
    found = {hook.name: hook.replaced_by() for hook in HOOKS}
    return {name: place for name, place in found.items() if place is not None}
