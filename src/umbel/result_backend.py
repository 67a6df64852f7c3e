"""What Celery's users call on any result backend, on top of how it stores and reads.

`umbel.backend` has the one of umbel's own stores, and `umbel.backends` those that packages write as Celery's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel import failures, states
from umbel.exceptions import TaskRevokedError, TimeoutError

Meta = dict[str, Any]


class ResultBackend:
    """Base of result backends: a subclass stores and reads, and says how values and errors are written."""

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    TimeoutError = TimeoutError

    # For subclasses

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state and a result or its meta; return that as it was written."""
        raise NotImplementedError

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """Return a task's state, result, traceback and so on; PENDING when nothing is known."""
        raise NotImplementedError

    def prepare_value(self, result: Any) -> Any:
        """Return a value as it is written: a result that a task returned becomes its tuple."""
        raise NotImplementedError

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """Return an exception as it is written: as data, or itself where a pickle can hold it."""
        raise NotImplementedError

    # Reading

    def get_state(self, task_id: str) -> str:
        """Return a task's state."""
        return str(self.get_task_meta(task_id)["status"])

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """Return what a task returned, or the exception it raised."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> str | None:
        """Return the traceback of a failed task."""
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> list[Any] | None:
        """Return the calls that a task made, as stored."""
        return self.get_task_meta(task_id).get("children")

    def is_cached(self, task_id: str) -> bool:
        """Tell whether a result is kept in this process, which none is."""
        return False

    # Storing

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Store that a task has started."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store that a task ended well."""
        if store_result and not getattr(request, "ignore_result", None):
            self.store_result(task_id, result, state, request=request)
        self._marked(request, state, result)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store that a task failed. Calls no errbacks: what follows a task is the worker's to send."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
        self._marked(request, state, exc)

    def _marked(self, request: Any, state: str, result: Any) -> None:
        """Be told of each end that is marked here; for who counts chords."""

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException | None,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> Any:
        """Store that a task will run again, and why."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked."""
        if store_result:
            self.store_result(task_id, TaskRevokedError(reason), state, request=request)

    # Values

    def encode_result(self, result: Any, state: str) -> Any:
        """Return a result or an exception as it is stored."""
        if state in self.EXCEPTION_STATES and isinstance(result, BaseException):
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def meta_from_decoded(self, meta: Meta) -> Meta:
        """Put a real exception into a meta that was just read."""
        if meta["status"] in self.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def exception_to_python(self, exc: Any) -> BaseException | None:
        """Return the exception that was stored. Classes are looked up, as ever, in imported modules only."""
        if not exc:
            return None
        if isinstance(exc, Mapping) and "exc_type" not in exc:
            raise ValueError(
                f"A stored exception names its type as exc_type, which {exc!r} does not."
            )
        found = failures.from_stored(exc)
        if not isinstance(found, BaseException):
            raise TypeError(f"A stored exception is an exception or a mapping, not {exc!r}.")
        return found
