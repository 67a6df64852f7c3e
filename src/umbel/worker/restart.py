"""HUP: the program that ran a worker is started again in its place, with the same words and newer code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn


def start_again(directory: str) -> NoReturn:
    """Become the same program anew, begun in a directory as the first time; the pid stays.

    Raises OSError when it cannot be started any more.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # what is buffered would be lost
            stream.flush()
    os.chdir(directory)
    # Another one may come before the new program takes signals: it waits until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    os.execv(sys.executable, command)  # noqa: S606 - the command that runs already
