"""Tasks that every app has, under the names that Celery's have; `umbel.rest` is our own.

They are parts of workflows, and what Celery's workers and schedulers of other packages send. An app finds
them by their names, and does not list them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.canvas.maps import chunks
from umbel.canvas.pieces import REST
from umbel.canvas.signature import signature
from umbel.exceptions import ChordError, OperationalError
from umbel.replacing import send_rest
from umbel.result import GroupResult, allow_join_result, result_from_tuple

if TYPE_CHECKING:
    from umbel.task import Task

logger = logging.getLogger("umbel.chords")


def accumulate(self: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the arguments, or the one at an index: what gathers a group in one result."""
    index = kwargs.get("index")
    return args if index is None else args[index]


def xmap(self: Task[..., Any], task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each item."""
    called = signature(dict(task), app=self.app).type
    return [called(item) for item in it]


def xstarmap(self: Task[..., Any], task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each item as its arguments."""
    called = signature(dict(task), app=self.app).type
    return [called(*item) for item in it]


def apply_chunks(self: Task[..., Any], task: Mapping[str, Any], it: Iterable[Any], n: int) -> Any:
    """Send calls of a task, `n` in each message."""
    return chunks.apply_chunks(signature(dict(task), app=self.app), it, n, app=self.app)


def unlock_chord(
    self: Task[..., Any],
    group_id: str,
    callback: Mapping[str, Any],
    interval: float | None = None,
    max_retries: int | None = None,
    result: Any = None,
    doubt: int = 0,
    **kwargs: Any,
) -> None:
    """Look whether a group has ended, and send its chord's body then.

    It is sent where the result backend cannot count. With a `doubt` one can, and it is not known whether it
    did: then the body is sent only if the backend has not done so by the look after the one that found that
    all has ended, at which there are two doubts.
    """
    app = self.app
    store: Any = app.result_store() if doubt else None
    if store is not None and store.saved_group(group_id) is None:
        return
    group = GroupResult(group_id, [result_from_tuple(one, app) for one in result or ()], app=app)
    wait = app.conf.snapshot.result_chord_retry_interval if interval is None else interval
    if not group.ready():
        raise self.retry(countdown=wait, max_retries=max_retries)
    if doubt == 1:
        again = {**kwargs, "result": result, "doubt": 2}
        raise self.retry((group_id, callback), again, countdown=wait, max_retries=max_retries)
    body = signature(dict(callback), app=app)
    if store is not None:
        store.backend.end_doubtful_chord(group_id, body)
        return
    for one in group._leaves():
        if one.state in states.PROPAGATE_STATES:
            error = ChordError(f"Dependency {one.id} raised {one.result!r}")
            logger.error("Chord %r raised: %r", group_id, error)
            app.backend.mark_as_failure(body.id or group_id, error)
            for errback in body.options.get("link_error") or ():
                signature(dict(errback), app=app).apply_async((body.id,))
            return
    with allow_join_result():
        values = group.get(disable_sync_subtasks=False)
    body.delay(values)


def backend_cleanup(self: Task[..., Any]) -> None:
    """Delete all results that have expired.

    django-celery-beat sends this each day. Nobody else needs to: workers and servers delete them anyway.
    """
    self.app.backend.cleanup()


def rest(self: Task[..., Any], *args: Any, piece: str, expires: float | None = None) -> None:
    """Go on with a workflow whose next steps are in the result store (``workflow_by_reference``).

    When they expire is for those who pass the message on (`umbel.pieces.due`).
    """
    raise send_rest(self, args, piece)


#: The functions by the names of their tasks. Each gets the task first.
BUILT_IN: Mapping[str, Callable[..., Any]] = {
    "celery.accumulate": accumulate,
    "celery.map": xmap,
    "celery.starmap": xstarmap,
    "celery.chunks": apply_chunks,
    "celery.chord_unlock": unlock_chord,
    "celery.backend_cleanup": backend_cleanup,
    REST: rest,
}
#: Options of those tasks that have any.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "celery.chord_unlock": {"ignore_result": True, "max_retries": None},
    REST: {"autoretry_for": (OperationalError,), "max_retries": None, "default_retry_delay": 1},
}
