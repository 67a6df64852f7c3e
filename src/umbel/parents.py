"""The calls before one whose result is waited for: a failure of theirs ends the wait, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from umbel.exceptions import OperationalError
from umbel.ports import ResultStore
from umbel.records import ResultRecord
from umbel.states import PROPAGATE_STATES

#: As many parents are listened for like what is waited for itself.
FEW = 100
#: Seconds between two looks at more of them: before the first, and at most.
LOOK, LONGEST_LOOK = 0.25, 1.0
#: Seconds that one of these looks may take: what is waited for is not heard meanwhile.
LOOK_TIMEOUT = 5.0


class Parents:
    """The calls before what is waited for, whose failure ends the wait. They may be many.

    To listen for thousands takes longer than some workflows, and where one fails, nearly always what follows
    is told so. So they are looked at now and then, in pauses that grow to a second, and when what is waited
    for has failed. Those that have ended well are not looked at again. Of few news come as of what is waited
    for, in any order: they are looked at when that has failed.
    """

    def __init__(
        self,
        store: ResultStore,
        task_ids: Collection[str],
        now: Callable[[], float],
        heard: bool = False,
    ) -> None:
        """Look at these tasks; those that are `heard` only to find the cause of a failure."""
        self._store = store
        self._heard = heard
        self._now = now
        #: Those that have not ended, as far as is known, the first of them first.
        self.left = list(task_ids)
        self._pause = LOOK
        self._due = now() + LOOK

    @property
    def due(self) -> float | None:
        """When they are to be looked at; None for never."""
        return self._due if self.left and not self._heard else None

    def failed(self, said: Mapping[str, ResultRecord]) -> ResultRecord | None:
        """Return the record of the first that has failed, of all that was found in the store."""
        found = (said[task_id] for task_id in self.left if task_id in said)
        failed = next((one for one in found if one.state in PROPAGATE_STATES), None)
        self.left = [one for one in self.left if one not in said or not said[one].ready]
        return failed

    def and_what_is_there(
        self, said: Mapping[str, ResultRecord], task_ids: Collection[str]
    ) -> Iterator[ResultRecord]:
        """Yield what was found in the store of these tasks, after the record of the first that has failed."""
        failed = self.failed(said)
        if failed is not None:
            yield failed
        found = (said[task_id] for task_id in task_ids if task_id in said)
        yield from (one for one in found if one is not failed)

    def look(self) -> ResultRecord | None:
        """Look, and return the record of the first that has failed.

        Where the store does not answer, nobody is told: what is waited for may come all the same.
        """
        try:
            said = self._store.get(self.left, LOOK_TIMEOUT) if self.left else {}
        except OperationalError:
            said = {}
        self._pause = min(self._pause * 2, LONGEST_LOOK)
        self._due = self._now() + self._pause
        return self.failed(said)

    def cause_of(self, found: ResultRecord) -> ResultRecord | None:
        """Return the record of the first that has failed, if another one is of a failure after them."""
        return self.look() if found.state in PROPAGATE_STATES else None


def listened(
    task_ids: Collection[str], parents: Collection[str]
) -> tuple[Collection[str], Collection[str]]:
    """Return what is listened for, and the parents that are not."""
    return (task_ids, parents) if len(parents) > FEW else ([*parents, *task_ids], ())
