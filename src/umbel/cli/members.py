"""What became of the calls of a saved group: what ``umbel result`` shows of one."""

from __future__ import annotations

from collections import Counter
from typing import Any

from umbel import states
from umbel.progress import Progress
from umbel.result import AsyncResult, GroupResult
from umbel.result.gathering import look
from umbel.values import value

#: States in the order in which they are told; those that only some tasks have stand before PENDING.
_ORDER = (states.SUCCESS, states.FAILURE, states.REVOKED, states.RETRY, states.STARTED)


@value
class Members:
    """The calls of a group at one moment."""

    group: GroupResult
    #: How many calls are in each state.
    counts: Counter[str]
    #: Those that have failed or were revoked, in their order in the group.
    failed: tuple[AsyncResult[Any], ...]

    @classmethod
    def of(cls, group: GroupResult) -> Members:
        """Return what the store has of a group's calls."""
        leaves = {str(leaf.id): leaf for leaf in group._leaves()}
        found = look(group.backend, list(leaves.values()))
        failed = tuple(leaf for leaf, state in found.items() if state in states.PROPAGATE_STATES)
        return cls(group, Counter(found.values()), failed)

    @property
    def progress(self) -> Progress:
        """How many have ended, and as its message how many of these have failed."""
        ended = sum(self.counts[state] for state in states.READY_STATES)
        return how_far(ended, len(self.failed), self.counts.total())

    @property
    def state(self) -> str:
        """The state of the group: while not all have ended, PENDING if none has and else PROGRESS."""
        told = self.progress
        if told.done < (told.total or 0):
            return states.PROGRESS if told.done else states.PENDING
        if not self.failed:
            return states.SUCCESS
        return states.FAILURE if self.counts[states.FAILURE] else states.REVOKED

    @property
    def result(self) -> Any:
        """The values of all when they have ended well, the first error when not, and None before that."""
        state = self.state
        if state == states.SUCCESS:
            return self.group.get(timeout=0, propagate=False)
        return self._first.result if state in states.READY_STATES else None

    @property
    def traceback(self) -> str | None:
        """The traceback of the first error, once all have ended."""
        return self._first.traceback if self.state in states.PROPAGATE_STATES else None

    @property
    def _first(self) -> AsyncResult[Any]:
        state = self.state
        return next(leaf for leaf in self.failed if leaf.state == state)

    def as_text(self) -> str:
        """Return what is shown to people."""
        state = self.state
        if state == states.SUCCESS:
            return f"{state}: {self.result!r}"
        told = ", ".join(f"{name} {count}" for name, count in self._ordered())
        if state not in states.READY_STATES:
            return f"{state}: {self.progress}\n{told}"
        return f"{state}: {self.result!r}\n{told}; this is the error of {self._first.id}"

    def as_data(self) -> dict[str, Any]:
        """Return what is shown to scripts: the keys of a call, and more."""
        state, result = self.state, self.result
        dates = (
            [leaf.date_done for leaf in self.group._leaves()]
            if state in states.READY_STATES
            else []
        )
        done = max((date for date in dates if date), default=None)
        return {
            "id": self.group.id,
            "state": state,
            "result": repr(result) if isinstance(result, BaseException) else result,
            "traceback": self.traceback,
            "date_done": done and done.isoformat(),
            "progress": self.progress.as_meta(),
            "states": dict(self._ordered()),
            "failed": [leaf.id for leaf in self.failed],
        }

    def _ordered(self) -> list[tuple[str, int]]:
        others = sorted(self.counts.keys() - {*_ORDER, states.PENDING})
        names = (*_ORDER, *others, states.PENDING)
        return [(name, self.counts[name]) for name in names if self.counts[name]]


def how_far(ended: int, failed: int, total: int) -> Progress:
    """Return how many calls have ended, of how many, and that some have failed."""
    return Progress(ended, total, f"{failed} failed" if failed else "")
