"""Tasks that can be asked to stop, and look now and then whether they were.

The caller has an `AbortableAsyncResult`, by ``task.delay(…)`` or ``task.AsyncResult(id)``, and calls `abort`.
That stores the state ABORTED, which the task sees in `AbortableTask.is_aborted`; so it needs a result store::

    @app.task(bind=True, base=AbortableTask)
    def count(self, most):
        for number in range(most):
            if self.is_aborted():
                return number
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from umbel.canvas.signable import P, R
from umbel.options import CallKeywords
from umbel.result import AsyncResult as Result
from umbel.task import Task

#: The state of a task that was asked to stop, until it ends.
ABORTED = "ABORTED"


class AbortableAsyncResult(Result[R]):
    """The result of a task that can be asked to stop."""

    def is_aborted(self) -> bool:
        """Tell whether the task was asked to stop and has not ended yet."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to stop. Raises ImproperlyConfigured where results are not kept."""
        self.app.result_store()
        self.backend.store_result(self.id, None, ABORTED)


class AbortableTask(Task[P, R]):
    """A task that can be asked to stop; name it as ``base=``."""

    abstract = True

    def AsyncResult(self, task_id: str) -> AbortableAsyncResult[R]:
        """Return the result of a call of this task by its id."""
        return AbortableAsyncResult(task_id, app=self.app)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[CallKeywords],
    ) -> Result[R]:
        """Send a call as every task does, and return a result that can be aborted."""
        result = super().apply_async(args, kwargs, *more, **options)
        if type(result) is not Result:
            return result  # it has run where it was called
        abortable = self.AsyncResult(result.id)
        abortable.ignored = result.ignored
        return abortable

    def is_aborted(self, **kwargs: Any) -> bool:
        """Tell, within the task, whether it was asked to stop; of another call with ``task_id=``."""
        task_id = kwargs.get("task_id") or self.request.id
        return task_id is not None and self.AsyncResult(task_id).is_aborted()
