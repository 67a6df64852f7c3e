"""Chords in result backends of Celery's kind, which count a header's results by themselves.

Names, arguments and order of calls are Celery's (celery/backends/base.py). When a chord begins `apply_chord`
is told of its header; when a call of it has ended and its result is stored, `on_chord_part_return`, which
sends the body after the last. A backend that cannot count has ``celery.chord_unlock`` look again and again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from umbel import states
from umbel.backend import written
from umbel.canvas.algebra import calls_of
from umbel.canvas.signature import Signature, maybe_signature
from umbel.clock import unique_id
from umbel.exceptions import ChordError
from umbel.following import after_failure, call_errbacks, request_of
from umbel.result import GroupResult, allow_join_result
from umbel.result_backend import ResultBackend
from umbel.tracebacks import traceback_text

logger = logging.getLogger("umbel.chords")


class CountsChords(ResultBackend):
    """What is called for chords, and what subclasses override to count for themselves."""

    app: Any

    def ensure_chords_allowed(self) -> None:
        """Be asked whether chords can be; a subclass with which they cannot raises NotImplementedError."""

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Be told how many results a header has; for subclasses."""

    def apply_chord(
        self, header_result_args: Sequence[Any] | GroupResult, body: Any, **kwargs: Any
    ) -> None:
        """Be told of a chord before the last call of its header is sent.

        `header_result_args` are the header's id and results, `body` is a signature, which has the number of
        the results as ``chord_size``.
        """
        self.ensure_chords_allowed()
        self.fallback_chord_unlock(header_of(header_result_args, self.app), body, **kwargs)

    def fallback_chord_unlock(
        self, header_result: GroupResult, body: Any, countdown: float = 1, **kwargs: Any
    ) -> None:
        """Send the task that looks whether a header has ended, and sends the body then.

        `kwargs` are arguments of that task.
        """
        options = {
            name: body.options[name] for name in ("queue", "priority") if name in body.options
        }
        settings = self.app.conf.snapshot
        self.app.send_task(
            "celery.chord_unlock",
            (header_result.id, body),
            {**kwargs, "result": [written(member, settings) for member in header_result.results]},
            countdown=countdown,
            **options,
        )

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Be told that a call of a header has ended, whose result is stored; for subclasses that count.

        `request` has at least its ``id``, the header's id as ``group``, and the body as ``chord``.
        """

    def doubt_chord(self, group_id: str, body: Any) -> None:
        """Be told that a call of a header ended before, and that its worker died then, perhaps uncounted.

        For subclasses that count; those that look anyway have nothing to do.
        """

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Let a header have one result more. Raises NotImplementedError but in a subclass that can."""
        raise NotImplementedError(
            f"The result backend {type(self).__name__} cannot add to a chord that has begun. Set"
            " result_backend to a store of umbel's own for that, such as sqlite:// or redis://."
        )

    def _marked(self, request: Any, state: str, result: Any) -> None:
        """Let the chord that a call belongs to hear of its end."""
        if request and getattr(request, "chord", None):
            self.on_chord_part_return(request, state, result)

    # Failures

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> None:
        """Let the body of a chord fail: call and send its errbacks, and store its failure."""
        error = exc or sys.exc_info()[1] or ChordError("The chord failed.")
        for call in calls_of(callback):
            self._call_errbacks(call, error)
            task_id = (call.get("options") or {}).get("task_id")
            if task_id:
                self.fail_from_current_stack(task_id, error)

    def _call_errbacks(self, call: Any, error: BaseException) -> None:
        request = request_of(call)
        direct, sent = after_failure(request, self.app, unique_id)
        call_errbacks(direct, request, error, "")
        for follower in sent:
            try:
                follower.send()
            except Exception:
                logger.exception("The errback %s cannot be sent", follower.signature.task)

    def fail_from_current_stack(
        self, task_id: str, exc: BaseException | None = None
    ) -> BaseException:
        """Store that a task failed by an exception, by default by the one that is handled here; return it."""
        error = exc or sys.exc_info()[1]
        if error is None:
            raise ValueError("fail_from_current_stack needs `exc`: no exception is handled here.")
        self.store_result(task_id, error, states.FAILURE, traceback=traceback_text(error))
        return error


def header_of(given: Sequence[Any] | GroupResult, app: Any) -> GroupResult:
    """Return a header's result from what `apply_chord` is given."""
    return given if isinstance(given, GroupResult) else GroupResult(*given, app=app)


def send_body(backend: CountsChords, body: Any, header: GroupResult) -> None:
    """Send a chord's body with the values of its header, which have to be there; without, let it fail."""
    app = backend.app
    callback: Signature[Any] = maybe_signature(body, app)
    try:
        with allow_join_result():
            values = header.join(timeout=app.conf.snapshot.result_chord_join_timeout)
    except Exception as error:
        logger.exception("Chord %r raised: %r", header.id, error)
        failed = next(header._failed_join_report(), None)
        reason = repr(error) if failed is None else f"Dependency {failed.id} raised {error!r}"
        backend.chord_error_from_stack(callback, ChordError(reason))
        return
    try:
        callback.delay(values)
    except Exception as error:
        logger.exception("Chord callback for %r raised: %r", header.id, error)
        backend.chord_error_from_stack(callback, ChordError(f"Callback error: {error!r}"))
