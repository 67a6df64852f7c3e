"""`SyncBackendMixin`: backends that are asked again and again until a result is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from umbel.backend import out_of_time
from umbel.result_backend import Meta


class SyncBackendMixin:
    """What polling adds to a `Backend`. An app's results do not need it: they are read by store.py."""

    def wait_for(
        self: Any,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Meta:
        """Wait for a final state and return its meta. Raises TimeoutError."""
        found: Iterator[tuple[str, Meta]] = self.get_many(
            [task_id], timeout, interval, on_interval=on_interval
        )
        return next(meta for _, meta in found)

    def get_many(
        self: Any,
        task_ids: Collection[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield tasks with their meta as they end. Raises TimeoutError when that takes too long."""
        left = {str(task_id) for task_id in task_ids}
        waited, rounds = 0.0, 0
        while left:
            for task_id in sorted(left):
                meta = self.get_task_meta(task_id)
                if meta["status"] in self.READY_STATES:
                    left.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            rounds += 1
            if not left or (max_iterations and rounds >= max_iterations):
                return
            if timeout is not None and waited >= timeout:
                raise out_of_time(min(left), timeout)
            if on_interval is not None:
                on_interval()
            pause = interval if timeout is None else min(interval, timeout - waited)
            self.app.clock.sleep(pause)
            waited += pause

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Return the result: whoever waits says so when it does."""
        return result

    remove_pending_result = add_pending_result

    @property
    def is_async(self) -> bool:
        """False: results are asked for."""
        return False
