"""What a backend of Celery's kind is told of the call whose result it stores."""

from __future__ import annotations

from typing import Any

from umbel import kin
from umbel.message import Call
from umbel.records import CallInfo, TaskResult
from umbel.request import Request

_NO_CALL = CallInfo()


class _Child:
    """A call that a task made, as its document has it."""

    def __init__(self, ids: Any) -> None:
        self._ids = ids

    @property
    def id(self) -> Any:
        """Its id."""
        return kin.split(self._ids[0])[0]

    def as_tuple(self) -> Any:
        """Return its ids."""
        return self._ids


def told(call: Request | Call | None, result: TaskResult) -> Request:
    """Return a request with Celery's attributes: the one that ran, or what is known where none did."""
    if isinstance(call, Request):
        return call
    if call is None:
        return _of_result(result)
    names = ("id", "args", "kwargs", "retries", "eta", "expires", "root_id", "parent_id")
    known = {name: getattr(call, name) for name in (*names, "group_index", "headers")}
    return Request(
        **known,
        task=call.task,
        group=call.group_id,
        argsrepr=call.argsrepr,
        kwargsrepr=call.kwargsrepr,
        stamped_headers=call.stamped_headers,
        stamps=call.stamps,
        called_directly=False,
        delivery_info={},
    )


def _of_result(result: TaskResult) -> Request:
    """Return the request of a call of which there is only its result."""
    info = result.call or _NO_CALL
    return Request(
        id=result.task_id,
        task=info.name,
        args=info.args,
        kwargs=info.kwargs,
        hostname=info.worker,
        retries=info.retries or 0,
        parent_id=result.parent_id,
        group=result.group_id,
        stamped_headers=info.stamped_headers,
        stamps=info.stamps,
        delivery_info={"routing_key": info.queue},
        children=[_Child(ids) for ids in result.children or ()],
        called_directly=False,
    )
