"""``billiard.einfo``: an exception with its traceback."""

from __future__ import annotations

from umbel.tracebacks import ExceptionInfo

__all__ = ["ExceptionInfo", "ExceptionWithTraceback"]


class ExceptionWithTraceback(Exception):
    """What billiard wraps an exception into on its way between processes; nothing of umbel's is one."""

    exc: BaseException
    tb: str
