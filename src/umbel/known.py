"""What is known of a call: its state, its result, and what ``result_extended`` keeps of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from umbel import states
from umbel.records import CallInfo, TaskResult

_NO_CALL = CallInfo()


class Known:
    """The outcome of a call as it is stored now, part by part."""

    __slots__ = ()

    def _current(self) -> TaskResult:
        """Return what is stored now."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED or a state of the task's own."""
        return self._current().state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception it raised; None while neither is known.

        In a state of the task's own: what it told about it.
        """
        return self._current().result

    status = state
    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of the task that failed, as text."""
        return self._current().traceback

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        return self._current().date_done

    @property
    def _call(self) -> CallInfo:
        return self._current().call or _NO_CALL

    @property
    def name(self) -> str | None:
        """The task's name; this and what follows is known with the setting ``result_extended``."""
        return self._call.name

    @property
    def args(self) -> Any:
        """The positional arguments of the call."""
        return self._call.args

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of the call."""
        return self._call.kwargs

    @property
    def worker(self) -> str | None:
        """The host name of the worker that ran the task."""
        return self._call.worker

    @property
    def retries(self) -> int | None:
        """How often the task was retried."""
        return self._call.retries

    @property
    def queue(self) -> str | None:
        """The queue that the call came through."""
        return self._call.queue

    def ready(self) -> bool:
        """Tell whether the outcome is final."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Tell whether the task ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task failed."""
        return self.state == states.FAILURE
