"""What a worker is told and cannot heed, or not as it is meant: said once, at its start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from umbel.app import Umbel
from umbel.worker.bootstrap import CONCURRENT
from umbel.worker.timelimits import soft_beyond_hard

#: What is of no use to a process that runs one task at a time, and cannot be replaced.
_FOR_CHILDREN = {
    "worker_max_tasks_per_child": "--max-tasks-per-child",
    "worker_max_memory_per_child": "--max-memory-per-child",
}


def unheeded(
    app: Umbel, asked: str, executor: str, environ: Mapping[str, str], scales: bool = False
) -> Iterator[str]:
    """Give what to say where `executor` runs the tasks; the name that was `asked` for may be another.

    `scales` where the number of children is to follow the work.
    """
    settings, changed = app.conf.snapshot, app.conf.changed()
    if asked in ("gevent", "eventlet"):
        yield (
            f"There are no greenlets here: -P {asked} runs tasks in threads, as -P threads does, and nothing"
            " is monkey-patched. For thousands at a time, write tasks as `async def` and use -P asyncio."
        )
    if "worker_processes" in changed and executor not in CONCURRENT:
        yield (
            f"--processes {settings.worker_processes} (worker_processes) is of no use with -P {executor}: it"
            " is for threads and asyncio. The number of prefork's processes is -c."
        )
    if "worker_sync_threads" in changed and executor != "asyncio":
        yield (
            f"--sync-threads {settings.worker_sync_threads} (worker_sync_threads) is of no use with"
            f" -P {executor}: it is for asyncio, and runs there the tasks that are not `async def`."
        )
    if executor == "solo":
        yield from _of_no_use_alone(app, scales)
    remapped = environ.get("REMAP_SIGTERM", "SIGQUIT")
    if remapped != "SIGQUIT":
        yield (
            f"REMAP_SIGTERM={remapped} is not heeded, and TERM means what it always does: the only value is"
            " SIGQUIT."
        )
    names = soft_beyond_hard(app)
    if names:
        yield (
            "The soft time limit is not below the hard one, so that these tasks are killed before they hear"
            f" of it: {', '.join(names)}."
        )


def _of_no_use_alone(app: Umbel, scales: bool) -> Iterator[str]:
    settings = app.conf.snapshot
    said = [
        f"{option} {value} ({name})"
        for name, option in _FOR_CHILDREN.items()
        if (value := getattr(settings, name))
    ]
    if (settings.worker_concurrency or 1) > 1:
        said.append(f"-c {settings.worker_concurrency} (worker_concurrency)")
    if scales:
        said.append("--autoscale")
    for one in said:
        yield f"{one} is of no use with -P solo: the worker's own process runs one task at a time."
