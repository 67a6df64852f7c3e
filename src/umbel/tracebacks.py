"""Tracebacks as users want them: from their own code on."""

from __future__ import annotations

import sys
import traceback
from types import FrameType, TracebackType

#: Most characters of a traceback that are kept.
LIMIT = 65536
_OURS = ("umbel.", "importlib", "asyncio.")


def traceback_text(error: BaseException) -> str:
    """Return the traceback as text, without the frames that only lead to the user's code."""
    frames = own_frames(error)
    if frames is None:
        lines = traceback.format_exception_only(error)
    else:
        lines = traceback.format_exception(type(error), error, frames)
    return "".join(lines)[-LIMIT:]


def own_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame on that is the user's, or all of it if none is.

    Of a SyntaxError without frames of the user's it is None: file and line are in the error itself.
    """
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame):
        frames = frames.tb_next
    return frames if frames is not None or isinstance(error, SyntaxError) else error.__traceback__


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS)


ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def _exception(exc_info: ExcInfo | None) -> BaseException:
    found = (exc_info or sys.exc_info())[1]
    if found is None:
        raise TypeError("ExceptionInfo() is made where an exception is handled, or of one.")
    return found


class ExceptionInfo:
    """An exception as handlers and signals get it: ``einfo``. Its text is that of the traceback."""

    def __init__(
        self,
        exc_info: BaseException | ExcInfo | None = None,
        internal: bool = False,
        *,
        text: str | None = None,
    ) -> None:
        """Take an exception, or what `sys.exc_info` gave: by default gives, as billiard's class does."""
        exception = exc_info if isinstance(exc_info, BaseException) else _exception(exc_info)
        self.internal = internal
        self.type = type(exception)
        self.exception = exception
        self.traceback = traceback_text(exception) if text is None else text

    @property
    def tb(self) -> TracebackType | None:
        """The traceback itself."""
        return self.exception.__traceback__

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """What `sys.exc_info` gave."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"
