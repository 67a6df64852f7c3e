"""`EagerResult`: the outcome of a task that was run where it was called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from umbel import states
from umbel.exceptions import TaskRevokedError
from umbel.records import CallInfo, TaskResult
from umbel.result.asyncresult import AsyncResult, R
from umbel.result.ending import exception_of
from umbel.result.joining import assert_will_not_block
from umbel.result_backend import Meta


class EagerResult(AsyncResult[R]):
    """The result of a task that was run where it was called: known from the start."""

    __slots__ = ()

    def __init__(
        self,
        id: str | None,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id or "none")
        # Without one it stands for a call that was not sent, as packages make them.
        self.id = cast(str, id)
        self._done = TaskResult(
            self.id, state, ret_value, traceback, children=None, call=CallInfo(name=name)
        )

    def _get_task_meta(self) -> Meta:
        """Return what is known, as Celery's mapping."""
        found = self._current()
        return {
            "task_id": self.id,
            "name": self.name,
            "status": found.state,
            "result": found.result,
            "traceback": found.traceback,
        }

    def ready(self) -> bool:
        """Tell that the outcome is final, which it is even when the task raised Ignore."""
        return True

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *_: Any,
        callback: Callable[[str, Any], object] | None = None,
        disable_sync_subtasks: bool = True,
        **__: Any,
    ) -> R:
        """Return what the task returned, or raise its exception. None when it raised Ignore or Reject.

        Within a task that a worker runs, or that ``task_always_eager`` runs in its place, this
        raises RuntimeError like `AsyncResult.get`, so that tests show what would wait for ever.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        found = self._current()
        if propagate and found.state in states.PROPAGATE_STATES:
            # As it was raised: its traceback leads to the task.
            raise found.result if isinstance(found.result, BaseException) else exception_of(found)
        known = found.state == states.SUCCESS or found.state in states.PROPAGATE_STATES
        value = found.result if known else None
        if callback is not None:
            callback(self.id, value)
        return cast(R, value)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, follow_parents: bool = True
    ) -> R:
        """Return what `get` returns; there is nothing to wait for."""
        return self.get(propagate=propagate)

    def _outcome(self, propagate: bool) -> Any:
        return self.get(propagate=propagate, disable_sync_subtasks=False)

    def forget(self) -> None:
        """Do nothing: there is nothing stored to delete."""

    def _unknow(self) -> None:
        """Do nothing: what is known stands nowhere else."""

    def revoke(self, *args: Any, **options: Any) -> None:
        """Make it the result of a revoked task, as Celery 5.7 does; the task has run all the same."""
        error = TaskRevokedError("revoked")
        self._done = TaskResult(
            self.id, states.REVOKED, error, children=None, call=CallInfo(name=self.name)
        )

    def __copy__(self) -> EagerResult[R]:
        kind, values = self.__reduce__()
        return cast("EagerResult[R]", kind(*values))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._alone()

    def _alone(self) -> tuple[Any, ...]:
        found = self._current()
        return type(self), (self.id, found.result, found.state, found.traceback, self.name)
