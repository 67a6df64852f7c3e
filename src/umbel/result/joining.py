"""Whether results may be waited for here: not within a task, where the workers might wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from umbel.current import within_a_worker

#: What `allow_join_result` and `denied_join_result` said; None: it depends on whether a task runs here.
_denied: ContextVar[bool | None] = ContextVar("umbel.join_denied", default=None)


def assert_will_not_block() -> None:
    """Raise RuntimeError within a task that a worker runs.

    Tasks that are run where they are called wait for nobody, unless ``task_always_eager`` stands
    for a worker.
    """
    denied = _denied.get()
    if within_a_worker() if denied is None else denied:
        raise RuntimeError(
            "Never call result.get() within a task: when all workers wait, none is left to work. Use a"
            " callback; or, if you are sure, get(disable_sync_subtasks=False), or await it in a block"
            " `with allow_join_result():` (from umbel.result)."
        )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let `get` wait also within a task, until the end of the block."""
    with _set(False):
        yield


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Let `get` raise also outside of tasks, until the end of the block."""
    with _set(True):
        yield


@contextmanager
def _set(denied: bool) -> Iterator[None]:
    token = _denied.set(denied)
    try:
        yield
    finally:
        _denied.reset(token)
