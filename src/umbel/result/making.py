"""How results are made of what is written of them, and for an app."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from umbel import kin
from umbel.backend import Backend, ResultBase, Source
from umbel.result.asyncresult import AsyncResult
from umbel.result.groupresult import GroupResult
from umbel.result.resultset import ResultSet
from umbel.settings import Settings


def result_from_tuple(r: Any, app: Source | None = None) -> Any:
    """Return the result, of a call or of a group, that ``as_tuple`` wrote, or one as it is.

    Raises ValueError for what it did not write.
    """

    def relatives(one: Any, generation: int) -> tuple[Any, Iterable[Any]]:
        if isinstance(one, ResultBase):
            return None, ()
        if not (isinstance(one, list | tuple) and len(one) == 2):
            raise ValueError(
                f"{one!r} is no result as a tuple: give what as_tuple() returned, ((id, parent), members)."
                " Of an id alone, app.AsyncResult(id) is the result."
            )
        return kin.kin_of((one[0], one[1]))

    def make(one: Any, parent: Any, results: Sequence[Any]) -> Any:
        if isinstance(one, ResultBase):
            return one
        ids, members = one
        id = kin.split(ids)[0]
        if members is None:
            return AsyncResult(id, app=app, parent=parent)
        return GroupResult(id, list(results), parent, app=app)

    return kin.fold(r, relatives, make)


class _Task(Protocol):
    ignore_result: bool | None


def is_ignored(of_call: bool | None, task: _Task | None, settings: Settings) -> bool:
    """Tell whether nothing is stored of a call, as its worker will: so nobody has to wait for its result.

    What the call says counts before what its task says, and that before the setting.
    """
    if of_call is not None or task is None:
        return bool(of_call)
    own = task.ignore_result
    return bool(settings.task_ignore_result if own is None else own)


def app_result_from_tuple(self: Source, written: Any) -> Any:
    """Return the result, of a call or of a group, that ``as_tuple`` wrote."""
    return result_from_tuple(written, self)


def app_async_result(
    self: Source,
    id: str,
    backend: Backend | None = None,
    task_name: str | None = None,
    parent: ResultBase | None = None,
) -> AsyncResult[Any]:
    """Return the result of a call by its id."""
    return AsyncResult(id, backend, task_name, self, parent)


def app_result_set(self: Source, results: Iterable[Any] | None = None, **kwargs: Any) -> ResultSet:
    """Return several results as one."""
    return ResultSet(results, app=self, **kwargs)


class GroupResultOf:
    """``app.GroupResult``: makes results of groups, and finds those that were saved."""

    def __init__(self, app: Source) -> None:
        self._app = app

    def __call__(
        self,
        id: str | None = None,
        results: Iterable[Any] | None = None,
        parent: ResultBase | None = None,
        **kwargs: Any,
    ) -> GroupResult:
        """Return the result of a group."""
        return GroupResult(id, results, parent, **{"app": self._app, **kwargs})

    def restore(self, id: str, backend: Backend | None = None) -> GroupResult | None:
        """Return the group that was saved under an id; None if there is none."""
        return GroupResult.restore(id, backend, self._app)
