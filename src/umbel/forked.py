"""What becomes of a copy of a worker that a task makes by `os.fork`: it ends where the task ends.

Else it would go on as a second worker, with its parent's connections and leases.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

logger = logging.getLogger("umbel.trace")


def end_if_copied(process: int, what: str, error: BaseException | None = None) -> None:
    """End this process at once, unless it is the one with the pid `process`.

    It ends as Python would after `error`: with the code of a SystemExit, with 1 after anything else. `what`
    is what ran in it, for the log, which is written unless the code meant to end its copy by SystemExit.
    """
    if os.getpid() != process:
        _end(process, what, error)


def _end(process: int, what: str, error: BaseException | None) -> NoReturn:
    code: object = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code
    else:
        logger.warning(
            "%s went on in a copy of its process (os.fork), pid %d of %d, which ends now. A copy is to end by"
            " os._exit, or to become another program by os.exec*.",
            what,
            os.getpid(),
            process,
            exc_info=error,
        )
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit((code or 0) & 0xFF if isinstance(code, int | None) else 1)
