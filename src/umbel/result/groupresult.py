"""`GroupResult`: the results of a group, which has an id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from umbel import kin
from umbel.backend import Backend, ResultBase, Source
from umbel.current import get_current_app
from umbel.result.resultset import ResultSet, shown


class GroupResult(ResultSet):
    """The results of the calls of a group. `parent` is the result of what ran before it in a chain.

    `save` stores its id and those of its members, so that `restore` finds them from anywhere.
    """

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] | None = None,
        parent: ResultBase | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the result of a group. Of other keywords only `app` counts."""
        super().__init__(results, **kwargs)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """Its members."""
        return self.results

    def save(self, backend: Backend | None = None) -> GroupResult:
        """Store which results it has; return itself. Raises ValueError where it has no id."""
        saved: GroupResult = (backend or self.backend).save_group(self._saved_as(), self)
        return saved

    def _saved_as(self) -> str:
        if not self.id:
            raise ValueError(
                f"{self!r} has no id to be saved under: give it one, GroupResult(id, results)."
            )
        return self.id

    def delete(self, backend: Backend | None = None) -> None:
        """Delete what `save` stored. Raises ValueError where it has no id."""
        (backend or self.backend).delete_group(self._saved_as())

    def forget(self) -> None:
        """Delete the stored results, those of all that was before them, and what `save` stored."""
        super().forget()
        if self.id:
            with contextlib.suppress(NotImplementedError):  # some stores keep no groups
                self.delete()

    @classmethod
    def restore(
        cls, id: str, backend: Backend | None = None, app: Source | None = None
    ) -> GroupResult | None:
        """Return the group that was saved under an id; None if there is none. Raises ValueError for no id."""
        if not id:
            raise ValueError(
                f"GroupResult.restore needs the id that a group was saved under, not {id!r}."
            )
        source = backend or (app or get_current_app()).backend
        restored: GroupResult | None = source.restore_group(id)
        return restored

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ids as documents have them: ``((id, parent's tuple), [the members' tuples])``."""
        return kin.written(self)

    # Identity

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            mine: Any = self
            theirs: Any = other
            while isinstance(mine, GroupResult) and isinstance(theirs, GroupResult):
                if (mine.id, mine.results) != (theirs.id, theirs.results):
                    return False
                mine, theirs = mine.parent, theirs.parent
            return bool(mine == theirs)
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # its id does not change
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} {shown(self.results)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return kin.reduced(self)

    def _alone(self) -> tuple[Any, ...]:
        """Return what makes it again without its parent, and the arguments of that (`umbel.kin.reduced`)."""
        return type(self), (self.id, self.results)
