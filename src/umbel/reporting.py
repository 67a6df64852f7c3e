"""What a task tells about itself while it runs: states of its own, and how far it is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.exceptions import OperationalError
from umbel.progress import EVERY, Progress

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.request import Request

logger = logging.getLogger("umbel.results")


class Reporting:
    """What tasks have for that."""

    if TYPE_CHECKING:
        ignore_result: bool | None
        store_eager_result: bool | None

        @property
        def app(self) -> Umbel:
            """The task's app."""

        @property
        def request(self) -> Request:
            """The call that runs."""

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        traceback: str | None = None,
    ) -> None:
        """Store a state of the task's own, and anything to tell about it, at once.

        Without a result store nothing happens. Raises ValueError outside of a task, EncodeError for
        what cannot be stored, and OperationalError when the store cannot be reached.
        """
        request, app = self.request, self.app
        if task_id is None:
            task_id = request.id
        if app.results is None:
            return
        if not task_id:
            raise ValueError(f"task_id must not be empty. Got {task_id} instead.")
        app.backend.store_result(task_id, meta, state or "", traceback or None, request)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the call that runs is: ``self.progress(3, 10, "reading files")``.

        Whoever has the result reads it as `AsyncResult.progress`; the state is PROGRESS meanwhile. Call
        it as often as you like: of words within 0.2 s only the first is stored, and one that says that
        all is done. It never makes a task fail: a store that cannot be reached is logged. Nothing is
        stored of calls that keep no result or that no worker runs, nor once the call has ended.

        Raises TypeError or ValueError for what is not a number or a text.
        """
        told, request = Progress.checked(done, total, message), self.request
        now = self.app.clock.monotonic()
        is_last = total is not None and done >= total
        last = request.__dict__.get("told_at")
        if (last is not None and now - last < EVERY and not is_last) or not self._keeps(request):
            return
        request.__dict__["told_at"] = now
        try:
            self.update_state(state=states.PROGRESS, meta=told.as_meta())
        except OperationalError as error:
            logger.warning("The progress of task %s was not stored. %s", request.id, error)

    async def aprogress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the call is like `progress`, without blocking the event loop."""
        await asyncio.to_thread(self.progress, done, total, message)

    def _keeps(self, request: Request) -> bool:
        """Tell whether a call's result will be stored: else its progress would stay for ever."""
        if request.called_directly or not request.id:
            return False
        settings = self.app.conf.snapshot
        if request.is_eager:
            own = self.store_eager_result
            return settings.task_store_eager_result if own is None else own
        said = (request.ignore_result, self.ignore_result, settings.task_ignore_result)
        return not next(one for one in said if one is not None)
