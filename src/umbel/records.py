"""What a result store keeps for a task: Celery's result document, written and read.

The document is the JSON that Celery's key-value backends store under ``celery-task-meta-<id>``
(celery/backends/base.py), so that each side reads the other's results. Exceptions travel as data:
class name, module and arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any

from umbel import exceptions, serialization, states
from umbel.clock import utc
from umbel.exceptions import DecodeError, EncodeError, RemoteError
from umbel.representation import careful_repr


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A task's state and result as stored.

    `expires` is in seconds since the epoch, None means never.
    """

    task_id: str
    state: str
    document: str
    expires: float | None = None

    @property
    def ready(self) -> bool:
        """True when the state is final."""
        return self.state in states.READY_STATES


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What ``result_extended`` keeps of the call beside its result."""

    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamped_headers: Any = None
    stamps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A result document as a value.

    `result` is what the task returned, or the exception it raised. `children` are the calls that the
    task made, each as ``AsyncResult.as_tuple`` writes it; None where nobody knows.
    """

    task_id: str
    state: str = states.PENDING
    result: Any = None
    traceback: str | None = None
    date_done: datetime | None = None
    parent_id: str | None = None
    group_id: str | None = None
    children: list[Any] | None = field(default_factory=list)
    call: CallInfo | None = None


def encode(result: TaskResult, expires: float | None = None) -> ResultRecord:
    """Write a result. Raises EncodeError when the returned value is not JSON."""
    value = result.result
    if result.state in states.EXCEPTION_STATES and isinstance(value, BaseException):
        value = exception_to_data(value)
    document: dict[str, Any] = {
        "status": result.state,
        "result": value,
        "traceback": result.traceback,
        "children": result.children,
        "date_done": result.date_done.isoformat() if result.date_done else None,
    }
    if result.group_id:
        document["group_id"] = result.group_id
    if result.parent_id:
        document["parent_id"] = result.parent_id
    if result.call is not None:
        document = _call_to_data(result.call, document)
    document["task_id"] = result.task_id
    return ResultRecord(result.task_id, result.state, serialization.dumps(document), expires)


def decode(record: ResultRecord) -> TaskResult:
    """Read a record. Raises DecodeError when it is not a result document."""
    document = meta(record)
    children = document.get("children")
    return TaskResult(
        task_id=document.get("task_id") or record.task_id,
        state=document["status"],
        result=document["result"],
        traceback=document.get("traceback"),
        date_done=_moment(document.get("date_done")),
        parent_id=document.get("parent_id"),
        group_id=document.get("group_id"),
        children=children if isinstance(children, list) else None,
        call=_call_from_data(document),
    )


def meta(record: ResultRecord) -> dict[str, Any]:
    """Read a record as the mapping that Celery calls "meta": the document, with a real exception.

    Raises DecodeError when it is not a result document.
    """
    document = serialization.loads(record.document)
    if not isinstance(document, dict) or not isinstance(document.get("status"), str):
        raise DecodeError(f"The result stored for {record.task_id} is not a result document.")
    value = document.setdefault("result", None)
    if document["status"] in states.EXCEPTION_STATES and isinstance(value, dict):
        document["result"] = exception_from_data(value)
    return document


_CALL_KEYS = ("name", "args", "kwargs", "worker", "retries", "queue")


def _call_to_data(call: CallInfo, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with a call. A stamp that has the name of a part of it hides nothing."""
    data = {**document, **{key: getattr(call, key) for key in _CALL_KEYS}}
    if call.stamps:
        names = data["stamped_headers"] = call.stamped_headers
        for name, value in call.stamps.items():
            if name in (names or ()):
                data.setdefault(name, value)
    return data


def _call_from_data(document: Mapping[str, Any]) -> CallInfo | None:
    if not any(key in document for key in _CALL_KEYS):
        return None
    names = document.get("stamped_headers")
    stamps = {name: document[name] for name in names or () if name in document}
    found = {key: document.get(key) for key in _CALL_KEYS}
    return CallInfo(**found, stamped_headers=names, stamps=stamps)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    try:
        return utc(value) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None


#: Errors that Celery has too, and in which of its modules: what travels is Celery's name for them.
_CELERY_MODULES = {
    "ImproperlyConfigured": "celery.exceptions",
    "IncompleteStream": "celery.exceptions",
    "MaxRetriesExceededError": "celery.exceptions",
    "NotRegistered": "celery.exceptions",
    "TaskError": "celery.exceptions",
    "TaskRevokedError": "celery.exceptions",
    "TimeoutError": "celery.exceptions",
    "SoftTimeLimitExceeded": "billiard.exceptions",
    "TimeLimitExceeded": "billiard.exceptions",
    "WorkerLostError": "billiard.exceptions",
    "ContentDisallowed": "kombu.exceptions",
    "DecodeError": "kombu.exceptions",
    "EncodeError": "kombu.exceptions",
    "OperationalError": "kombu.exceptions",
}


def exception_to_data(error: BaseException) -> dict[str, Any]:
    """Return an exception as JSON values; arguments that are not JSON become their `repr`.

    A RemoteError is written as the exception it stands for, an error that Celery has too under the
    module where Celery has it.
    """
    name, arguments = type(error).__qualname__, error.args
    module: str | None = type(error).__module__
    if isinstance(error, RemoteError):
        module, _, name = error.type_name.rpartition(".")
        arguments = arguments[1:]
    elif module == exceptions.__name__:
        module = _CELERY_MODULES.get(name, module)
    return {
        "exc_type": name,
        "exc_message": [_plain(argument) for argument in arguments],
        "exc_module": module or None,
    }


def _plain(value: Any) -> Any:
    try:
        serialization.dumps(value)
    except EncodeError:
        return careful_repr(value)
    return value


def exception_from_data(data: Mapping[str, Any]) -> BaseException:
    """Return the exception that `data` describes.

    Its class is looked up only in modules that are already imported and is called only if it is an
    exception: a result is data from outside (CVE-2021-23727). Anything else becomes a RemoteError.
    """
    name, module = data.get("exc_type"), data.get("exc_module")
    message = data.get("exc_message")
    if message is None:
        arguments: tuple[Any, ...] = ()
    else:
        arguments = tuple(message) if isinstance(message, list | tuple) else (message,)
    home = module
    if isinstance(name, str) and module is not None and _CELERY_MODULES.get(name) == module:
        home = exceptions.__name__
    found: Any = sys.modules.get(home) if isinstance(home, str) else None
    for part in str(name).split("."):
        # Not getattr: it would run what a module does to import its parts lazily.
        found = vars(found).get(part) if isinstance(found, type | ModuleType) else None
    if isinstance(found, type) and issubclass(found, BaseException):
        try:
            return found(*arguments)
        except Exception:  # noqa: BLE001 - constructors are not ours and may want other arguments
            return RemoteError(f"{module}.{name}", *arguments)
    return RemoteError(f"{module}.{name}" if module else str(name), *arguments)
