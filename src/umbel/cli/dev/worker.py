"""The process of ``umbel dev`` that runs the worker, and ends when the one that started it is gone."""

from __future__ import annotations

import contextlib
import json
import logging
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

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}


class Compact(logging.Formatter):
    """One short line for each record, coloured by level on a terminal."""

    def __init__(self, color: bool) -> None:
        super().__init__(FORMAT, "%H:%M:%S")
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback below."""
        text = super().format(record)
        begin = _COLOURS.get(record.levelno) if self._color else None
        return f"{begin}{text}\x1b[0m" if begin else text


def main(life: int, report: int) -> int:
    """Run the worker that the first line of the pipe `life` asks for; return its exit code."""
    spec = _first_line(life)
    color = spec["color"] and sys.stderr.isatty()

    def set_up_logging(loglevel: int, **_: Any) -> bool:
        handler = logging.StreamHandler(sys.__stderr__)
        handler.setFormatter(Compact(color))
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(loglevel)
        logging.captureWarnings(True)
        return True

    def tell(**_: Any) -> None:
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(imported_files()).encode() + b"\n")

    signals.setup_logging.connect(set_up_logging)
    signals.worker_init.connect(tell)
    # The format again, as a setting: children that are started from scratch have no receiver.
    settings = {"worker_log_format": FORMAT, **spec["settings"]}
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
        source = Source(spec["app"], spec["workdir"], settings, spec["config"])
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
