"""The client of a side, in a process of its own: ``python -m benchmarks.driver APP ACTION NUMBER``.

APP is a module of `benchmarks.apps`. What is printed is JSON: calls per second of ``fill`` (in bulk where
the library can), ``schedule`` (for tomorrow) and ``send`` (one by one), the milliseconds of each ``call``.
``prepare`` makes the tables of a library. An app may have ``ACTIONS`` of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

#: Calls that are made before anything is measured.
WARM = 20
#: How many coroutines are awaited together where a library has no bulk call.
TOGETHER = 100


def each(app: ModuleType, function: Callable[..., Any], arguments: list[Any]) -> list[float]:
    """Call a function with each of some arguments; return the seconds that each call took."""
    taken = []
    if not inspect.iscoroutinefunction(function):
        for argument in arguments:
            started = time.perf_counter()
            function(*argument)
            taken.append(time.perf_counter() - started)
        return taken

    async def run() -> None:
        async with app.opened():
            for argument in arguments:
                started = time.perf_counter()
                await function(*argument)
                taken.append(time.perf_counter() - started)

    asyncio.run(run())
    return taken


def fill(app: ModuleType, number: int) -> float:
    """Send many calls as fast as the library can; return the seconds that it took."""
    bulk = getattr(app, "bulk", None)
    if bulk is not None:
        return each(app, bulk, [(number,)])[0]
    if not inspect.iscoroutinefunction(app.send):
        return sum(each(app, app.send, [()] * number))

    async def together(count: int) -> None:
        await asyncio.gather(*(app.send() for _ in range(count)))

    sizes = [(min(TOGETHER, number - first),) for first in range(0, number, TOGETHER)]
    return sum(each(app, together, sizes))


def main(name: str, action: str, number: int) -> Any:
    """Do what is asked for; return what is to be printed."""
    app = importlib.import_module(f"benchmarks.apps.{name}")
    if action == "fill":
        return number / fill(app, number)
    if action == "schedule":
        return number / each(app, app.schedule, [(number,)])[0]
    if action == "send":
        return number / sum(each(app, app.send, [()] * (number + WARM))[WARM:])
    if action == "call":
        return [taken * 1000 for taken in each(app, app.call, [()] * (number + WARM))[WARM:]]
    if action == "prepare":
        return sum(each(app, app.prepare, [()]))
    if action == "naps":
        return sum(each(app, app.send_nap, [(one,) for one in range(number)]))
    if action in getattr(app, "ACTIONS", ()):
        return getattr(app, action)(number)
    raise ValueError(f"There is no action {action!r}.")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
