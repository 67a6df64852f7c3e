"""Commands that are started by the app itself: ``app.start`` and ``app.worker_main``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.location import script_name

if TYPE_CHECKING:
    from umbel.app import Umbel


def start(app: Umbel, argv: Sequence[str] | None = None) -> None:
    """Run the ``umbel`` command for this app: ``app.start(["queues"])``; ends with SystemExit.

    `argv` are the words after ``umbel``, those of this process by default. A worker's processes import the
    module that the app is in, so that must keep what it runs under ``if __name__ == "__main__":``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not {"-A", "--app"} & set(words) and not any(word.startswith("--app=") for word in words):
        words = ["-A", place_of(app), *words]
        let_processes_import(app)
    main(words)


def main(words: Sequence[str]) -> None:
    """Run the ``umbel`` command with these words; ends with SystemExit."""
    # The command line imports apps, so it is found here and not above.
    import_module("umbel.cli").main(words)


def worker_main(app: Umbel, argv: Sequence[str] | None = None) -> None:
    """Run a worker of this app in this process: ``app.worker_main(["worker", "-l", "INFO"])``.

    Raises ValueError when the words do not name that command; ends as `start` does.
    """
    words = list(sys.argv if argv is None else argv)
    if "worker" not in words:
        raise ValueError(
            "worker_main runs the command worker, which its words do not name. Give it as in"
            ' app.worker_main(["worker", "-l", "INFO"]); app.start runs other commands.'
        )
    start(app, words if argv is not None else words[1:])


def beat_class(app: Umbel) -> Any:
    """Return beat as a class: ``app.Beat(loglevel="INFO").run()``; see `umbel.beat.program.Beat`."""
    # Beat stands on the app, so it is found here and not above.
    return partial(import_module("umbel.beat.program").Beat, app=app)


def place_of(app: Umbel) -> str:
    """Return what ``-A`` has to say for this app."""
    module = sys.modules.get(app.module)
    variables = vars(module) if module else {}
    name = next((name for name, value in variables.items() if value is app), "")
    place = script_name() if app.module == "__main__" else app.module
    return f"{place}:{name}" if name else place


def let_processes_import(app: Umbel) -> None:
    """Let processes that are started from here import the script that made the app, if one did.

    Its directory is put into PYTHONPATH: this process has it in `sys.path` only because it runs the script.
    """
    script = sys.modules.get(app.module)
    file = getattr(script, "__file__", None)
    if app.module != "__main__" or file is None or getattr(script, "__spec__", None) is not None:
        return
    directory = str(Path(file).absolute().parent)
    if directory != os.getcwd():
        paths = [directory, *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
