"""Stand-ins for tests: messages as a worker gets them, and objects for ``with``. They are Mock objects.

That is what Celery promises: a test sets and asks whatever else it needs of them, such as ``message.ack``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from numbers import Real
from typing import Any
from unittest.mock import Mock

from umbel.app import Umbel
from umbel.clock import unique_id
from umbel.serialization import dumps

_Calls = Sequence[Mapping[str, Any]] | None


def TaskMessage(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: _Calls = None,
    errbacks: _Calls = None,
    chain: _Calls = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """Return a stand-in for a message of protocol 2; other keywords are headers."""
    headers = {"id": id or unique_id(), "task": name, "shadow": shadow, **options}
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    return _message(headers, (args, kwargs or {}, embed), headers["id"])


def TaskMessage1(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: _Calls = None,
    errbacks: _Calls = None,
    chain: _Calls = None,
    **options: Any,
) -> Any:
    """Return a stand-in for a message of protocol 1; other keywords are fields of its body."""
    task_id = id or unique_id()
    call = {"task": name, "id": task_id, "args": args, "kwargs": kwargs or {}}
    payload = {**call, "callbacks": callbacks, "errbacks": errbacks, **options}
    return _message({}, payload, task_id)


def _message(headers: Mapping[str, Any], payload: Any, task_id: str) -> Any:
    message = Mock(name=f"TaskMessage-{task_id}")
    message.headers, message.payload = dict(headers), payload
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.body = dumps(payload)
    return message


def task_message_from_sig(
    app: Umbel, sig: Any, utc: bool = True, TaskMessage: Callable[..., Any] = TaskMessage
) -> Any:
    """Return a stand-in for the message of a signature, made by `TaskMessage`."""
    sig.freeze()
    options = dict(sig.options)
    links = {name: options.pop(name, None) for name in ("link", "link_error")}
    eta, countdown = options.pop("eta", None), options.pop("countdown", None)
    if countdown:
        eta = app.now() + timedelta(seconds=countdown)
    expires = options.pop("expires", None)
    if isinstance(expires, Real) and expires:
        expires = app.now() + timedelta(seconds=float(expires))
    return TaskMessage(
        sig.task,
        id=sig.id,
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=_dicts(links["link"]),
        errbacks=_dicts(links["link_error"]),
        eta=_text(eta),
        expires=_text(expires),
        utc=utc,
        **options,
    )


def _dicts(signatures: Any) -> list[dict[str, Any]] | None:
    return [dict(one) for one in signatures] if signatures else None


def _text(time: Any) -> Any:
    return time.isoformat() if isinstance(time, datetime) else time


class _ContextMock(Mock):
    """A Mock whose class has the methods that ``with`` looks for there."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def ContextMock(*args: Any, **kwargs: Any) -> Any:
    """Return a Mock for ``with``: it gives itself, and lets errors through."""
    made: Any = _ContextMock(*args, **kwargs)
    for name in ("__enter__", "__exit__"):
        made.attach_mock(_ContextMock(), name)
    made.__enter__.return_value = made
    made.__exit__.return_value = None  # anything true would swallow errors
    return made
