"""Running coroutines to their end, from code that is none."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from umbel import current
from umbel.request import Request

R = TypeVar("R")
Drive = Callable[[Coroutine[Any, Any, Any]], Any]


class Loop:
    """An event loop for one task after the other, made when first needed."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """End the event loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def drive_here(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, on a loop of its own; within a coroutine, on a thread of its own."""
    context = contextvars.copy_context()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:
            return runner.run(coroutine, context=context)
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            with asyncio.Runner() as runner:
                outcome.set_result(runner.run(coroutine, context=context))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="umbel-eager", daemon=True).start()
    return outcome.result()


async def within(request: Request, coroutine: Coroutine[Any, Any, R]) -> R:
    """Await a coroutine as the call `request`."""
    token = current.enter(request)
    try:
        return await coroutine
    finally:
        current.leave(token)
