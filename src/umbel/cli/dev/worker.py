"""The process of ``umbel dev`` that runs the worker, and ends when the one that started it is gone."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

from umbel import signals
from umbel.worker.bootstrap import Source
from umbel.worker.processes import signalled_by
from umbel.worker.supervisor import Wanted, run_worker

#: How log lines look: short, since there is one machine and one day.
LOOK: dict[str, Any] = {
    "worker_log_format": "%(asctime)s %(levelname)-7s %(message)s",
    "worker_log_datefmt": "%H:%M:%S",
    "worker_task_log_format": "%(asctime)s %(levelname)-7s %(task_name)s: %(message)s",
    "worker_task_log_datefmt": "%H:%M:%S",
    "worker_redirect_stdouts": False,  # for breakpoint()
}


def main(life: int, report: int) -> int:
    """Run the worker that the first line of the pipe `life` asks for; return its exit code."""
    spec = _first_line(life)

    def tell(**_: Any) -> None:
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(imported_files()).encode() + b"\n")

    signals.worker_init.connect(tell)
    settings = {**LOOK, **spec["settings"]}
    if not spec["color"]:
        settings["worker_log_color"] = False
    wanted = Wanted(
        hostname=f"dev@{platform.node()}",
        loglevel=spec["loglevel"],
        queues=tuple(spec["queues"]),
        concurrency=spec["concurrency"],
        executor=spec["pool"],
        quiet=True,
    )
    with signalled_by(life, signal.SIGQUIT):  # a cold shutdown
        if select.select([life], [], [], 0)[0]:
            return 1  # who started this is gone
        source = Source(spec["app"], spec["workdir"], settings, spec["config"], wanted.hostname)
        return run_worker(source, wanted)


def _first_line(number: int) -> Any:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(number, 65536)
        if not more:
            sys.exit(1)  # who started this is gone
        line += more
    return json.loads(line)


def imported_files() -> list[str]:
    """Return the files of the modules that are the project's own, installed ones left out."""
    paths = sysconfig.get_paths()
    installed = tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    installed += (str(Path(__file__).parents[2]),)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(
        file
        for file in files
        if isinstance(file, str) and file.endswith(".py") and not file.startswith(installed)
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
